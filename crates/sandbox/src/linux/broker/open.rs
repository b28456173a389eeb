//! Every opening, where rules about reading are judged: what is opened is looked at, and handed over itself.
//!
//! Here nothing may go on to the kernel, which would read the path again. What stands at the path is found once,
//! judged by its real path, and that very thing is opened for the caller.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{self as at, FileType, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags};
use rustix::io::Errno;

use super::calls::{Named, writes};
use super::hand::{HANDED_ON, Hand, Not, Opened, Outcome, is_among};
use super::listener::Answer;
use super::namespaced;
use super::told::{is_covered, normal};
use super::view::Found;
use crate::linux::process;
use crate::{Access, Judged};

/// The controlling terminal of whoever opens it (tty(4)): ours, not the caller's.
const TERMINAL: (u32, u32) = (5, 0);
/// The first of the majors of pseudo-terminals that programs have (pts(4), Linux's devices.txt).
const PSEUDO_TERMINAL: u32 = 136;

/// What of another process only those may look at who may trace it (proc(5)).
const GUARDED: &[&str] = &[
    "auxv",
    "cwd",
    "environ",
    "exe",
    "fd",
    "fdinfo",
    "io",
    "map_files",
    "maps",
    "mem",
    "ns",
    "numa_maps",
    "pagemap",
    "personality",
    "root",
    "smaps",
    "smaps_rollup",
    "stack",
    "syscall",
    "task",
    "timers",
];

/// What is asked of an opening.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) flags: u64,
    pub(crate) mode: u64,
    /// As in `struct open_how` (openat2(2)).
    pub(crate) resolve: u64,
    /// Whether all of it stood in the caller's memory, which can change.
    pub(crate) in_memory: bool,
}

/// Opens whatever may be opened.
pub(crate) fn open(hand: &Hand<'_>, judged: &Judged, named: Named, wish: Wish) -> Outcome {
    let opening = Opening { hand, judged, wish };
    match opening.run(named) {
        Ok(outcome) => outcome,
        // There is nobody to go on to: it is for us to say no.
        Err(not) => not.outcome(Answer::Failed(Errno::ACCESS)),
    }
}

fn refused(errno: Errno, path: PathBuf, write: bool) -> Outcome {
    Outcome {
        answer: Answer::Failed(errno),
        refused: Some((path, write)),
    }
}

/// Whether what stands at `/proc/FIRST/REST` is the same for all who look. What depends on the namespaces of the one
/// who opens it would be the host's, since that is us: shared memory, and the network's interfaces and neighbours
/// (proc_sysvipc(5), proc_sys_net(5)).
fn is_everybodys<'a>(first: &str, mut rest: impl Iterator<Item = &'a str>) -> bool {
    match first {
        "sysvipc" => rest.next().is_none(),
        "sys" if rest.next() == Some("net") => {
            let mut below = rest.skip_while(|part| !matches!(*part, "conf" | "neigh"));
            // The folder itself lists the interfaces.
            below.next().is_none() || matches!(below.next(), Some("all" | "default" | "lo"))
        }
        _ => true,
    }
}

/// The path that a file was mounted on which has no name any more (d_path adds what it is, proc_pid_fd(5)).
fn covered(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    let bytes = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
    OsStr::from_bytes(bytes).into()
}

struct Opening<'a> {
    hand: &'a Hand<'a>,
    judged: &'a Judged,
    wish: Wish,
}

