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
use super::change;
use super::convert::{id_text, micros};
use super::error::is_constraint;
use super::request::{Receipt, Request, Write};
use super::rows::LogLine;
use crate::audit::Entry;

/// The newest numbers given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) seq: u64,
    pub(super) log: u64,
}

/// What became of each request of a batch, in its order.
pub(super) type Outcomes = Vec<Result<Receipt, StoreError>>;

/// SQLite allows 32,766 variables in a statement; audit entries need seven each.
const ROWS_PER_STATEMENT: usize = 1024;

/// Reads where numbering stands. Numbers of deleted rows are not given out again: `sqlite_sequence` remembers.
pub(super) async fn numbers(connection: &mut SqliteConnection) -> Result<Numbers, sqlx::Error> {
    let newest = |rows: &[(String, i64)], table: &str| {
        rows.iter()
            .find(|(name, _)| name == table)
            .map_or(0, |(_, seq)| seq.cast_unsigned())
    };
    let rows: Vec<(String, i64)> = sqlx::query_as("SELECT name, seq FROM sqlite_sequence")
        .fetch_all(connection)
        .await?;
    Ok(Numbers {
        seq: newest(&rows, "audit"),
        log: newest(&rows, "logs"),
    })
}

/// Writes `batch`, durably. On an error nothing of it is written.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    path: &Path,
    batch: &[Request],
    mut numbers: Numbers,
    retention: &mut Retention,
) -> Result<(Outcomes, Numbers), sqlx::Error> {
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *connection)
        .await?;
    let mut outcomes = Outcomes::with_capacity(batch.len());
    let mut entries = Vec::new();
    let mut lines = Vec::new();
    for request in batch {
        let mut receipt = Receipt::default();
        let entry = match &request.write {
            Write::Line(line) => {
                numbers.log += 1;
                lines.push((numbers.log, line));
                None
            }
            Write::Entry(entry) => Some(entry),
            Write::Change(change, entry) => {
                // The change may concern lines that came before it: removing a server removes its log.
                insert(connection, &mut entries, &mut lines, retention).await?;
                match in_savepoint(connection, path, change).await? {
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
            entries.push((numbers.seq, entry));
        }
        outcomes.push(Ok(receipt));
    }
    insert(connection, &mut entries, &mut lines, retention).await?;
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

async fn insert(
    connection: &mut SqliteConnection,
    entries: &mut Vec<(u64, &Entry)>,
    lines: &mut Vec<(u64, &LogLine)>,
    retention: &mut Retention,
) -> Result<(), sqlx::Error> {
    for rows in entries.chunks(ROWS_PER_STATEMENT) {
        insert_entries(connection, rows).await?;
    }
    for rows in lines.chunks(ROWS_PER_STATEMENT) {
        insert_lines(connection, rows).await?;
    }
    retention.prune(connection, lines).await?;
    entries.clear();
    lines.clear();
    Ok(())
}

// The text of these statements depends on the number of rows, so SQLite's compiled form is not worth keeping.

async fn insert_entries(
    connection: &mut SqliteConnection,
    rows: &[(u64, &Entry)],
) -> Result<(), sqlx::Error> {
    let mut insert = QueryBuilder::<Sqlite>::new(
        "INSERT INTO audit (seq, at, kind, server, launch, subject, detail) ",
    );
    insert.push_values(rows, |mut row, (seq, entry)| {
        row.push_bind(seq.cast_signed())
            .push_bind(micros(entry.at))
            .push_bind(entry.kind.as_str())
            .push_bind(entry.server.as_deref())
            .push_bind(id_text(entry.launch))
            .push_bind(entry.subject.as_str())
            .push_bind(serde_json::Value::Object(entry.detail.clone()).to_string());
    });
    insert.build().persistent(false).execute(connection).await?;
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
    insert.build().persistent(false).execute(connection).await?;
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
