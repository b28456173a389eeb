//! What is asked of a sandbox, the same on every OS.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What a server may do with a path and all that is below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Access {
    /// Neither listed nor opened.
    None,
    /// Read and executed.
    Read,
    /// Read, executed, written, created and deleted.
    ReadWrite,
}

/// One rule of a sandbox's view of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRule {
    /// Absolute, existing, without links.
    pub path: PathBuf,
    /// What may be done from here down, until a deeper rule says otherwise.
    pub access: Access,
}

/// The launch's own temporary folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TempFolder {
    /// Where it is on the host. It exists, is ours, and has mode 0700.
    pub host: PathBuf,
    /// Where the server sees it. On macOS, which cannot move a folder, the same as `host`.
    pub inside: PathBuf,
}

/// What a sandbox confines, before anything is known of the command.
#[derive(Clone, Debug)]
pub struct SandboxSpec {
    /// Parents before children. The file system's root is readable where no rule covers a path.
    pub files: Vec<PathRule>,
    /// The launch's own temporary folder.
    pub temp: TempFolder,
    /// The only way out.
    pub network: NetworkSpec,
    /// Limits.
    pub limits: Limits,
    /// Whether `socket(AF_UNIX)` stays possible.
    pub allow_unix_sockets: bool,
    /// Folders that the server may change for itself alone: what it writes goes elsewhere and the host's copy
    /// stays as it is. Linux only.
    pub overlays: Vec<Overlay>,
}

impl SandboxSpec {
    /// What the server may do at an absolute path without links, by this spec.
    pub fn access(&self, path: &Path) -> Access {
        let own = [
            self.temp.inside.as_path(),
            Path::new("/dev"),
            Path::new("/proc"),
        ];
        let overlaid = self.overlays.iter().map(|overlay| overlay.path.as_path());
        if own
            .into_iter()
            .chain(overlaid)
            .any(|writable| path.starts_with(writable))
        {
            return Access::ReadWrite;
        }
        self.files
            .iter()
            .rev()
            .find(|rule| path.starts_with(&rule.path))
            .map_or(Access::Read, |rule| rule.access)
    }
}

#[cfg(test)]
impl SandboxSpec {
    /// A spec of these files, for tests of what becomes of them.
    pub(crate) fn of(files: &[(&str, Access)], temp: TempFolder) -> Self {
        let rule = |(path, access): &(&str, Access)| PathRule {
            path: path.into(),
            access: *access,
        };
        Self {
            files: files.iter().map(rule).collect(),
            temp,
            network: NetworkSpec::default(),
            limits: Limits::default(),
            allow_unix_sockets: false,
            overlays: Vec::new(),
        }
    }
}

/// A folder that is seen as it is and written elsewhere (overlayfs). The three folders beside it exist, are empty,
/// and are on one file system.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Overlay {
    /// The folder.
    pub path: PathBuf,
    /// Where changes go.
    pub upper: PathBuf,
    /// overlayfs's own.
    pub work: PathBuf,
    /// Where both are put together.
    pub merged: PathBuf,
}

/// A refused use of a path, as it was observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path, absolute, links followed.
    pub path: PathBuf,
    /// Whether it was to be written (created, renamed, deleted …) rather than read.
    pub write: bool,
    /// The name of the program, as in `/proc/PID/comm`.
    pub program: String,
    /// How many times, this report's included or, for a closing report, since the first.
    pub times: u64,
    /// A closing report: how often a violation that was reported before came again.
    pub again: bool,
}

/// Which listeners a sandbox needs beside the standard ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NetworkSpec {
    /// Addresses of the sandbox's own loopback at which connections are captured: those that policy names,
    /// because a connection to loopback is never redirected.
    pub loopback: Vec<SocketAddr>,
    /// Ports at which connections to any address are captured where the kernel cannot redirect.
    pub ports: Vec<u16>,
}

/// Resource limits of a launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// `RLIMIT_NOFILE`, soft and hard (setrlimit(2)).
    pub file_descriptors: Option<u64>,
    /// The soft limit alone, where nothing else is asked for.
    #[serde(default)]
    pub(crate) soft_file_descriptors: Option<u64>,
}

impl Limits {
    /// A limit of open descriptors and no other; `None`: as the process that launches was started with.
    pub fn of_descriptors(file_descriptors: Option<u64>) -> Self {
        Self {
            file_descriptors,
            soft_file_descriptors: None,
        }
    }
}

/// The listeners of a sandbox, held by the one who decides.
#[derive(Debug)]
pub struct Sockets {
    /// The HTTP proxy's.
    pub http: TcpListener,
    /// The SOCKS5 proxy's.
    pub socks: TcpListener,
    /// Captured connections; the destination is the local address or the original destination.
    pub transparent: Vec<TcpListener>,
    /// Name lookups by datagram.
    pub dns_udp: Vec<UdpSocket>,
    /// Name lookups by stream.
    pub dns_tcp: Vec<TcpListener>,
    /// Whether every TCP port is captured, or only those that the spec named.
    pub captures_every_port: bool,
}

/// What runs in a sandbox.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments; a program without a slash is looked up in the environment's PATH.
    pub arguments: Vec<String>,
    /// The whole environment.
    pub environment: BTreeMap<String, String>,
    /// The working directory, as seen inside.
    pub cwd: PathBuf,
    /// The file mode creation mask (umask(2)), 9 bits.
    pub umask: u32,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command")
            .field("arguments", &self.arguments)
            .field("environment", &self.environment.keys())
            .field("cwd", &self.cwd)
            .finish()
    }
}

/// The descriptors that become the server's 0, 1 and 2.
#[derive(Debug)]
pub struct Stdio {
    /// Standard input.
    pub stdin: OwnedFd,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

/// The programs that a launch needs.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The helper `srt-jail`.
    pub jail: PathBuf,
    /// bubblewrap (Linux).
    pub bwrap: PathBuf,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit status, or 128 + signal number.
    pub code: i32,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.signal.map(|number| (number, signal_name(number))) {
            Some((_, Some(name))) => write!(f, "killed by {name}"),
            Some((number, None)) => write!(f, "killed by signal {number}"),
            None => write!(f, "exited with status {}", self.code),
        }
    }
}

fn signal_name(number: i32) -> Option<&'static str> {
    nix::sys::signal::Signal::try_from(number)
        .ok()
        .map(nix::sys::signal::Signal::as_str)
}
