//! What may be read and written.

use std::path::{Path, PathBuf};

use crate::Origin;
use crate::paths::normalise;

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

/// One file rule: it covers its path and everything below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRule {
    /// What it does.
    pub kind: FileRuleKind,
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
    /// Every rule, built-in ones first.
    pub fn rules(&self) -> &[FileRule] {
        &self.rules
    }

    /// The same rules with each path replaced by `resolve(path)`: how a launch, which may look at the disk,
    /// replaces links by what they point to.
    ///
    /// An AllowRead that only a link leads into a built-in credential store is left out: a server that may write in
    /// a folder could plant such a link for its next launch, and a store is opened by being named, not by chance.
    pub fn resolved(&self, resolve: impl Fn(&Path) -> PathBuf) -> Self {
        let resolved: Vec<PathBuf> = self.rules.iter().map(|rule| resolve(&rule.path)).collect();
        let strays = |rule: &FileRule, to: &Path| {
            rule.kind == FileRuleKind::AllowRead
                && self.rules.iter().zip(&resolved).any(|(store, at)| {
                    let is_store = store.kind == FileRuleKind::DenyRead
                        && matches!(store.origin, Origin::BuiltIn(_));
                    let named = rule.path.starts_with(&store.path) || rule.path.starts_with(at);
                    is_store && to.starts_with(at) && !named
                })
        };
        let rules = self
            .rules
            .iter()
            .zip(&resolved)
            .filter(|(rule, to)| !strays(rule, to))
            .map(|(rule, to)| FileRule {
                path: to.clone(),
                ..rule.clone()
            })
            .collect();
        Self { rules }
    }

    /// May `path` (absolute, without links) be read? The longest covering rule of Protected, DenyRead and
    /// AllowRead decides; AllowRead wins over DenyRead at the same path; Protected always wins. So `allowRead: ["~"]`
    /// opens no credential store, and `allowRead: ["~/.ssh/known_hosts"]` opens that file and nothing beside it.
    /// A relative path is refused.
    pub fn decide_read(&self, path: &Path) -> FileDecision<'_> {
        let Some(path) = absolute(path) else {
            return FileDecision {
                allowed: false,
                rule: None,
            };
        };
        if let Some(rule) = self.longest(&path, &[FileRuleKind::Protected]) {
            return FileDecision {
                allowed: false,
                rule: Some(rule),
            };
        }
        let rule = self.longest(&path, &[FileRuleKind::DenyRead, FileRuleKind::AllowRead]);
        FileDecision {
            allowed: rule.is_none_or(|rule| rule.kind == FileRuleKind::AllowRead),
            rule,
        }
    }

    /// May `path` (absolute, without links) be written? Any covering Protected or DenyWrite refuses; then whatever
    /// refuses to have it read, since a hidden store must not be replaced either; else a covering AllowWrite allows.
    pub fn decide_write(&self, path: &Path) -> FileDecision<'_> {
        let Some(absolute) = absolute(path) else {
            return FileDecision {
                allowed: false,
                rule: None,
            };
        };
        for kind in [FileRuleKind::Protected, FileRuleKind::DenyWrite] {
            if let Some(rule) = self.longest(&absolute, &[kind]) {
                return FileDecision {
                    allowed: false,
                    rule: Some(rule),
                };
            }
        }
        let read = self.decide_read(&absolute);
        if !read.allowed {
            return read;
        }
        let rule = self.longest(&absolute, &[FileRuleKind::AllowWrite]);
        FileDecision {
            allowed: rule.is_some(),
            rule,
        }
    }

    /// The covering rule with the longest path; AllowRead before the others where paths are equal, then the first.
    fn longest(&self, path: &Path, kinds: &[FileRuleKind]) -> Option<&FileRule> {
        self.rules
            .iter()
            .rev()
            .filter(|rule| kinds.contains(&rule.kind) && path.starts_with(&rule.path))
            .max_by_key(|rule| {
                (
                    rule.path.components().count(),
                    rule.kind == FileRuleKind::AllowRead,
                )
            })
    }
}

fn absolute(path: &Path) -> Option<PathBuf> {
    path.is_absolute().then(|| normalise(path))
}
