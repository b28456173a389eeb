//! Paths as the sandbox sees them: from names to what stands there, and to its real path.
//!
//! The kernel resolves, from the sandbox's own root (openat2(2), RESOLVE_IN_ROOT): links, `..` and mounts mean what
//! they mean inside. What it will not do for us (`/proc/self` and the like mean the one who looks) is walked by hand.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, Stat, fstat, fstatfs, openat,
    openat2, readlink, readlinkat,
};
use rustix::io::Errno;

use super::target::Target;

/// As many links as the kernel follows (path_resolution(7)).
pub(crate) const MOST_LINKS: usize = 40;

/// How often a lookup is repeated that a rename elsewhere on the machine made uncertain (openat2(2), EAGAIN).
const MOST_TRIES: usize = 16;

/// The root of procfs has this inode (linux/proc_ns.h, PROC_ROOT_INO).
const PROC_ROOT: u64 = 1;

/// What stands at a path.
#[derive(Debug)]
pub(crate) struct Found {
    /// Open, but for nothing but naming it (O_PATH).
    pub(crate) file: OwnedFd,
    /// Its path from the sandbox's root, without links.
    pub(crate) path: PathBuf,
    /// What the kernel says of it.
    pub(crate) stat: Stat,
}

impl Found {
    fn new(file: OwnedFd, path: PathBuf) -> Result<Self, Errno> {
        let stat = fstat(&file)?;
        Ok(Self { file, path, stat })
    }

    /// What it is.
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Whether it has no name any more, or never had one.
    pub(crate) fn is_nameless(&self) -> bool {
        !self.path.is_absolute() || self.stat.st_nlink == 0
    }

    /// Device and inode.
    pub(crate) fn identity(&self) -> (u64, u64) {
        (self.stat.st_dev, self.stat.st_ino)
    }

    /// A path by which we reach the very thing.
    pub(crate) fn link(&self) -> String {
        own_link(&self.file)
    }
}

