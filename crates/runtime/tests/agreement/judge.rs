//! What should come of a step by the policy alone, and whether that is what came of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use srt_policy::{FileRuleKind, FilesystemPolicy};

use crate::draw::{Name, Step};
use crate::tree::{End, Kind, Snapshot, Walk, difference, walk};

/// What the sandbox said and did.
#[derive(Debug)]
pub(crate) struct Came {
    /// What was opened, if it said so.
    pub(crate) ok: Option<String>,
    pub(crate) before: Snapshot,
    pub(crate) after: Snapshot,
}

/// One launch, judged from outside.
pub(crate) struct Judge {
    pub(crate) top: PathBuf,
    /// As a launch has it: links replaced.
    pub(crate) files: FilesystemPolicy,
    /// The tree when the sandbox was built.
    pub(crate) at_launch: Snapshot,
    /// Whatever was replaced or taken away since.
    pub(crate) changed: BTreeSet<PathBuf>,
}

/// A step as it stands now: what it is about, and whether policy lets it.
#[derive(Debug)]
pub(crate) struct Expected {
    /// Whether it must work. Where it is possible only by what policy does not speak of, it need not.
    must: bool,
    /// What it reads.
    reads: Option<PathBuf>,
}

impl Judge {
    fn reads(&self, path: &Path) -> bool {
        self.files.decide_read(path).allowed
    }

    fn writes(&self, path: &Path) -> bool {
        self.files.decide_write(path).allowed
    }

    fn file(&self, path: &Path) -> bool {
        self.writes(path) && self.files.leads_to(path).is_none()
    }

    /// Whether a rule opens this very path: it stays the folder or file that it is.
    fn is_place(&self, path: &Path) -> bool {
        self.files.rules().iter().any(|rule| {
            let opens = matches!(
                rule.kind,
                FileRuleKind::AllowRead | FileRuleKind::AllowWrite
            );
            opens && rule.path == path
        })
    }

    fn walk(&self, name: &Name, follow: bool) -> Walk {
        walk(&self.top.join(&name.path), follow)
    }

    /// What should come of a step, said before it is tried.
    pub(crate) fn expect(&self, step: &Step, now: &Snapshot) -> Expected {
        let no = Expected {
            must: false,
            reads: None,
        };
        let only = |must| Expected { must, reads: None };
        let free = |walk: &Walk| self.is_passable(walk);
        match step {
            Step::Read(name) => {
                let walk = self.walk(name, true);
                let End::There(real) = &walk.end else {
                    return no;
                };
                Expected {
                    must: self.reads(real) && free(&walk) && self.other_names(real, now).is_none(),
                    reads: Some(real.clone()),
                }
            }
            Step::Append(name) => {
                let walk = self.walk(name, true);
                only(
                    matches!(&walk.end, End::There(real) if self.appends(real, now)) && free(&walk),
                )
            }
            Step::Open(name) => {
                let (walk, mut at) = (self.walk(name, true), self.top.join(&name.path));
                // A name that ends with a link is made where the link leads.
                if let End::New(real) = &walk.end {
                    at.clone_from(real);
                }
                only(match &walk.end {
                    End::There(real) => self.appends(real, now) && free(&walk),
                    End::New(_) => self.file(&at) && free(&walk),
                    End::Nowhere => false,
                })
            }
            Step::Symlink(_, name) => {
                let walk = self.walk(name, false);
                only(
                    matches!(&walk.end, End::New(real) if self.file(real) && !self.is_place(real))
                        && free(&walk),
                )
            }
            Step::Create(name) => {
                let walk = self.walk(name, false);
                only(matches!(&walk.end, End::New(real) if self.file(real)) && free(&walk))
            }
            Step::MakeFolder(name) => {
                let walk = self.walk(name, false);
                only(matches!(&walk.end, End::New(real) if self.writes(real)) && free(&walk))
            }
            Step::Unlink(name) => {
                let walk = self.walk(name, false);
                only(
                    matches!(&walk.end, End::There(real)
                    if !is_folder(real, now) && self.writes(real))
                        && free(&walk),
                )
            }
            Step::RemoveFolder(name) => {
                let walk = self.walk(name, false);
                only(
                    matches!(&walk.end, End::There(real)
                    if is_folder(real, now) && !now.keys().any(|path| path.parent() == Some(real))
                        && !self.is_place(real) && self.writes(real))
                        && free(&walk),
                )
            }
            Step::Rename(from, to) => {
                let (from, to) = (self.walk(from, false), self.walk(to, false));
                let (End::There(old), End::New(new)) = (&from.end, &to.end) else {
                    return no;
                };
                only(!new.starts_with(old) && self.moves(old, new, now) && free(&from) && free(&to))
            }
            Step::Exchange(one, other) => {
                let (one, other) = (self.walk(one, false), self.walk(other, false));
                let (End::There(a), End::There(b)) = (&one.end, &other.end) else {
                    return no;
                };
                let same =
                    now.get(a).map(|seen| seen.identity) == now.get(b).map(|seen| seen.identity);
                let apart = !same && !a.starts_with(b) && !b.starts_with(a);
                only(
                    apart
                        && self.moves(a, b, now)
                        && self.moves(b, a, now)
                        && free(&one)
                        && free(&other),
                )
            }
            Step::HardLink(from, to) => {
                let (from, to) = (self.walk(from, false), self.walk(to, false));
                let (End::There(old), End::New(new)) = (&from.end, &to.end) else {
                    return no;
                };
                let file = matches!(now.get(old).map(|seen| &seen.kind), Some(Kind::File(_)));
                let alone = self.other_names(old, now).is_none();
                only(file && alone && self.file(old) && self.file(new) && free(&from) && free(&to))
            }
            Step::HostMakes(_) | Step::HostReplaces(_) => no,
        }
    }

