//! The one task that writes, on the one connection that can.
//!
//! Whatever is queued when it is free becomes one transaction, so a commit, which costs a wait for the disk, serves
//! every caller that came while the last one ran. Where nobody waits for an answer the writer lingers a little, so
//! that a stream of denials does not cost a commit each.
//!
//! When a transaction fails (the disk is full, say), those who wait are told at once: a launch whose entry cannot be
//! written must not begin. What nobody waits for stays queued and is tried again until it is written; it holds its
//! room in the queue, so memory stays bounded and submitters come to wait.

use std::collections::VecDeque;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::batch::{self, Numbers, Outcomes, Retention};
use super::request::{Message, Request};
use super::{Health, StoreError};

/// How the writer trades latency for fewer commits; differs in tests only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tuning {
    /// Requests in one transaction at most.
    pub(super) batch: usize,
    /// How long entries that nobody waits for may gather. Well under the promised 100 ms.
    pub(super) linger: Duration,
    /// Log lines kept for each server.
    pub(super) keep_lines: u32,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            batch: 1024,
            linger: Duration::from_millis(20),
            keep_lines: 10_000,
        }
    }
}

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(1);

/// What the writer tells the rest of the store.
#[derive(Debug)]
pub(super) struct Signals {
    /// The newest durable audit entry.
    pub(super) audit: watch::Sender<u64>,
    /// The newest durable log line.
    pub(super) logs: watch::Sender<u64>,
    pub(super) health: watch::Sender<Health>,
}

pub(super) struct Writer {
    path: PathBuf,
    options: SqliteConnectOptions,
    tuning: Tuning,
    connection: Option<SqliteConnection>,
    numbers: Numbers,
    retention: Retention,
    messages: mpsc::UnboundedReceiver<Message>,
    pending: VecDeque<Request>,
    closing: bool,
    retry: Duration,
    signals: Signals,
}

impl Writer {
    pub(super) fn new(
        path: PathBuf,
        options: SqliteConnectOptions,
        tuning: Tuning,
        connection: SqliteConnection,
        numbers: Numbers,
        messages: mpsc::UnboundedReceiver<Message>,
        signals: Signals,
    ) -> Self {
        Self {
            path,
            options,
            tuning,
            connection: Some(connection),
            numbers,
            retention: Retention::new(tuning.keep_lines),
            messages,
            pending: VecDeque::new(),
            closing: false,
            retry: RETRY_FIRST,
            signals,
        }
    }

    /// Writes until the store is closed or dropped, then empties the queue and closes the database.
    pub(super) async fn run(mut self) -> Result<(), StoreError> {
        loop {
            if self.pending.is_empty() && !self.receive().await {
                break;
            }
            self.gather().await;
            if let Err(error) = self.commit().await
                && let Err(unwritten) = self.failed(Arc::new(error)).await
            {
                return Err(unwritten);
            }
        }
        self.finish().await
    }

    /// Waits for a message; false once there will be none.
    async fn receive(&mut self) -> bool {
        match self.messages.recv().await {
            Some(message) => {
                self.accept(message);
                true
            }
            None => {
                self.closing = true;
                !self.pending.is_empty()
            }
        }
    }

    fn accept(&mut self, message: Message) {
        match message {
            Message::Request(request) => self.pending.push_back(request),
            // What was sent before the close is still in the channel and is still received.
            Message::Close => {
                self.closing = true;
                self.messages.close();
            }
        }
    }

    /// Takes what else is queued, and lingers for more while nobody waits.
    async fn gather(&mut self) {
        let until = Instant::now() + self.tuning.linger;
        loop {
            while self.pending.len() < self.tuning.batch
                && let Ok(message) = self.messages.try_recv()
            {
                self.accept(message);
            }
            let full = self.pending.len() >= self.tuning.batch;
            if full || self.closing || self.pending.iter().any(|request| request.ack.is_some()) {
                return;
            }
            match timeout_at(until, self.messages.recv()).await {
                Ok(Some(message)) => self.accept(message),
                Ok(None) => self.closing = true,
                Err(_elapsed) => return,
            }
        }
    }

