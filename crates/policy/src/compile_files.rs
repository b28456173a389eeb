//! From a checked document to rules about files.

use crate::compile::Compiler;
use crate::diagnostics::{Findings, quoted};
use crate::document::{Located, PathEntry};
use crate::gather::is_template;
use crate::limits::bytes;
use crate::minimal;
use crate::stores::stores;
use crate::write_guards::{governing, guards};
use crate::{
    Facts, FileOverlay, FileRule, FileRuleKind, FilesystemMode, FilesystemPolicy, Origin, paths,
};

impl Compiler<'_> {
    pub(crate) fn filesystem(&self, findings: &mut Findings) -> FilesystemPolicy {
        let mut rules = built_in(self.facts);
        let built_in = rules.len();
        let mut writes = Vec::new();
        let mut patterns = 0;
        for (key, kind, entry) in self.file_entries(findings) {
            let made = self.file_rules(key, kind, &entry, findings);
            if kind == FileRuleKind::AllowWrite {
                let offset = entry.offset;
                writes.extend(made.iter().map(|rule| (offset, rule.clone())));
            }
            patterns += made.iter().filter(|rule| rule.pattern.is_some()).count();
            rules.extend(made);
            if patterns > MOST_PATTERNS {
                findings.error(
                    entry.offset,
                    format!("with this entry of {key} there are more than {MOST_PATTERNS} patterns for paths"),
                    Some("name folders in place of what is in them; an entry covers everything below it".to_owned()),
                );
                break;
            }
        }
        let overlays = self.overlays(findings);
        // Where nothing can be written there is nothing to guard.
        if !writes.is_empty() || !overlays.is_empty() {
            let git_config = self.document.bool("filesystem.allowGitConfig");
            let lifted = git_config.is_some_and(|lifted| lifted.value);
            let ours = self.sources.paths().filter(|path| !is_template(path));
            let ours = ours.flat_map(|path| governing(path, self.facts));
            rules.splice(
                built_in..built_in,
                guards(self.facts, lifted).into_iter().chain(ours),
            );
        }
        let (mode, mode_origin) = self.mode();
        let mut filesystem = of_mode(mode, rules, overlays, self.facts);
        filesystem.mode_origin = mode_origin;
        filesystem.overlay_max = self.overlay_max(findings);
        // Each of these walks all rules: a hostile document must not cost the square of its length.
        for (offset, write) in writes.into_iter().take(200) {
            let decision = filesystem.decide_write(&write.path);
            // Below the folder of a pattern, something unreadable may be opened again.
            let whole = |rule: &&FileRule| {
                write.pattern.is_none()
                    || matches!(rule.kind, FileRuleKind::Protected | FileRuleKind::DenyWrite)
            };
            if let (false, Some(rule)) = (decision.allowed, decision.rule.filter(whole)) {
                let (why, hint) = refusal(rule);
                findings.warning(
                    offset,
                    format!("this entry of filesystem.allowWrite has no effect: {why}"),
                    hint,
                );
            }
        }
        filesystem
    }

    fn mode(&self) -> (FilesystemMode, Option<Origin>) {
        const KEY: &str = "filesystem.mode";
        let Some(word) = self.document.string(KEY) else {
            return (self.default_mode, None);
        };
        // Another word has been reported by then.
        let mode = FilesystemMode::parse(&word.value).unwrap_or(FilesystemMode::Shared);
        (mode, Some(self.origin(word.offset)))
    }

    fn overlay_max(&self, findings: &mut Findings) -> Option<(u64, Origin)> {
        const KEY: &str = "filesystem.overlayMax";
        let text = self.document.amount(KEY)?;
        match bytes(&text.value) {
            Ok(most) => Some((most, self.origin(text.offset))),
            Err(hint) => {
                findings.error(
                    text.offset,
                    format!("{} is no value of {KEY}", quoted(&text.value)),
                    Some(hint.to_owned()),
                );
                None
            }
        }
    }

    fn overlays(&self, findings: &mut Findings) -> Vec<FileOverlay> {
        const KEY: &str = "filesystem.overlay";
        let mut overlays = Vec::new();
        for entry in self.document.paths(KEY) {
            if self.facts.macos {
                findings.error(
                    entry.offset,
                    format!("{KEY} does not hold on macOS: there is no overlay file system"),
                    Some("name what may be written in filesystem.allowWrite".to_owned()),
                );
                continue;
            }
            match paths::absolute(&entry.value, self.facts) {
                Ok(path) => overlays.push(FileOverlay {
                    path,
                    text: entry.value.text,
                    origin: self.origin(entry.offset),
                }),
                Err(error) => findings.error(
                    entry.offset,
                    format!("{} in {KEY} {}", quoted(&entry.value.text), error.why),
                    Some(error.hint),
                ),
            }
        }
        overlays
    }

    /// The entries of every list of paths, with their keys and what they do.
    fn file_entries(
        &self,
        findings: &mut Findings,
    ) -> Vec<(&'static str, FileRuleKind, Located<PathEntry>)> {
        let mut entries = Vec::new();
        for kind in [
            FileRuleKind::DenyRead,
            FileRuleKind::AllowRead,
            FileRuleKind::AllowWrite,
            FileRuleKind::DenyWrite,
        ] {
            let listed = self.document.paths(kind.key());
            entries.extend(listed.into_iter().map(|entry| (kind.key(), kind, entry)));
        }
        for entry in self.credentials("credentials.files", "path", findings) {
            let entry = Located {
                offset: entry.offset,
                value: PathEntry {
                    text: entry.value,
                    literal: false,
                },
            };
            entries.push(("credentials.files", FileRuleKind::DenyRead, entry));
        }
        entries
    }

    /// The rules that an entry makes: several where it has braces.
    fn file_rules(
        &self,
        key: &str,
        kind: FileRuleKind,
        entry: &Located<PathEntry>,
        findings: &mut Findings,
    ) -> Vec<FileRule> {
        match paths::meant(&entry.value, self.facts) {
            Ok(meant)
                if self.facts.macos
                    && matches!(kind, FileRuleKind::AllowRead | FileRuleKind::AllowWrite)
                    && meant.iter().any(|meant| meant.pattern.is_some()) =>
            {
                findings.error(
                    entry.offset,
                    format!(
                        "{} in {key} is a pattern, and patterns that allow do not hold on macOS yet",
                        quoted(&entry.value.text)
                    ),
                    Some("name the folder itself; an entry covers everything below it".to_owned()),
                );
                Vec::new()
            }
            Ok(meant) => {
                self.warn_of_one_folder(key, kind, entry, &meant, findings);
                meant
                    .into_iter()
                    .map(|meant| FileRule {
                        kind,
                        path: meant.path,
                        pattern: meant.pattern,
                        alias: false,
                        text: entry.value.text.clone(),
                        origin: self.origin(entry.offset),
                    })
                    .collect()
            }
            Err(error) => {
                findings.error(
                    entry.offset,
                    format!("{} in {key} {}", quoted(&entry.value.text), error.why),
                    Some(error.hint),
                );
                Vec::new()
            }
        }
    }

    /// Warns of a pattern like `*.pem` in a list that denies: elsewhere such a one is meant for every folder.
    fn warn_of_one_folder(
        &self,
        key: &str,
        kind: FileRuleKind,
        entry: &Located<PathEntry>,
        meant: &[paths::Meant],
        findings: &mut Findings,
    ) {
        let text = entry.value.text.as_str();
        let denies = matches!(kind, FileRuleKind::DenyRead | FileRuleKind::DenyWrite);
        let is_pattern = meant.iter().any(|meant| meant.pattern.is_some());
        // `*` is all of the folder, and so all that is below it.
        if denies && is_pattern && !text.contains('/') && text != "*" {
            findings.warning(
                entry.offset,
                format!(
                    "{} in {key} is about the working directory alone, not about the folders in it",
                    quoted(text)
                ),
                Some(format!(
                    "write {} for any depth, or {} if this is what you want",
                    quoted(&format!("**/{text}")),
                    quoted(&format!("./{text}"))
                )),
            );
        }
    }
}

