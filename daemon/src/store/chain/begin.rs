//! The chain when the store is opened: its key and its anchor, made where nothing was; entries from before it, chained;
//! and whether the log goes on from where it was anchored.
//!
//! What is made is made in this order: the anchor of an empty log, the key's file, the database's own row. So a key without
//! an anchor, or a row without either, is never the trace of a daemon that was killed, and always that of something that was
//! removed. Nothing overwrites an anchor that does not fit before an entry tells of it.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::key::{self, Fresh};
use super::{AnchorFile, anchor_path, key_path};
use crate::audit::chain::{Begin, Chain, Finding, Flaw, Key, Mac, NOTICED, Slots, missed};
use crate::audit::{Entry, Kind};
use crate::store::batch::{self, Numbers};
use crate::store::{Opening, StoreError};

/// The chain, ready to go on.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) chain: Chain,
    pub(crate) numbers: Numbers,
    pub(crate) anchor: AnchorFile,
    /// Where the key is kept.
    pub(crate) key_kept: &'static str,
    /// What is to be written first.
    pub(crate) told: Vec<Entry>,
}

/// What the database says of its chain.
pub(super) struct Row {
    pub(super) database: Uuid,
    pub(super) key: String,
    pub(super) begin: Begin,
    mac: Option<Mac>,
}

impl Row {
    pub(super) async fn read(
        connection: &mut SqliteConnection,
    ) -> Result<Option<Self>, sqlx::Error> {
        let row = sqlx::query("SELECT database, key, begun_at, adopted, mac FROM audit_chain")
            .fetch_optional(connection)
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Self {
            database: crate::store::convert::id(&row, "database")?,
            key: row.try_get("key")?,
            begin: Begin {
                at: row.try_get("begun_at")?,
                adopted: row.try_get::<i64, _>("adopted")?.cast_unsigned(),
            },
            mac: Mac::from_bytes(row.try_get("mac")?),
        }))
    }

    /// What is wrong with it.
    pub(super) fn finding(&self, chain: &Chain) -> Option<Finding> {
        (self.mac != Some(chain.begin(&self.begin))).then(|| {
            Finding::new(
                Flaw::OtherDatabase,
                None,
                "what the database says of its log (audit_chain) was changed",
            )
        })
    }
}

/// Reads the chain's state, or begins it.
pub(crate) async fn begin(
    connection: &mut SqliteConnection,
    path: &Path,
    opening: &Opening,
) -> Result<Begun, StoreError> {
    let failed = |source| StoreError::Open {
        path: path.into(),
        source: Arc::new(source),
    };
    let found = key::load(&key_path(path))?;
    let row = Row::read(connection).await.map_err(failed)?;
    let key = found.as_ref().map(|found| &found.key);
    let slots = read_anchor(path, key)?;
    let mut anchor = AnchorFile::new(anchor_path(path));
    let begun_before = row.is_some();
    let mut key_kept = found.as_ref().map_or("", |found| found.place);
    let (chain, finding) = match (row, found) {
        (Some(row), Some(found)) => {
            if row.key != found.key.id() {
                return Err(other_key(path, &row.key, found.key.id()));
            }
            let chain = Chain::new(found.key, row.database);
            let finding = row.finding(&chain);
            (chain, finding)
        }
        (Some(row), None) => return Err(no_key(path, &row.key)),
        (None, found) => {
            let finding = match opening.replaces {
                true => None,
                false => unexpected(found.is_some(), slots.as_ref()),
            };
            let database = match slots.as_ref().and_then(|slots| slots.newest.as_ref()) {
                // A daemon died between the anchor and the row.
                Some((empty, _)) if empty.seq == 0 => empty.database,
                _ => Uuid::new_v4(),
            };
            let chain = match found {
                Some(found) => Chain::new(found.key, database),
                None => {
                    let fresh = Fresh::make(&key_path(path))?;
                    let chain = Chain::new(fresh.key.clone(), database);
                    if finding.is_none() {
                        (anchor.advance(&chain, 0, Mac::NONE))
                            .map_err(|source| StoreError::anchor(path, source))?;
                    }
                    let kept = fresh.keep(&key_path(path), opening.prefer)?;
                    key_kept = kept.place;
                    tracing::info!(
                        key = kept.key.id(),
                        kept = kept.place,
                        "made the audit log's key"
                    );
                    chain
                }
            };
            adopt(connection, path, &chain).await?;
            (chain, finding)
        }
    };
    let mut numbers = batch::numbers(connection, &chain, None)
        .await
        .map_err(failed)?;
    let finding = match finding {
        None if begun_before => held(connection, &chain, &numbers, slots.as_ref())
            .await
            .map_err(failed)?,
        finding => finding,
    };
    if let Some((known, _)) = slots.as_ref().and_then(|slots| slots.newest.as_ref())
        && known.database == chain.database()
    {
        // A number that was given out is not given out again: what is cut off stays a gap.
        numbers.seq = numbers.seq.max(known.seq);
    }
    Ok(Begun {
        told: finding.iter().map(notice).collect(),
        chain,
        numbers,
        anchor,
        key_kept,
    })
}

