//! Puts texts in the places of files: with all of the old or all of the new at every moment, durable when it returns.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};

/// A name in a folder that is held open.
pub(crate) struct Spot {
    folder: OwnedFd,
    name: OsString,
}

impl Spot {
    /// The place of a file, whether or not there is one. Its folder is reached without following a link that was put there
    /// after the path was resolved.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::other("it has no folder"));
        };
        let real = folder.canonicalize()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut folder = rustix::fs::open("/", flags, Mode::empty())?;
        for part in real.components() {
            if let Component::Normal(part) = part {
                folder = rustix::fs::openat(&folder, part, flags, Mode::empty())?;
            }
        }
        Ok(Self {
            folder,
            name: name.to_owned(),
        })
    }

    /// Makes this the file's text. Its mode stays; that of a new one is 0600. A link is replaced, not followed.
    pub(crate) fn replace(&self, text: &str) -> io::Result<()> {
        let mut temporary = OsString::from(".");
        temporary.push(&self.name);
        temporary.push(format!(".srt-{}", uuid::Uuid::new_v4()));
        let placed = self.put_beside(&temporary, text).and_then(|()| {
            rustix::fs::renameat(&self.folder, &temporary, &self.folder, &self.name)?;
            Ok(())
        });
        if placed.is_err() {
            // It may never have come to be.
            let _ = rustix::fs::unlinkat(&self.folder, &temporary, AtFlags::empty());
        }
        placed?;
        self.sync()
    }

    /// A new file beside it, with its mode.
    pub(crate) fn put_beside(&self, name: &OsStr, text: &str) -> io::Result<()> {
        let mode = match rustix::fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Mode::from_raw_mode(stat.st_mode & 0o7777),
            Err(rustix::io::Errno::NOENT) => Mode::RUSR | Mode::WUSR,
            Err(error) => return Err(error.into()),
        };
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let private = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&self.folder, name, flags, private)?;
        let mut file = std::fs::File::from(file);
        file.write_all(text.as_bytes())?;
        // Not by the flags above: a mask would take from it.
        rustix::fs::fchmod(&file, mode)?;
        file.sync_all()
    }

    /// Gives the file a new name in its folder, which nothing else may have.
    pub(crate) fn rename(&self, new: &OsStr) -> io::Result<()> {
        self.renamed(&self.name, new)
    }

    /// Takes [`Self::rename`] back.
    pub(crate) fn rename_back(&self, new: &OsStr) -> io::Result<()> {
        self.renamed(new, &self.name)
    }

    fn renamed(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let (folder, flags) = (&self.folder, RenameFlags::NOREPLACE);
        rustix::fs::renameat_with(folder, from, folder, to, flags)?;
        self.sync()
    }

    /// Takes the file away.
    pub(crate) fn remove(&self) -> io::Result<()> {
        rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty())?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.folder)?)
    }
}
