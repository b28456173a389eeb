//! Which descriptors a program in a sandbox may inherit (direct mode): pipes without a name, and devices that are only a
//! source or a sink of bytes.
//!
//! Whatever else a descriptor stands for, it is more than its bytes. A folder's opens what lies below it and beside it,
//! past every mount. A file's changes its mode, and opens it once more for writing (`/proc/self/fd`), by the mount that
//! it comes from. A socket of the host's network can be connected anew, and a Unix socket can bring more descriptors. A
//! terminal is what its owner's other programs read from. `srt` carries the bytes of files and sockets through a pipe,
//! and gives the program a terminal of its own.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{FileType, Stat};
use srt_runtime::{Stdio, Terminal};

use crate::supervisor::Handed;

/// Why a program does not get a descriptor.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DescriptorError {
    #[error(
        "{count} descriptors came for {wanted} of stdin, stdout and stderr\nhint: srt and srtd may be of different versions: srtctl daemon status"
    )]
    Count { count: usize, wanted: usize },
    #[error(
        "{which} is {what}: {why}\nhint: give the program a pipe in its place: … | srt --direct COMMAND | cat"
    )]
    Refused {
        which: Which,
        what: String,
        why: &'static str,
    },
    #[error("cannot look at what {which} is: {source}")]
    Unknown {
        which: Which,
        source: std::io::Error,
    },
}

/// A standard descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Which(usize);

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(["stdin", "stdout", "stderr"].get(self.0).unwrap_or(&"?"))
    }
}

/// Looks at what was handed over for those of 0, 1 and 2 that are not on the program's own terminal.
pub(crate) fn admit(
    given: Vec<OwnedFd>,
    on_terminal: [bool; 3],
    terminal: Terminal,
) -> Result<Handed, DescriptorError> {
    let wanted = on_terminal.iter().filter(|on| !**on).count();
    if given.len() != wanted {
        let count = given.len();
        return Err(DescriptorError::Count { count, wanted });
    }
    let mut given = given.into_iter();
    let mut parts = [None, None, None];
    let mut told = [const { String::new() }; 3];
    for (number, on_terminal) in on_terminal.into_iter().enumerate() {
        if on_terminal {
            told[number] = "terminal".into();
        } else if let Some(descriptor) = given.next() {
            told[number] = look(&descriptor, Which(number))?;
            parts[number] = Some(descriptor);
        }
    }
    let [stdin, stdout, stderr] = parts;
    Ok(Handed {
        stdio: Stdio {
            stdin,
            stdout,
            stderr,
            terminal,
        },
        told: Arc::new(told),
    })
}

/// What it is, for a person, or why it is refused.
fn look(descriptor: &OwnedFd, which: Which) -> Result<String, DescriptorError> {
    let unknown = |error: rustix::io::Errno| DescriptorError::Unknown {
        which,
        source: error.into(),
    };
    let stat = rustix::fs::fstat(descriptor).map_err(unknown)?;
    let only_names = system::only_names(descriptor).map_err(unknown)?;
    let (what, why) = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo if !only_names && system::is_unnamed(descriptor).map_err(unknown)? => {
            return Ok("pipe".into());
        }
        FileType::CharacterDevice if !only_names && system::is_harmless(&stat) => {
            return Ok(system::named("device", descriptor));
        }
        FileType::Directory => (
            "the folder",
            "by its descriptor the program could open what lies in it and around it, past the policy",
        ),
        _ if only_names => (
            "an O_PATH descriptor of",
            "by it the program could open what the policy does not let it open",
        ),
        FileType::RegularFile | FileType::Fifo => (
            "the file",
            "by its descriptor the program could change its mode, or open it again for writing",
        ),
        FileType::CharacterDevice if rustix::termios::isatty(descriptor) => (
            "the terminal",
            "the program could type into it, and change how it works for everybody else",
        ),
        FileType::CharacterDevice | FileType::BlockDevice => {
            ("the device", "what it does is not for the policy to judge")
        }
        FileType::Socket => (
            "a socket",
            "it could be connected to somewhere else, or bring more descriptors, past the policy",
        ),
        _ => (
            "no pipe, file or terminal",
            "what it does is not for the policy to judge",
        ),
    };
    let what = system::named(what, descriptor);
    Err(DescriptorError::Refused { which, what, why })
}

#[cfg(target_os = "linux")]
mod system {
    use super::Stat;
    use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