pub(super) fn read_anchor(path: &Path, key: Option<&Key>) -> Result<Option<Slots>, StoreError> {
    AnchorFile::read(&anchor_path(path), key).map_err(|source| StoreError::anchor(path, source))
}

pub(super) fn other_key(path: &Path, made: &str, found: &str) -> StoreError {
    StoreError::Key {
        path: key_path(path),
        problem: format!("is the key {found}, and the log in {} was made with the key {made}", path.display()),
        hint: "put the right key back from a backup. If it is lost for good: srtctl audit key renew --because WHY".into(),
    }
}

pub(super) fn no_key(path: &Path, made: &str) -> StoreError {
    StoreError::Key {
        path: key_path(path),
        problem: format!("is not there, and the log in {} was made with the key {made}", path.display()),
        hint: "put it back from a backup: without it the log can neither be verified nor go on. If it is lost for good: srtctl audit key renew --because WHY".into(),
    }
}

/// What a new database should not have found.
fn unexpected(had_key: bool, slots: Option<&Slots>) -> Option<Finding> {
    let known = slots.map(|slots| {
        (
            slots.newest.as_ref().map(|(known, _)| known),
            slots.foreign.as_ref(),
        )
    });
    let gone = |known: &crate::audit::chain::Anchor| {
        Finding::new(
            Flaw::OtherDatabase,
            None,
            format!(
                "the database is new, and the anchor is of the log {} with {} entries: that database was removed or replaced",
                known.database, known.seq
            ),
        )
    };
    match known {
        Some((Some(known), _) | (None, Some(known))) if known.seq > 0 => Some(gone(known)),
        Some((None, None)) if had_key => Some(damaged_anchor()),
        None if had_key => Some(Finding::new(
            Flaw::OtherDatabase,
            None,
            "the database is new, and there is a key from before: a database and its anchor were removed",
        )),
        _ => None,
    }
}

fn damaged_anchor() -> Finding {
    Finding::new(
        Flaw::Anchor,
        None,
        "the database is new, and the anchor from before cannot be read",
    )
}

/// Whether the log goes on from where it was anchored.
async fn held(
    connection: &mut SqliteConnection,
    chain: &Chain,
    numbers: &Numbers,
    slots: Option<&Slots>,
) -> Result<Option<Finding>, sqlx::Error> {
    let newest: Option<i64> = sqlx::query_scalar("SELECT MAX(seq) FROM audit")
        .fetch_one(&mut *connection)
        .await?;
    let newest = newest.unwrap_or(0).cast_unsigned();
    if newest != numbers.head_seq {
        return Ok(Some(Finding::new(
            Flaw::Edited,
            newest,
            format!("entry {newest}, the newest, is not as it was written"),
        )));
    }
    let anchored = slots.and_then(|slots| slots.newest.as_ref());
    let at_anchor = match anchored {
        Some((anchor, _)) => {
            let mac: Option<Option<Vec<u8>>> =
                sqlx::query_scalar("SELECT mac FROM audit WHERE seq = ?")
                    .bind(anchor.seq.cast_signed())
                    .fetch_optional(&mut *connection)
                    .await?;
            mac.flatten().and_then(|mac| Mac::from_bytes(&mac))
        }
        None => None,
    };
    Ok(missed(chain, slots, newest, at_anchor))
}

