//! Segments: runs of entries that are closed with a seal, and removed as a whole when the settings say that they are old.
//!
//! Removing is said first (an entry, and `pruned_at`) and done after, a few thousand rows at a time, so that nobody waits for
//! it. A daemon that dies in between goes on where it was.

use jiff::Timestamp;
use sqlx::{Row as _, SqliteConnection};

use srt_policy::Retain;

use crate::audit::chain::{Chain, Mac, Seal};
use crate::audit::{Entry, Kind};
use crate::store::batch::{Numbers, append};
use crate::store::convert::number;

/// When a segment is closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// It has so many entries.
    pub(crate) entries: u64,
    /// Their subjects and details have so many bytes.
    pub(crate) bytes: u64,
    /// It was begun so long ago, in microseconds.
    pub(crate) age: i64,
}

const HOUR: i64 = 3_600_000_000;

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 100_000,
            bytes: 64 << 20,
            age: 24 * HOUR,
        }
    }
}

impl Limits {
    /// The same or smaller, so that what is kept is not much more than what was asked for.
    pub(crate) fn for_retention(self, retain: Option<Retain>) -> Self {
        match retain {
            None => self,
            Some(Retain::Hours(hours)) => {
                let eighth = i64::try_from(hours)
                    .unwrap_or(i64::MAX)
                    .saturating_mul(HOUR)
                    / 8;
                Self {
                    age: self.age.min(eighth),
                    ..self
                }
            }
            Some(Retain::Entries(entries)) => Self {
                entries: self.entries.min((entries / 8).max(1)),
                ..self
            },
        }
    }
}

/// The segment that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Its number.
    pub(crate) number: u64,
    /// The number of its first entry, when it comes.
    pub(crate) first: u64,
    /// The MAC before it.
    pub(crate) before: Mac,
    /// When it was begun: with the seal before it, or with the chain.
    pub(crate) begun: i64,
    /// Bytes of its entries' subjects and details.
    pub(crate) bytes: u64,
    /// The seal before it.
    pub(crate) sealed: Mac,
}

impl Segment {
    /// Whether it is to be closed.
    fn is_full(&self, newest: u64, limits: &Limits, now: i64) -> bool {
        // The entry that tells of a seal is worth none by itself.
        newest > self.first
            && (newest + 1 - self.first >= limits.entries
                || self.bytes >= limits.bytes
                || now.saturating_sub(self.begun) >= limits.age)
    }

    /// Reads which one is open.
    pub(crate) async fn read(connection: &mut SqliteConnection) -> Result<Self, sqlx::Error> {
        let newest = sqlx::query(
            "SELECT segment, last, \"end\", at, mac FROM audit_segments ORDER BY segment DESC LIMIT 1",
        )
        .fetch_optional(&mut *connection)
        .await?;
        let mac = |bytes: &[u8]| Mac::from_bytes(bytes).unwrap_or_default();
        let mut open = match &newest {
            None => {
                let begun: Option<i64> = sqlx::query_scalar("SELECT begun_at FROM audit_chain")
                    .fetch_optional(&mut *connection)
                    .await?;
                Self {
                    number: 1,
                    first: 1,
                    before: Mac::NONE,
                    begun: begun.unwrap_or_else(|| Timestamp::now().as_microsecond()),
                    bytes: 0,
                    sealed: Mac::NONE,
                }
            }
            Some(row) => Self {
                number: number(row, "segment")? + 1,
                first: number(row, "last")? + 1,
                before: mac(row.try_get("end")?),
                begun: row.try_get("at")?,
                bytes: 0,
                sealed: mac(row.try_get("mac")?),
            },
        };
        let bytes: i64 = sqlx::query_scalar(
            "SELECT COALESCE(SUM(LENGTH(subject) + LENGTH(detail)), 0) FROM audit WHERE seq >= ?",
        )
        .bind(open.first.cast_signed())
        .fetch_one(connection)
        .await?;
        open.bytes = bytes.cast_unsigned();
        Ok(open)
    }
}

