//! One transaction: a batch of writes, all of it or nothing.
//!
//! Changes are made one by one, each in a savepoint, so that one that contradicts the data (a name taken, a launch
//! unknown) fails alone. Runs of entries and lines go in with as few statements as possible: that, and one commit
//! for many callers, is what makes the log keep up.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::StoreError;
use super::chain::{self, Limits, SELECT, Segment, row};
use super::change;
use super::convert::{id_text, micros};
use super::error::is_constraint;
use super::request::{Receipt, Request, Write};
use super::rows::LogLine;
use crate::audit::chain::{Chain, Columns, Mac};
use crate::audit::{Entry, Redacted};

/// The newest numbers given out, and where the audit log's chain goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) seq: u64,
    pub(super) log: u64,
    /// The number of the newest entry that is as it was written; below `seq` where entries are gone.
    pub(super) head_seq: u64,
    /// Its MAC.
    pub(super) head: Mac,
    pub(super) segment: Segment,
}

/// What a transaction is made with besides its writes.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    pub(super) path: &'a Path,
    pub(super) chain: &'a Chain,
    pub(super) limits: &'a Limits,
}

/// What became of each request of a batch, in its order.
pub(super) type Outcomes = Vec<Result<Receipt, StoreError>>;

/// Rows of a statement that is full: SQLite compiles its text once and keeps it. More would save little of the way to the
/// thread that runs it, and take as much more memory.
const ROWS_PER_STATEMENT: usize = 64;
/// Up to so many rows, what is left over is kept compiled, too: as many as there are callers that wait, again and again.
const KEPT_ROWS: usize = 16;

/// Reads where numbering stands. Numbers of deleted rows are not given out again: `sqlite_sequence` remembers, and so does
/// `before`, what was known when the connection was another.
pub(super) async fn numbers(
    connection: &mut SqliteConnection,
    chain: &Chain,
    before: Option<Numbers>,
) -> Result<Numbers, sqlx::Error> {
    let newest = |rows: &[(String, i64)], table: &str| {
        rows.iter()
            .find(|(name, _)| name == table)
            .map_or(0, |(_, seq)| seq.cast_unsigned())
    };
    let rows: Vec<(String, i64)> = sqlx::query_as("SELECT name, seq FROM sqlite_sequence")
        .fetch_all(&mut *connection)
        .await?;
    let known = before.map_or((0, Mac::NONE), |before| (before.head_seq, before.head));
    let (head_seq, head) = head(connection, chain, known).await?;
    Ok(Numbers {
        seq: newest(&rows, "audit").max(head_seq),
        log: newest(&rows, "logs"),
        head_seq,
        head,
        segment: Segment::read(connection).await?,
    })
}

/// The newest entry that is as it was written, where it is newer than the one that is known: what stands behind it was not
/// written by a daemon, and nothing is chained to that.
async fn head(
    connection: &mut SqliteConnection,
    chain: &Chain,
    known: (u64, Mac),
) -> Result<(u64, Mac), sqlx::Error> {
    let mut buffer = Vec::new();
    let mut below = i64::MAX;
    loop {
        let page = sqlx::query(sqlx::AssertSqlSafe(format!(
            "{SELECT} WHERE seq > ? AND seq < ? ORDER BY seq DESC LIMIT 100"
        )))
        .bind(known.0.cast_signed())
        .bind(below)
        .fetch_all(&mut *connection)
        .await?;
        if page.is_empty() {
            return Ok(known);
        }
        for found in &page {
            let row = row(found)?;
            if row.is_authentic(chain, &mut buffer) {
                return Ok((row.seq, row.mac.unwrap_or_default()));
            }
            below = row.seq.cast_signed();
        }
    }
}

/// Writes `batch`, durably. On an error nothing of it is written.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    setting: &Setting<'_>,
    batch: &[Request],
    mut numbers: Numbers,
    retention: &mut Retention,
) -> Result<(Outcomes, Numbers), sqlx::Error> {
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *connection)
        .await?;
    let chain = setting.chain;
    let mut outcomes = Outcomes::with_capacity(batch.len());
    let mut rows = Rows::default();
    for request in batch {
        let mut receipt = Receipt::default();
        let entry = match &request.write {
            Write::Line(line) => {
                numbers.log += 1;
                rows.lines.push((numbers.log, line));
                None
            }
            Write::Entry(entry) => Some(entry),
            Write::Change(change, entry) => {
                // The change may concern lines that came before it: removing a server removes its log.
                rows.insert(connection, chain, &mut numbers, retention)
                    .await?;
                match in_savepoint(connection, setting.path, change).await? {
                    Ok(done) => {
                        receipt = done;
                        // An entry tells of a change: where there was none, there is nothing to tell.
                        entry.as_ref().filter(|_| done.changed)
                    }
                    Err(refused) => {
                        outcomes.push(Err(refused));
                        continue;
                    }
                }
            }
        };
        if let Some(entry) = entry {
            numbers.seq += 1;
            receipt.seq = numbers.seq;
            rows.entries.push((numbers.seq, entry));
        }
        outcomes.push(Ok(receipt));
    }
    rows.insert(connection, chain, &mut numbers, retention)
        .await?;
    chain::rotate(connection, chain, &mut numbers, setting.limits).await?;
    sqlx::query("COMMIT").execute(&mut *connection).await?;
    Ok((outcomes, numbers))
}

