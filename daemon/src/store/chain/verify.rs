//! Verification of a database's log: of the daemon's own, also while it runs, or of a copy.
//!
//! Everything is read in one transaction, which sees one state however much is written meanwhile. The anchor is read before
//! it begins: it may lag behind what is seen, and never be ahead.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection};

use super::begin::{self, no_key, other_key};
use super::{SELECT, key, key_path, row};
use crate::audit::chain::{
    Anchor, Chain, Evidence, Finding, Flaw, Kept, Mac, Seal, Slots, Strange, Suspect, Verdict,
    Verifier, missed,
};
use crate::store::convert::number;
use crate::store::{StoreError, reading};

/// What is held against what.
#[derive(Clone, Debug, Default)]
pub struct Against {
    /// The key's file; `None`: the one beside the database.
    pub key: Option<PathBuf>,
    /// An anchor that was kept elsewhere, such as a line of syslog; counts besides the one beside the database.
    pub line: Option<String>,
    /// What is wrong before this entry is known and does not count; 0: everything counts.
    pub from: u64,
    /// Whether an anchor must be beside the database: it need not be beside a copy.
    pub anchored: bool,
}

/// Why a log could not be verified: nothing is known of it.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The database, its key or its anchor cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log is from before there was a chain.
    #[error("the log in {} is not chained\nhint: a daemon of this version chains it when it starts", .0.display())]
    Unchained(PathBuf),
    /// There is no such file.
    #[error("there is no database at {}\nhint: --file names another; the daemon makes its own when it first starts", .0.display())]
    NoDatabase(PathBuf),
    /// The anchor that was given is none.
    #[error(
        "{0:?} is no anchor\nhint: give the text from \"srtd-audit-anchor-1\" to the end, as the daemon wrote it"
    )]
    NoAnchor(String),
}

/// What a verification came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The database.
    pub path: PathBuf,
    /// The log's id.
    pub database: String,
    /// The key's name.
    pub key: String,
    /// What was counted.
    pub verdict: Verdict,
    /// Entries up to this number were there before the chain and were chained as they were found; 0: none.
    pub adopted: u64,
    /// How many segments are closed.
    pub segments: u64,
    /// The number that the anchor beside the database names; `None`: there is none that can be read.
    pub anchored: Option<u64>,
    /// What is wrong, in the order of the entries.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }

    /// As `srtd verify` prints it.
    pub fn json(&self) -> Value {
        let findings: Vec<_> = self
            .findings
            .iter()
            .map(|finding| {
                json!({
                    "kind": finding.flaw.as_str(), "seq": finding.seq, "message": finding.message,
                })
            })
            .collect();
        json!({
            "ok": self.is_ok(),
            "path": self.path.display().to_string(),
            "database": self.database,
            "key": self.key,
            "entries": self.verdict.rows,
            "first": self.verdict.first,
            "last": self.verdict.last,
            "bad": self.verdict.bad,
            "missing": self.verdict.missing,
            "adopted": self.adopted,
            "pruned": self.verdict.pruned,
            "segments": self.segments,
            "anchored": self.anchored,
            "findings": findings,
        })
    }
}

/// Verifies the log of the database at `path`.
///
/// # Errors
/// When that cannot be done; what is wrong with the log is in the report.
pub async fn verify(path: &Path, against: &Against) -> Result<Report, VerifyError> {
    if !path.exists() {
        return Err(VerifyError::NoDatabase(path.into()));
    }
    let key_path = against.key.clone().unwrap_or_else(|| key_path(path));
    let found = key::load(&key_path)?;
    let slots = begin::read_anchor(path, found.as_ref().map(|found| &found.key))?;
    let failed = |source| {
        VerifyError::Store(StoreError::Open {
            path: path.into(),
            source: Arc::new(source),
        })
    };
    let mut connection = reading(path).connect().await.map_err(failed)?;
    let read = |source| VerifyError::Store(StoreError::read("the audit log", path, source));
    sqlx::query("BEGIN")
        .execute(&mut connection)
        .await
        .map_err(read)?;
    let chained: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'audit_chain')",
    )
    .fetch_one(&mut connection)
    .await
    .map_err(read)?;
    let row = match chained {
        true => begin::Row::read(&mut connection).await.map_err(read)?,
        false => None,
    };
    let Some(row) = row else {
        return Err(VerifyError::Unchained(path.into()));
    };
    let Some(found) = found else {
        return Err(no_key(path, &row.key).into());
    };
    let chain = Chain::new(found.key, row.database);
    let seals = seals(&mut connection).await.map_err(read)?;
    let segments = seals.len() as u64;
    let mut report = Report {
        path: path.into(),
        database: row.database.to_string(),
        key: chain.key().id().to_owned(),
        verdict: Verdict::default(),
        adopted: row.begin.adopted,
        segments,
        anchored: anchored(slots.as_ref()).map(|anchor| anchor.seq),
        findings: Vec::new(),
    };
    if row.key != chain.key().id() {
        let message = other_key(path, &row.key, chain.key().id()).to_string();
        let message = message.lines().next().unwrap_or_default().to_owned();
        report
            .findings
            .push(Finding::new(Flaw::OtherKey, None, message));
        return Ok(report);
    }
    let kept = Kept {
        begin: row.begin,
        seals,
        anchor: slots
            .clone()
            .or_else(|| against.anchored.then(Slots::default)),
    };
    let verdict = rows(&mut connection, &chain, kept).await.map_err(read)?;
    report.findings.extend(row.finding(&chain));
    if let Some(suspect) = verdict.suspect {
        let evidence = evidence(&mut connection, &chain, &suspect, &verdict)
            .await
            .map_err(read)?;
        report.findings.push(suspect.finding(&evidence));
    }
    report.findings.extend(verdict.findings.iter().cloned());
    if let Some(line) = &against.line {
        let finding = given(&mut connection, &chain, line, &verdict).await?;
        report.findings.extend(finding);
    }
    report
        .findings
        .retain(|finding| finding.seq.unwrap_or(0) >= against.from);
    report
        .findings
        .sort_by_key(|finding| finding.seq.unwrap_or(0));
    report.verdict = verdict;
    connection.close().await.map_err(read)?;
    Ok(report)
}

