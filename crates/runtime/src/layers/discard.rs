//! Taking changes out of a layer that nobody uses.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, unlinkat};

use super::compare::is_same;
use super::tree::Folder;
use super::{Held, look};
use crate::folder::remove_all;

impl Held {
    /// Takes `paths` out, or, without paths, everything. Returns how many entries went.
    pub(super) fn discard(&mut self, paths: &[PathBuf]) -> io::Result<u64> {
        let before = self.entries()?;
        if paths.is_empty() || paths.iter().any(|path| path.as_os_str().is_empty()) {
            for name in self.upper.names()? {
                self.take_out(&self.upper, Path::new(""), &name)?;
            }
        } else {
            // All of them can be, before any of them is.
            for path in paths {
                self.can_go(path)?;
            }
            for path in paths {
                let (parent, name) = parts(path)?;
                // Named twice, or below one that went.
                let Ok(folder) = self.upper.descend(parent) else {
                    continue;
                };
                self.take_out(&folder, parent, name)?;
            }
            self.prune()?;
        }
        self.bases.forget(&self.upper)?;
        Ok(before.saturating_sub(self.entries()?))
    }

    /// Removes what is at a name in a folder of the layer, whose path is `parent`.
    fn take_out(&self, folder: &Folder, parent: &Path, name: &OsStr) -> io::Result<()> {
        match folder.look(name)? {
            // By its path, which is as we saw it: nobody uses the layer, and on the way down no link was followed.
            Some(seen) if seen.is_folder() => {
                remove_all(&self.home.join("upper").join(parent).join(name))
            }
            Some(_) => Ok(unlinkat(folder, name, AtFlags::empty())?),
            None => Ok(()),
        }
    }

    fn entries(&mut self) -> io::Result<u64> {
        let amount = look::look(&self.upper, None, &mut self.bases, 0)?;
        Ok(amount.entries)
    }

    /// Whether the host's is seen again where the layer has nothing any more.
    fn can_go(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = parts(path)?;
        let mut upper = self.upper.descend(Path::new(""))?;
        let mut above = PathBuf::new();
        for part in parent.components() {
            above.push(part);
            upper = match upper.folder(part.as_os_str()) {
                Ok(folder) => folder,
                Err(error) if look::is_gone(&error) => {
                    return Err(nothing(path, above.parent(), &upper, part.as_os_str()));
                }
                Err(error) => return Err(error),
            };
            if upper.is_opaque() && self.lower.descend(path.parent().unwrap_or(path)).is_ok() {
                return Err(io::Error::other(format!(
                    "{}: the server deleted {} and made it anew, so it can only be discarded as a whole",
                    path.display(),
                    above.display()
                )));
            }
        }
        match upper.look(name)? {
            Some(_) => Ok(()),
            None => Err(nothing(path, Some(parent), &upper, name)),
        }
    }

    /// Takes out of the layer what is as the host has it.
    pub(super) fn prune(&mut self) -> io::Result<()> {
        prune(&self.upper, Some(&self.lower), false)?;
        self.bases.forget(&self.upper)
    }
}

/// Nothing of that name is in the layer; it may be below something that was deleted.
fn nothing(path: &Path, parent: Option<&Path>, upper: &Folder, name: &OsStr) -> io::Error {
    let deleted = matches!(upper.look(name), Ok(Some(seen)) if seen.is_whiteout());
    match parent.filter(|_| deleted) {
        Some(parent) => io::Error::other(format!(
            "{}: the server deleted {} as a whole: discard that",
            path.display(),
            parent.join(name).display()
        )),
        None => io::Error::other(format!("{}: nothing changed there", path.display())),
    }
}

fn parts(path: &Path) -> io::Result<(&Path, &OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Returns whether all of a folder of the layer is as the host has it. `alone`: what the host has here is hidden, so that
/// nothing may go unless the whole folder does.
fn prune(upper: &Folder, lower: Option<&Folder>, alone: bool) -> io::Result<bool> {
    let names = upper.names()?;
    let mut all_same = true;
    for name in &names {
        let (Some(seen), host) = (
            upper.look(name)?,
            match lower {
                Some(lower) => lower.look(name)?,
                None => None,
            },
        ) else {
            continue;
        };
        let mut same = match (seen.is_whiteout(), lower, &host) {
            (true, _, host) => host.is_none(),
            (false, Some(lower), Some(host)) => is_same(upper, lower, name, &seen, host)?,
            (false, ..) => false,
        };
        if seen.is_folder() {
            let inner = upper.folder(name)?;
            let below = match (lower, &host) {
                (Some(lower), Some(host)) if host.is_folder() => lower.folder(name).ok(),
                _ => None,
            };
            let inside_alone = alone || inner.is_opaque();
            same &= prune(&inner, below.as_ref(), inside_alone)?;
            if same && !alone {
                if inside_alone {
                    clear(&inner)?;
                }
                drop(inner);
                unlinkat(upper, name, AtFlags::REMOVEDIR)?;
            }
        } else if same && !alone {
            unlinkat(upper, name, AtFlags::empty())?;
        }
        all_same &= same;
    }
    if alone && let Some(lower) = lower {
        let hidden = |name| names.binary_search(name).is_err();
        all_same &= !lower.names()?.iter().any(hidden);
    }
    Ok(all_same)
}

/// Removes all that is in a folder of the layer, of which it is known that it is as the host has it.
fn clear(folder: &Folder) -> io::Result<()> {
    for name in folder.names()? {
        if folder.look(&name)?.is_some_and(|seen| seen.is_folder()) {
            clear(&folder.folder(&name)?)?;
            unlinkat(folder, &name, AtFlags::REMOVEDIR)?;
        } else {
            unlinkat(folder, &name, AtFlags::empty())?;
        }
    }
    Ok(())
}
