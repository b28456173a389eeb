//! Reading the log: the newest N or all, in pages, then whatever comes.
//!
//! A reading never chases the writer: it ends at what was durable when its first page was asked for, and following moves
//! that horizon.
//! Each page is a query of its own, so that a slow reader holds no snapshot that would keep the WAL from shrinking.

use std::collections::VecDeque;
use std::path::PathBuf;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite, SqlitePool};
use tokio::sync::watch;

use super::StoreError;
use super::convert::{maybe_id, micros, number, parsed, time};
use super::rows::{LogLine, LogRecord, Stream};

/// Rows in one page at most.
const PAGE: usize = 1000;
/// Keys that are looked up at once where an index does not give them in order: 512 KiB of them.
const KEYS: usize = 65_536;
/// Rows that are sooner looked at one by one than found by such an index: what comes while a reading follows.
const FEW: u64 = 5_000;

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
    /// The columns of a row.
    const COLUMNS: &'static str;
    /// Rows with a greater key only.
    fn after(&self) -> u64;
    /// Rows with a lesser key only.
    fn before(&self) -> Option<u64> {
        None
    }
    /// So many rows only.
    fn limit(&self) -> Option<u32>;
    /// Whether the limit leaves the first rows rather than the last.
    fn oldest_first(&self) -> bool {
        false
    }
    /// Asks for the least and the greatest key that can match, where that is known better than by looking.
    fn window(&self) -> Option<QueryBuilder<Sqlite>> {
        None
    }
    /// Whether the index that finds the rows gives them in another order than the key's.
    fn scattered(&self) -> bool {
        false
    }
    /// `INDEXED BY …` or `NOT INDEXED`: without statistics SQLite would guess, and guess wrong among so many.
    fn index(&self) -> &'static str {
        ""
    }
    /// Adds ` AND …` for each condition other than the key.
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
    /// No key above it matches, however far the horizon moves.
    ceiling: u64,
    /// Of a scattered query: the next keys.
    keys: VecDeque<i64>,
    /// Rows that may still be shown, where the first ones are wanted.
    left: Option<u32>,
}

impl<Q: Paged> Pages<Q> {
    pub(super) fn new(
        pool: SqlitePool,
        path: PathBuf,
        query: Q,
        tail: watch::Receiver<u64>,
    ) -> Self {
        let ceiling = query.before().map_or(u64::MAX, |key| key.saturating_sub(1));
        Self {
            pool,
            path,
            cursor: query.after(),
            left: query.limit().filter(|_| query.oldest_first()),
            query,
            tail,
            begun: false,
            horizon: 0,
            ceiling,
            keys: VecDeque::new(),
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
        self.horizon = (*self.tail.borrow_and_update()).min(self.ceiling);
        true
    }

    async fn page(&mut self) -> Result<Vec<Q::Item>, sqlx::Error> {
        if !self.begun {
            self.begin().await?;
            self.begun = true;
        }
        let most = self.left.map_or(PAGE, |left| PAGE.min(left as usize));
        if most == 0 {
            return Ok(Vec::new());
        }
        let many = self.horizon.saturating_sub(self.cursor) > FEW || !self.keys.is_empty();
        let rows = match self.query.scattered() && many {
            true => self.scattered(most).await?,
            false => self.in_order(most).await?,
        };
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        }
        rows.iter().map(Q::item).collect()
    }

    async fn in_order(&mut self, most: usize) -> Result<Vec<SqliteRow>, sqlx::Error> {
        if self.cursor >= self.horizon {
            return Ok(Vec::new());
        }
        let by = match self.query.scattered() {
            true => "NOT INDEXED",
            false => self.query.index(),
        };
        let (columns, table) = (Q::COLUMNS, Q::TABLE);
        let mut select = QueryBuilder::new(format!("SELECT {columns} FROM {table} {by}"));
        self.filter(&mut select, "");
        select.push(format!(" ORDER BY {} LIMIT {most}", Q::KEY));
        let rows = select.build().fetch_all(&self.pool).await?;
        self.cursor = match rows.last() {
            Some(last) => number(last, Q::KEY)?,
            None => self.horizon,
        };
        Ok(rows)
    }