fn anchored(slots: Option<&Slots>) -> Option<&Anchor> {
    let (anchor, _) = slots?.newest.as_ref()?;
    Some(anchor)
}

pub(super) async fn seals(connection: &mut SqliteConnection) -> Result<Vec<Seal>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT segment, first, last, \"before\", \"end\", at, mac FROM audit_segments ORDER BY segment",
    )
    .fetch_all(connection)
    .await?;
    let mac = |row: &SqliteRow, column: &str| -> Result<Mac, sqlx::Error> {
        Ok(Mac::from_bytes(row.try_get(column)?).unwrap_or_default())
    };
    rows.iter()
        .map(|row| {
            Ok(Seal {
                segment: number(row, "segment")?,
                first: number(row, "first")?,
                last: number(row, "last")?,
                before: mac(row, "before")?,
                end: mac(row, "end")?,
                at: row.try_get("at")?,
                mac: mac(row, "mac")?,
            })
        })
        .collect()
}

async fn rows(
    connection: &mut SqliteConnection,
    chain: &Chain,
    kept: Kept,
) -> Result<Verdict, sqlx::Error> {
    let mut verifier = Verifier::new(chain.clone(), kept);
    let all = sqlx::AssertSqlSafe(format!("{SELECT} ORDER BY seq"));
    let mut found = sqlx::query(all).fetch(connection);
    while let Some(found) = found.try_next().await? {
        verifier.row(&row(&found)?);
    }
    drop(found);
    Ok(verifier.finish())
}

/// Looks up what became of the row that does not fit, and of the rightful one.
async fn evidence(
    connection: &mut SqliteConnection,
    chain: &Chain,
    suspect: &Suspect,
    verdict: &Verdict,
) -> Result<Evidence, sqlx::Error> {
    let mut evidence = Evidence::default();
    if let Some(after) = suspect.after {
        let found = sqlx::query(sqlx::AssertSqlSafe(format!(
            "{SELECT} WHERE prev = ? AND seq <> ? LIMIT 1"
        )))
        .bind(&after.0[..])
        .bind(suspect.seq.cast_signed())
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(found) = found {
            let row = row(&found)?;
            // One that is as it was written was written there, after what is missing was gone.
            evidence.rightful = (!row.is_authentic(chain, &mut Vec::new())).then_some(row.seq);
        }
    }
    if suspect.what != Strange::Changed {
        return Ok(evidence);
    }
    let Some(found) = one(connection, suspect.seq).await? else {
        return Ok(evidence);
    };
    // What was cut off or renumbered had a number beyond the end that is there now.
    let most = verdict
        .last
        .saturating_add(verdict.rows)
        .saturating_add(1000);
    evidence.original = row(&found)?.original(chain, most);
    if let Some(original) = evidence.original
        && let Some(found) = one(connection, original).await?
    {
        evidence.original_stands = row(&found)?.is_authentic(chain, &mut Vec::new());
    }
    Ok(evidence)
}

async fn one(
    connection: &mut SqliteConnection,
    seq: u64,
) -> Result<Option<SqliteRow>, sqlx::Error> {
    sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} WHERE seq = ?")))
        .bind(seq.cast_signed())
        .fetch_optional(connection)
        .await
}

/// Holds the log against an anchor that was kept elsewhere.
async fn given(
    connection: &mut SqliteConnection,
    chain: &Chain,
    line: &str,
    verdict: &Verdict,
) -> Result<Option<Finding>, VerifyError> {
    // What a logger put before it does not matter.
    let text = line
        .find("srtd-audit-anchor-1")
        .map_or(line, |start| &line[start..]);
    let Some((anchor, authentic)) = Anchor::parse(text, Some(chain.key())) else {
        return Err(VerifyError::NoAnchor(line.to_owned()));
    };
    if anchor.seq < verdict.first {
        // Pruned since.
        return Ok(None);
    }
    let at_anchor: Option<Option<Vec<u8>>> =
        sqlx::query_scalar("SELECT mac FROM audit WHERE seq = ?")
            .bind(anchor.seq.cast_signed())
            .fetch_optional(connection)
            .await
            .map_err(|source| StoreError::read("the audit log", Path::new(""), source))?;
    let at_anchor = at_anchor.flatten().and_then(|mac| Mac::from_bytes(&mac));
    let slots = match authentic {
        true => Slots {
            newest: Some((anchor, 0)),
            ..Slots::default()
        },
        false if anchor.key == chain.key().id() => Slots::default(),
        false => Slots {
            foreign: Some(anchor),
            ..Slots::default()
        },
    };
    Ok(missed(chain, Some(&slots), verdict.last, at_anchor))
}