fn notice(finding: &Finding) -> Entry {
    tracing::error!(
        kind = finding.flaw.as_str(),
        "the audit log does not go on from where it was: {}\nhint: srtctl audit verify",
        finding.message
    );
    let entry = Entry::new(Timestamp::now(), Kind::Daemon, NOTICED)
        .with("flaw", finding.flaw.as_str())
        .with("message", finding.message.as_str());
    match finding.seq {
        Some(seq) => entry.with("seq", seq),
        None => entry,
    }
}

/// Chains what is there already, as it is found, and writes the database's row about its chain: one transaction.
async fn adopt(
    connection: &mut SqliteConnection,
    path: &Path,
    chain: &Chain,
) -> Result<(), StoreError> {
    let chained: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM audit WHERE mac IS NOT NULL)")
            .fetch_one(&mut *connection)
            .await
            .map_err(|source| StoreError::Open {
                path: path.into(),
                source: Arc::new(source),
            })?;
    if chained {
        return Err(StoreError::Key {
            path: key_path(path),
            problem: format!("cannot be used: the table audit_chain of {} is empty, and its entries are chained: the row was removed", path.display()),
            hint: "put the database back from a backup; or, to begin a new log, stop srtd and move the database (with -wal, -shm and .anchor) away, and keep it".into(),
        });
    }
    adopt_all(connection, chain)
        .await
        .map_err(|source| StoreError::Write {
            path: path.into(),
            source: Arc::new(source),
        })
}

async fn adopt_all(connection: &mut SqliteConnection, chain: &Chain) -> Result<(), sqlx::Error> {
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *connection)
        .await?;
    let (count, begin) = adopt_rows(connection, chain).await?;
    write_row(connection, chain, &begin).await?;
    if count > 0 {
        let mut numbers = batch::numbers(connection, chain, None).await?;
        let told = Entry::new(Timestamp::now(), Kind::Daemon, "audit log chained")
            .with("entries", count)
            .with("through", begin.adopted);
        batch::append(connection, chain, &mut numbers, told).await?;
        tracing::info!(entries = count, "chained the audit log's entries");
    }
    sqlx::query("COMMIT").execute(connection).await?;
    Ok(())
}

/// Chains what is there as it is found; within a transaction.
pub(super) async fn adopt_rows(
    connection: &mut SqliteConnection,
    chain: &Chain,
) -> Result<(usize, Begin), sqlx::Error> {
    let (mut last, mut head, mut count) = (0, Mac::NONE, 0_usize);
    let mut buffer = Vec::new();
    loop {
        let page = sqlx::query(sqlx::AssertSqlSafe(format!(
            "{} WHERE seq > ? ORDER BY seq LIMIT 1000",
            super::SELECT
        )))
        .bind(u64::cast_signed(last))
        .fetch_all(&mut *connection)
        .await?;
        if page.is_empty() {
            break;
        }
        if count == 0 {
            tracing::info!("chaining the audit log's entries, once");
        }
        let mut macs = Vec::with_capacity(page.len());
        for row in &page {
            let row = super::row(row)?;
            let mac = chain.entry(&mut buffer, &head, row.seq, &row.columns);
            macs.push((row.seq, head, mac));
            (last, head) = (row.seq, mac);
        }
        count += macs.len();
        let mut update = QueryBuilder::<Sqlite>::new("WITH chained (seq, prev, mac) AS (");
        update.push_values(&macs, |mut values, (seq, prev, mac)| {
            values
                .push_bind(seq.cast_signed())
                .push_bind(prev.0.to_vec())
                .push_bind(mac.0.to_vec());
        });
        update.push(") UPDATE audit SET prev = chained.prev, mac = chained.mac FROM chained WHERE audit.seq = chained.seq");
        update
            .build()
            .persistent(false)
            .execute(&mut *connection)
            .await?;
    }
    let begin = Begin {
        at: Timestamp::now().as_microsecond(),
        adopted: last,
    };
    Ok((count, begin))
}

/// Writes what the database says of its chain; within a transaction.
pub(super) async fn write_row(
    connection: &mut SqliteConnection,
    chain: &Chain,
    begin: &Begin,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO audit_chain (id, database, key, begun_at, adopted, mac) VALUES (1, ?, ?, ?, ?, ?)")
        .bind(chain.database().to_string())
        .bind(chain.key().id())
        .bind(begin.at)
        .bind(begin.adopted.cast_signed())
        .bind(chain.begin(begin).0.to_vec())
        .execute(connection)
        .await?;
    Ok(())
}