/// Makes a change, or leaves no trace of it: the outer error is the batch's, the inner one the change's own.
async fn in_savepoint(
    connection: &mut SqliteConnection,
    path: &Path,
    change: &super::request::Change,
) -> Result<Result<Receipt, StoreError>, sqlx::Error> {
    sqlx::query("SAVEPOINT change")
        .execute(&mut *connection)
        .await?;
    let done = match change::apply(connection, change).await {
        Ok(done) => done,
        Err(error) if is_constraint(&error) => Err(StoreError::Write {
            path: path.into(),
            source: Arc::new(error),
        }),
        Err(error) => return Err(error),
    };
    if done.is_err() {
        sqlx::query("ROLLBACK TO change")
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query("RELEASE change")
        .execute(&mut *connection)
        .await?;
    Ok(done)
}

/// What gathers for as few statements as possible.
#[derive(Default)]
struct Rows<'a> {
    entries: Vec<(u64, &'a Redacted)>,
    lines: Vec<(u64, &'a LogLine)>,
}

impl Rows<'_> {
    async fn insert(
        &mut self,
        connection: &mut SqliteConnection,
        chain: &Chain,
        numbers: &mut Numbers,
        retention: &mut Retention,
    ) -> Result<(), sqlx::Error> {
        for rows in self.entries.chunks(ROWS_PER_STATEMENT) {
            insert_entries(connection, chain, numbers, rows).await?;
        }
        for rows in self.lines.chunks(ROWS_PER_STATEMENT) {
            insert_lines(connection, rows).await?;
        }
        retention.prune(connection, &self.lines).await?;
        self.entries.clear();
        self.lines.clear();
        Ok(())
    }
}

/// Writes one entry of our own as the next; within a transaction.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    chain: &Chain,
    numbers: &mut Numbers,
    entry: Entry,
) -> Result<(), sqlx::Error> {
    numbers.seq += 1;
    let entry = Redacted::of(entry);
    insert_entries(connection, chain, numbers, &[(numbers.seq, &entry)]).await
}

/// Whether a statement of so many rows comes again.
fn is_kept(rows: usize) -> bool {
    rows == ROWS_PER_STATEMENT || rows <= KEPT_ROWS
}

/// The one place where entries become rows: what is not to be in the log must not come here.
async fn insert_entries(
    connection: &mut SqliteConnection,
    chain: &Chain,
    numbers: &mut Numbers,
    rows: &[(u64, &Redacted)],
) -> Result<(), sqlx::Error> {
    let mut insert = QueryBuilder::<Sqlite>::new(
        "INSERT INTO audit (seq, at, kind, server, launch, subject, detail, prev, mac) ",
    );
    let mut buffer = Vec::with_capacity(512);
    let mut unwritable = None;
    insert.push_values(rows, |mut row, (seq, entry)| {
        let launch = id_text(entry.launch);
        let detail = serde_json::to_string(&entry.detail).unwrap_or_else(|error| {
            unwritable = Some(error);
            String::new()
        });
        let columns = Columns {
            at: micros(entry.at),
            kind: entry.kind.as_str(),
            server: entry.server.as_deref(),
            launch: launch.as_deref(),
            subject: &entry.subject,
            detail: &detail,
        };
        let prev = numbers.head;
        let mac = chain.entry(&mut buffer, &prev, *seq, &columns);
        numbers.segment.bytes += (columns.subject.len() + detail.len()) as u64;
        (numbers.head_seq, numbers.head) = (*seq, mac);
        row.push_bind(seq.cast_signed())
            .push_bind(columns.at)
            .push_bind(entry.kind.as_str())
            .push_bind(entry.server.as_deref())
            .push_bind(launch)
            .push_bind(entry.subject.as_str())
            .push_bind(detail)
            .push_bind(prev.0.to_vec())
            .push_bind(mac.0.to_vec());
    });
    if let Some(error) = unwritable {
        return Err(sqlx::Error::Encode(error.into()));
    }
    insert
        .build()
        .persistent(is_kept(rows.len()))
        .execute(connection)
        .await?;
    Ok(())
}

async fn insert_lines(
    connection: &mut SqliteConnection,
    rows: &[(u64, &LogLine)],
) -> Result<(), sqlx::Error> {
    let mut insert =
        QueryBuilder::<Sqlite>::new("INSERT INTO logs (id, at, server, stream, launch, line) ");
    insert.push_values(rows, |mut row, (id, line)| {
        row.push_bind(id.cast_signed())
            .push_bind(micros(line.at))
            .push_bind(line.server.as_str())
            .push_bind(line.stream.as_str())
            .push_bind(id_text(line.launch))
            .push_bind(line.line.as_str());
    });
    insert
        .build()
        .persistent(is_kept(rows.len()))
        .execute(connection)
        .await?;
    Ok(())
}

/// Keeps each server's log to its newest lines.
///
/// Pruning costs a walk over the index, so it happens after every tenth of the kept number: a server's log
/// holds at most a tenth more.
#[derive(Debug)]
pub(super) struct Retention {
    keep: u32,
    since_pruned: HashMap<String, u32>,
}

impl Retention {
    pub(super) fn new(keep: u32) -> Self {
        Self {
            keep,
            since_pruned: HashMap::new(),
        }
    }

    async fn prune(
        &mut self,
        connection: &mut SqliteConnection,
        lines: &[(u64, &LogLine)],
    ) -> Result<(), sqlx::Error> {
        for (_, line) in lines {
            match self.since_pruned.get_mut(&line.server) {
                Some(count) => *count += 1,
                None => {
                    self.since_pruned.insert(line.server.clone(), 1);
                }
            }
        }
        let every = (self.keep / 10).max(1);
        for (server, count) in &mut self.since_pruned {
            if *count < every {
                continue;
            }
            sqlx::query(
                "DELETE FROM logs WHERE server = ?1 AND id <= \
                 (SELECT id FROM logs WHERE server = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            )
            .bind(server.as_str())
            .bind(self.keep)
            .execute(&mut *connection)
            .await?;
            *count = 0;
        }
        self.since_pruned.retain(|_, count| *count > 0);
        Ok(())
    }
}
