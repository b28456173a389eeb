//! What the daemon remembers, in one SQLite file: servers, policy generations, launches, sessions, the audit log
//! and the servers' log lines.
//!
//! The only user of sqlx. One task writes ([`writer`]), in the order in which it was asked, many requests to a
//! transaction; reads go to a few connections that cannot write. A write is acknowledged when it is durable:
//! [`Store::record`] and every change resolve then, while [`Store::submit`] and [`Store::log_line`] return as soon as
//! there is room in the queue and are durable within 100 ms.
//!
//! A future of this module that is dropped after its first poll may still have its write made.

mod batch;
mod change;
mod convert;
mod error;
mod files;
mod launches;
mod log;
mod pages;
mod read;
mod registry;
mod request;
mod rows;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::audit::Entry;
use read::Reader;
use request::{Change, Message, ROOM, Receipt, Request, Write};
use writer::{Signals, Tuning, Writer};

pub use error::StoreError;
pub use pages::{AuditQuery, LogQuery, Paged, Pages};
pub use rows::{
    EnvVar, Exit, Generation, History, Launch, LogLine, LogRecord, Policy, Processes, Server,
    Session, Stream, Unfinished, UnknownStream,
};

/// How the writer fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Transactions committed since the store was opened.
    pub commits: u64,
    /// Transactions that failed; what nobody waited for in them was tried again.
    pub failures: u64,
    /// Why nothing can be written at present, with a hint.
    pub trouble: Option<String>,
}

type WriterTask = JoinHandle<Result<(), StoreError>>;

/// The open store: cheap to clone, all clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    reader: Reader,
    messages: mpsc::UnboundedSender<Message>,
    /// Bounds what is queued; the channel itself does not, so that those who wait for an answer never wait for
    /// room behind entries that cannot be written.
    room: Arc<Semaphore>,
    audit_tail: watch::Receiver<u64>,
    log_tail: watch::Receiver<u64>,
    health: watch::Receiver<Health>,
    /// Taken by whoever closes the store.
    writer: Arc<Mutex<Option<WriterTask>>>,
}

impl Store {
    /// Opens the database, making it (0600, in a folder 0700) or bringing its schema up to date where needed.
    ///
    /// Two stores must not be open on one file; the daemon sees to that with its socket.
    ///
    /// # Errors
    /// One variant of [`StoreError`] for each step.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_tuned(path, Tuning::default()).await
    }

    async fn open_tuned(path: &Path, tuning: Tuning) -> Result<Self, StoreError> {
        files::make_private(path)?;
        let failed = |source| StoreError::Open {
            path: path.into(),
            source: Arc::new(source),
        };
        let options = writing(path);
        let mut connection = options.connect().await.map_err(failed)?;
        sqlx::migrate!("../migrations")
            .run(&mut connection)
            .await
            .map_err(|source| StoreError::Migrate {
                path: path.into(),
                source: Arc::new(source),
            })?;
        let numbers = batch::numbers(&mut connection).await.map_err(failed)?;
        let pool = SqlitePoolOptions::new()
            .max_connections(3)
            .connect_lazy_with(reading(path));
        Ok(Self::start(
            path, tuning, options, connection, numbers, pool,
        ))
    }

    fn start(
        path: &Path,
        tuning: Tuning,
        options: SqliteConnectOptions,
        connection: sqlx::SqliteConnection,
        numbers: batch::Numbers,
        pool: SqlitePool,
    ) -> Self {
        let (messages, received) = mpsc::unbounded_channel();
        let (audit, audit_tail) = watch::channel(numbers.seq);
        let (logs, log_tail) = watch::channel(numbers.log);
        let (health_sender, health) = watch::channel(Health::default());
        let signals = Signals {
            audit,
            logs,
            health: health_sender,
        };
        let path = PathBuf::from(path);
        let writer = Writer::new(
            path.clone(),
            options,
            tuning,
            connection,
            numbers,
            received,
            signals,
        );
        Self {
            reader: Reader { pool, path },
            messages,
            room: Arc::new(Semaphore::new(ROOM as usize)),
            audit_tail,
            log_tail,
            health,
            writer: Arc::new(Mutex::new(Some(tokio::spawn(writer.run())))),
        }
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.reader.path
    }

    /// How the writer fares.
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Writes everything queued, moves the WAL into the database and ends the writer. Later calls of this or any
    /// clone fail with [`StoreError::Closed`].
    ///
    /// # Errors
    /// When entries could not be written, or the database could not be closed in order.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.room.close();
        let _ = self.messages.send(Message::Close);
        // Readers first: the last connection to close is the writer's, which can remove the WAL.
        self.reader.pool.close().await;
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match writer {
            Some(writer) => writer.await.unwrap_or(Err(StoreError::Closed)),
            None => Ok(()),
        }
    }

    async fn queue(&self, write: Write) -> Result<(), StoreError> {
        let room = Arc::clone(&self.room)
            .acquire_many_owned(write.room())
            .await
            .map_err(|_closed| StoreError::Closed)?;
        self.send(Request {
            write,
            ack: None,
            _room: Some(room),
        })
    }

    async fn ask(&self, write: Write) -> Result<Receipt, StoreError> {
        let (ack, answer) = oneshot::channel();
        self.send(Request {
            write,
            ack: Some(ack),
            _room: None,
        })?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    fn send(&self, request: Request) -> Result<(), StoreError> {
        self.messages
            .send(Message::Request(request))
            .map_err(|_closed| StoreError::Closed)
    }

    async fn change(&self, change: Change, entry: Option<Entry>) -> Result<Receipt, StoreError> {
        self.ask(Write::Change(Box::new(change), entry)).await
    }
}

fn reading(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .read_only(true)
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging()
}

fn writing(path: &Path) -> SqliteConnectOptions {
    reading(path)
        .read_only(false)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        // With WAL, NORMAL would lose acknowledged entries to a power cut.
        .synchronous(SqliteSynchronous::Full)
        // A WAL that grew in a burst is cut back when it is reused.
        .pragma("journal_size_limit", "67108864")
}
