//! What is asked of a sandbox, the same on every OS.

use std::collections::{BTreeMap, HashSet};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// Which Unix sockets the server may use.
    pub unix_sockets: UnixSockets,
    /// Whether the server may make user namespaces of its own, and others inside them. Linux only.
    pub nested_user_namespaces: bool,
    /// Folders that the server may change for itself alone: what it writes goes elsewhere and the host's copy
    /// stays as it is. One takes the place of a rule about the same path, and rules below it lie over it: they show
    /// the host's. Linux only.
    pub overlays: Vec<Overlay>,
    /// What the sandbox has in the place of the host's. Linux only.
    pub own: OwnPlaces,
    /// What names alone tell, wherever they come up. macOS only: elsewhere `judged` knows.
    pub patterns: Patterns,
    /// What is decided when it is used, because no mount could hold it. Linux only.
    pub judged: Option<Judged>,
    /// Whether refused uses of files are told.
    pub observe: bool,
}

/// How names are found: every sandbox has its own. Of the host's there is nothing in them.
pub(crate) const NAME_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

impl SandboxSpec {
    /// Whether what stands at an absolute path without links is the sandbox's own and not the host's.
    pub fn is_own(&self, path: &Path) -> bool {
        let own = [
            self.temp.inside.as_path(),
            Path::new("/dev"),
            Path::new("/proc"),
        ];
        own.into_iter().any(|writable| path.starts_with(writable))
            || self.overlay_of(path).is_some()
            || self.own.files.iter().any(|file| path == file.path)
            || NAME_FILES.iter().any(|file| path == Path::new(file))
            || self.is_private(path)
    }

    /// The overlay that is seen at a path: none of the rules below it covers that.
    pub(crate) fn overlay_of(&self, path: &Path) -> Option<&Overlay> {
        let overlay = self
            .overlays
            .iter()
            .filter(|overlay| path.starts_with(&overlay.path))
            .max_by_key(|overlay| overlay.path.components().count())?;
        let below =
            |rule: &&PathRule| rule.path != overlay.path && rule.path.starts_with(&overlay.path);
        self.rule(path).filter(below).is_none().then_some(overlay)
    }

    /// Whether it lies in a private folder, and not in what is mounted inside one.
    pub(crate) fn is_private(&self, path: &Path) -> bool {
        self.own.folder_of(path).is_some_and(|folder| {
            self.rule(path)
                .is_none_or(|rule| !rule.path.starts_with(&folder.inside))
        })
    }

    fn rule(&self, path: &Path) -> Option<&PathRule> {
        self.files
            .iter()
            .rev()
            .find(|rule| path.starts_with(&rule.path))
    }

    /// What the mounts alone give at an absolute path without links.
    pub fn mounted(&self, path: &Path) -> Access {
        if self.is_own(path) {
            return Access::ReadWrite;
        }
        self.rule(path).map_or(Access::Read, |rule| rule.access)
    }

    /// What the server may do at an absolute path without links, by this spec.
    pub fn access(&self, path: &Path) -> Access {
        if self.is_own(path) {
            return Access::ReadWrite;
        }
        match &self.judged {
            Some(judged) => judged.judge.access(path),
            None => self.mounted(path),
        }
    }

    /// The folders on the way from a private folder to what is mounted inside it, as seen inside. They are mounts of
    /// their own, because the kernel refuses to rename a mount point (EBUSY): otherwise a server could rename what
    /// leads to a rule. Parents before children.
    pub fn ways(&self) -> Vec<PathBuf> {
        let mounted: std::collections::BTreeSet<&Path> = self
            .files
            .iter()
            .map(|rule| rule.path.as_path())
            .chain(self.overlays.iter().map(|overlay| overlay.path.as_path()))
            .collect();
        let mut ways = std::collections::BTreeSet::new();
        for path in &mounted {
            let Some(folder) = self
                .own
                .folder_of(path)
                .filter(|folder| folder.inside != **path)
            else {
                continue;
            };
            let between: Vec<&Path> = path
                .ancestors()
                .skip(1)
                .take_while(|above| *above != folder.inside)
                .collect();
            // What lies below another mount is on the host, not in the private folder.
            if between.iter().all(|above| !mounted.contains(above)) {
                ways.extend(between.into_iter().map(Path::to_owned));
            }
        }
        ways.into_iter().collect()
    }

