//! From a checked document to rules about files, environment and limits; `compile_network` has those about hosts.

use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged;

use crate::diagnostics::{Findings, quoted};
use crate::document::{Document, Located, PathEntry, Positions, string};
use crate::environment::{StripRule, is_name};
use crate::stores::stores;
use crate::write_guards::guards;
use crate::{
    EnvironmentPolicy, Facts, FileRule, FileRuleKind, FilesystemPolicy, Limits, Origin, Source,
    paths,
};

/// What rules are made from.
pub(crate) struct Compiler<'a> {
    pub(crate) document: &'a Document<'a>,
    pub(crate) source: &'a Source,
    pub(crate) positions: &'a Positions<'a>,
    pub(crate) facts: &'a Facts,
}

impl Compiler<'_> {
    pub(crate) fn origin(&self, offset: usize) -> Origin {
        let (line, column) = self.positions.at(offset);
        Origin::File {
            path: self.source.path.clone(),
            line,
            column,
        }
    }

    pub(crate) fn filesystem(&self, findings: &mut Findings) -> FilesystemPolicy {
        let mut rules = built_in(self.facts);
        let built_in = rules.len();
        let mut writes = Vec::new();
        for kind in [
            FileRuleKind::DenyRead,
            FileRuleKind::AllowRead,
            FileRuleKind::AllowWrite,
            FileRuleKind::DenyWrite,
        ] {
            let key = kind.key();
            for entry in self.document.paths(key) {
                if let Some(rule) = self.file_rule(key, kind, &entry, findings) {
                    if kind == FileRuleKind::AllowWrite {
                        writes.push((entry.offset, rule.path.clone()));
                    }
                    rules.push(rule);
                }
            }
        }
        for entry in self.credentials("credentials.files", "path", findings) {
            let entry = Located {
                offset: entry.offset,
                value: PathEntry {
                    text: entry.value,
                    literal: false,
                },
            };
            rules.extend(self.file_rule(
                "credentials.files",
                FileRuleKind::DenyRead,
                &entry,
                findings,
            ));
        }
        // Where nothing can be written there is nothing to guard.
        if !writes.is_empty() {
            rules.splice(built_in..built_in, guards(self.facts));
        }
        let filesystem = FilesystemPolicy { rules };
        // Each of these walks all rules: a hostile document must not cost the square of its length.
        for (offset, path) in writes.into_iter().take(200) {
            let decision = filesystem.decide_write(&path);
            if let (false, Some(rule)) = (decision.allowed, decision.rule) {
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

    fn file_rule(
        &self,
        key: &str,
        kind: FileRuleKind,
        entry: &Located<PathEntry>,
        findings: &mut Findings,
    ) -> Option<FileRule> {
        match paths::absolute(&entry.value, self.facts) {
            Ok(path) => Some(FileRule {
                kind,
                path,
                text: entry.value.text.clone(),
                origin: self.origin(entry.offset),
            }),
            Err(error) => {
                findings.error(
                    entry.offset,
                    format!("{} in {key} {}", quoted(&entry.value.text), error.why),
                    Some(error.hint),
                );
                None
            }
        }
    }

    /// The entries of a credentials list whose mode is `deny`; `mask` is an error, since the secret would be shown.
    fn credentials(&self, key: &str, name: &str, findings: &mut Findings) -> Vec<Located<String>> {
        let mut denied = Vec::new();
        for element in self.document.elements(key) {
            let Value::Object(object) = element else {
                continue;
            };
            let what = object
                .get(name)
                .and_then(|property| string(&property.value));
            let Some(what) = what else {
                if object.get(name).is_none() {
                    findings.error(
                        object.start(),
                        format!("an entry of {key} has no {name:?}"),
                        None,
                    );
                }
                continue;
            };
            const DENY: &str = "write \"mode\": \"deny\": the server then does not see it at all";
            match object.get("mode").map(|property| (property.start(), string(&property.value))) {
                None => findings.error(object.start(), format!("an entry of {key} has no \"mode\""), Some(DENY.to_owned())),
                Some((_, None)) => {}
                Some((at, Some(mode))) => match mode.value.as_str() {
                    "deny" => denied.push(what),
                    "mask" => findings.error(
                        at,
                        format!("{key} with mode \"mask\" is not enforced yet: ignoring it would show the secret"),
                        Some(DENY.to_owned()),
                    ),
                    other => findings.error(mode.offset, format!("{} is no mode", quoted(other)), Some(DENY.to_owned())),
                },
            }
        }
        denied
    }

    pub(crate) fn environment(&self, findings: &mut Findings) -> EnvironmentPolicy {
        let mut strip = Vec::new();
        let listed = self
            .document
            .strings("runtime.envStrip")
            .into_iter()
            .map(|entry| ("runtime.envStrip", entry));
        let denied = self.credentials("credentials.envVars", "name", findings);
        let denied = denied
            .into_iter()
            .map(|entry| ("credentials.envVars", entry));
        for (key, entry) in listed.chain(denied) {
            if !is_name(&entry.value)
                || entry.value.contains(['*', '?', '$'])
                || entry.value.trim() != entry.value
            {
                findings.error(
                    entry.offset,
                    format!("{} in {key} is no name of a variable", quoted(&entry.value)),
                    Some("write each name in full, such as \"AWS_SECRET_ACCESS_KEY\"; variables that nothing names are not passed anyway".to_owned()),
                );
                continue;
            }
            strip.push(StripRule {
                key,
                origin: self.origin(entry.offset),
                name: entry.value,
            });
        }
        EnvironmentPolicy { strip }
    }

    pub(crate) fn limits(&self) -> (Limits, Option<Origin>) {
        let descriptors = self.document.number("runtime.maxFileDescriptors");
        let origin = descriptors
            .as_ref()
            .map(|number| self.origin(number.offset));
        let limits = Limits {
            max_file_descriptors: descriptors.map(|number| number.value),
        };
        (limits, origin)
    }
}

fn refusal(rule: &FileRule) -> (String, Option<String>) {
    match (rule.kind, &rule.origin) {
        (FileRuleKind::Protected, _) => (
            format!("{} is protected under every policy", rule.path.display()),
            None,
        ),
        (FileRuleKind::DenyWrite, _) => (
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
        (_, Origin::File { .. }) => (
            format!(
                "{} is unreadable, and what cannot be read cannot be written",
                quoted(&rule.text)
            ),
            Some("add the folder to filesystem.allowRead too".to_owned()),
        ),
    }
}

/// Rules that hold under every policy, the built-in default included.
pub(crate) fn built_in(facts: &Facts) -> Vec<FileRule> {
    let protected = facts.protected.iter().map(|path| FileRule {
        kind: FileRuleKind::Protected,
        path: paths::normalise(&facts.cwd.join(path)),
        text: path.display().to_string(),
        origin: Origin::BuiltIn("the daemon's own socket, state, configuration and settings files"),
    });
    let stores = stores(facts.macos).map(|store| FileRule {
        kind: FileRuleKind::DenyRead,
        path: paths::normalise(&facts.home.join(store.path.trim_start_matches("~/"))),
        text: store.path.to_owned(),
        origin: Origin::BuiltIn(store.reason),
    });
    protected.chain(stores).collect()
}
