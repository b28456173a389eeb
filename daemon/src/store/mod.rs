//! What the daemon remembers, in one SQLite file: servers, policy generations, launches, sessions, the audit log
//! and the servers' log lines.
//!
//! The only user of sqlx. One task writes ([`writer`]), in the order in which it was asked, many requests to a
//! transaction; reads go to a few connections that cannot write. A write is acknowledged when it is durable:
//! [`Store::record`] and every change resolve then, while [`Store::submit`] and [`Store::log_line`] return as soon as
//! there is room in the queue and are durable within 100 ms.
//!
//! A future of this module that is dropped after its first poll may still have its write made.

mod backup;
mod batch;
mod chain;
mod change;
mod check;
mod convert;
mod error;
mod files;
mod generations;
mod grants;
mod lag;
mod launches;
mod log;
mod pages;
mod quarantine;
mod questions;
mod read;
mod registry;
mod request;
mod rows;
mod shipping;
mod tools;
mod unkept;
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
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::audit::chain::{Anchor, Chain};
use crate::audit::{Entry, Redacted};
use chain::Head;
use lag::Waiting;
use read::Reader;
use request::{Change, Message, ROOM, Receipt, Request, Write};
use unkept::Unkept;
use writer::{Inbox, Signals, Tuning, Writer};

pub use backup::Backup;
pub use chain::{
    Against, ChainState, KEY_FILE, KeyState, Prefer, Reason, Renewed, Report, VerifyError,
    key_state, renew, verify,
};
pub use check::Finding;
pub use error::StoreError;
pub use lag::Lag;
pub use pages::{LogQuery, Paged, Pages};
pub use quarantine::Quarantined;
pub use questions::{AuditQuery, Touch};
pub use rows::{
    Document, EndKind, Ended, EnvVar, Exit, Generation, Grant, History, InForce, Launch, LogLine,
    LogRecord, OpenSession, Policy, Processes, Said, Scope, Server, Session, Stream, Tool,
    Unfinished, UnknownScope, UnknownStream,
};
pub use shipping::Shipped;

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

/// How a store is opened.
#[derive(Clone, Copy, Debug, Default)]
struct Opening {
    /// Where a key goes that does not exist yet.
    prefer: Prefer,
    /// The database before was moved aside, which the caller tells of in the new one.
    replaces: bool,
    tuning: Tuning,
}

type WriterTask = JoinHandle<Result<(), StoreError>>;