/// A document has no more patterns than this, braces expanded: each costs time at every launch and at every use of a
/// file.
const MOST_PATTERNS: usize = 1000;

fn refusal(rule: &FileRule) -> (String, Option<String>) {
    match (rule.kind, &rule.origin) {
        (FileRuleKind::Protected, _) => (
            format!("{} is protected under every policy", rule.path.display()),
            None,
        ),
        (FileRuleKind::DenyWrite, Origin::BuiltIn(reason)) => (
            format!(
                "{} stays write-protected under every allowWrite: {reason}",
                rule.text
            ),
            None,
        ),
        (FileRuleKind::DenyWrite, Origin::File { .. } | Origin::Grant { .. }) => (
            format!("filesystem.denyWrite has {}", quoted(&rule.text)),
            None,
        ),
        (_, Origin::BuiltIn(reason)) => (
            format!(
                "{} is unreadable ({reason}), and what cannot be read cannot be written",
                rule.text
            ),
            Some(format!(
                "add {} to filesystem.allowRead to open it",
                quoted(&rule.text)
            )),
        ),
        (_, Origin::File { .. } | Origin::Grant { .. }) => (
            format!(
                "{} is unreadable, and what cannot be read cannot be written",
                quoted(&rule.text)
            ),
            Some("add the folder to filesystem.allowRead too".to_owned()),
        ),
    }
}

/// A policy of these rules and the mode's own, which come first.
pub(crate) fn of_mode(
    mode: FilesystemMode,
    rules: Vec<FileRule>,
    overlays: Vec<FileOverlay>,
    facts: &Facts,
) -> FilesystemPolicy {
    let (mut all, notes) = minimal::rules(mode, &overlays, facts);
    all.extend(rules);
    let mut filesystem = FilesystemPolicy::new(all, mode);
    filesystem.home = (mode == FilesystemMode::Minimal).then(|| paths::normalise(&facts.home));
    filesystem.overlays = overlays;
    filesystem.notes = notes;
    filesystem
}

/// Rules that hold under every policy, the built-in default included.
pub(crate) fn built_in(facts: &Facts) -> Vec<FileRule> {
    let protected = facts.protected.iter().map(|path| FileRule {
        kind: FileRuleKind::Protected,
        path: paths::normalise(&facts.cwd.join(path)),
        pattern: None,
        alias: false,
        text: path.display().to_string(),
        origin: Origin::BuiltIn("the daemon's own socket, state, configuration and settings files"),
    });
    let stores = stores(facts.macos).map(|store| FileRule {
        kind: FileRuleKind::DenyRead,
        path: paths::normalise(&facts.home.join(store.path.trim_start_matches("~/"))),
        pattern: None,
        alias: false,
        text: store.path.to_owned(),
        origin: Origin::BuiltIn(store.reason),
    });
    protected.chain(stores).collect()
}