    /// Where a path below a private folder is on the host.
    pub fn private_on_host(&self, path: &Path) -> Option<PathBuf> {
        let folder = self.own.folder_of(path)?;
        let rest = path.strip_prefix(&folder.inside).ok()?;
        // Joined part by part: an empty rest adds no slash.
        Some(
            rest.iter()
                .fold(folder.host.clone(), |host, part| host.join(part)),
        )
    }
}

/// What a sandbox has of its own, where it does not share the host's files: the files that everybody reads, and
/// folders that everybody writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnPlaces {
    /// Private folders, writable, such as the home folder and `/tmp`: what the rules name inside one is mounted over
    /// it. Each exists on the host, empty but for [`SandboxSpec::ways`], ours, mode 0700. None is inside another.
    pub folders: Vec<TempFolder>,
    /// Symbolic links that are made where no rule shows the host's.
    pub links: Vec<Link>,
    /// Files with these contents, mode 0444.
    pub files: Vec<OwnFile>,
}

impl OwnPlaces {
    /// The private folder that a path is in.
    pub fn folder_of(&self, path: &Path) -> Option<&TempFolder> {
        self.folders
            .iter()
            .find(|folder| path.starts_with(&folder.inside))
    }
}

/// Which Unix sockets a server may use, beside pairs of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnixSockets {
    /// Those that stand at these paths or below them, by connecting to them. The paths are absolute, without links.
    Listed(Vec<PathBuf>),
    /// Every one that can be seen.
    All,
}

impl Default for UnixSockets {
    /// None.
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

/// A symbolic link of a sandbox's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where it stands: absolute, its parent without links.
    pub path: PathBuf,
    /// What it says.
    pub target: PathBuf,
}

/// A file of a sandbox's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFile {
    /// Where it stands: absolute, without links.
    pub path: PathBuf,
    /// What is in it.
    pub contents: Vec<u8>,
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
            unix_sockets: UnixSockets::default(),
            nested_user_namespaces: false,
            overlays: Vec::new(),
            patterns: Patterns::default(),
            judged: None,
            observe: true,
            own: OwnPlaces::default(),
        }
    }
}

/// Decides what may be done with a path at the moment of its use. Every path is absolute, without links.
pub trait Judge: std::fmt::Debug + Send + Sync {
    /// What may be done with what stands there, or would.
    fn access(&self, path: &Path) -> Access;

    /// Whether something other than a folder may stand there. Where it may not, a path that a rule is about leads
    /// through: a link or a file in its place would aim the rule elsewhere.
    fn may_be_file(&self, path: &Path) -> bool;

    /// Whether this may be renamed to that without a rule ceasing to hold for something in it, or beginning to.
    /// Both may be written.
    fn may_move(&self, from: &Path, to: &Path, is_folder: bool) -> bool;

    /// Whether a rule opens this very path. What stands there must not become a link, nor a folder there go: the
    /// rule would be about another place by the next launch.
    fn is_opened(&self, path: &Path) -> bool;
}

/// What is decided when it is used: inside, whatever is the host's is read-only, and what the judge allows to be
/// written is carried out for the sandbox.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Who decides.
    pub judge: Arc<dyn Judge>,
    /// Device and inode of files that a rule keeps from being written, to know them by another name.
    pub unwritable: HashSet<(u64, u64)>,
    /// Device and inode of files that a rule hides.
    pub unreadable: HashSet<(u64, u64)>,
    /// Whether every opening is decided on, not only those for writing.
    pub reads: bool,
}

/// Regular expressions that absolute paths without links are searched with. Each begins with `^` and is in a dialect
/// that Seatbelt reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    /// What is neither read nor written, whatever `files` gives there.
    pub hidden: Vec<String>,
    /// What is not written, whatever `files` gives there.
    pub unwritable: Vec<String>,
    /// What is given in spite of `hidden`.
    pub opened: Vec<Opened>,
}