/// The open store: cheap to clone, all clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    reader: Reader,
    messages: mpsc::UnboundedSender<Message>,
    /// Ends the writer's lingering: somebody waits, or there is enough for a transaction.
    hurry: Arc<Notify>,
    /// How much is enough.
    enough: u64,
    /// Bounds what is queued; the channel itself does not, so that those who wait for an answer never wait for
    /// room behind entries that cannot be written.
    room: Arc<Semaphore>,
    /// What the audit log is chained with.
    chain: Chain,
    /// Where its chain is.
    head: watch::Receiver<Head>,
    /// Where its key is kept.
    key_kept: &'static str,
    audit_tail: watch::Receiver<u64>,
    log_tail: watch::Receiver<u64>,
    health: watch::Receiver<Health>,
    waiting: Waiting,
    unkept: Unkept,
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
        Self::open_with(path, Prefer::File).await
    }

    /// As [`Self::open`]; a key for the audit log that does not exist yet is kept where `prefer` says.
    ///
    /// # Errors
    /// One variant of [`StoreError`] for each step; [`StoreError::Key`] where the log's key cannot be had.
    pub async fn open_with(path: &Path, prefer: Prefer) -> Result<Self, StoreError> {
        let opening = Opening {
            prefer,
            ..Opening::default()
        };
        Self::open_as(path, opening).await
    }

    async fn open_as(path: &Path, opening: Opening) -> Result<Self, StoreError> {
        files::make_private(path)?;
        let failed = |source| StoreError::Open {
            path: path.into(),
            source: Arc::new(source),
        };
        let options = writing(path);
        let mut connection = options.connect().await.map_err(failed)?;
        migrate(&mut connection, path).await?;
        let begun = chain::begin(&mut connection, path, &opening).await?;
        let pool = SqlitePoolOptions::new()
            .max_connections(3)
            .connect_lazy_with(reading(path));
        Ok(Self::start(
            path,
            opening.tuning,
            options,
            connection,
            begun,
            pool,
        ))
    }

    fn start(
        path: &Path,
        tuning: Tuning,
        options: SqliteConnectOptions,
        connection: sqlx::SqliteConnection,
        mut begun: chain::Begun,
        pool: SqlitePool,
    ) -> Self {
        let (messages, received) = mpsc::unbounded_channel();
        let (audit, audit_tail) = watch::channel(begun.numbers.seq);
        let (logs, log_tail) = watch::channel(begun.numbers.log);
        let (health_sender, health) = watch::channel(Health::default());
        let chain = begun.chain.clone();
        let key_kept = begun.key_kept;
        let (heads, head) = watch::channel(Head::of(&begun.numbers));
        let hurry = Arc::new(Notify::new());
        let inbox = Inbox {
            messages: received,
            hurry: hurry.clone(),
        };
        let enough = tuning.batch as u64;
        let signals = Signals {
            heads,
            audit,
            logs,
            health: health_sender,
        };
        let path = PathBuf::from(path);
        let waiting = Waiting::default();
        // Before anything else: what follows is chained to it.
        for entry in begun.told.drain(..) {
            // The receiver is in our hands.
            let _ = messages.send(Message::Request(Request {
                write: Write::Entry(Redacted::of(entry)),
                ack: None,
                keep: true,
                _room: None,
                _ticket: Some(waiting.ticket()),
            }));
        }
        let writer = Writer::new(
            path.clone(),
            options,
            tuning,
            connection,
            begun,
            inbox,
            signals,
        );
        Self {
            reader: Reader { pool, path },
            messages,
            hurry,
            enough,
            room: Arc::new(Semaphore::new(ROOM as usize)),
            chain,
            head,
            key_kept,
            audit_tail,
            log_tail,
            health,
            waiting,
            unkept: Unkept::default(),
            writer: Arc::new(Mutex::new(Some(tokio::spawn(writer.run())))),
        }
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.reader.path
    }

    /// Waits until the writer has taken a request through a transaction in its turn, whether or not it could write.
    ///
    /// What never comes back from the disk never answers; whoever asks sets the time.
    pub async fn answers(&self) {
        let _ = self.change(Change::Nothing, None).await;
    }

    /// Looks whether this program could open the database at `path`. Changes nothing; one that does not exist it could make.
    ///
    /// # Errors
    /// When it cannot be read, or was made by a newer program.
    pub async fn check(path: &Path) -> Result<(), StoreError> {
        if !path.exists() {
            return Ok(());
        }
        // A log whose key cannot be had now could not go on.
        chain::key_can_be_had(path)?;
        let failed = |source| StoreError::Open {
            path: path.into(),
            source: Arc::new(source),
        };
        let mut connection = reading(path).connect().await.map_err(failed)?;
        let applied: Vec<i64> = sqlx::query_scalar("SELECT version FROM _sqlx_migrations")
            .fetch_all(&mut connection)
            .await
            .map_err(failed)?;
        let known = sqlx::migrate!("../migrations");
        match applied
            .into_iter()
            .find(|version| !known.iter().any(|one| one.version == *version))
        {
            None => Ok(()),
            Some(version) => Err(StoreError::Migrate {
                path: path.into(),
                source: Arc::new(sqlx::migrate::MigrateError::VersionMissing(version)),
            }),
        }
    }

    /// How the writer fares.
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// How far the writer is behind.
    pub fn lag(&self) -> Lag {
        self.waiting.lag()
    }

    /// Writes everything queued, moves the WAL into the database and ends the writer. Later calls of this or any
    /// clone fail with [`StoreError::Closed`].
    ///
    /// # Errors
    /// When entries could not be written, or the database could not be closed in order.
    pub async fn close(&self) -> Result<(), StoreError> {
        let unkept = self.unkept.all();
        if unkept > 0 {
            tracing::warn!(
                "{unkept} lines of servers' logs were not kept: the database could not be written"
            );
        }
        self.room.close();
        let _ = self.messages.send(Message::Close);
        self.hurry.notify_one();
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

    /// Where the audit log ends, as one line that shows itself to be made with its key. What is written later is not in it.
    pub fn anchor(&self) -> String {
        let Head { seq, mac, .. } = *self.head.borrow();
        Anchor::new(&self.chain, seq, mac).line(self.chain.key())
    }

    /// Sets how much of the audit log is kept from now on; at first all of it is.
    pub fn retain(&self, retain: Option<srt_policy::Retain>) {
        // A store that is closed keeps everything.
        let _ = self.messages.send(Message::Retain(retain));
    }

    async fn queue(&self, write: Write) -> Result<(), StoreError> {
        let room = Arc::clone(&self.room)
            .acquire_many_owned(write.room())
            .await
            .map_err(|_closed| StoreError::Closed)?;
        self.send(Request {
            write,
            ack: None,
            keep: true,
            _room: Some(room),
            _ticket: Some(self.waiting.ticket()),
        })?;
        if self.waiting.count() >= self.enough {
            self.hurry.notify_one();
        }
        Ok(())
    }

    async fn ask(&self, write: Write, keep: bool) -> Result<Receipt, StoreError> {
        let (ack, answer) = oneshot::channel();
        self.send(Request {
            write,
            ack: Some(ack),
            keep,
            _room: None,
            _ticket: Some(self.waiting.ticket()),
        })?;
        self.hurry.notify_one();
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    fn send(&self, request: Request) -> Result<(), StoreError> {
        self.messages
            .send(Message::Request(request))
            .map_err(|_closed| StoreError::Closed)
    }

    async fn change(&self, change: Change, entry: Option<Entry>) -> Result<Receipt, StoreError> {
        let write = Write::Change(Box::new(change), entry.map(Redacted::of));
        self.ask(write, false).await
    }

    /// A change that tells of what has happened: one that cannot be written now is kept ([`StoreError::Later`]).
    async fn note(&self, change: Change, entry: Option<Entry>) -> Result<Receipt, StoreError> {
        let write = Write::Change(Box::new(change), entry.map(Redacted::of));
        self.ask(write, true).await
    }
}

/// Brings the schema up to date.
async fn migrate(connection: &mut sqlx::SqliteConnection, path: &Path) -> Result<(), StoreError> {
    sqlx::migrate!("../migrations")
        .run(connection)
        .await
        .map_err(|source| StoreError::Migrate {
            path: path.into(),
            source: Arc::new(source),
        })
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
        // Pages of 4 KiB: a burst changes the same ones again and again, and each is written back once.
        .pragma("wal_autocheckpoint", "4096")
        // A WAL that grew in a burst is cut back when it is reused.
        .pragma("journal_size_limit", "67108864")
}
