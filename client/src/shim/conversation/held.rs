//! What the host sent while there was no launch for it, in its order.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use srt_mcp::Id;

use super::calls::Call;

/// A line, and the requests in it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) bytes: Bytes,
    pub(super) calls: Vec<Call>,
    pub(super) since: Instant,
}

/// The lines.
#[derive(Debug, Default)]
pub(super) struct Held {
    lines: VecDeque<Line>,
    bytes: usize,
}

impl Held {
    /// All lines together.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, line: Line) {
        self.bytes += line.bytes.len();
        self.lines.push_back(line);
    }

    /// Puts lines before those that are there.
    pub(super) fn put_first(&mut self, lines: Vec<Line>) {
        for line in lines.into_iter().rev() {
            self.bytes += line.bytes.len();
            self.lines.push_front(line);
        }
    }

    /// Since when the first request waits. Those after it came later, or have just been tried.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let first = self.lines.iter().find(|line| !line.calls.is_empty());
        first.map(|line| line.since)
    }

    /// Takes a request out that waits. Whether it was there.
    pub(super) fn cancel(&mut self, id: &Id) -> bool {
        // Of a batch only as a whole, which this is not.
        let is_it = |line: &Line| matches!(&line.calls[..], [call] if call.id == *id);
        let Some(at) = self.lines.iter().position(is_it) else {
            return false;
        };
        if let Some(line) = self.lines.remove(at) {
            self.bytes -= line.bytes.len();
        }
        true
    }

    /// Takes the requests that wait since before `time`.
    pub(super) fn overdue(&mut self, time: impl Fn(Instant) -> bool) -> Vec<Call> {
        let mut overdue = Vec::new();
        self.lines.retain_mut(|line| {
            let late = !line.calls.is_empty() && time(line.since);
            if late {
                self.bytes -= line.bytes.len();
                overdue.append(&mut line.calls);
            }
            !late
        });
        overdue
    }

    pub(super) fn pop(&mut self) -> Option<Line> {
        let line = self.lines.pop_front()?;
        self.bytes -= line.bytes.len();
        Some(line)
    }
}