/// A path that is given although a pattern hides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The path and what may be done with it and what is below, but for rules below.
    pub rule: PathRule,
    /// What is hidden there all the same.
    pub hidden: Vec<String>,
}

/// A folder that is seen as it is and written elsewhere (overlayfs). The three folders beside it exist and are on one
/// file system; what an earlier launch left in `upper` is seen.
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
    /// Ports at which datagrams to any address are captured; to any other they are refused by the kernel. Of port 53
    /// DNS has the datagrams already. Linux only.
    #[serde(default)]
    pub udp_ports: Vec<u16>,
}

/// Resource limits of a launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// `RLIMIT_NOFILE`, soft and hard (setrlimit(2)).
    pub file_descriptors: Option<u64>,
    /// Processes and threads of the server at one time: `RLIMIT_NPROC`, which since Linux 5.14 counts within the
    /// sandbox's own user namespace; for root, whom it does not bind, the cgroup's `pids.max`.
    pub processes: Option<u64>,
    /// `RLIMIT_FSIZE`, in bytes. Writing beyond it fails (EFBIG).
    pub file_size: Option<u64>,
    /// Memory of all processes together, in bytes: the cgroup's `memory.max`, without swap.
    pub memory: Option<u64>,
    /// CPU time of all processes together, in percent of one CPU: the cgroup's `cpu.max`.
    pub cpu_percent: Option<u32>,
    /// Whether a limit that this host cannot enforce is left out with a note, in place of an error.
    #[serde(default)]
    pub best_effort: bool,
    /// The soft limit alone, where nothing else is asked for.
    #[serde(default)]
    pub(crate) soft_file_descriptors: Option<u64>,
}

impl Limits {
    /// A limit of open descriptors and no other; `None`: as the process that launches was started with.
    pub fn of_descriptors(file_descriptors: Option<u64>) -> Self {
        Self {
            file_descriptors,
            ..Self::default()
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
    /// Datagrams to the ports that the spec named.
    pub udp: Vec<UdpSocket>,
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
    /// Folders, as seen inside, and the device and inode that each must have: found otherwise, one was replaced while
    /// the sandbox was being built, and nothing is run. Linux only.
    pub expected: Vec<(PathBuf, (u64, u64))>,
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
    /// The limit of memory, in bytes, if the kernel ended it for reaching that.
    pub out_of_memory: Option<u64>,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(limit) = self.out_of_memory {
            return write!(
                f,
                "killed: out of memory (runtime.memoryMax {})",
                Bytes(limit)
            );
        }
        match self.signal.map(|number| (number, signal_name(number))) {
            Some((_, Some(name))) => write!(f, "killed by {name}"),
            Some((number, None)) => write!(f, "killed by signal {number}"),
            None => write!(f, "exited with status {}", self.code),
        }
    }
}

/// An amount of memory for a person: in the largest unit that it is a whole number of.
struct Bytes(u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = [(30, "GiB"), (20, "MiB"), (10, "KiB")]
            .into_iter()
            .find(|(power, _)| self.0 >= 1 << power && self.0.trailing_zeros() >= *power);
        match unit {
            Some((power, unit)) => write!(f, "{} {unit}", self.0 >> power),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

fn signal_name(number: i32) -> Option<&'static str> {
    nix::sys::signal::Signal::try_from(number)
        .ok()
        .map(nix::sys::signal::Signal::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_for_want_of_memory_is_told_as_such() {
        let mut exit = Exit {
            code: 137,
            signal: Some(9),
            out_of_memory: None,
        };
        assert_eq!(exit.to_string(), "killed by SIGKILL");
        for (bytes, text) in [
            (512 << 20, "512 MiB"),
            (3 << 30, "3 GiB"),
            (1536 << 10, "1536 KiB"),
            (1000, "1000 bytes"),
        ] {
            exit.out_of_memory = Some(bytes);
            let expected = format!("killed: out of memory (runtime.memoryMax {text})");
            assert_eq!(exit.to_string(), expected);
        }
    }
}
