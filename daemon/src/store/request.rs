//! What travels from the store's callers to its writer.

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use uuid::Uuid;

use super::StoreError;
use super::rows::{Exit, Launch, LogLine, Policy, Processes, Server, Session};
use crate::audit::Entry;

/// One thing to be written.
#[derive(Debug)]
pub(super) enum Write {
    Entry(Entry),
    Line(LogLine),
    /// A change and the entry that tells of it: both or neither.
    Change(Box<Change>, Option<Entry>),
}

/// A change of the tables other than the log.
#[derive(Debug)]
pub(super) enum Change {
    Register(Server),
    NoteServer(Server),
    RemoveServer(String),
    Generation(Policy),
    BeginLaunch(Launch),
    LaunchRuns(Uuid, Processes),
    EndLaunch(Uuid, Exit),
    OpenSession(Session),
    MoveSession { id: Uuid, launch: Uuid },
    CloseSession { id: Uuid, at: Timestamp },
    CloseAllSessions { at: Timestamp },
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
    /// Room taken in the queue, given back when the request is dropped.
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

/// A request, or the order to write what came before it and end.
#[derive(Debug)]
pub(super) enum Message {
    Request(Request),
    Close,
}

/// Log lines are cut at this length.
const LINE_MAX: usize = 16 * 1024;

/// Bytes that one unit of the queue's room stands for.
const UNIT: usize = 256;

/// Room in the queue, in units: 16 MiB, so that a burst of 10,000 denials never waits.
pub(super) const ROOM: u32 = 16 * 1024 * 1024 / UNIT as u32;

impl Write {
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
