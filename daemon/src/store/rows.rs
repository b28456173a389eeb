//! What the store keeps, as plain values: no row type of sqlx and no message of the contract.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A server: registered by a person, or known from a shim's command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Working directory; `None`: that of whoever attaches.
    pub cwd: Option<String>,
    /// Settings file; `None`: found by the daemon's rules.
    pub settings: Option<String>,
    /// Profile; `None`: by the environment of whoever attaches.
    pub profile: Option<String>,
    /// Variables given with the registration.
    pub env: Vec<EnvVar>,
    /// Registered by a person.
    pub registered: bool,
    /// Starts with the daemon. Only a registered one does; [`super::Store::enable_server`] alone changes it.
    pub enabled: bool,
    /// When it was registered or first seen.
    pub created_at: Timestamp,
}

/// A variable of a registration.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value; `None`: taken from whoever attaches.
    pub value: Option<String>,
}

// Values are secrets as often as not, and Debug output ends up in logs.
impl fmt::Debug for EnvVar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = if self.value.is_some() { "=…" } else { "" };
        write!(formatter, "{}{shown}", self.name)
    }
}

/// A settings text to be given a generation number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Path of the settings file, or `built-in`.
    pub source: String,
    /// Lower-case hexadecimal SHA-256 of the text.
    pub digest: String,
    /// The text.
    pub text: String,
    /// Every document that it is compiled from, in the order in which they count; none where it is built in.
    pub documents: Vec<Document>,
    /// When it was compiled.
    pub compiled_at: Timestamp,
}

/// A settings document as it was read. Its text may hold the password of a proxy.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Whose it is: user, server or project.
    pub layer: String,
    /// Its path, or the name of a template.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl Document {
    /// Whether it is the project's, and so not the user's to change here.
    pub fn is_projects(&self) -> bool {
        self.layer == "project"
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({} bytes)", self.path, self.text.len())
    }
}

/// A generation that came to be in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The server's name.
    pub server: String,
    /// The working directory that it was read for; empty where that is not known.
    pub cwd: String,
    /// The settings file that was named; `None`: found by the daemon's rules.
    pub settings: Option<String>,
    /// The generation's number.
    pub generation: u64,
    /// Since when.
    pub at: Timestamp,
    /// Why, for a person.
    pub reason: String,
}

/// A settings text with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// The number: global, rising.
    pub id: u64,
    /// The text.
    pub policy: Policy,
}

/// An attempt to run a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Its id.
    pub id: Uuid,
    /// The server's name.
    pub server: String,
    /// Policy generation in force.
    pub generation: u64,
    /// Whether the supervisor replaces a launch that ended.
    pub restart: bool,
    /// The launch's temporary folder.
    pub temp_dir: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
}

/// The processes of a launch, told so that a sweep after a crash ends these and no others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processes {
    /// The server's process id on the host.
    pub pid: u32,
    /// When `pid` started, in clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub pid_start: u64,
    /// The first process of the launch's pid namespace: when it is killed, all are.
    pub init_pid: Option<u32>,
    /// When `init_pid` started, as `pid_start`.
    pub init_start: Option<u64>,
    /// The boot to which these belong: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Option<String>,
}

/// A launch of which no end is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The launch.
    pub launch: Launch,
    /// Its processes, if it came that far.
    pub processes: Option<Processes>,
}

/// How a launch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// When.
    pub at: Timestamp,
    /// Exit status, unless a signal ended the server or nobody saw its end.
    pub code: Option<i32>,
    /// The signal that ended the server.
    pub signal: Option<i32>,
    /// Why, for a person.
    pub reason: String,
    /// What kind of end it was, where that is known.
    pub kind: Option<EndKind>,
}

/// What kind of end a launch had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndKind {
    /// Its process ended by itself.
    Exited,
    /// A signal that nobody here sent.
    Signal,
    /// The kernel ended it for want of memory.
    OutOfMemory,
    /// It was not ready in time (`runtime.timeoutSeconds`).
    TimedOut,
    /// It answered no more (`runtime.healthTimeoutSeconds`).
    NoAnswer,
    /// It filled the disk (`filesystem.overlayMax`).
    DiskFull,
    /// A person or its host wanted it to.
    Stopped,
    /// Another launch takes its place.
    Replaced,
    /// It was never begun: policy or the sandbox refused.
    Refused,
    /// Nobody saw it end.
    Lost,
}