    /// Memory devices that are only a source or a sink of bytes (Linux's devices.txt): null, zero, full, random, urandom.
    const HARMLESS: [(u32, u32); 5] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9)];
    /// The file system of pipes without a name (PIPEFS_MAGIC, linux/magic.h).
    const PIPES: u64 = 0x5049_5045;

    pub(super) fn named(kind: &str, descriptor: &OwnedFd) -> String {
        let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        match std::fs::read_link(link) {
            Ok(path) if path.is_absolute() => format!("{kind} {}", path.display()),
            _ => kind.to_owned(),
        }
    }

    pub(super) fn only_names(descriptor: impl AsFd) -> rustix::io::Result<bool> {
        Ok(rustix::fs::fcntl_getfl(descriptor)?.contains(rustix::fs::OFlags::PATH))
    }

    pub(super) fn is_unnamed(descriptor: impl AsFd) -> rustix::io::Result<bool> {
        Ok(rustix::fs::fstatfs(descriptor)?.f_type as u64 == PIPES)
    }

    pub(super) fn is_harmless(stat: &Stat) -> bool {
        let device = stat.st_rdev;
        HARMLESS.contains(&(rustix::fs::major(device), rustix::fs::minor(device)))
    }
}

/// macOS has neither O_PATH nor such a way to tell pipes apart, and numbers its devices as they come.
#[cfg(not(target_os = "linux"))]
mod system {
    use super::Stat;
    use std::os::fd::OwnedFd;

    pub(super) fn named(kind: &str, _descriptor: &OwnedFd) -> String {
        kind.to_owned()
    }

    pub(super) fn only_names(_descriptor: &OwnedFd) -> rustix::io::Result<bool> {
        Ok(false)
    }

    pub(super) fn is_unnamed(_descriptor: &OwnedFd) -> rustix::io::Result<bool> {
        Ok(true)
    }

    pub(super) fn is_harmless(stat: &Stat) -> bool {
        ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"]
            .iter()
            .any(|path| rustix::fs::stat(*path).is_ok_and(|other| other.st_rdev == stat.st_rdev))
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::path::Path;

    fn check(descriptor: impl Into<OwnedFd>) -> Result<String, String> {
        look(&descriptor.into(), Which(0)).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refuses(descriptor: impl Into<OwnedFd>, what: &str) {
        let said = check(descriptor).unwrap_err();
        assert!(said.starts_with("stdin is "), "{said}");
        assert!(said.contains(what), "{what}: {said}");
        assert!(said.contains("\nhint: "), "{said}");
    }

    #[test]
    fn bytes_pass_and_nothing_else() {
        let (reader, writer) = std::io::pipe().unwrap();
        assert_eq!(check(reader).unwrap(), "pipe");
        assert_eq!(check(writer).unwrap(), "pipe");
        for device in ["/dev/null", "/dev/zero", "/dev/urandom"] {
            let said = check(File::open(device).unwrap()).unwrap();
            assert_eq!(said, format!("device {device}"));
        }

        let folder = tempfile::tempdir().unwrap();
        refuses(File::open(folder.path()).unwrap(), "the folder /");
        let file = File::create(folder.path().join("x")).unwrap();
        refuses(file, "the file /");
        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
        let both = File::options().read(true).write(true).open(&fifo).unwrap();
        refuses(both, "the file /");
        let path_only = |path: &Path| {
            File::options()
                .read(true)
                .custom_flags(rustix::fs::OFlags::PATH.bits() as i32)
                .open(path)
                .unwrap()
        };
        refuses(path_only(folder.path()), "the folder /");
        for path in [Path::new("/etc/passwd"), &fifo, Path::new("/dev/null")] {
            refuses(path_only(path), "O_PATH");
        }
        let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        refuses(unix, "a socket");
        refuses(
            std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
            "a socket",
        );
        refuses(
            std::net::UdpSocket::bind("127.0.0.1:0").unwrap(),
            "a socket",
        );
        refuses(File::open("/proc/self/mem").unwrap(), "the file /proc/");
        refuses(File::open("/proc/self/ns/net").unwrap(), "the file");
        let pid = rustix::process::getpid();
        let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
        assert!(check(process.unwrap()).is_err());
        refuses(File::open("/dev/ptmx").unwrap(), "the terminal /");
    }

    #[test]
    fn as_many_come_as_are_wanted() {
        let null = || OwnedFd::from(File::open("/dev/null").unwrap());
        let admit = |count: usize, on| {
            let given = (0..count).map(|_| null()).collect();
            admit(given, on, Terminal::default())
        };
        assert!(admit(2, [false; 3]).is_err());
        assert!(admit(1, [true; 3]).is_err());
        assert!(admit(0, [true; 3]).unwrap().stdio.has_terminal());
        let handed = admit(2, [true, false, false]).unwrap();
        assert!(handed.stdio.stdin.is_none() && handed.stdio.stderr.is_some());
        let null = "device /dev/null";
        assert_eq!(*handed.told, ["terminal", null, null]);
    }
}
