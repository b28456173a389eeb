//! The one task that writes, on the one connection that can.
//!
//! Whatever is queued when it is free becomes one transaction, so a commit, which costs a wait for the disk, serves
//! every caller that came while the last one ran. Where nobody waits for an answer the writer lingers a little, so
//! that a stream of denials does not cost a commit each.
//!
//! When a transaction fails (the disk is full, say), those who wait are told at once: a launch whose entry cannot be
//! written must not begin. What nobody waits for stays queued and is tried again until it is written; it holds its
//! room in the queue, so memory stays bounded and submitters come to wait. So does what has happened already, such as the
//! end of a launch: whoever waits for that is told, and it is written as soon as it can be.

mod gather;

use std::collections::VecDeque;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use srt_policy::Retain;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::batch::{self, Numbers, Outcomes, Retention, Setting};
use super::chain::{self, AnchorFile, Begun, Limits};
use super::error::is_damage;
use super::request::{Change, Message, Request, Write};
use super::{Head, Health, StoreError, quarantine};
use crate::audit::chain::Chain;

/// How the writer trades latency for fewer commits; differs in tests only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tuning {
    /// Requests in one transaction at most.
    pub(super) batch: usize,
    /// How long entries that nobody waits for may gather. Well under the promised 100 ms.
    pub(super) linger: Duration,
    /// Log lines kept for each server.
    pub(super) keep_lines: u32,
    /// When a segment of the audit log is closed.
    pub(super) segments: Limits,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            batch: 1024,
            linger: Duration::from_millis(20),
            keep_lines: 10_000,
            segments: Limits::default(),
        }
    }
}

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(1);

/// How often the audit log's segments are looked at while nothing else leads to it.
const LOOK: Duration = Duration::from_secs(15 * 60);

/// What the writer tells the rest of the store.
#[derive(Debug)]
pub(super) struct Signals {
    /// Where the audit log's chain is.
    pub(super) heads: watch::Sender<Head>,
    /// The newest durable audit entry.
    pub(super) audit: watch::Sender<u64>,
    /// The newest durable log line.
    pub(super) logs: watch::Sender<u64>,
    pub(super) health: watch::Sender<Health>,
}

/// What comes to the writer.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) messages: mpsc::UnboundedReceiver<Message>,
    /// Ends its lingering: somebody waits, or there is enough for a transaction.
    pub(super) hurry: Arc<Notify>,
}

pub(super) struct Writer {
    path: PathBuf,
    options: SqliteConnectOptions,
    tuning: Tuning,
    connection: Option<SqliteConnection>,
    numbers: Numbers,
    chain: Chain,
    anchor: AnchorFile,
    /// Whether the anchor is behind the database because it could not be written.
    unanchored: bool,
    /// How much of the audit log is kept.
    retain: Option<Retain>,
    /// When the audit log's segments are looked at next.
    look: Instant,
    /// Whether rows are left of segments that go.
    going: bool,
    retention: Retention,
    inbox: Inbox,
    pending: VecDeque<Request>,
    closing: bool,
    retry: Duration,
    /// How many callers the newest transaction answered, and how long it took.
    answered: (usize, Duration),
    signals: Signals,
}

impl Writer {
    pub(super) fn new(
        path: PathBuf,
        options: SqliteConnectOptions,
        tuning: Tuning,
        connection: SqliteConnection,
        begun: Begun,
        inbox: Inbox,
        signals: Signals,
    ) -> Self {
        Self {
            path,
            options,
            tuning,
            connection: Some(connection),
            numbers: begun.numbers,
            chain: begun.chain,
            anchor: begun.anchor,
            unanchored: false,
            retain: None,
            look: Instant::now() + LOOK,
            going: true,
            retention: Retention::new(tuning.keep_lines),
            inbox,
            pending: VecDeque::new(),
            closing: false,
            retry: RETRY_FIRST,
            answered: (0, Duration::ZERO),
            signals,
        }
    }

    /// Writes until the store is closed or dropped, then empties the queue and closes the database.
    pub(super) async fn run(mut self) -> Result<(), StoreError> {
        loop {
            if self.pending.is_empty() && !self.receive().await {
                break;
            }
            if !self.pending.is_empty() {
                self.gather().await;
            }
            if let Err(error) = self.commit().await
                && let Err(unwritten) = self.failed(Arc::new(error)).await
            {
                return Err(unwritten);
            }
            if let Err(error) = self.tend().await {
                self.untended(&error).await;
            }
        }
        self.finish().await
    }

