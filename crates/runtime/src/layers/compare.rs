//! What a layer changes: it and the host's folder side by side.

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::bases::{Bases, Conflict};
use super::look::{every, is_gone};
use super::tree::{DEEPEST, Folder, Seen};

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The host has nothing there.
    Added,
    /// The host has something else there.
    Changed,
    /// The host has it, and the server deleted it.
    Deleted,
}

impl ChangeKind {
    /// In one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Deleted => "deleted",
        }
    }
}

/// What stands at a path: in the layer, or, where it was deleted, on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link {
        /// Where it leads, as written.
        target: PathBuf,
        /// Whether it leads out of the overlaid folder.
        outside: bool,
    },
    /// A FIFO, socket or device, by its name for a person.
    Special(&'static str),
}

/// One change.
#[derive(Clone, Debug)]
pub struct Change {
    /// Relative to the overlaid folder.
    pub path: PathBuf,
    /// What became of it.
    pub kind: ChangeKind,
    /// What it is.
    pub what: What,
    /// In bytes; of a deleted folder all that was in it, of another folder 0.
    pub size: u64,
    /// In bytes, of the host's copy.
    pub was: Option<u64>,
    /// How many files a deleted folder had.
    pub files: u64,
    /// Permission bits, setuid, setgid and sticky left out; of what was deleted, the host's.
    pub mode: u32,
    /// Why applying it would undo something of the host's.
    pub conflict: Option<Conflict>,
    /// The rule that keeps every server from writing it, with its place.
    pub guard: Option<String>,
    pub(super) lower: Option<Seen>,
}

/// Who is told of changes; an error ends the listing.
pub(super) type Sink<'a> = &'a mut dyn FnMut(Change) -> io::Result<()>;

/// The two trees and what is known of them.
pub(super) struct Sides<'a> {
    pub(super) upper: &'a Folder,
    pub(super) lower: &'a Folder,
    pub(super) bases: &'a Bases,
    /// Which rule keeps a path of the folder from being written.
    pub(super) guard: &'a dyn Fn(&Path) -> Option<String>,
    /// Only these, and what is below and above them; empty: everything.
    pub(super) paths: &'a [PathBuf],
}

impl Sides<'_> {
    /// Tells every change, parents before children, names sorted.
    ///
    /// # Errors
    /// When a folder cannot be read, and those of the sink.
    pub(super) fn compare(&self, sink: Sink<'_>) -> io::Result<()> {
        let mut path = PathBuf::new();
        self.folder(self.upper, Some(self.lower), false, 0, &mut path, sink)
    }

    fn wanted(&self, path: &Path) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|wanted| path.starts_with(wanted))
    }

    /// Something at or below `path` is asked for.
    fn leads_on(&self, path: &Path) -> bool {
        self.wanted(path) || self.paths.iter().any(|wanted| wanted.starts_with(path))
    }

    /// `alone`: what the host has here is hidden, unless the layer has something of the same name.
    fn folder(
        &self,
        upper: &Folder,
        lower: Option<&Folder>,
        alone: bool,
        depth: usize,
        path: &mut PathBuf,
        sink: Sink<'_>,
    ) -> io::Result<()> {
        let names = upper.names()?;
        for name in &names {
            path.push(name);
            if self.leads_on(path) {
                self.entry(upper, lower, alone, name, depth, path, sink)?;
            }
            path.pop();
        }
        let Some(lower) = lower.filter(|_| alone) else {
            return Ok(());
        };
        for name in lower.names()? {
            path.push(&name);
            if names.binary_search(&name).is_err()
                && self.wanted(path)
                && let Some(seen) = lower.look(&name)?
            {
                sink(self.deleted(lower, &name, seen, path)?)?;
            }
            path.pop();
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)] // Of one step down a tree.
    fn entry(
        &self,
        upper: &Folder,
        lower: Option<&Folder>,
        alone: bool,
        name: &OsStr,
        depth: usize,
        path: &mut PathBuf,
        sink: Sink<'_>,
    ) -> io::Result<()> {
        let Some(seen) = upper.look(name)? else {
            return Ok(());
        };
        let host = match lower {
            Some(lower) => lower.look(name)?,
            None => None,
        };
        if seen.is_whiteout() {
            return match (lower, host) {
                (Some(lower), Some(host)) if self.wanted(path) => {
                    sink(self.deleted(lower, name, host, path)?)
                }
                _ => Ok(()),
            };
        }
        if self.wanted(path)
            && let Some(change) = self.difference(upper, lower, name, seen, host, path)?
        {
            sink(change)?;
        }
        if !seen.is_folder() {
            return Ok(());
        }
        if depth >= DEEPEST {
            return Err(io::Error::other(format!(
                "{} is nested too deep",
                path.display()
            )));
        }
        let inner = match upper.folder(name) {
            Err(error) if is_gone(&error) => return Ok(()),
            other => other?,
        };
        let below = match (lower, host) {
            (Some(lower), Some(host)) if host.is_folder() => Some(lower.folder(name)?),
            _ => None,
        };
        let alone = alone || inner.is_opaque();
        self.folder(&inner, below.as_ref(), alone, depth + 1, path, sink)
    }

    /// What is different of a name that the layer has; below a folder it is not looked.
    fn difference(
        &self,
        upper: &Folder,
        lower: Option<&Folder>,
        name: &OsStr,
        seen: Seen,
        host: Option<Seen>,
        path: &Path,
    ) -> io::Result<Option<Change>> {
        let what = match what(upper, name, &seen, path) {
            Err(error) if is_gone(&error) => return Ok(None),
            other => other?,
        };
        if let (Some(lower), Some(host)) = (lower, &host)
            && is_same(upper, lower, name, &seen, host)?
        {
            return Ok(None);
        }
        let of_file = |seen: &Seen| if seen.is_folder() { 0 } else { seen.size };
        Ok(Some(Change {
            path: path.to_owned(),
            kind: if host.is_some() {
                ChangeKind::Changed
            } else {
                ChangeKind::Added
            },
            what,
            size: of_file(&seen),
            was: host.as_ref().map(of_file),
            files: 0,
            mode: seen.mode & 0o777,
            // A folder that both have is changed by its mode alone.
            conflict: self
                .bases
                .judge(path, host.as_ref())
                .filter(|_| !(seen.is_folder() && host.is_some_and(|host| host.is_folder()))),
            guard: (self.guard)(path),
            lower: host,
        }))
    }

    fn deleted(&self, lower: &Folder, name: &OsStr, host: Seen, path: &Path) -> io::Result<Change> {
        let mut change = Change {
            path: path.to_owned(),
            kind: ChangeKind::Deleted,
            what: what(lower, name, &host, path)?,
            size: host.size,
            was: Some(host.size),
            files: 0,
            mode: host.mode & 0o777,
            conflict: self.bases.judge(path, Some(&host)),
            guard: (self.guard)(path),
            lower: Some(host),
        };
        if host.is_folder() {
            change.size = 0;
            every(&lower.folder(name)?, path, 0, &mut |below, seen| {
                if !seen.is_folder() {
                    change.files += 1;
                    change.size = change.size.saturating_add(seen.size);
                }
                if change.conflict.is_none() {
                    change.conflict = self.bases.judge_below(path, seen);
                }
                if change.guard.is_none() {
                    change.guard = (self.guard)(below);
                }
                Ok(())
            })?;
            change.was = Some(change.size);
        }
        Ok(change)
    }
}