impl EndKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Exited,
        Self::Signal,
        Self::OutOfMemory,
        Self::TimedOut,
        Self::NoAnswer,
        Self::DiskFull,
        Self::Stopped,
        Self::Replaced,
        Self::Refused,
        Self::Lost,
    ];

    /// The name, which stands in databases.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Signal => "signal",
            Self::OutOfMemory => "out-of-memory",
            Self::TimedOut => "timed-out",
            Self::NoAnswer => "no-answer",
            Self::DiskFull => "disk-full",
            Self::Stopped => "stopped",
            Self::Replaced => "replaced",
            Self::Refused => "refused",
            Self::Lost => "lost",
        }
    }

    /// Reads a name; none where a later version wrote one that this one does not know.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What became of a server's launches since it was registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Launches, restarts included.
    pub launches: u64,
    /// Launches with which the supervisor replaced one that ended.
    pub restarts: u64,
    /// The newest end.
    pub last_exit: Option<Exit>,
}

/// A conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id, kept when the server is launched anew.
    pub id: Uuid,
    /// The launch that serves it.
    pub launch: Uuid,
    /// The server's name.
    pub server: String,
    /// The shim's process id.
    pub client_pid: Option<u32>,
    /// When it began.
    pub opened_at: Timestamp,
    /// SHA-256 of the token by which its shim may go on with it, lower-case hexadecimal; none where it cannot.
    pub token_hash: Option<String>,
}

/// A session that was open when its daemon died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSession {
    /// Its id.
    pub id: Uuid,
    /// The server's name.
    pub server: String,
    /// As in [`Session`].
    pub token_hash: String,
}

/// How long a grant is to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Until its launch ends.
    Session,
    /// Until a time.
    Time,
    /// Until it is revoked.
    Always,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Session, Self::Time, Self::Always];

    /// The name, which stands in databases.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Time => "time",
            Self::Always => "always",
        }
    }
}

/// A name that no scope has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no scope of a grant is named {name:?}")]
pub struct UnknownScope {
    /// The name.
    pub name: String,
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(name: &str) -> Result<Self, UnknownScope> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == name)
            .ok_or_else(|| UnknownScope { name: name.into() })
    }
}

/// A connection that a person approved, remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its number, given out by the daemon: 1 for the first one ever.
    pub id: u64,
    /// The server's name.
    pub server: String,
    /// A name or an address, in the form in which hosts are compared.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How long it is to last.
    pub scope: Scope,
    /// The launch that one of scope session belongs to.
    pub launch: Option<Uuid>,
    /// Who approved it.
    pub uid: u32,
    /// Their name, where there is one.
    pub user: Option<String>,
    /// When.
    pub created_at: Timestamp,
    /// When it is at its end by itself.
    pub expires_at: Option<Timestamp>,
    /// When a connection last passed by it; within a minute.
    pub last_used_at: Option<Timestamp>,
    /// Its end, once it has come.
    pub ended: Option<Ended>,
}

/// The end of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// Why, for a person.
    pub reason: String,
}

/// A tool of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// The server's name.
    pub server: String,
    /// Its own.
    pub name: String,
    /// What the server says of it.
    pub said: Said,
    /// What of that is accepted; `None` where tools of the server were never pinned.
    pub accepted: Option<Said>,
}

/// What a server says of a tool: its whole definition, in one spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Lower-case hexadecimal SHA-256 of it.
    pub digest: String,
    /// It; `None` where it is too long to keep.
    pub text: Option<String>,
    /// Since when it is said, or accepted.
    pub at: Timestamp,
}

/// Where a log line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// The server's stderr.
    Stderr,
    /// What the daemon says of the server.
    Daemon,
    /// What the proxies say of the server's traffic.
    Egress,
}

impl Stream {
    /// Every stream.
    pub const ALL: [Self; 3] = [Self::Stderr, Self::Daemon, Self::Egress];

    /// The name, which stands in databases and is typed by people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stderr => "stderr",
            Self::Daemon => "daemon",
            Self::Egress => "egress",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// A name that no stream has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no log stream is named {name:?}\nhint: the streams are {}", Stream::ALL.map(Stream::as_str).join(", "))]
pub struct UnknownStream {
    /// The name.
    pub name: String,
}

impl FromStr for Stream {
    type Err = UnknownStream;

    fn from_str(name: &str) -> Result<Self, UnknownStream> {
        Self::ALL
            .into_iter()
            .find(|stream| stream.as_str() == name)
            .ok_or_else(|| UnknownStream { name: name.into() })
    }
}

/// A line of a server's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it was read.
    pub at: Timestamp,
    /// The server's name.
    pub server: String,
    /// Where it comes from.
    pub stream: Stream,
    /// The launch, if it belongs to one.
    pub launch: Option<Uuid>,
    /// The text, without its line end. What is longer than 16 KiB is cut when stored, and says so.
    pub line: String,
}

/// A log line as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Its number, rising over all servers.
    pub id: u64,
    /// The line.
    pub line: LogLine,
}