    /// Waits for a message, or for the time to tend to the log's segments; false once there will be none.
    async fn receive(&mut self) -> bool {
        let until = match self.going {
            true => Instant::now(),
            false => self.look,
        };
        match timeout_at(until, self.inbox.messages.recv()).await {
            Ok(Some(message)) => self.accept(message),
            Ok(None) => {
                self.closing = true;
                return !self.pending.is_empty();
            }
            Err(_elapsed) => {}
        }
        true
    }

    /// Closes the segment that is old, says which ones go, and removes some of what goes.
    async fn tend(&mut self) -> Result<(), sqlx::Error> {
        let due = Instant::now() >= self.look;
        if !due && !self.going {
            return Ok(());
        }
        self.connect().await?;
        self.anchored()?;
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        if due {
            self.look = Instant::now() + LOOK;
            let mut numbers = self.numbers;
            let limits = self.tuning.segments.for_retention(self.retain);
            let written =
                chain::maintain(connection, &self.chain, &mut numbers, &limits, self.retain)
                    .await?;
            self.numbers = numbers;
            if written {
                self.going = true;
                self.advance();
                wake(&self.signals.audit, self.numbers.seq);
            }
        } else {
            self.going = chain::keep_going(connection).await?;
        }
        Ok(())
    }

    /// What could not be done about segments is tried again at the next look: nobody waits for it.
    async fn untended(&mut self, error: &sqlx::Error) {
        tracing::warn!(%error, "cannot tend to the audit log's segments; trying again later");
        self.going = false;
        self.look = Instant::now() + LOOK;
        self.disconnect().await;
    }

    fn accept(&mut self, message: Message) {
        match message {
            Message::Request(request) => self.pending.push_back(request),
            Message::Retain(retain) => {
                self.retain = retain;
                self.look = Instant::now();
            }
            // What was sent before the close is still in the channel and is still received.
            Message::Close => {
                self.closing = true;
                self.inbox.messages.close();
            }
        }
    }

    async fn commit(&mut self) -> Result<(), sqlx::Error> {
        let size = self.pending.len().min(self.tuning.batch);
        if size == 0 {
            return Ok(());
        }
        self.connect().await?;
        // One batch may be ahead of the anchor, which whoever cuts it off would not be missed by: not two.
        self.anchored()?;
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let begun = std::time::Instant::now();
        let requests = &self.pending.make_contiguous()[..size];
        let limits = self.tuning.segments.for_retention(self.retain);
        let setting = Setting {
            path: &self.path,
            chain: &self.chain,
            limits: &limits,
        };
        let (outcomes, numbers) = batch::write(
            connection,
            &setting,
            requests,
            self.numbers,
            &mut self.retention,
        )
        .await?;
        let (before, sealed) = (self.numbers.seq, self.numbers.segment.number);
        self.numbers = numbers;
        if numbers.seq != before {
            self.advance();
        }
        if numbers.segment.number != sealed {
            self.look = Instant::now();
        }
        self.answered = (self.tell(size, outcomes), begun.elapsed());
        Ok(())
    }

    /// Connects anew where the connection was given up.
    async fn connect(&mut self) -> Result<(), sqlx::Error> {
        if self.connection.is_none() {
            let mut connection = self.options.connect().await?;
            self.numbers = batch::numbers(&mut connection, &self.chain, Some(self.numbers)).await?;
            self.connection = Some(connection);
        }
        Ok(())
    }

