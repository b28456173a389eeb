//! What every call of the broker's needs: from what a caller names to a place on the host where it may be done, or
//! the reason why not.

use std::collections::HashSet;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self as at, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::calls::Named;
use super::listener::Answer;
use super::target::Target;
use super::told::normal;
use super::view::{Found, MOST_LINKS, View, own_link};
use crate::{Access, Judged, SandboxSpec};

/// No part of a path may be a link.
const STRAIGHT: ResolveFlags = ResolveFlags::NO_SYMLINKS.union(ResolveFlags::NO_MAGICLINKS);

/// Flags of open(2) that are handed on. The others are ours to choose, or mean nothing for a file.
pub(crate) const HANDED_ON: OFlags = OFlags::RDWR
    .union(OFlags::WRONLY)
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::TRUNC)
    .union(OFlags::APPEND)
    .union(OFlags::SYNC)
    .union(OFlags::DSYNC)
    .union(OFlags::DIRECT)
    .union(OFlags::NOATIME);

/// What becomes of a call, and what is told of it.
pub(crate) struct Outcome {
    pub(crate) answer: Answer,
    /// The path whose use is refused, and whether it was to be written.
    pub(crate) refused: Option<(PathBuf, bool)>,
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            refused: None,
        }
    }
}

/// Why a call is not carried out.
pub(crate) enum Not {
    /// The kernel is to say what becomes of it.
    Ours,
    /// It is refused by the rules; the kernel will.
    Allowed(PathBuf),
    /// What it would read is hidden, and no mount hides it.
    Shown(PathBuf),
    /// It failed.
    Possible(Errno),
}

impl Not {
    /// What becomes of the call. `Ours` and `Allowed` are answered by `otherwise`: where the call may go on, the kernel
    /// refuses it; where it may not, the error is for the caller to give.
    pub(crate) fn outcome(self, otherwise: Answer) -> Outcome {
        let (answer, refused) = match self {
            Self::Ours => (otherwise, None),
            Self::Allowed(path) => (otherwise, Some((path, true))),
            Self::Shown(path) => (Answer::Failed(Errno::ACCESS), Some((path, false))),
            Self::Possible(error) => (Answer::Failed(error), None),
        };
        Outcome { answer, refused }
    }
}

impl From<Errno> for Not {
    fn from(error: Errno) -> Self {
        Self::Possible(error)
    }
}

/// Whether something has another name, and is one of those that a rule speaks of by that.
pub(crate) fn is_among(stat: &Stat, identities: &HashSet<(u64, u64)>) -> bool {
    stat.st_nlink > 1 && identities.contains(&(stat.st_dev, stat.st_ino))
}

/// One call of one process.
pub(crate) struct Hand<'a> {
    pub(crate) spec: &'a SandboxSpec,
    pub(crate) view: &'a View,
    pub(crate) target: Target,
    pub(crate) arguments: &'a [u64; 6],
    /// Whether the caller still waits.
    pub(crate) waits: &'a dyn Fn() -> bool,
}

/// What an opening finds.
pub(crate) enum Opened {
    /// What is there.
    Found(Found),
    /// Nothing; this is where it would be made.
    New { folder: Found, name: OsString },
}

/// A name in a folder of the host.
pub(crate) struct Place {
    /// The folder, open.
    pub(crate) folder: OwnedFd,
    pub(crate) name: OsString,
    /// The whole path.
    pub(crate) path: PathBuf,
}