    fn appends(&self, real: &Path, now: &Snapshot) -> bool {
        matches!(now.get(real).map(|seen| &seen.kind), Some(Kind::File(_)))
            && self.file(real)
            && self.other_names(real, now).is_none()
    }

    fn moves(&self, from: &Path, to: &Path, now: &Snapshot) -> bool {
        let folder = is_folder(from, now);
        self.writes(from)
            && self.writes(to)
            && (folder || self.file(to))
            && !(folder && self.is_place(from))
            && (is_file(from, now) || !self.is_place(to))
            && self.files.moves(from, to, folder).is_ok()
    }

    /// Another name of the same file that a rule is about: then nothing must work.
    fn other_names<'a>(&self, real: &Path, now: &'a Snapshot) -> Option<&'a PathBuf> {
        let identity = now.get(real)?.identity;
        now.iter()
            .find(|(path, seen)| {
                seen.identity == identity
                    && **path != *real
                    && !(self.reads(path) && self.writes(path))
            })
            .map(|(path, _)| path)
    }

    /// Whether the way to something is one that a sandbox shows: not through what is hidden. What is shown inside
    /// something hidden was mounted there, if it was there, and stays what it was.
    fn is_passable(&self, walk: &Walk) -> bool {
        let (End::There(end) | End::New(end)) = &walk.end else {
            return false;
        };
        let above = |path: &Path| end.starts_with(path) && path != end;
        if walk
            .through
            .iter()
            .any(|path| !above(path) && !self.reads(path))
        {
            return false;
        }
        // Into `end` only by what is above it, else by another way in.
        let hidden = end.ancestors().skip(1).find(|path| !self.reads(path));
        let Some(hidden) = hidden else {
            return true;
        };
        let depth = hidden.components().count() + 1;
        let shown: PathBuf = end.components().take(depth).collect();
        // Of a link, what it leads to is shown.
        let stood = self.at_launch.get(&shown).map(|seen| &seen.kind);
        let there = !shown.starts_with(&self.top) || !matches!(stood, None | Some(Kind::Link(_)));
        there && !self.changed.iter().any(|path| shown.starts_with(path))
            // Only a link that is shown leads into it.
            && walk.through.iter().all(|path| !path.starts_with(hidden) || path.starts_with(&shown) || path == hidden)
    }

    /// Holds what came of a step against what should have.
    ///
    /// # Errors
    /// The difference.
    pub(crate) fn check(
        &self,
        step: &Step,
        expected: &Expected,
        came: &Came,
    ) -> Result<(), String> {
        let differing = difference(&came.before, &came.after);
        if let (Some(real), Some(opened)) = (&expected.reads, &came.ok) {
            let host = came
                .before
                .get(real)
                .map(|seen| format!("{}:{}", seen.identity.0, seen.identity.1));
            if host.as_ref() == Some(opened) {
                if !self.reads(real) {
                    return Err(format!("read: {} is hidden", real.display()));
                }
                if let Some(other) = self.named_by_a_rule(real, came, |path| self.reads(path)) {
                    return Err(format!("read: it is {} by another name", other.display()));
                }
            }
        }
        for path in &differing {
            if !self.writes(path)
                && !self.is_unknown_alias(path, came, &differing)
                && !self.moved_with_its_folder(path, came)
            {
                return Err(format!("written: {} may not be", path.display()));
            }
            let Some(new) = came.after.get(path) else {
                continue;
            };
            // The next launch would follow it.
            if matches!(new.kind, Kind::Link(_)) && self.is_place(path) {
                return Err(format!("linked: a rule opens {}", path.display()));
            }
            // What moved must be under the same rules as before.
            let stood = came.before.get(path).map(|seen| seen.identity);
            let olds: Vec<&PathBuf> = came
                .before
                .iter()
                .filter(|(_, seen)| seen.identity == new.identity && stood != Some(seen.identity))
                .map(|(old, _)| old)
                .collect();
            let led = |path: &Path| self.files.leads_to(path).is_some();
            let with_its_folder = olds
                .iter()
                .any(|old| old.file_name() == path.file_name() && led(old));
            if new.kind != Kind::Folder
                && led(path)
                && !with_its_folder
                && !self.is_unknown_alias(path, came, &differing)
            {
                return Err(format!("made: {} leads to a rule", path.display()));
            }
            if !olds.is_empty() && olds.iter().all(|old| self.reads(old) != self.reads(path)) {
                return Err(format!("moved: {olds:?} became {}", path.display()));
            }
        }
        let works = came.ok.is_some() && (matches!(step, Step::Read(_)) || !differing.is_empty());
        if expected.must && !works {
            return Err("refused: policy allows it".to_owned());
        }
        Ok(())
    }

    /// Whether a path differs only because a folder above it was moved, and the same is said of it there as here.
    fn moved_with_its_folder(&self, path: &Path, came: &Came) -> bool {
        let (from, to) = match (came.before.get(path), came.after.get(path)) {
            (Some(seen), None) => (seen, &came.after),
            (None, Some(seen)) => (seen, &came.before),
            _ => return false,
        };
        let said = |path: &Path| {
            let write = self.files.decide_write(path);
            (self.reads(path), write.allowed, write.rule.cloned())
        };
        to.iter().any(|(other, seen)| {
            seen.identity == from.identity
                && other.file_name() == path.file_name()
                && other.parent() != path.parent()
                && said(other) == said(path)
        })
    }

    /// A name of the same file for which a rule without a pattern says no, and which it had when the sandbox was
    /// built: such a file is known by every name.
    fn named_by_a_rule<'a>(
        &self,
        real: &Path,
        came: &'a Came,
        allowed: impl Fn(&Path) -> bool,
    ) -> Option<&'a PathBuf> {
        let identity = came.before.get(real)?.identity;
        let (path, _) = came.before.iter().find(|(path, seen)| {
            seen.identity == identity && !allowed(path) && self.is_named(path, identity)
        })?;
        Some(path)
    }

    fn is_named(&self, path: &Path, identity: (u64, u64)) -> bool {
        let several = self
            .at_launch
            .values()
            .filter(|seen| seen.identity == identity)
            .count()
            > 1;
        let same = self
            .at_launch
            .get(path)
            .is_some_and(|seen| seen.identity == identity);
        let rule = self.files.rules().iter().any(|rule| {
            rule.denies()
                && (rule.kind != FileRuleKind::DenyRead || !self.reads(path))
                && rule.pattern.is_none()
                && !rule.alias
                && rule.path == path
        });
        several && same && rule
    }

    /// Whether a path differs only because its file was written by another name that may be, and no rule names it.
    fn is_unknown_alias(&self, path: &Path, came: &Came, differing: &[PathBuf]) -> bool {
        let (Some(before), Some(after)) = (came.before.get(path), came.after.get(path)) else {
            return false;
        };
        let identity = before.identity;
        identity == after.identity
            && !self.is_named(path, identity)
            && differing.iter().any(|other| {
                other != path
                    && self.file(other)
                    && came
                        .before
                        .get(other)
                        .is_some_and(|seen| seen.identity == identity)
            })
    }
}

fn is_file(path: &Path, now: &Snapshot) -> bool {
    now.get(path)
        .is_some_and(|seen| matches!(seen.kind, Kind::File(_)))
}

fn is_folder(path: &Path, now: &Snapshot) -> bool {
    now.get(path).is_some_and(|seen| seen.kind == Kind::Folder)
}