    /// Nothing is known of the connection's state: a new one begins without a transaction, and reads the numbers anew.
    async fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(%error, "closing the connection after a failed write failed too");
        }
    }

    /// Moves the anchor to the log's end: after the commit, and before anybody is told of it.
    fn advance(&mut self) {
        let Numbers { head_seq, head, .. } = self.numbers;
        self.unanchored = match self.anchor.advance(&self.chain, head_seq, head) {
            Ok(()) => false,
            Err(error) => {
                tracing::error!("{error}");
                true
            }
        };
        self.show();
    }

    /// Says where the chain is.
    fn show(&self) {
        let head = Head::of(&self.numbers);
        self.signals.heads.send_modify(|known| {
            let anchored = match self.unanchored {
                true => known.anchored,
                false => head.seq,
            };
            *known = Head { anchored, ..head };
        });
    }

    /// Nothing more is written while the anchor cannot follow.
    fn anchored(&mut self) -> Result<(), sqlx::Error> {
        if self.unanchored {
            let Numbers { head_seq, head, .. } = self.numbers;
            self.anchor
                .advance(&self.chain, head_seq, head)
                .map_err(sqlx::Error::Io)?;
            self.unanchored = false;
            self.show();
        }
        Ok(())
    }

    /// After a commit: wakes the followers, then acknowledges, so that whoever is answered finds what it wrote. How many
    /// were answered.
    fn tell(&mut self, size: usize, outcomes: Outcomes) -> usize {
        self.retry = RETRY_FIRST;
        // To begin and end a transaction is no sign that the disk takes something.
        let written = self
            .pending
            .range(..size)
            .any(|request| request.write.writes());
        wake(&self.signals.audit, self.numbers.seq);
        wake(&self.signals.logs, self.numbers.log);
        self.signals.health.send_modify(|health| {
            health.commits += 1;
            if written && health.trouble.take().is_some() {
                tracing::info!(path = %self.path.display(), "the database can be written again");
            }
        });
        let mut answered = 0;
        for (request, outcome) in self.pending.drain(..size).zip(outcomes) {
            match (request.ack, outcome) {
                (Some(ack), outcome) => {
                    answered += 1;
                    // Whoever asked may have gone; the write stands all the same.
                    drop(ack.send(outcome));
                }
                (None, Err(error)) => tracing::error!(%error, "a change was not made"),
                (None, Ok(_)) => {}
            }
        }
        answered
    }

    /// After a failed transaction: tells those who wait, keeps the rest, and pauses before the next attempt.
    async fn failed(&mut self, error: Arc<sqlx::Error>) -> Result<(), StoreError> {
        self.disconnect().await;
        let failure = StoreError::Write {
            path: self.path.clone(),
            source: Arc::clone(&error),
        };
        if is_damage(&error) {
            quarantine::suspect(&self.path, &failure.to_string());
        }
        let trouble = failure.to_string();
        self.signals.health.send_modify(|health| {
            health.failures += 1;
            let before = health.trouble.replace(trouble.clone());
            // Every second while it lasts; once is enough.
            if before.as_ref() != Some(&trouble) {
                tracing::error!("{trouble}");
            }
        });
        for mut request in mem::take(&mut self.pending) {
            let answer = if request.keep {
                StoreError::Later(Box::new(failure.clone()))
            } else {
                failure.clone()
            };
            match request.ack.take() {
                Some(ack) => {
                    let _ = ack.send(Err(answer));
                    if request.keep {
                        self.pending.push_back(request);
                    }
                }
                None => self.pending.push_back(request),
            }
        }
        if self.closing {
            // One attempt for what came before the close; the daemon must be able to end with a full disk.
            self.inbox.messages.close();
            while let Ok(message) = self.inbox.messages.try_recv() {
                if let Message::Request(mut request) = message {
                    if let Some(ack) = request.ack.take() {
                        let _ = ack.send(Err(failure.clone()));
                        if !request.keep {
                            continue;
                        }
                    }
                    self.pending.push_back(request);
                }
            }
            let tells = |request: &Request| !matches!(&request.write, Write::Change(change, _) if matches!(**change, Change::Probe));
            let count = mem::take(&mut self.pending)
                .into_iter()
                .filter(tells)
                .count();
            if count > 0 {
                return Err(StoreError::Unwritten {
                    count,
                    path: self.path.clone(),
                    source: error,
                });
            }
            return Ok(());
        }
        // Somebody must find out when it works again, also where nothing is to be written.
        if self.pending.is_empty() {
            self.pending.push_back(Request::probe());
        }
        self.pause().await;
        Ok(())
    }

    /// Waits for the next attempt, which is due at once when somebody waits for an answer.
    async fn pause(&mut self) {
        let until = Instant::now() + self.retry;
        self.retry = (self.retry * 2).min(RETRY_LAST);
        loop {
            match timeout_at(until, self.inbox.messages.recv()).await {
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
        if let Err(error) = self.anchor.sync() {
            tracing::warn!(%error, "the audit log's anchor may not survive a power cut");
        }
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
