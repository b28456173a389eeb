//! Walking trees that somebody else may change underneath us: by descriptors, one name at a time, following no link.
//!
//! A layer is what a server left behind, and the host's folder is anybody's; neither may lead a walk out of itself.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, openat, readlinkat, statat};
use serde::{Deserialize, Serialize};

/// Folders below folders that a walk goes down. No path of more than 4096 bytes can be named (PATH_MAX), but a
/// process that walks can nest without end.
pub(super) const DEEPEST: usize = 200;

/// What makes a folder of a layer hide all that is below it (overlayfs, `userxattr`).
const OPAQUE: &str = "user.overlay.opaque";

/// What stands at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) kind: FileType,
    /// Permission bits, with setuid, setgid and sticky.
    pub(super) mode: u32,
    pub(super) size: u64,
    /// In bytes, as it lies on the disk.
    pub(super) space: u64,
    pub(super) identity: Identity,
    whiteout: bool,
}

/// What tells a file from a later version of it or another in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) dev: u64,
    pub(super) ino: u64,
    pub(super) size: u64,
    /// Nanoseconds since 1970, as are all times here.
    pub(super) mtime: i64,
    /// Set by the kernel at each change of contents, mode or name; nobody can set it back (inode(7)).
    pub(super) ctime: i64,
}

impl Identity {
    /// Whether it is the same version of the same file, a change of its name aside (which changes its ctime).
    pub(super) fn is_still(&self, other: &Self) -> bool {
        Self {
            ctime: other.ctime,
            ..*self
        } == *other
    }
}

