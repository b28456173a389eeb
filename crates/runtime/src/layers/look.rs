//! One look at a layer: how much it holds, and notes about what is in it for the first time.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::bases::Bases;
use super::tree::{DEEPEST, Folder, Seen};

/// What each entry counts for beside its space, in bytes: an inode and a name, so that empty files are not free.
const ENTRY: u64 = 1024;

/// What a layer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// In bytes, as it lies on the disk, and 1 KiB for each entry.
    pub bytes: u64,
    /// Files, folders, links and deletions.
    pub entries: u64,
    /// Folders are nested deeper than is looked at.
    pub too_deep: bool,
}

/// Looks. `before` is when the last look began: what is new came after it.
///
/// # Errors
/// When a folder of the layer cannot be read. What vanishes meanwhile is no error.
pub(super) fn look(
    upper: &Folder,
    lower: Option<&Folder>,
    bases: &mut Bases,
    before: i64,
) -> io::Result<Amount> {
    let mut look = Look {
        amount: Amount::default(),
        bases,
        before,
        path: PathBuf::new(),
    };
    look.folder(upper, lower, 0)?;
    Ok(look.amount)
}

struct Look<'a> {
    amount: Amount,
    bases: &'a mut Bases,
    before: i64,
    path: PathBuf,
}

impl Look<'_> {
    /// `lower` is the host's folder of the same name where both are seen as one.
    fn folder(&mut self, upper: &Folder, lower: Option<&Folder>, depth: usize) -> io::Result<()> {
        let names = match upper.names() {
            Err(error) if is_gone(&error) => return Ok(()),
            other => other?,
        };
        for name in names {
            let Some(seen) = upper.look(&name)? else {
                continue;
            };
            self.amount.entries += 1;
            self.amount.bytes = self.amount.bytes.saturating_add(seen.space + ENTRY);
            self.path.push(&name);
            let result = self.entry(upper, lower, &name, &seen, depth);
            self.path.pop();
            result?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        upper: &Folder,
        lower: Option<&Folder>,
        name: &OsStr,
        seen: &Seen,
        depth: usize,
    ) -> io::Result<()> {
        let host = lower.and_then(|lower| lower.look(name).ok()?);
        let inner = match seen.is_folder() {
            false => None,
            true if depth >= DEEPEST => {
                self.amount.too_deep = true;
                None
            }
            true => match upper.folder(name) {
                Ok(inner) => Some(inner),
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => return Err(error),
            },
        };
        let merged = inner.as_ref().is_some_and(|inner| !inner.is_opaque())
            && host.as_ref().is_some_and(Seen::is_folder);
        let below = if merged {
            lower.and_then(|lower| lower.folder(name).ok())
        } else {
            // What is in a folder of the layer's own is judged by the note on that folder.
            if lower.is_some() && !self.bases.has(&self.path) {
                let since = upper.birth(name).unwrap_or(self.before).max(self.before);
                self.bases.note(&self.path, since, host.as_ref());
            }
            None
        };
        match inner {
            Some(inner) => self.folder(&inner, below.as_ref(), depth + 1),
            None => Ok(()),
        }
    }
}

/// It went, or became something else, while we looked.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    ) || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

/// Adds up what is in a folder of the host's: files and their sizes. `visit` sees each entry with its path below
/// `path`, parents first, and may stop it.
pub(super) fn every(
    folder: &Folder,
    path: &Path,
    depth: usize,
    visit: &mut dyn FnMut(&Path, &Seen) -> io::Result<()>,
) -> io::Result<()> {
    if depth > DEEPEST {
        return Err(io::Error::other("its folders are nested too deep"));
    }
    for name in folder.names()? {
        let Some(seen) = folder.look(&name)? else {
            continue;
        };
        let path = path.join(&name);
        visit(&path, &seen)?;
        if seen.is_folder() {
            every(&folder.folder(&name)?, &path, depth + 1, visit)?;
        }
    }
    Ok(())
}
