//! What may be read and written.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::index::{Covering, Found, Index};
use crate::names::names;
use crate::paths::Meant;
use crate::{Glob, Origin};

/// What a file rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileRuleKind {
    /// Built in: neither readable nor writable under any policy.
    Protected,
    /// `filesystem.denyRead`, or a built-in credential store.
    DenyRead,
    /// `filesystem.allowRead`.
    AllowRead,
    /// `filesystem.allowWrite`.
    AllowWrite,
    /// `filesystem.denyWrite`.
    DenyWrite,
}

impl FileRuleKind {
    /// The dotted key under which such a rule is written.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Protected => "built-in.protected",
            Self::DenyRead => "filesystem.denyRead",
            Self::AllowRead => "filesystem.allowRead",
            Self::AllowWrite => "filesystem.allowWrite",
            Self::DenyWrite => "filesystem.denyWrite",
        }
    }
}

/// One file rule: it covers what it matches and everything below. Without a pattern it matches its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRule {
    /// What it does.
    pub kind: FileRuleKind,
    /// Absolute, normalised lexically; of a pattern, the folder below which its matches are.
    pub path: PathBuf,
    /// What is matched below `path`.
    pub pattern: Option<Glob>,
    /// Whether `path` is as written though links lead from it elsewhere, where another rule holds: see
    /// [`FilesystemPolicy::resolved`]. Nothing can be mounted on such a path.
    pub alias: bool,
    /// As written.
    pub text: String,
    /// Where.
    pub origin: Origin,
}

/// What a server sees of the disk where no rule says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FilesystemMode {
    /// Everything.
    #[default]
    Shared,
    /// Nothing but what programs need to run, the working directory and what rules name; the home folder is an
    /// empty private one.
    Minimal,
}

impl FilesystemMode {
    /// As `filesystem.mode` writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Minimal => "minimal",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Shared, Self::Minimal]
            .into_iter()
            .find(|mode| mode.word() == word)
    }
}

/// What a layer may hold where no document says otherwise, in bytes.
const DEFAULT_OVERLAY_MAX: u64 = 1 << 30;

/// One entry of `filesystem.overlay`: a folder that the server may write in a layer of its own, while the host's copy
/// stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOverlay {
    /// Absolute, normalised lexically.
    pub path: PathBuf,
    /// As written.
    pub text: String,
    /// Where.
    pub origin: Origin,
}

/// The filesystem half of a policy.
#[derive(Clone, Debug, Default)]
pub struct FilesystemPolicy {
    pub(crate) rules: Vec<FileRule>,
    pub(crate) index: Index,
    pub(crate) mode: FilesystemMode,
    pub(crate) mode_origin: Option<Origin>,
    pub(crate) overlays: Vec<FileOverlay>,
    pub(crate) overlay_max: Option<(u64, Origin)>,
    /// In minimal mode.
    pub(crate) home: Option<PathBuf>,
    pub(crate) notes: Vec<String>,
    pub(crate) narrowed: Option<Box<Narrowed>>,
}

/// What a project's rules are held to once links are followed: the letters of a rule do not tell where a link in the
/// project leads.
#[derive(Clone, Debug)]
pub(crate) struct Narrowed {
    /// What is in force without the project's files.
    outer: FilesystemPolicy,
    /// The project's files.
    project: BTreeSet<PathBuf>,
}

impl Narrowed {
    fn is_project(&self, origin: &Origin) -> bool {
        matches!(origin, Origin::File { path, .. } if self.project.contains(path))
    }
}

/// What policy says of a path.
#[derive(Clone, Debug)]
pub struct FileDecision<'a> {
    /// The answer.
    pub allowed: bool,
    /// The deciding rule; `None` for the default (reads allowed, writes refused).
    pub rule: Option<&'a FileRule>,
}

impl FilesystemPolicy {
    pub(crate) fn new(rules: Vec<FileRule>, mode: FilesystemMode) -> Self {
        Self {
            index: Index::new(&rules),
            rules,
            mode,
            mode_origin: None,
            overlays: Vec::new(),
            overlay_max: None,
            home: None,
            notes: Vec::new(),
            narrowed: None,
        }
    }

    /// Holds the rules of these files to `outer`, see [`Narrowed`].
    pub(crate) fn narrow(&mut self, outer: Self, project: BTreeSet<PathBuf>) {
        self.narrowed = Some(Box::new(Narrowed { outer, project }));
    }

    /// Every rule, built-in ones first.
    pub fn rules(&self) -> &[FileRule] {
        &self.rules
    }

    /// What is seen where no rule says otherwise.
    pub fn mode(&self) -> FilesystemMode {
        self.mode
    }