impl Seen {
    pub(super) fn is_folder(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// What overlayfs puts in the place of what was deleted: a character device 0:0.
    pub(super) fn is_whiteout(&self) -> bool {
        self.whiteout
    }

    fn of(stat: &rustix::fs::Stat) -> Self {
        let kind = FileType::from_raw_mode(stat.st_mode as _);
        let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
        #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
        // The types differ between systems.
        let time = |seconds, nanos| (seconds as i64).saturating_mul(1_000_000_000) + nanos as i64;
        #[allow(clippy::unnecessary_cast)]
        Self {
            kind,
            mode: stat.st_mode as u32 & 0o7777,
            size: unsigned(stat.st_size as i64),
            space: unsigned(stat.st_blocks as i64) * 512,
            identity: Identity {
                dev: stat.st_dev as u64,
                ino: stat.st_ino as u64,
                size: unsigned(stat.st_size as i64),
                mtime: time(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
                ctime: time(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
            },
            whiteout: kind == FileType::CharacterDevice && stat.st_rdev == 0,
        }
    }
}

/// The version of an open file.
pub(super) fn identity(file: &std::fs::File) -> io::Result<Identity> {
    Ok(Seen::of(&fstat(file)?).identity)
}

/// A folder that is open.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    /// The bits that we need of a layer's folders, and lend them where they lack some; of the host's none.
    needs: u32,
    /// What it was lent for as long as we use it.
    _bits: Option<Bits>,
}

impl Folder {
    /// Opens a folder of the host by a path without links; one that has become a link is refused.
    pub(super) fn host(path: &Path) -> io::Result<Self> {
        let root = openat(CWD, "/", folder_flags(), Mode::empty())?;
        let root = Self {
            fd: root,
            needs: 0,
            _bits: None,
        };
        root.descend(path.strip_prefix("/").unwrap_or(path))
    }

    /// Opens a layer's folder, which lies in the daemon's own, to be looked at.
    pub(super) fn layer(path: &Path) -> io::Result<Self> {
        Self::layer_with(path, 0o500)
    }

    /// Opens a layer's folder that nobody else uses, to take things out.
    pub(super) fn layer_to_change(path: &Path) -> io::Result<Self> {
        Self::layer_with(path, 0o700)
    }

    fn layer_with(path: &Path, needs: u32) -> io::Result<Self> {
        let fd = openat(CWD, path, folder_flags(), Mode::empty())?;
        Ok(Self {
            fd,
            needs,
            _bits: None,
        })
    }

    /// A folder below this one.
    pub(super) fn descend(&self, path: &Path) -> io::Result<Self> {
        let mut here = Self {
            fd: self.fd.try_clone()?,
            needs: self.needs,
            _bits: None,
        };
        for part in path.components() {
            match part {
                Component::Normal(name) => here = here.folder(name)?,
                Component::CurDir => {}
                _ => return Err(io::ErrorKind::InvalidInput.into()),
            }
        }
        Ok(here)
    }

    /// A folder in this one.
    pub(super) fn folder(&self, name: &OsStr) -> io::Result<Self> {
        let fd = openat(&self.fd, name, folder_flags(), Mode::empty());
        let closed = match &fd {
            Err(error) => *error == rustix::io::Errno::ACCESS,
            Ok(fd) => (fstat(fd)?.st_mode as u32) & self.needs != self.needs,
        };
        if self.needs == 0 || !closed {
            return Ok(Self {
                fd: fd?,
                needs: self.needs,
                _bits: None,
            });
        }
        let bits = Bits::lend(self.fd.as_fd(), name)?;
        Ok(Self {
            fd: openat(&self.fd, name, folder_flags(), Mode::empty())?,
            needs: self.needs,
            _bits: Some(bits),
        })
    }

    /// A regular file in this one, to read. Anything else is refused, and a FIFO never waited for.
    pub(super) fn file(&self, name: &OsStr) -> io::Result<std::fs::File> {
        let fd = self.open(name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)?;
        if FileType::from_raw_mode(fstat(&fd)?.st_mode as _) != FileType::RegularFile {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(fd.into())
    }

    /// Where a link leads, as written.
    pub(super) fn link(&self, name: &OsStr) -> io::Result<PathBuf> {
        let target = readlinkat(&self.fd, name, Vec::new())?;
        Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }

    /// What stands at a name; `None` where nothing does.
    pub(super) fn look(&self, name: &OsStr) -> io::Result<Option<Seen>> {
        match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Seen::of(&stat))),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// When what stands at a name was made (statx(2)), where the file system knows. In a layer: when it came there.
    #[cfg(target_os = "linux")]
    pub(super) fn birth(&self, name: &OsStr) -> Option<i64> {
        use rustix::fs::{StatxFlags, statx};
        let asked = StatxFlags::BTIME;
        let stat = statx(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW, asked).ok()?;
        StatxFlags::from_bits_retain(stat.stx_mask)
            .contains(asked)
            .then(|| stat.stx_btime.tv_sec * 1_000_000_000 + i64::from(stat.stx_btime.tv_nsec))
    }
    /// There are no layers.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn birth(&self, _: &OsStr) -> Option<i64> {
        None
    }

    /// Whether this folder of a layer hides the host's of the same name altogether.
    pub(super) fn is_opaque(&self) -> bool {
        let mut value = [0_u8; 1];
        rustix::fs::fgetxattr(&self.fd, OPAQUE, &mut value).is_ok_and(|_| value == *b"y")
    }

    /// The names in it, sorted.
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Opens what stands at a name. A server may have taken the permission bits off what it left: in its layer, which
    /// is ours, they are there for the moment of opening, and a folder's for as long as it is walked through.
    fn open(&self, name: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
        let open = || openat(&self.fd, name, flags | OFlags::CLOEXEC, Mode::empty());
        match open() {
            Err(rustix::io::Errno::ACCESS) if self.needs != 0 => {
                let bits = Bits::lend(self.fd.as_fd(), name)?;
                let opened = open();
                drop(bits);
                Ok(opened?)
            }
            other => Ok(other?),
        }
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// Permission bits that are there until this is dropped.
#[derive(Debug)]
struct Bits {
    handle: OwnedFd,
    before: Mode,
}

impl Bits {
    /// By a handle (O_PATH), so that a link put in the name's place meanwhile is not what gets the bits.
    #[cfg(target_os = "linux")]
    fn lend(at: BorrowedFd<'_>, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(at, name, flags, Mode::empty())?;
        let before = Mode::from_raw_mode(fstat(&fd)?.st_mode & 0o7777);
        let lent = Self { handle: fd, before };
        lent.set(before | Mode::RWXU)?;
        Ok(lent)
    }

    #[cfg(target_os = "linux")]
    fn set(&self, mode: Mode) -> io::Result<()> {
        use std::os::fd::AsRawFd as _;
        let path = format!("/proc/self/fd/{}", self.handle.as_raw_fd());
        Ok(rustix::fs::chmod(path, mode)?)
    }
    #[cfg(not(target_os = "linux"))]
    fn set(&self, mode: Mode) -> io::Result<()> {
        Ok(rustix::fs::fchmod(&self.handle, mode)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn lend(_: BorrowedFd<'_>, _: &OsStr) -> io::Result<Self> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

impl Drop for Bits {
    fn drop(&mut self) {
        // Unless the server has given it others meanwhile.
        let lent = |stat: rustix::fs::Stat| {
            Mode::from_raw_mode(stat.st_mode & 0o7777) == self.before | Mode::RWXU
        };
        if fstat(&self.handle).is_ok_and(lent) {
            let _ = self.set(self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn no_link_is_followed_and_nothing_leads_up() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path().canonicalize().unwrap();
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::write(top.join("a/f"), "x").unwrap();
        symlink("a", top.join("link")).unwrap();
        symlink("a/f", top.join("to-f")).unwrap();
        let folder = Folder::host(&top).unwrap();
        assert!(folder.descend(Path::new("a/b")).is_ok());
        assert!(folder.descend(Path::new("link/b")).is_err());
        assert!(folder.descend(Path::new("a/../a")).is_err());
        assert!(folder.descend(Path::new("/")).is_err());
        assert!(folder.file(OsStr::new("to-f")).is_err());
        assert!(Folder::host(&top.join("link")).is_err());
    }

    #[test]
    fn what_a_server_closed_is_read_in_a_layer_alone_and_stays_closed() {
        if rustix::process::geteuid().is_root() {
            // To root nothing is closed.
            return;
        }
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir(top.path().join("d")).unwrap();
        std::fs::write(top.path().join("d/f"), "x").unwrap();
        let close = |path: &str| {
            let closed = std::fs::Permissions::from_mode(0o000);
            std::fs::set_permissions(top.path().join(path), closed).unwrap();
        };
        close("d/f");
        close("d");
        let host = Folder::host(&top.path().canonicalize().unwrap()).unwrap();
        assert!(host.folder(OsStr::new("d")).is_err());
        let layer = Folder::layer(top.path()).unwrap();
        let inner = layer.folder(OsStr::new("d")).unwrap();
        assert_eq!(inner.names().unwrap(), ["f"]);
        assert_eq!(inner.look(OsStr::new("f")).unwrap().unwrap().mode, 0);
        drop(inner.file(OsStr::new("f")).unwrap());
        assert_eq!(inner.look(OsStr::new("f")).unwrap().unwrap().mode, 0);
        drop(inner);
        assert_eq!(layer.look(OsStr::new("d")).unwrap().unwrap().mode, 0);
    }
}
