//! Reading the log: the newest N or all, in pages, then whatever comes.
//!
//! A reading never chases the writer: it ends at what was durable when it began, and following moves that horizon.
//! Each page is a query of its own, so that a slow reader holds no snapshot that would keep the WAL from shrinking.

use std::path::PathBuf;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite, SqlitePool};
use tokio::sync::watch;

use super::StoreError;
use super::convert::{json, maybe_id, micros, number, parsed, time};
use super::rows::{LogLine, LogRecord, Stream};
use crate::audit::{Entry, Kind, Record};

/// Rows in one page at most.
const PAGE: u32 = 1000;

/// Which audit entries.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// About this server only.
    pub server: Option<String>,
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// Of this kind only.
    pub kind: Option<Kind>,
    /// With a greater number only.
    pub after_seq: u64,
    /// The newest so many; `None`: all.
    pub limit: Option<u32>,
}

/// Which log lines.
#[derive(Clone, Debug, Default)]
pub struct LogQuery {
    /// Of this server.
    pub server: String,
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// Of this stream only.
    pub stream: Option<Stream>,
    /// With a greater number only.
    pub after_id: u64,
    /// The newest so many; `None`: all that are kept.
    pub limit: Option<u32>,
}

/// A table that is read in pages. Public only in name: nobody else can write one.
pub trait Paged {
    /// A row.
    type Item;
    /// What an error says was looked for.
    const WHAT: &'static str;
    /// The table and its key.
    const TABLE: &'static str;
    /// The key's column, which gives the order.
    const KEY: &'static str;
    /// Rows with a greater key only.
    fn after(&self) -> u64;
    /// The newest so many only.
    fn limit(&self) -> Option<u32>;
    /// Rows not older only, where an index on the time helps.
    fn since(&self) -> Option<Timestamp>;
    /// Adds ` AND …` for each condition other than the key and the time.
    fn conditions(&self, query: &mut QueryBuilder<Sqlite>);
    /// Reads a row.
    fn item(row: &SqliteRow) -> Result<Self::Item, sqlx::Error>;
}

/// A reading under way.
#[derive(Debug)]
pub struct Pages<Q> {
    pool: SqlitePool,
    path: PathBuf,
    query: Q,
    tail: watch::Receiver<u64>,
    /// Where to begin is looked up with the first page.
    begun: bool,
    cursor: u64,
    horizon: u64,
}

impl<Q: Paged> Pages<Q> {
    pub(super) fn new(
        pool: SqlitePool,
        path: PathBuf,
        query: Q,
        mut tail: watch::Receiver<u64>,
    ) -> Self {
        let horizon = *tail.borrow_and_update();
        Self {
            pool,
            path,
            cursor: query.after(),
            query,
            tail,
            begun: false,
            horizon,
        }
    }

    /// The next page, in ascending order; empty when the reading is at its end.
    ///
    /// # Errors
    /// When the database cannot be read, or the store was closed meanwhile.
    pub async fn next(&mut self) -> Result<Vec<Q::Item>, StoreError> {
        self.page()
            .await
            .map_err(|source| StoreError::read(Q::WHAT, &self.path, source))
    }

    /// Waits until there is something newer than this reading's end and moves the end there; the next page may
    /// still be empty, where what is new does not match. False when the store was closed.
    pub async fn more(&mut self) -> bool {
        if self.tail.changed().await.is_err() {
            return false;
        }
        self.horizon = *self.tail.borrow_and_update();
        true
    }

    async fn page(&mut self) -> Result<Vec<Q::Item>, sqlx::Error> {
        if !self.begun {
            self.begin().await?;
            self.begun = true;
        }
        if self.cursor >= self.horizon {
            return Ok(Vec::new());
        }
        let mut select = QueryBuilder::new(format!("SELECT * FROM {}", Q::TABLE));
        self.filter(&mut select);
        select.push(format!(" ORDER BY {} LIMIT {PAGE}", Q::KEY));
        let rows = select.build().fetch_all(&self.pool).await?;
        self.cursor = match rows.last() {
            Some(last) => number(last, Q::KEY)?,
            None => self.horizon,
        };
        rows.iter().map(Q::item).collect()
    }