impl Hand<'_> {
    /// What an opening finds, or where it may make it.
    pub(crate) fn opened(&self, path: &Path, follow: bool, create: bool) -> Result<Opened, Errno> {
        let view = self.view;
        if !create {
            return view.existing(self.target, path, follow).map(Opened::Found);
        }
        let mut path = path.to_owned();
        for _ in 0..MOST_LINKS {
            match view.existing_or_new(self.target, &path, follow) {
                Err(Errno::NOENT) => {}
                other => return other.map(Opened::Found),
            }
            let (folder, name) = view.parent(self.target, &path)?;
            let Ok(text) = at::readlinkat(&folder.file, &name, Vec::new()) else {
                if path.as_os_str().as_bytes().ends_with(b"/") {
                    return Err(Errno::ISDIR);
                }
                return Ok(Opened::New { folder, name });
            };
            if !follow {
                return Err(Errno::EXIST);
            }
            // A link that leads nowhere yet; or one of procfs, whose text says less than it does.
            match view.existing(self.target, &path, follow) {
                Err(Errno::NOENT) => {
                    path = folder.path.join(OsStr::from_bytes(text.as_bytes()));
                }
                other => return other.map(Opened::Found),
            }
        }
        Err(Errno::LOOP)
    }

    /// Opens a file of the host for the sandbox.
    pub(crate) fn open_at(&self, place: &Place, flags: OFlags, mode: Mode) -> Result<Answer, Not> {
        let ours = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK;
        let file = at::openat2(
            &place.folder,
            &place.name,
            flags & (HANDED_ON - OFlags::TRUNC) | ours,
            mode,
            STRAIGHT | ResolveFlags::BENEATH,
        )?;
        // Nothing but a file: a folder of the host would be a way around the sandbox's own mounts.
        if FileType::from_raw_mode(at::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(Not::Ours);
        }
        // Only what is open is known to be what it is: another launch may write the folder too.
        self.is_no_alias(&file, &place.path)?;
        if flags.contains(OFlags::TRUNC) {
            let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NONBLOCK;
            at::open(own_link(&file), flags, Mode::empty())?;
        }
        if !flags.contains(OFlags::NONBLOCK) {
            let now = at::fcntl_getfl(&file)?;
            at::fcntl_setfl(&file, now - OFlags::NONBLOCK)?;
        }
        Ok(Answer::Opened {
            file,
            close_on_exec: flags.contains(OFlags::CLOEXEC),
        })
    }

    /// What stands at a path, if it may be changed: on the host, open for naming it.
    pub(crate) fn writable_file(&self, named: Named, follow: bool) -> Result<OwnedFd, Not> {
        let found = self.found(&self.absolute(named)?, follow)?;
        self.writable(found)
    }

    /// The same, for what a descriptor of the caller's is open on.
    pub(crate) fn by_descriptor(&self, argument: usize) -> Result<OwnedFd, Not> {
        let link = self
            .target
            .folder(Some(self.arguments[argument] as i32))
            .map_err(|_| Not::Ours)?;
        if !link.is_absolute() {
            return Err(Not::Ours);
        }
        let found = self.found(&link, false)?;
        // The name may be another's by now.
        let held = at::stat(self.target.link(Some(self.arguments[argument] as i32)))?;
        if (held.st_dev, held.st_ino) != found.identity() {
            return Err(Not::Ours);
        }
        self.writable(found)
    }

    pub(crate) fn writable(&self, found: Found) -> Result<OwnedFd, Not> {
        if found.is_nameless() {
            return Err(Not::Ours);
        }
        self.may_write(&found.path)?;
        if found.path == Path::new("/") {
            return Err(Not::Ours);
        }
        let place = self.place(&found.path)?;
        let file = at::openat2(
            &place.folder,
            &place.name,
            OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        )?;
        self.is_no_alias(&file, &place.path)?;
        Ok(file)
    }

    /// Where something new may be made (EEXIST: something is there).
    pub(crate) fn new_place(&self, named: Named, folder: bool) -> Result<Place, Not> {
        let path = self.absolute(named)?;
        let (parent, name) = self.parent(&path)?;
        if at::statat(&parent.file, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            // It may be gone when the kernel looks.
            return Err(Errno::EXIST.into());
        }
        let whole = parent.path.join(name);
        if folder {
            self.may_write(&whole)?;
        } else {
            if path.as_os_str().as_bytes().ends_with(b"/") {
                return Err(Not::Ours);
            }
            self.may_be_file(&whole)?;
        }
        self.place(&whole)
    }

    /// Where something may be taken away.
    pub(crate) fn old_place(&self, named: Named) -> Result<Place, Not> {
        let (parent, name) = self.parent(&self.absolute(named)?)?;
        at::statat(&parent.file, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| Not::Ours)?;
        let whole = parent.path.join(name);
        self.may_write(&whole)?;
        self.place(&whole)
    }

    /// The place of a path without links, on the host.
    pub(crate) fn place(&self, path: &Path) -> Result<Place, Not> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Not::Ours);
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.still()?;
        Ok(Place {
            folder: at::openat2(CWD, folder, flags, Mode::empty(), STRAIGHT)?,
            name: name.to_owned(),
            path: path.to_owned(),
        })
    }

    pub(crate) fn judged(&self) -> Result<&Judged, Not> {
        self.spec.judged.as_ref().ok_or(Not::Ours)
    }

    /// Whether a path may be written. Places that are the sandbox's own are the kernel's to judge.
    pub(crate) fn may_write(&self, path: &Path) -> Result<(), Not> {
        if self.spec.is_own(path) {
            return Err(Not::Ours);
        }
        let access = self.spec.access(path);
        if self.spec.judged.is_none() && access == Access::ReadWrite {
            return Err(Not::Ours);
        }
        match access {
            Access::ReadWrite => Ok(()),
            Access::None | Access::Read => Err(Not::Allowed(path.to_owned())),
        }
    }

    /// Whether a file may be written or made there, or a link: on the way to what is protected nothing but a folder
    /// may stand.
    pub(crate) fn may_be_file(&self, path: &Path) -> Result<(), Not> {
        self.may_write(path)?;
        if self.judged()?.judge.may_be_file(path) {
            Ok(())
        } else {
            Err(Not::Allowed(path.to_owned()))
        }
    }

    /// Whether a rule opens this very path: then it stays what it is, as a mount point would (EBUSY).
    pub(crate) fn is_no_place_of_a_rule(&self, place: &Place) -> Result<(), Not> {
        match self.judged()?.judge.is_opened(&place.path) {
            true => Err(Errno::BUSY.into()),
            false => Ok(()),
        }
    }

    /// Whether what is open is not what a rule protects under another name.
    fn is_no_alias(&self, file: &OwnedFd, path: &Path) -> Result<(), Not> {
        let stat = at::fstat(file)?;
        match &self.spec.judged {
            Some(judged) if is_among(&stat, &judged.unwritable) => {
                Err(Not::Allowed(path.to_owned()))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn found(&self, path: &Path, follow: bool) -> Result<Found, Not> {
        self.view
            .existing(self.target, path, follow)
            .map_err(|error| self.unseen(path, error))
    }

    pub(crate) fn parent(&self, path: &Path) -> Result<(Found, OsString), Not> {
        self.view
            .parent(self.target, path)
            .map_err(|error| self.unseen(path, error))
    }

    /// Why nothing is found: a mount may hide what is there. Where a change would be allowed, that nothing is there is the
    /// answer: by the time that the kernel looks, another may have made it, and it would say EROFS.
    fn unseen(&self, path: &Path, error: Errno) -> Not {
        let path = normal(path);
        match self.spec.access(&path) {
            Access::None => Not::Allowed(path),
            Access::ReadWrite if error == Errno::NOENT => Not::Possible(error),
            _ => Not::Ours,
        }
    }

    /// The absolute path that a call names.
    pub(crate) fn absolute(&self, named: Named) -> Result<PathBuf, Not> {
        let text = self.text(named.path)?;
        let path = Path::new(OsStr::from_bytes(text.as_bytes()));
        if path.as_os_str().is_empty() {
            return Err(Not::Ours);
        }
        self.is_from_this_root(path)?;
        if path.is_absolute() {
            return Ok(path.to_owned());
        }
        let folder = self
            .target
            .folder(named.folder.map(|index| self.arguments[index] as i32))
            .map_err(|_| Not::Ours)?;
        if !folder.is_absolute() {
            return Err(Not::Ours);
        }
        // Not `join`, which would take a closing slash away.
        let mut whole = folder.into_os_string();
        whole.push("/");
        whole.push(path);
        Ok(whole.into())
    }

    /// Who has changed its root (chroot(2)), which takes a user namespace of its own, has given these files up, but for
    /// what is below a folder that it holds.
    fn is_from_this_root(&self, path: &Path) -> Result<(), Not> {
        let leaves =
            path.is_absolute() || path.components().any(|part| part == Component::ParentDir);
        if self.spec.nested_user_namespaces && leaves && !self.view.is_of(self.target) {
            return Err(Errno::ACCESS.into());
        }
        Ok(())
    }

    pub(crate) fn text(&self, argument: usize) -> Result<CString, Not> {
        self.target
            .text(self.arguments[argument])
            .map_err(|_| Not::Ours)
    }

    /// Why a call names nothing.
    pub(crate) fn unnamed(&self, named: Named) -> Errno {
        match self.target.text(self.arguments[named.path]) {
            Ok(text) if text.is_empty() => Errno::NOENT,
            Ok(_) => Errno::BADF,
            Err(error) => error,
        }
    }

    pub(crate) fn flags(&self, argument: Option<usize>) -> AtFlags {
        AtFlags::from_bits_truncate(self.bits(argument))
    }

    /// An argument that some variants of a call do not have: then no bit is set.
    pub(crate) fn bits(&self, argument: Option<usize>) -> u32 {
        argument.map_or(0, |index| self.arguments[index] as u32)
    }

    /// Nothing is done for a caller that is gone: its number, and what we read by it, may be another's.
    pub(crate) fn still(&self) -> Result<(), Not> {
        if (self.waits)() {
            Ok(())
        } else {
            Err(Not::Ours)
        }
    }
}