    /// The folders whose changes go to a layer. They are no rules: `decide_write` is about the host's copy, which an
    /// overlay never opens.
    pub fn overlays(&self) -> &[FileOverlay] {
        &self.overlays
    }

    /// `filesystem.overlayMax`: how much one layer may hold, in bytes; 1 GiB unless a document says otherwise.
    pub fn overlay_max(&self) -> u64 {
        self.overlay_max
            .as_ref()
            .map_or(DEFAULT_OVERLAY_MAX, |(most, _)| *most)
    }

    /// In minimal mode the home folder, where the host's is not shown: a sandbox has an empty one of its own there.
    /// What these rules say of paths in it is about the host's, and so no.
    pub fn private_home(&self) -> Option<&Path> {
        self.home
            .as_deref()
            .filter(|home| !self.decide_read(home).allowed)
    }

    /// What the person should know about these rules, a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The same rules with each path replaced by `resolve(path)`: how a launch, which may look at the disk,
    /// replaces links by what they point to. Of a pattern, the folder that it begins in is replaced.
    ///
    /// A rule that denies stays about the path as written, too, as a rule of its own marked `alias`: so it holds for
    /// the link itself, and for whatever takes the link's place.
    ///
    /// An AllowRead that only a link leads into a built-in credential store is left out: a server that may write in
    /// a folder could plant such a link for its next launch, and a store is opened by being named, not by chance. What a
    /// project's file allows is left out where a link leads to what is closed without that file, with a note.
    pub fn resolved(&self, resolve: impl Fn(&Path) -> PathBuf) -> Self {
        self.resolved_guarding(&[], resolve)
    }