    /// Moves the cursor to just before the first row to be shown.
    async fn begin(&mut self) -> Result<(), sqlx::Error> {
        let key = Q::KEY;
        let mut first = if let Some(limit) = self.query.limit() {
            let mut newest = QueryBuilder::new(format!(
                "SELECT MIN({key}) FROM (SELECT {key} FROM {}",
                Q::TABLE
            ));
            self.filter(&mut newest);
            newest.push(format!(" ORDER BY {key} DESC LIMIT "));
            newest.push_bind(limit).push(")");
            newest
        } else if let Some(since) = self.query.since() {
            // Without this a page would be looked for from the oldest row on: the index on the time gives the
            // place to begin, but no order by number.
            let mut oldest =
                QueryBuilder::new(format!("SELECT MIN({key}) FROM {} WHERE at >= ", Q::TABLE));
            oldest.push_bind(micros(since));
            oldest
        } else {
            return Ok(());
        };
        let first: Option<i64> = first.build_query_scalar().fetch_one(&self.pool).await?;
        let before = first.map_or(self.horizon, |first| {
            first.cast_unsigned().saturating_sub(1)
        });
        self.cursor = self.cursor.max(before);
        Ok(())
    }

    fn filter(&self, query: &mut QueryBuilder<Sqlite>) {
        query
            .push(format!(" WHERE {} > ", Q::KEY))
            .push_bind(self.cursor.cast_signed())
            .push(format!(" AND {} <= ", Q::KEY))
            .push_bind(self.horizon.cast_signed());
        if let Some(since) = self.query.since() {
            // The sign keeps SQLite from the index on the time, which would have the page sorted.
            query.push(" AND +at >= ").push_bind(micros(since));
        }
        self.query.conditions(query);
    }
}

impl Paged for AuditQuery {
    type Item = Record;
    const WHAT: &'static str = "audit entries";
    const TABLE: &'static str = "audit";
    const KEY: &'static str = "seq";

    fn after(&self) -> u64 {
        self.after_seq
    }
    fn limit(&self) -> Option<u32> {
        self.limit
    }
    fn since(&self) -> Option<Timestamp> {
        self.since
    }
    fn conditions(&self, query: &mut QueryBuilder<Sqlite>) {
        if let Some(server) = &self.server {
            query.push(" AND server = ").push_bind(server.as_str());
        }
        if let Some(kind) = self.kind {
            query.push(" AND kind = ").push_bind(kind.as_str());
        }
    }
    fn item(row: &SqliteRow) -> Result<Record, sqlx::Error> {
        Ok(Record {
            seq: number(row, "seq")?,
            entry: Entry {
                at: time(row, "at")?,
                kind: parsed(row, "kind", str::parse)?,
                server: row.try_get("server")?,
                launch: maybe_id(row, "launch")?,
                subject: row.try_get("subject")?,
                detail: json(row, "detail")?,
            },
        })
    }
}

impl Paged for LogQuery {
    type Item = LogRecord;
    const WHAT: &'static str = "log lines";
    const TABLE: &'static str = "logs";
    const KEY: &'static str = "id";

    fn after(&self) -> u64 {
        self.after_id
    }
    fn limit(&self) -> Option<u32> {
        self.limit
    }
    // Kept lines are few: no index on the time, and so no place to begin.
    fn since(&self) -> Option<Timestamp> {
        None
    }
    fn conditions(&self, query: &mut QueryBuilder<Sqlite>) {
        query.push(" AND server = ").push_bind(self.server.as_str());
        if let Some(since) = self.since {
            query.push(" AND at >= ").push_bind(micros(since));
        }
        if let Some(stream) = self.stream {
            query.push(" AND stream = ").push_bind(stream.as_str());
        }
    }
    fn item(row: &SqliteRow) -> Result<LogRecord, sqlx::Error> {
        Ok(LogRecord {
            id: number(row, "id")?,
            line: LogLine {
                at: time(row, "at")?,
                server: row.try_get("server")?,
                stream: parsed(row, "stream", str::parse)?,
                launch: maybe_id(row, "launch")?,
                line: row.try_get("line")?,
            },
        })
    }
}
