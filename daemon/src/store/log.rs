//! The audit log and the servers' logs, as the daemon uses them.

use tokio::sync::watch;

use super::pages::{LogQuery, Pages};
use super::read::Reader;
use super::request::{self, ROOM, Write};
use super::rows::{LogLine, Stream};
use super::{Store, StoreError};
use crate::audit::{Entry, Redacted};

impl Store {
    /// Records an entry, what looks like a secret taken out; its number, when it is durable.
    ///
    /// # Errors
    /// When it could not be written: it is not in the log and what it announces must not happen.
    pub async fn record(&self, entry: Entry) -> Result<u64, StoreError> {
        let write = Write::Entry(Redacted::of(entry));
        Ok(self.ask(write, false).await?.seq)
    }

    /// Queues an entry, waiting only for room. It is durable within 100 ms, or as soon as the disk allows.
    ///
    /// # Errors
    /// Only when the store is closed.
    pub async fn submit(&self, entry: Entry) -> Result<(), StoreError> {
        self.queue(Write::Entry(Redacted::of(entry))).await
    }

    /// Queues a line of a server's log, as [`Self::submit`] does an entry. While nothing can be written and half of the
    /// queue's room is taken, lines are counted instead, and the first one after that is preceded by one that says how
    /// many are missing.
    ///
    /// # Errors
    /// Only when the store is closed.
    pub async fn log_line(&self, mut line: LogLine) -> Result<(), StoreError> {
        let stuck = self.health.borrow().trouble.is_some();
        if stuck && self.room.available_permits() < ROOM as usize / 2 {
            self.unkept.count(&line.server);
            return Ok(());
        }
        if let Some(count) = self.unkept.take(&line.server) {
            let missing = LogLine {
                stream: Stream::Daemon,
                line: format!("{count} lines are missing here: the database could not be written"),
                ..line.clone()
            };
            self.queue(Write::Line(missing)).await?;
        }
        request::cut(&mut line.line);
        self.queue(Write::Line(line)).await
    }

    /// Log lines, in ascending order.
    pub fn logs(&self, query: LogQuery) -> Pages<LogQuery> {
        let Reader { pool, path } = self.reader.clone();
        Pages::new(pool, path, query, self.log_tail())
    }

    /// The number of the newest durable audit entry, as it rises.
    pub fn audit_tail(&self) -> watch::Receiver<u64> {
        self.audit_tail.clone()
    }

    /// The number of the newest durable log line, as it rises.
    pub fn log_tail(&self) -> watch::Receiver<u64> {
        self.log_tail.clone()
    }
}
