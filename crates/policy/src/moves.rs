//! What may be moved, and what may be made on the way to a rule: a rule about a path holds only while the folders
//! above it stay what they are.

use std::path::Path;

use crate::names::{Name, names};
use crate::{FileRule, FileRuleKind, FilesystemPolicy, Glob, Origin};

/// How far a rule is met by a path, and so what it may still be about below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    /// Not at all: nothing below it is concerned.
    Not,
    /// This many names of its folder.
    Partly(usize),
    /// These places of its pattern, its folder being behind.
    Reached(u64),
    /// Wholly: the path is covered, and everything below.
    Covered,
}

impl FileRule {
    /// Whether it is about this path (absolute, without links): one that it matches, or one below such.
    pub fn covers(&self, path: &Path) -> bool {
        self.depth_at(path).is_some()
    }

    /// How many names the longest beginning of `path` has that this rule matches; `None` where it does not cover
    /// `path` or `path` is relative. The rule with the greater depth is the more specific one.
    pub fn depth_at(&self, path: &Path) -> Option<usize> {
        depth_at(&self.path, self.pattern.as_ref(), path)
    }

    /// Whether it could cover something strictly below `folder`, be it there or not.
    pub fn may_cover_below(&self, folder: &Path) -> bool {
        names(folder).is_some_and(|names| self.met(&names) != Met::Not)
    }

    /// Whether it gives something.
    pub fn allows(&self) -> bool {
        matches!(
            self.kind,
            FileRuleKind::AllowRead | FileRuleKind::AllowWrite
        )
    }

    /// Whether it gives something, and a person wrote it.
    pub fn is_asked_for(&self) -> bool {
        self.allows() && matches!(self.origin, Origin::File { .. })
    }

    /// Whether it takes something away.
    pub fn denies(&self) -> bool {
        matches!(
            self.kind,
            FileRuleKind::Protected | FileRuleKind::DenyRead | FileRuleKind::DenyWrite
        )
    }

    fn met(&self, path: &[Name<'_>]) -> Met {
        let Some(own) = names(&self.path) else {
            return Met::Not;
        };
        if path.len() < own.len() {
            return match begins_with(&own, path) {
                true => Met::Partly(path.len()),
                false => Met::Not,
            };
        }
        if !begins_with(path, &own) {
            return Met::Not;
        }
        let Some(pattern) = &self.pattern else {
            return Met::Covered;
        };
        let mut reached = pattern.start();
        for name in &path[own.len()..] {
            reached = pattern.step(reached, name);
            if pattern.matched(reached) {
                return Met::Covered;
            }
        }
        match reached {
            0 => Met::Not,
            reached => Met::Reached(reached),
        }
    }
}

/// How many names the longest beginning of `path` has that is `folder`, or a match of the pattern below it.
pub(crate) fn depth_at(folder: &Path, pattern: Option<&Glob>, path: &Path) -> Option<usize> {
    let (own, names) = (names(folder)?, names(path)?);
    if !begins_with(&names, &own) {
        return None;
    }
    match pattern {
        None => Some(own.len()),
        Some(pattern) => Some(own.len() + pattern.longest(&names[own.len()..])?),
    }
}

fn begins_with(path: &[Name<'_>], front: &[Name<'_>]) -> bool {
    path.len() >= front.len()
        && path
            .iter()
            .zip(front)
            .all(|(name, own)| name.bytes == own.bytes)
}

impl FilesystemPolicy {
    /// May `from` be renamed to `to` (both absolute, without links) with every rule holding below it as before? It
    /// says nothing about the two paths themselves: ask `decide_write` about each. A file has nothing below it.
    ///
    /// A folder may not be moved where a rule would come to hold for something in it, or cease to: with a guard of
    /// `**/.git/hooks`, `x` may not become `.git`, since `x/hooks` would never have been guarded; with
    /// `denyRead: ["secrets/key"]`, `secrets` may not become `other`. Rules of `allowRead` and `allowWrite` count where
    /// they are patterns, since one without is about the folder as a whole.
    ///
    /// # Errors
    /// The rule that stands in the way. Also where a path is relative: then the first rule there is.
    pub fn moves(&self, from: &Path, to: &Path, is_folder: bool) -> Result<(), &FileRule> {
        if !is_folder {
            return Ok(());
        }
        let (from, to) = (names(from), names(to));
        let in_the_way = self.rules.iter().find(|rule| match (&from, &to) {
            (Some(from), Some(to)) => {
                (rule.denies() || rule.pattern.is_some()) && rule.met(from) != rule.met(to)
            }
            _ => true,
        });
        in_the_way.map_or(Ok(()), Err)
    }

    /// A denying rule that `path` leads to (absolute, without links): its name is one that the rule goes on from and
    /// that siblings do not have, as `.git` for `**/.git/hooks`, or `conf` for `conf/secret`. Only a real folder may
    /// be made there. A link would lead the rule's path elsewhere, and a file can do the same (git takes a file
    /// `.git` for the name of another folder, whose hooks it then runs).
    pub fn leads_to(&self, path: &Path) -> Option<&FileRule> {
        self.index.leads(&self.rules, &names(path)?)
    }
}