/// A path by which we reach what a descriptor of ours is open on.
pub(crate) fn own_link(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// The root of a sandbox.
#[derive(Debug)]
pub(crate) struct View {
    root: OwnedFd,
    /// How deep the pid namespace of its procfs is below ours: a process may have a deeper one of its own.
    depth: usize,
}

const NAME_ONLY: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// How something is opened for naming it.
fn naming(follow: bool) -> OFlags {
    match follow {
        true => NAME_ONLY,
        false => NAME_ONLY | OFlags::NOFOLLOW,
    }
}

impl View {
    /// The root that a process has, whose pid namespace is that of the procfs there.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn of(target: Target) -> Result<Self, Errno> {
        let root = format!("/proc/{}/root", target.thread);
        Ok(Self {
            root: openat(CWD, root, NAME_ONLY | OFlags::DIRECTORY, Mode::empty())?,
            depth: target.depth()?,
        })
    }

    /// Whether a process has this root.
    pub(crate) fn is_of(&self, target: Target) -> bool {
        let theirs = format!("/proc/{}/root", target.thread);
        match (fstat(&self.root), rustix::fs::stat(theirs)) {
            (Ok(ours), Ok(theirs)) => (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino),
            _ => false,
        }
    }

    /// The numbers of a process and its thread, as they are seen here.
    ///
    /// # Errors
    /// ESRCH where it is gone.
    pub(crate) fn numbers(&self, target: Target) -> Result<(u32, u32), Errno> {
        target.numbers(self.depth)
    }

    /// What stands at an absolute path. Without `follow` a link in the last place is found itself.
    ///
    /// # Errors
    /// Those of open(2).
    pub(crate) fn existing(
        &self,
        target: Target,
        path: &Path,
        follow: bool,
    ) -> Result<Found, Errno> {
        match self.seen(path, follow) {
            Err(error) => self.missed(error, target, path, follow),
            found => found,
        }
    }

    /// As [`View::existing`], for a caller that on ENOENT looks for the [`View::parent`]: what the kernel cannot
    /// follow for us is followed there.
    ///
    /// # Errors
    /// Those of open(2).
    pub(crate) fn existing_or_new(
        &self,
        target: Target,
        path: &Path,
        follow: bool,
    ) -> Result<Found, Errno> {
        match self.seen(path, follow) {
            Err(error) if error != Errno::NOENT => self.missed(error, target, path, follow),
            found => found,
        }
    }

    /// What the kernel finds for us.
    fn seen(&self, path: &Path, follow: bool) -> Result<Found, Errno> {
        let file = self.look(path, naming(follow), ResolveFlags::IN_ROOT)?;
        let path = real(&file)?;
        Found::new(file, path)
    }

    /// What is there although the kernel did not find it for us, or why nothing is.
    fn missed(
        &self,
        error: Errno,
        target: Target,
        path: &Path,
        follow: bool,
    ) -> Result<Found, Errno> {
        match error {
            // A link of procfs that is more than text, or one that says who looks: to the kernel that is us.
            Errno::XDEV | Errno::LOOP | Errno::AGAIN => self.walk(target, path, follow),
            Errno::NOENT | Errno::ACCESS => {
                let plain = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
                match self.look(path, naming(follow), plain) {
                    Err(Errno::LOOP) => self.walk(target, path, follow),
                    Err(error) => Err(error),
                    Ok(_) => Err(Errno::NOENT),
                }
            }
            error => Err(error),
        }
    }

    /// The folder in which the last part of an absolute path stands or would, and that part.
    ///
    /// # Errors
    /// Those of open(2); EINVAL where the last part is no name.
    pub(crate) fn parent(&self, target: Target, path: &Path) -> Result<(Found, OsString), Errno> {
        let bytes = path.as_os_str().as_bytes();
        let end = bytes
            .iter()
            .rposition(|byte| *byte != b'/')
            .ok_or(Errno::INVAL)?;
        let start = bytes[..=end]
            .iter()
            .rposition(|byte| *byte == b'/')
            .ok_or(Errno::INVAL)?;
        let name = &bytes[start + 1..=end];
        if name == b"." || name == b".." {
            return Err(Errno::INVAL);
        }
        let folder = Path::new(OsStr::from_bytes(&bytes[..=start]));
        let folder = self.existing(target, folder, true)?;
        if folder.kind() != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        Ok((folder, OsStr::from_bytes(name).to_owned()))
    }

    fn look(&self, path: &Path, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
        let mut tries = 0;
        loop {
            match openat2(&self.root, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) if tries < MOST_TRIES => tries += 1,
                other => return other,
            }
        }
    }

    /// Resolves part by part.
    fn walk(&self, target: Target, path: &Path, follow: bool) -> Result<Found, Errno> {
        let mut rest = Vec::new();
        push(&mut rest, path);
        let must_be_folder = path.as_os_str().as_bytes().ends_with(b"/");
        let mut here = self.plain(Path::new("/"))?;
        let mut links = 0;
        while let Some(part) = rest.pop() {
            if part == "/" {
                here = self.plain(Path::new("/"))?;
                continue;
            }
            if part == ".." {
                here = self.plain(here.path.parent().unwrap_or(Path::new("/")))?;
                continue;
            }
            let file = openat(
                &here.file,
                &part,
                NAME_ONLY | OFlags::NOFOLLOW,
                Mode::empty(),
            )?;
            let there = Found::new(file, here.path.join(&part))?;
            if there.kind() != FileType::Symlink || !follow && rest.is_empty() && !must_be_folder {
                here = there;
                continue;
            }
            let file = there.file;
            links += 1;
            if links > MOST_LINKS {
                return Err(Errno::LOOP);
            }
            if fstatfs(&file)?.f_type != PROC_SUPER_MAGIC {
                push(&mut rest, &text(&file)?);
                continue;
            }
            let at_root = here.stat.st_ino == PROC_ROOT;
            match (at_root, part.as_bytes()) {
                (true, b"self") => rest.push(self.numbers(target)?.0.to_string().into()),
                (true, b"thread-self") => {
                    let (process, thread) = self.numbers(target)?;
                    push(&mut rest, Path::new(&format!("{process}/task/{thread}")));
                }
                _ => match openat2(
                    &here.file,
                    &part,
                    NAME_ONLY,
                    Mode::empty(),
                    ResolveFlags::NO_MAGICLINKS,
                ) {
                    // It leads to a thing, not to a name.
                    Err(Errno::LOOP) => {
                        let file = openat(&here.file, &part, NAME_ONLY, Mode::empty())?;
                        let path = real(&file)?;
                        here = Found::new(file, path)?;
                        if here.kind() == FileType::Directory {
                            here = self.plain(&here.path)?;
                        }
                    }
                    _ => push(&mut rest, &text(&file)?),
                },
            }
        }
        if must_be_folder && here.kind() != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        Ok(here)
    }

    /// What stands at a path that has no links.
    fn plain(&self, path: &Path) -> Result<Found, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        Found::new(self.look(path, NAME_ONLY, resolve)?, path.to_owned())
    }
}

