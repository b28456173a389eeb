//! The audit log and the servers' logs, as the daemon uses them.

use tokio::sync::watch;

use super::pages::{AuditQuery, LogQuery, Pages};
use super::read::Reader;
use super::request::{self, Write};
use super::rows::LogLine;
use super::{Store, StoreError};
use crate::audit::Entry;

impl Store {
    /// Records an entry; its number, when it is durable.
    ///
    /// # Errors
    /// When it could not be written: it is not in the log and what it announces must not happen.
    pub async fn record(&self, entry: Entry) -> Result<u64, StoreError> {
        Ok(self.ask(Write::Entry(entry)).await?.seq)
    }

    /// Queues an entry, waiting only for room. It is durable within 100 ms, or as soon as the disk allows.
    ///
    /// # Errors
    /// Only when the store is closed.
    pub async fn submit(&self, entry: Entry) -> Result<(), StoreError> {
        self.queue(Write::Entry(entry)).await
    }

    /// Queues a line of a server's log, as [`Self::submit`] does an entry.
    ///
    /// # Errors
    /// Only when the store is closed.
    pub async fn log_line(&self, mut line: LogLine) -> Result<(), StoreError> {
        request::cut(&mut line.line);
        self.queue(Write::Line(line)).await
    }

    /// Audit entries, in ascending order.
    pub fn audit(&self, query: AuditQuery) -> Pages<AuditQuery> {
        let Reader { pool, path } = self.reader.clone();
        Pages::new(pool, path, query, self.audit_tail())
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