fn what(folder: &Folder, name: &OsStr, seen: &Seen, path: &Path) -> io::Result<What> {
    Ok(match seen.kind {
        FileType::RegularFile => What::File,
        FileType::Directory => What::Folder,
        FileType::Symlink => {
            let target = folder.link(name)?;
            let outside = leads_out(path, &target);
            What::Link { target, outside }
        }
        FileType::Fifo => What::Special("FIFO"),
        FileType::Socket => What::Special("socket"),
        _ => What::Special("device"),
    })
}

/// Whether a link at `path`, relative to a folder, leads out of that folder by its own words. One that leads through
/// another link is judged by where that one leads.
fn leads_out(path: &Path, target: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            std::path::Component::Normal(_) => depth += 1,
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir if depth > 0 => depth -= 1,
            _ => return true,
        }
    }
    false
}

/// Whether the layer's is what the host has: it was opened for writing and left as it was, say, or applied already.
pub(super) fn is_same(
    upper: &Folder,
    lower: &Folder,
    name: &OsStr,
    seen: &Seen,
    host: &Seen,
) -> io::Result<bool> {
    if seen.kind != host.kind {
        return Ok(false);
    }
    Ok(match seen.kind {
        FileType::Directory => seen.mode & 0o777 == host.mode & 0o777,
        FileType::Symlink => upper.link(name)? == lower.link(name)?,
        FileType::RegularFile => {
            seen.mode & 0o777 == host.mode & 0o777
                && seen.size == host.size
                && same_bytes(upper, lower, name)?
        }
        _ => false,
    })
}

/// An unreadable file of the host's is taken for different.
fn same_bytes(upper: &Folder, lower: &Folder, name: &OsStr) -> io::Result<bool> {
    let (Ok(mut one), Ok(mut other)) = (upper.file(name), lower.file(name)) else {
        return Ok(false);
    };
    let (mut a, mut b) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let read = one.read(&mut a)?;
        if read == 0 {
            return Ok(other.read(&mut b[..1])? == 0);
        }
        if other.read_exact(&mut b[..read]).is_err() || a[..read] != b[..read] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_judged_by_its_words() {
        for (path, target, out) in [
            ("a", "b", false),
            ("a/b", "../c", false),
            ("a", "../c", true),
            ("a/b", "../../c", true),
            ("a/b", "c/../../..", true),
            ("a", "/etc/passwd", true),
        ] {
            assert_eq!(
                leads_out(Path::new(path), Path::new(target)),
                out,
                "{path} -> {target}"
            );
        }
    }
}