    /// Finds many keys at once, because each time costs a walk over all that the index has found.
    async fn scattered(&mut self, most: usize) -> Result<Vec<SqliteRow>, sqlx::Error> {
        loop {
            if self.keys.is_empty() {
                if self.cursor >= self.horizon {
                    return Ok(Vec::new());
                }
                let key = Q::KEY;
                let (table, by) = (Q::TABLE, self.query.index());
                let mut select = QueryBuilder::new(format!("SELECT {key} FROM {table} {by}"));
                self.filter(&mut select, "+");
                select.push(format!(" ORDER BY +{key} LIMIT {KEYS}"));
                let found: Vec<i64> = select.build_query_scalar().fetch_all(&self.pool).await?;
                self.keys = found.into();
                if self.keys.is_empty() {
                    self.cursor = self.horizon;
                    return Ok(Vec::new());
                }
            }
            let some: Vec<i64> = self.keys.drain(..most.min(self.keys.len())).collect();
            self.cursor = some.last().map_or(self.horizon, |key| key.cast_unsigned());
            let (columns, key) = (Q::COLUMNS, Q::KEY);
            let mut select = QueryBuilder::new(format!(
                "SELECT {columns} FROM {} WHERE {key} IN (SELECT value FROM json_each(",
                Q::TABLE
            ));
            select
                .push_bind(serde_json::Value::from(some).to_string())
                .push(format!(")) ORDER BY {key}"));
            let rows = select.build().fetch_all(&self.pool).await?;
            // Rows may have been removed since their keys were found.
            if !rows.is_empty() {
                return Ok(rows);
            }
        }
    }

    /// Moves the cursor to just before the first row to be shown, and the horizon to the last that can be.
    async fn begin(&mut self) -> Result<(), sqlx::Error> {
        let key = Q::KEY;
        self.horizon = (*self.tail.borrow_and_update()).min(self.ceiling);
        if let Some(mut window) = self.query.window() {
            let (first, last): (Option<i64>, Option<i64>) =
                window.build_query_as().fetch_one(&self.pool).await?;
            // Nothing yet: what comes while this reading follows may match.
            if let Some(first) = first {
                self.cursor = self.cursor.max(first.cast_unsigned().saturating_sub(1));
            } else {
                self.cursor = self.cursor.max(self.horizon);
            }
            if let Some(last) = last {
                self.ceiling = self.ceiling.min(last.cast_unsigned());
                self.horizon = self.horizon.min(self.ceiling);
            }
        }
        let Some(limit) = self.query.limit().filter(|_| self.left.is_none()) else {
            return Ok(());
        };
        let sign = if self.query.scattered() { "+" } else { "" };
        let mut newest = QueryBuilder::new(format!(
            "SELECT MIN({key}) FROM (SELECT {key} FROM {} {}",
            Q::TABLE,
            self.query.index()
        ));
        self.filter(&mut newest, sign);
        newest.push(format!(" ORDER BY {sign}{key} DESC LIMIT "));
        newest.push_bind(limit).push(")");
        let first: Option<i64> = newest.build_query_scalar().fetch_one(&self.pool).await?;
        let before = first.map_or(self.horizon, |first| {
            first.cast_unsigned().saturating_sub(1)
        });
        self.cursor = self.cursor.max(before);
        Ok(())
    }

    /// `sign` is `+` where SQLite is to keep from finding rows by their keys.
    fn filter(&self, query: &mut QueryBuilder<Sqlite>, sign: &str) {
        let key = Q::KEY;
        query
            .push(format!(" WHERE {sign}{key} > "))
            .push_bind(self.cursor.cast_signed())
            .push(format!(" AND {sign}{key} <= "))
            .push_bind(self.horizon.cast_signed());
        self.query.conditions(query);
    }
}

impl Paged for LogQuery {
    type Item = LogRecord;
    const WHAT: &'static str = "log lines";
    const TABLE: &'static str = "logs";
    const KEY: &'static str = "id";
    const COLUMNS: &'static str = "id, at, server, stream, launch, line";

    fn after(&self) -> u64 {
        self.after_id
    }
    fn limit(&self) -> Option<u32> {
        self.limit
    }
    fn conditions(&self, query: &mut QueryBuilder<Sqlite>) {
        query.push(" AND server = ").push_bind(self.server.as_str());
        // Kept lines are few: no index on the time.
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