    /// As [`FilesystemPolicy::resolved`], and that none of these paths (absolute) may be written either: lists of
    /// them, each with a reason that a person reads.
    pub fn resolved_guarding(
        &self,
        guarded: &[(&[PathBuf], &'static str)],
        resolve: impl Fn(&Path) -> PathBuf,
    ) -> Self {
        self.resolved_by(guarded, &resolve)
    }

    fn resolved_by(
        &self,
        guarded: &[(&[PathBuf], &'static str)],
        resolve: &dyn Fn(&Path) -> PathBuf,
    ) -> Self {
        let guards: Vec<FileRule> = guarded
            .iter()
            .flat_map(|(paths, reason)| paths.iter().map(|path| guard(path, reason)))
            .collect();
        let written: Vec<&FileRule> = guards.iter().chain(&self.rules).collect();
        let resolved: Vec<PathBuf> = written.iter().map(|rule| resolve(&rule.path)).collect();
        let strays = |rule: &FileRule, to: &Path| {
            rule.kind == FileRuleKind::AllowRead
                && rule.path != *to
                && written.iter().zip(&resolved).any(|(store, at)| {
                    let named = rule.path.starts_with(&store.path) || rule.path.starts_with(at);
                    store.is_store() && to.starts_with(at) && !named
                })
        };
        let outer = self.narrowed.as_deref().map(|narrowed| {
            let outer = narrowed.outer.resolved_by(guarded, resolve);
            (narrowed, outer)
        });
        let mut notes = self.notes.clone();
        let mut left_out = |text: &str, origin: &Origin, to: &Path| {
            notes.push(format!(
                "{text:?} ({origin}) leads through a link to {}, which is closed without the project's file: it is left out",
                to.display()
            ));
        };
        let mut rules = Vec::with_capacity(written.len());
        for (&rule, to) in written.iter().zip(&resolved) {
            if strays(rule, to) {
                continue;
            }
            if let Some((narrowed, outer)) = &outer
                && rule.allows()
                && narrowed.is_project(&rule.origin)
            {
                let meant = Meant {
                    path: to.clone(),
                    pattern: rule.pattern.clone(),
                };
                if !outer.grants(rule.kind, &meant) {
                    left_out(&rule.text, &rule.origin, to);
                    continue;
                }
            }
            if rule.path != *to && rule.denies() {
                rules.push(FileRule {
                    alias: true,
                    ..rule.clone()
                });
            }
            rules.push(FileRule {
                path: to.clone(),
                ..rule.clone()
            });
        }
        let mut overlays = Vec::with_capacity(self.overlays.len());
        for overlay in &self.overlays {
            let path = resolve(&overlay.path);
            if let Some((narrowed, outer)) = &outer
                && narrowed.is_project(&overlay.origin)
                && !outer.overlays.iter().any(|own| path.starts_with(&own.path))
            {
                left_out(&overlay.text, &overlay.origin, &path);
                continue;
            }
            overlays.push(FileOverlay {
                path,
                ..overlay.clone()
            });
        }
        if let Some((_, outer)) = &outer {
            rules.extend(unlayered(outer, &overlays, &rules));
        }
        Self {
            overlays,
            overlay_max: self.overlay_max.clone(),
            mode_origin: self.mode_origin.clone(),
            home: self.home.as_deref().map(resolve),
            notes,
            ..Self::new(rules, self.mode)
        }
    }

    /// The rule that keeps `path` from being written under every `allowWrite`: Protected or DenyWrite. For what is
    /// written elsewhere first, and so is not asked of `decide_write`: an overlay's changes.
    pub fn write_denied(&self, path: &Path) -> Option<&FileRule> {
        let covering = self.index.covering(&self.rules, &names(path)?);
        let found = covering.protected.or(covering.deny_write)?;
        Some(found.rule)
    }

    /// May `path` (absolute, without links) be read? Protected refuses always. Else the covering rule of DenyRead and
    /// AllowRead decides that matches the longest beginning of `path` ([`FileRule::depth_at`]); AllowRead wins where
    /// they are equally long. So `allowRead: ["~"]` opens no credential store, and
    /// `allowRead: ["~/.ssh/known_hosts"]` opens that file and nothing beside it. A pattern of AllowRead opens a
    /// built-in store only if its folder is that store or in it. A relative path is refused.
    ///
    /// In minimal mode what none of these covers can be read if the mode shows it or AllowWrite covers it.
    pub fn decide_read(&self, path: &Path) -> FileDecision<'_> {
        match names(path) {
            Some(names) => read(&self.index.covering(&self.rules, &names)),
            None => FileDecision::NO,
        }
    }

    /// May `path` (absolute, without links) be written? Any covering Protected or DenyWrite refuses; then whatever
    /// refuses to have it read, since a hidden store must not be replaced either; else a covering AllowWrite allows.
    pub fn decide_write(&self, path: &Path) -> FileDecision<'_> {
        let Some(names) = names(path) else {
            return FileDecision::NO;
        };
        let covering = self.index.covering(&self.rules, &names);
        if let Some(found) = covering.protected.or(covering.deny_write) {
            return FileDecision::by(false, found);
        }
        let read = read(&covering);
        if !read.allowed {
            return read;
        }
        covering
            .allow_write
            .map_or(FileDecision::NO, |found| FileDecision::by(true, found))
    }
}

/// Rules that keep a folder from being written whose layer a project's file takes away, where links have something that
/// may be written lead to it: that would be the host's own copy.
fn unlayered(outer: &FilesystemPolicy, kept: &[FileOverlay], rules: &[FileRule]) -> Vec<FileRule> {
    let near = |path: &Path, rule: &FileRule| {
        rule.kind == FileRuleKind::AllowWrite
            && (rule.path.starts_with(path) || path.starts_with(&rule.path))
    };
    let dropped = outer.overlays.iter().filter(|own| {
        !kept.iter().any(|kept| kept.path == own.path)
            && rules.iter().any(|rule| near(&own.path, rule))
    });
    dropped
        .map(|own| {
            guard(
                &own.path,
                "its overlay was taken away, and without it the host's own copy would be written",
            )
        })
        .collect()
}

/// The rule that a path may not be written.
fn guard(path: &Path, reason: &'static str) -> FileRule {
    FileRule {
        kind: FileRuleKind::DenyWrite,
        path: path.to_owned(),
        pattern: None,
        alias: false,
        text: path.display().to_string(),
        origin: Origin::BuiltIn(reason),
    }
}

impl<'a> FileDecision<'a> {
    /// No, without a rule.
    const NO: Self = Self {
        allowed: false,
        rule: None,
    };

    fn by(allowed: bool, found: Found<'a>) -> Self {
        Self {
            allowed,
            rule: Some(found.rule),
        }
    }
}

fn read<'a>(covering: &Covering<'a>) -> FileDecision<'a> {
    if let Some(found) = covering.protected {
        return FileDecision::by(false, found);
    }
    match (covering.deny_read, covering.allow_read) {
        (Some(deny), None) => FileDecision::by(false, deny),
        (Some(deny), Some(allow)) if deny.depth > allow.depth => FileDecision::by(false, deny),
        (_, Some(allow)) => FileDecision::by(true, allow),
        (None, None) => match (covering.all, covering.shown.or(covering.allow_write)) {
            (None, _) => FileDecision {
                allowed: true,
                rule: None,
            },
            (Some(_), Some(shown)) => FileDecision::by(true, shown),
            (Some(all), None) => FileDecision::by(false, all),
        },
    }
}
