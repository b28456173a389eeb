//! What is asked of a sandbox, the same on every OS.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

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
