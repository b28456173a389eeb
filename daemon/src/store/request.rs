//! What travels from the store's callers to its writer.

use jiff::Timestamp;
use srt_policy::Retain;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use uuid::Uuid;

use super::StoreError;
use super::lag::Ticket;
use super::rows::{
    Exit, Grant, InForce, Launch, LogLine, Policy, Processes, Server, Session, Tool,
};
use super::shipping::Shipped;
use crate::audit::Redacted;

/// One thing to be written.
#[derive(Debug)]
pub(super) enum Write {
    Entry(Redacted),
    Line(LogLine),
    /// A change and the entry that tells of it: both or neither.
    Change(Box<Change>, Option<Redacted>),
}

/// A change of the tables other than the log.
#[derive(Debug)]
pub(super) enum Change {
    /// None: its answer shows that the writer takes requests and gets the database's lock.
    Nothing,
    /// None either, but the disk has to take something: shows that it does again.
    Probe,
    Register(Server),
    NoteServer(Server),
    RemoveServer(String),
    EnableServer {
        name: String,
        enabled: bool,
    },
    Generation(Policy),
    InForce(InForce),
    BeginLaunch(Launch),
    LaunchRuns(Uuid, Processes),
    EndLaunch(Uuid, Exit),
    OpenSession(Session),
    MoveSession {
        id: Uuid,
        launch: Uuid,
        client_pid: Option<u32>,
    },
    CloseSession {
        id: Uuid,
        at: Timestamp,
    },
    CloseTokenless {
        at: Timestamp,
    },
    PutTools(Vec<Tool>),
    Shipped(Shipped),
    AddGrant(Grant),
    EndGrant {
        id: u64,
        at: Timestamp,
        reason: String,
    },
    GrantUsed {
        id: u64,
        at: Timestamp,
    },
}

/// What came of a write.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Receipt {
    /// The number of the audit entry, 0 where none was written.
    pub(super) seq: u64,
    /// The number of the generation, 0 where the write was none.
    pub(super) id: u64,
    /// Whether the change changed anything.
    pub(super) changed: bool,
}

pub(super) type Ack = oneshot::Sender<Result<Receipt, StoreError>>;

/// A write on its way.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) write: Write,
    /// Whoever waits for the write to be durable. `None`: nobody waits, and the writer retries until it is.
    pub(super) ack: Option<Ack>,
    /// It tells of what has happened already: where it cannot be written, whoever waits is told, and it is retried.
    pub(super) keep: bool,
    /// Room taken in the queue, given back when the request is dropped.
    pub(super) _room: Option<OwnedSemaphorePermit>,
    /// Its place among what waits, until it is dropped. What is the store's own has none.
    pub(super) _ticket: Option<Ticket>,
}

impl Request {
    /// What the writer asks of itself while nothing can be written.
    pub(super) fn probe() -> Self {
        Self {
            write: Write::Change(Box::new(Change::Probe), None),
            ack: None,
            keep: true,
            _room: None,
            _ticket: None,
        }
    }
}

/// A request, what the settings say, or the order to write what came before it and end.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the small ones are rare")]
pub(super) enum Message {
    Request(Request),
    /// How much of the audit log is kept from now on.
    Retain(Option<Retain>),
    Close,
}

/// Log lines are cut at this length.
const LINE_MAX: usize = 16 * 1024;

/// Bytes that one unit of the queue's room stands for.
const UNIT: usize = 256;

/// Room in the queue, in units: 16 MiB, so that a burst of 10,000 denials never waits.
pub(super) const ROOM: u32 = 16 * 1024 * 1024 / UNIT as u32;

impl Write {
    /// Whether the disk has to take something of it.
    pub(super) fn writes(&self) -> bool {
        !matches!(self, Self::Change(change, _) if matches!(**change, Change::Nothing))
    }

    /// The room that the write takes in the queue, in units, by an estimate of its size in memory.
    pub(super) fn room(&self) -> u32 {
        let bytes = match self {
            Self::Entry(entry) => {
                entry.subject.len() + entry.detail.values().map(size_of_value).sum::<usize>()
            }
            Self::Line(line) => line.line.len() + line.server.len(),
            Self::Change(..) => 0,
        };
        u32::try_from(1 + bytes / UNIT).unwrap_or(ROOM).min(ROOM)
    }
}

fn size_of_value(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::String(text) => 32 + text.len(),
        serde_json::Value::Array(values) => 32 + values.iter().map(size_of_value).sum::<usize>(),
        serde_json::Value::Object(values) => 32 + values.values().map(size_of_value).sum::<usize>(),
        _ => 32,
    }
}

/// Cuts a line that is too long to keep, and says how much is missing.
pub(super) fn cut(line: &mut String) {
    if line.len() > LINE_MAX {
        let end = line.floor_char_boundary(LINE_MAX);
        let missing = line.len() - end;
        line.truncate(end);
        line.shrink_to_fit();
        line.push_str(&format!(" … {missing} bytes cut"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_between_characters_and_says_so() {
        let mut line = "ä".repeat(LINE_MAX);
        cut(&mut line);
        assert!(
            line.ends_with("ä … 16384 bytes cut"),
            "{}",
            &line[line.len() - 40..]
        );
        let mut short = "short".to_owned();
        cut(&mut short);
        assert_eq!(short, "short");
    }
}