/// Closes the open segment where it is full; within a transaction.
pub(crate) async fn rotate(
    connection: &mut SqliteConnection,
    chain: &Chain,
    numbers: &mut Numbers,
    limits: &Limits,
) -> Result<bool, sqlx::Error> {
    let now = Timestamp::now();
    let open = numbers.segment;
    if !open.is_full(numbers.seq, limits, now.as_microsecond()) {
        return Ok(false);
    }
    let seal = Seal {
        segment: open.number,
        first: open.first,
        last: numbers.seq,
        before: open.before,
        end: numbers.head,
        at: now.as_microsecond(),
        mac: Mac::NONE,
    }
    .sealed(chain, &open.sealed);
    sqlx::query(
        "INSERT INTO audit_segments (segment, first, last, \"before\", \"end\", at, mac) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(seal.segment.cast_signed())
    .bind(seal.first.cast_signed())
    .bind(seal.last.cast_signed())
    .bind(&seal.before.0[..])
    .bind(&seal.end.0[..])
    .bind(seal.at)
    .bind(&seal.mac.0[..])
    .execute(&mut *connection)
    .await?;
    numbers.segment = Segment {
        number: seal.segment + 1,
        first: seal.last + 1,
        before: seal.end,
        begun: seal.at,
        bytes: 0,
        sealed: seal.mac,
    };
    let told = Entry::new(now, Kind::Seal, format!("segment {}", seal.segment))
        .with("segment", seal.segment)
        .with("first", seal.first)
        .with("last", seal.last)
        .with("seal", seal.mac.to_string());
    append(connection, chain, numbers, told).await?;
    Ok(true)
}

/// Closes the open segment where it is old, and says of those that the settings do not keep that they go; in a transaction
/// of its own. Whether anything was written.
pub(crate) async fn maintain(
    connection: &mut SqliteConnection,
    chain: &Chain,
    numbers: &mut Numbers,
    limits: &Limits,
    retain: Option<Retain>,
) -> Result<bool, sqlx::Error> {
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *connection)
        .await?;
    let closed = rotate(connection, chain, numbers, limits).await?;
    let gone = match retain {
        Some(retain) => condemn(connection, chain, numbers, retain).await?,
        None => false,
    };
    sqlx::query("COMMIT").execute(connection).await?;
    Ok(closed || gone)
}

async fn condemn(
    connection: &mut SqliteConnection,
    chain: &Chain,
    numbers: &mut Numbers,
    retain: Retain,
) -> Result<bool, sqlx::Error> {
    let now = Timestamp::now();
    // A segment's entries are not younger than its seal.
    let (closed_before, last_below) = match retain {
        Retain::Hours(hours) => {
            let age = i64::try_from(hours)
                .unwrap_or(i64::MAX)
                .saturating_mul(HOUR);
            (now.as_microsecond().saturating_sub(age), i64::MAX)
        }
        Retain::Entries(entries) => (
            i64::MAX,
            numbers
                .seq
                .saturating_sub(entries)
                .cast_signed()
                .saturating_add(1),
        ),
    };
    // Whole segments from the oldest on: one that is kept keeps those after it.
    let old: Vec<(i64, i64, i64)> = sqlx::query_as(
        "SELECT segment, first, last FROM audit_segments WHERE pruned_at IS NULL AND at < ?1 AND last < ?2 \
         AND segment < (SELECT COALESCE(MIN(segment), 9223372036854775807) FROM audit_segments \
                        WHERE pruned_at IS NULL AND NOT (at < ?1 AND last < ?2)) ORDER BY segment",
    )
    .bind(closed_before)
    .bind(last_below)
    .fetch_all(&mut *connection)
    .await?;
    let (Some((oldest, first, _)), Some((newest, _, through))) = (old.first(), old.last()) else {
        return Ok(false);
    };
    sqlx::query("UPDATE audit_segments SET pruned_at = ? WHERE segment <= ? AND pruned_at IS NULL")
        .bind(now.as_microsecond())
        .bind(newest)
        .execute(&mut *connection)
        .await?;
    let told = Entry::new(now, Kind::Prune, format!("entries {first} to {through}"))
        .with("first_segment", *oldest)
        .with("last_segment", *newest)
        .with("through", *through)
        .with("retain", retain.to_string());
    append(connection, chain, numbers, told).await?;
    tracing::info!(entries = format!("{first}-{through}"), %retain, "the audit log's oldest entries go");
    Ok(true)
}

/// Rows that go in one transaction: what waits behind them waits for some milliseconds.
const AT_ONCE: i64 = 2000;

/// Removes some of the rows of which it was said that they go. Whether there are more.
pub(crate) async fn keep_going(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let removed = sqlx::query(
        "DELETE FROM audit WHERE seq <= MIN(\
           (SELECT COALESCE(MAX(last), 0) FROM audit_segments WHERE pruned_at IS NOT NULL), \
           (SELECT COALESCE(MIN(seq), 0) FROM audit) + ?)",
    )
    .bind(AT_ONCE - 1)
    .execute(connection)
    .await?;
    Ok(removed.rows_affected() > 0)
}
