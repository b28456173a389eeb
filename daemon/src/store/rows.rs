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
    /// Variables given with the registration.
    pub env: Vec<EnvVar>,
    /// Registered by a person.
    pub registered: bool,
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
    /// When it was compiled.
    pub compiled_at: Timestamp,
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