/// The path, without links, of what a descriptor of ours is open on: from the root of the mount namespace that it
/// was opened in.
fn real(file: &OwnedFd) -> Result<PathBuf, Errno> {
    let bytes = readlink(own_link(file), Vec::new())?.into_bytes();
    Ok(OsString::from(OsStr::from_bytes(&bytes)).into())
}

/// What a link says.
fn text(link: &OwnedFd) -> Result<PathBuf, Errno> {
    let bytes = readlinkat(link.as_fd(), "", Vec::new())?.into_bytes();
    Ok(OsString::from(OsStr::from_bytes(&bytes)).into())
}

/// Puts a path's parts on a stack, the first on top.
fn push(rest: &mut Vec<OsString>, path: &Path) {
    let parts = path
        .components()
        .rev()
        .filter(|part| *part != Component::CurDir);
    rest.extend(parts.map(|part| part.as_os_str().to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Our own root is a view too, and what the standard library says of a path the truth.
    #[test]
    fn names_lead_where_they_lead_for_the_caller() {
        let me = Target {
            thread: std::process::id(),
        };
        let view = View::of(me).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::write(top.join("a/file"), "").unwrap();
        symlink("a/../a/file", top.join("link")).unwrap();
        symlink(top.join("link"), top.join("again")).unwrap();
        symlink("/proc/self/cwd", top.join("to-cwd")).unwrap();
        symlink("loop", top.join("loop")).unwrap();
        symlink("nowhere", top.join("dangling")).unwrap();
        let file = std::fs::File::open(top.join("a/file")).unwrap();
        let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let cwd = std::env::current_dir().unwrap();
        for (path, expected) in [
            (top.join("a/b/../file"), Ok(top.join("a/file"))),
            (top.join("link"), Ok(top.join("a/file"))),
            (top.join("again"), Ok(top.join("a/file"))),
            (by_descriptor, Ok(top.join("a/file"))),
            (top.join("to-cwd"), Ok(cwd.clone())),
            (
                PathBuf::from(format!(
                    "/proc/thread-self/root{}",
                    top.join("again").display()
                )),
                Ok(top.join("a/file")),
            ),
            (
                "/proc/self/cwd/..".into(),
                Ok(cwd.parent().unwrap().to_owned()),
            ),
            (top.join("loop"), Err(Errno::LOOP)),
            (top.join("dangling"), Err(Errno::NOENT)),
            (top.join("missing/x"), Err(Errno::NOENT)),
            (top.join("a/file/"), Err(Errno::NOTDIR)),
        ] {
            for walk in [false, true] {
                let found = match walk {
                    true => view.walk(me, &path, true),
                    false => view.existing(me, &path, true),
                };
                let got = found.map(|found| found.path);
                assert_eq!(got, expected, "{} {walk}", path.display());
            }
        }
        let link = view.existing(me, &top.join("link"), false).unwrap();
        assert_eq!(link.kind(), FileType::Symlink);
        let (parent, name) = view.parent(me, &top.join("a/../new/")).unwrap();
        assert_eq!((parent.path, name), (top.clone(), "new".into()));
        assert_eq!(
            view.parent(me, &top.join("a/..")).unwrap_err(),
            Errno::INVAL
        );
    }
}