impl Opening<'_> {
    fn run(&self, named: Named) -> Result<Outcome, Not> {
        let flags = OFlags::from_bits_retain(self.wish.flags as u32);
        let create = flags.contains(OFlags::CREATE) && !flags.contains(OFlags::PATH);
        let exclusive = create && flags.contains(OFlags::EXCL);
        let follow = !flags.contains(OFlags::NOFOLLOW) && !exclusive;
        if self.wish.resolve != 0 {
            self.within(named)?;
        }
        let path = match self.hand.absolute(named) {
            Err(Not::Ours) => return Err(self.hand.unnamed(named).into()),
            other => other?,
        };
        if flags.contains(OFlags::TMPFILE) {
            return Err(Errno::OPNOTSUPP.into());
        }
        match self.hand.opened(&path, follow, create) {
            Ok(Opened::Found(_)) if exclusive => Err(Errno::EXIST.into()),
            Ok(Opened::Found(found)) => self.existing(found, flags),
            Ok(Opened::New { folder, name }) => self.make(&folder, &name, flags),
            // A mount may hide what is there.
            Err(error @ (Errno::ACCESS | Errno::NOENT)) if !self.readable(&normal(&path)) => {
                Ok(refused(error, normal(&path), writes(self.wish.flags)))
            }
            Err(error @ Errno::NOENT)
                if !writes(self.wish.flags) && is_covered(self.hand.spec, &normal(&path)) =>
            {
                Ok(refused(error, normal(&path), false))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn existing(&self, found: Found, flags: OFlags) -> Result<Outcome, Not> {
        let kind = found.kind();
        if !self.may_read(&found)? {
            return Ok(refused(Errno::ACCESS, found.path, false));
        }
        if flags.contains(OFlags::PATH) {
            if flags.contains(OFlags::DIRECTORY) && kind != FileType::Directory {
                return Err(Errno::NOTDIR.into());
            }
            // Flags behind a pointer could be others by the time that the kernel reads them.
            if self.wish.in_memory {
                return Err(Errno::NOSYS.into());
            }
            // The kernel hands over no such descriptor (seccomp_unotify(2): EBADF). Its own may go on: nothing can be
            // read or written by it, and whatever makes more of it is judged anew.
            return Ok(Answer::GoOn.into());
        }
        if kind == FileType::Symlink {
            return Err(Errno::LOOP.into());
        }
        if kind == FileType::CharacterDevice {
            let device = found.stat.st_rdev;
            if (at::major(device), at::minor(device)) == TERMINAL {
                return self.existing(self.own_terminal()?, flags);
            }
        }
        let write = writes(self.wish.flags);
        if write && !found.is_nameless() && !self.hand.spec.is_own(&found.path) {
            if kind == FileType::RegularFile {
                self.hand.may_be_file(&found.path)?;
                let place = self.hand.place(&found.path)?;
                let answer = self
                    .hand
                    .open_at(&place, flags - OFlags::CREATE, Mode::empty())?;
                return Ok(answer.into());
            }
            if kind != FileType::Directory {
                self.hand.may_write(&found.path)?;
            }
        }
        // The very thing that was judged, by the mount that it was found on.
        let patient = kind == FileType::RegularFile || kind == FileType::Directory;
        let mut asked = flags
            & ((HANDED_ON | OFlags::NONBLOCK | OFlags::DIRECTORY) - OFlags::CREATE - OFlags::EXCL)
            | OFlags::CLOEXEC
            | OFlags::NOCTTY;
        if !patient {
            asked |= OFlags::NONBLOCK;
        }
        let link = found.link();
        let by_its_own =
            write && self.hand.spec.nested_user_namespaces && namespaced::is_map(&found.path);
        let opened = match by_its_own {
            true => namespaced::open(self.hand.target, &found, asked),
            false => at::open(&link, asked, Mode::empty()),
        };
        let file = match opened {
            // A FIFO that nobody reads: who waits for a reader gets its own end, and waits when it is full (fifo(7)).
            Err(Errno::NXIO) if kind == FileType::Fifo && !flags.contains(OFlags::NONBLOCK) => {
                at::open(
                    &link,
                    (asked - OFlags::WRONLY) | OFlags::RDWR,
                    Mode::empty(),
                )?
            }
            Err(error @ (Errno::ROFS | Errno::ACCESS)) if write => {
                return Ok(refused(error, found.path, true));
            }
            // The empty file that a mount puts over a hidden one has no name of its own.
            Err(Errno::ACCESS) if !self.readable(&covered(&found.path)) => {
                return Ok(refused(Errno::ACCESS, covered(&found.path), false));
            }
            other => other?,
        };
        if !patient && !flags.contains(OFlags::NONBLOCK) {
            let now = at::fcntl_getfl(&file)?;
            at::fcntl_setfl(&file, now - OFlags::NONBLOCK)?;
        }
        self.opened(file, flags)
    }

    /// The caller's controlling terminal, which is one of its sandbox's own: by its name there.
    fn own_terminal(&self) -> Result<Found, Not> {
        let process = self.hand.target.process()?;
        let Some(device @ (PSEUDO_TERMINAL, number)) = process::terminal(process) else {
            return Err(Errno::NXIO.into());
        };
        let path = PathBuf::from(format!("/dev/pts/{number}"));
        match self.hand.opened(&path, false, false)? {
            Opened::Found(found)
                if found.kind() == FileType::CharacterDevice
                    && (at::major(found.stat.st_rdev), at::minor(found.stat.st_rdev)) == device =>
            {
                Ok(found)
            }
            _ => Err(Errno::NXIO.into()),
        }
    }

    /// Makes a file.
    fn make(&self, folder: &Found, name: &OsStr, flags: OFlags) -> Result<Outcome, Not> {
        let whole = folder.path.join(name);
        let mode = self.hand.target.masked(self.wish.mode)?;
        if self.hand.spec.is_own(&whole) {
            if !self.readable(&whole) {
                return Ok(refused(Errno::ACCESS, whole, true));
            }
            self.hand.still()?;
            let ours = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            let file = at::openat2(&folder.file, name, flags & HANDED_ON | ours, mode, resolve)?;
            return self.opened(file, flags);
        }
        match self.hand.may_be_file(&whole) {
            Err(Not::Allowed(path)) => return Ok(refused(Errno::ROFS, path, true)),
            other => other?,
        }
        let place = self.hand.place(&whole)?;
        Ok(self.hand.open_at(&place, flags, mode)?.into())
    }

    fn opened(&self, file: OwnedFd, flags: OFlags) -> Result<Outcome, Not> {
        self.hand.still()?;
        Ok(Answer::Opened {
            file,
            close_on_exec: flags.contains(OFlags::CLOEXEC),
        }
        .into())
    }

    /// Whether what was found may be read, by its real path and as the file that it is.
    fn may_read(&self, found: &Found) -> Result<bool, Not> {
        if at::fstatfs(&found.file)?.f_type == PROC_SUPER_MAGIC {
            return self.may_look(&found.path);
        }
        // Without a name: a pipe, a deleted file. Whoever has it open was given it.
        if found.is_nameless() {
            return Ok(true);
        }
        let layered = self.hand.spec.overlay_of(&found.path).is_some();
        let alias = match layered {
            true => self.hand.is_hidden_alias(self.judged, &found.path),
            false => is_among(&found.stat, &self.judged.unreadable),
        };
        Ok(!alias && self.readable(&found.path))
    }

    /// In a layer of the sandbox's own the rules about reading hold as they do below it.
    fn readable(&self, path: &Path) -> bool {
        let spec = self.hand.spec;
        let layered = spec
            .overlays
            .iter()
            .any(|overlay| path.starts_with(&overlay.path));
        let access = match layered {
            true => self.judged.judge.access(path),
            false => spec.access(path),
        };
        access != Access::None
    }

    /// What of `/proc` the caller may look at. We may look at more than it may: the kernel would judge us.
    fn may_look(&self, path: &Path) -> Result<bool, Not> {
        let mut parts = path.iter().skip(2).filter_map(OsStr::to_str);
        let first = parts.next().unwrap_or_default();
        let Ok(process) = first.parse::<u32>() else {
            return Ok(is_everybodys(first, parts));
        };
        let guarded = parts.any(|part| GUARDED.contains(&part));
        if !guarded || process == self.hand.view.numbers(self.hand.target)?.0 {
            return Ok(true);
        }
        // Process 1 is bubblewrap's, and not one of the server's.
        if process == 1 || writes(self.wish.flags) {
            return Ok(false);
        }
        // The kernel gives what belongs to a process that may not be traced to root (proc(5)).
        let found = self
            .hand
            .view
            .existing(
                self.hand.target,
                Path::new(&format!("/proc/{process}")),
                false,
            )
            .map_err(|_| Not::Ours)?;
        Ok(found.stat.st_uid == rustix::process::geteuid().as_raw())
    }

    /// openat2(2) with conditions on the way: the kernel checks them, from the caller's own folder.
    fn within(&self, named: Named) -> Result<(), Not> {
        let resolve =
            ResolveFlags::from_bits(self.wish.resolve).ok_or(Not::Possible(Errno::INVAL))?;
        let text = self.hand.text(named.path)?;
        let folder = self
            .hand
            .target
            .link(named.folder.map(|index| self.hand.arguments[index] as i32));
        let folder = at::open(
            folder,
            OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY,
            Mode::empty(),
        )?;
        let scoped = ResolveFlags::BENEATH | ResolveFlags::IN_ROOT;
        let path = Path::new(OsStr::from_bytes(text.as_bytes()));
        if path.is_absolute() && !resolve.intersects(scoped)
            || resolve.contains(ResolveFlags::IN_ROOT)
        {
            // Its meaning differs from that of the plain path.
            return Err(Errno::OPNOTSUPP.into());
        }
        match at::openat2(
            &folder,
            path,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        ) {
            Ok(_) => Ok(()),
            Err(Errno::NOENT) if self.wish.flags as i32 & libc::O_CREAT != 0 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_hosts_alone_is_not_handed_over() {
        for (path, expected) in [
            ("meminfo", true),
            ("sysvipc/shm", false),
            ("sysvipc", true),
            ("sys/net/core/somaxconn", true),
            ("sys/net/ipv4/conf/eth0/forwarding", false),
            ("sys/net/ipv4/conf/all/forwarding", true),
            ("sys/net/ipv6/neigh/wlan0", false),
            ("sys/net/ipv4/conf", false),
            ("sys/net/ipv4", true),
            ("sys/kernel/osrelease", true),
        ] {
            let mut parts = path.split('/');
            let first = parts.next().unwrap();
            assert_eq!(is_everybodys(first, parts), expected, "{path}");
        }
    }
}