    async fn commit(&mut self) -> Result<(), sqlx::Error> {
        let size = self.pending.len().min(self.tuning.batch);
        if size == 0 {
            return Ok(());
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let mut connection = self.options.connect().await?;
                self.numbers = batch::numbers(&mut connection).await?;
                self.connection.insert(connection)
            }
        };
        let requests = &self.pending.make_contiguous()[..size];
        let (outcomes, numbers) = batch::write(
            connection,
            &self.path,
            requests,
            self.numbers,
            &mut self.retention,
        )
        .await?;
        self.numbers = numbers;
        self.tell(size, outcomes);
        Ok(())
    }

    /// After a commit: wakes the followers, then acknowledges, so that whoever is answered finds what it wrote.
    fn tell(&mut self, size: usize, outcomes: Outcomes) {
        self.retry = RETRY_FIRST;
        wake(&self.signals.audit, self.numbers.seq);
        wake(&self.signals.logs, self.numbers.log);
        self.signals.health.send_modify(|health| {
            health.commits += 1;
            if health.trouble.take().is_some() {
                tracing::info!(path = %self.path.display(), "the database can be written again");
            }
        });
        for (request, outcome) in self.pending.drain(..size).zip(outcomes) {
            if let Some(ack) = request.ack {
                // Whoever asked may have gone; the write stands all the same.
                let _ = ack.send(outcome);
            }
        }
    }

    /// After a failed transaction: tells those who wait, keeps the rest, and pauses before the next attempt.
    async fn failed(&mut self, error: Arc<sqlx::Error>) -> Result<(), StoreError> {
        // Nothing is known of the connection's state; a new one begins without a transaction, and reads the
        // numbers anew.
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(%error, "closing the connection after a failed write failed too");
        }
        let failure = StoreError::Write {
            path: self.path.clone(),
            source: Arc::clone(&error),
        };
        let (waiting, kept): (VecDeque<_>, VecDeque<_>) = mem::take(&mut self.pending)
            .into_iter()
            .partition(|request| request.ack.is_some());
        self.pending = kept;
        tracing::error!(kept = self.pending.len(), "{failure}");
        self.signals.health.send_modify(|health| {
            health.failures += 1;
            health.trouble = Some(failure.to_string());
        });
        for request in waiting {
            if let Some(ack) = request.ack {
                let _ = ack.send(Err(failure.clone()));
            }
        }
        if self.closing {
            // One attempt for what came before the close; the daemon must be able to end with a full disk.
            self.messages.close();
            let mut count = self.pending.len();
            while let Ok(message) = self.messages.try_recv() {
                if let Message::Request(request) = message {
                    match request.ack {
                        Some(ack) => drop(ack.send(Err(failure.clone()))),
                        None => count += 1,
                    }
                }
            }
            if count > 0 {
                return Err(StoreError::Unwritten {
                    count,
                    path: self.path.clone(),
                    source: error,
                });
            }
            return Ok(());
        }
        self.pause().await;
        Ok(())
    }

    /// Waits for the next attempt, which is due at once when somebody waits for an answer.
    async fn pause(&mut self) {
        let until = Instant::now() + self.retry;
        self.retry = (self.retry * 2).min(RETRY_LAST);
        loop {
            match timeout_at(until, self.messages.recv()).await {
                Ok(Some(message)) => self.accept(message),
                Ok(None) => self.closing = true,
                Err(_elapsed) => return,
            }
            if self.closing || self.pending.back().is_some_and(|last| last.ack.is_some()) {
                return;
            }
        }
    }

    async fn finish(mut self) -> Result<(), StoreError> {
        let Some(mut connection) = self.connection.take() else {
            return Ok(());
        };
        let failed = |source| StoreError::Write {
            path: self.path.clone(),
            source: Arc::new(source),
        };
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&mut connection)
            .await
            .map_err(failed)?;
        connection.close().await.map_err(failed)
    }
}

fn wake(tail: &watch::Sender<u64>, newest: u64) {
    tail.send_if_modified(|seen| mem::replace(seen, newest) != newest);
}
