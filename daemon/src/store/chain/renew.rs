//! The way on after a lost key.
//!
//! What is there is kept, twice: in a copy as it was, for the day on which the key turns up, and in the log, where it is chained
//! with the new key as it is found. That shows whatever is done to it from then on, and nothing of what was done before: the
//! entry that tells of it is what verification goes by, for as long as one of those entries is there.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use uuid::Uuid;

use super::begin::{Row, adopt_rows, write_row};
use super::key::{self, Fresh};
use super::{AnchorFile, Prefer, anchor_path, key_path, verify};
use crate::audit::chain::{Chain, Mac, RENEWED};
use crate::audit::{Entry, Kind};
use crate::store::{Store, StoreError, batch, files, writing};

/// Who renews a key, and why.
#[derive(Clone, Debug)]
pub struct Reason<'a> {
    /// The user.
    pub uid: u32,
    /// In their own words.
    pub because: &'a str,
}

/// A key that was renewed.
#[derive(Clone, Debug)]
pub struct Renewed {
    /// The new key's name.
    pub key: String,
    /// Where it is kept: "file" or "keyring".
    pub kept: &'static str,
    /// The name of the key that was lost.
    pub lost: String,
    /// Entries up to this number cannot be verified.
    pub through: u64,
    /// Where the log is as it was.
    pub copy: PathBuf,
}

/// Gives the log at `path` another key in the place of one that is lost. No daemon may have it open.
///
/// # Errors
/// When the key is not lost, or something cannot be read or written; the log is then as it was, or the same can be done again.
pub async fn renew(path: &Path, prefer: Prefer, why: &Reason<'_>) -> Result<Renewed, StoreError> {
    if !path.exists() {
        return Err(StoreError::Missing { path: path.into() });
    }
    let trouble = |problem: String, hint: &str| StoreError::Key {
        path: key_path(path),
        problem,
        hint: hint.into(),
    };
    let failed = |source| StoreError::Write {
        path: path.into(),
        source: Arc::new(source),
    };
    let mut connection = writing(path).connect().await.map_err(failed)?;
    crate::store::migrate(&mut connection, path).await?;
    let row = Row::read(&mut connection).await.map_err(failed)?;
    let Some(row) = row else {
        return Err(trouble(
            "is not the key of this log, which is not chained".into(),
            "nothing is to be renewed: srtd chains it when it starts",
        ));
    };
    let what = match key::look(&key_path(path))? {
        Ok(found) if found.key.id() == row.key => {
            return Err(trouble(
                format!(
                    "is there, and is the key {} that the log was made with",
                    row.key
                ),
                "nothing is to be renewed: only a key that is lost is",
            ));
        }
        Ok(found) => format!("the key there is {}", found.key.id()),
        Err(what) => what,
    };
    let copy = put_aside(path, &row.key).await?;
    let fresh = Fresh::make(&key_path(path))?;
    let chain = Chain::new(fresh.key.clone(), Uuid::new_v4());
    let kept = fresh.keep(&key_path(path), prefer)?;
    // Of an empty log: should the machine stop before the next one, the log that comes is not behind it.
    let mut anchor = AnchorFile::new(anchor_path(path));
    anchor
        .advance(&chain, 0, Mac::NONE)
        .map_err(|source| StoreError::anchor(path, source))?;
    let (through, seq, mac) = rewrite(&mut connection, &chain, &row.key, &what, why)
        .await
        .map_err(failed)?;
    connection.close().await.map_err(failed)?;
    anchor
        .advance(&chain, seq, mac)
        .and_then(|()| anchor.sync())
        .map_err(|source| StoreError::anchor(path, source))?;
    Ok(Renewed {
        key: kept.key.id().to_owned(),
        kept: kept.place,
        lost: row.key,
        through,
        copy,
    })
}

/// Copies the log and its anchor as they are into a folder of their own, and moves what stands in the key's place there.
async fn put_aside(path: &Path, lost: &str) -> Result<PathBuf, StoreError> {
    let at = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let folder = path
        .with_file_name("lost-keys")
        .join(format!("{lost}-{at}"));
    let made = |source: io::Error| StoreError::Backup {
        to: folder.clone(),
        source: Arc::new(source),
    };
    DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(&folder)
        .map_err(made)?;
    let copy = folder.join(path.file_name().unwrap_or_default());
    Store::backup(path, &copy).await?;
    let there = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(made),
    };
    there(fs::copy(anchor_path(path), files::beside(&copy, ".anchor")).map(drop))?;
    there(fs::rename(key_path(path), key_path(&copy)))?;
    Ok(copy)
}

/// Chains all that is there with the new key and tells of it, in one transaction. The number of the last entry that cannot be
/// verified; that of the newest, and its MAC.
async fn rewrite(
    connection: &mut SqliteConnection,
    chain: &Chain,
    lost: &str,
    what: &str,
    why: &Reason<'_>,
) -> Result<(u64, u64, Mac), sqlx::Error> {
    let now = Timestamp::now();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM audit_chain")
        .execute(&mut *connection)
        .await?;
    let (count, begin) = adopt_rows(connection, chain).await?;
    seal_anew(connection, chain).await?;
    write_row(connection, chain, &begin).await?;
    let first: Option<i64> = sqlx::query_scalar("SELECT MIN(seq) FROM audit")
        .fetch_one(&mut *connection)
        .await?;
    let (first, through) = (first.unwrap_or(0).cast_unsigned(), begin.adopted);
    let mut numbers = batch::numbers(connection, chain, None).await?;
    let message = format!(
        "entries {first} to {through} cannot be verified: their key {lost} was lost ({what}), and uid {} went on with the key {} on \
         {now:.0}, because: {}",
        why.uid,
        chain.key().id(),
        why.because
    );
    let told = Entry::new(now, Kind::Daemon, RENEWED)
        .with("message", message)
        .with("because", why.because)
        .with("uid", why.uid)
        .with("lost", lost)
        .with("key", chain.key().id())
        .with("entries", count)
        .with("first", first)
        .with("through", through);
    batch::append(connection, chain, &mut numbers, told).await?;
    sqlx::query("COMMIT").execute(connection).await?;
    Ok((through, numbers.head_seq, numbers.head))
}

/// Seals the closed segments with the new key; what is left of those that were pruned is taken as it is.
async fn seal_anew(connection: &mut SqliteConnection, chain: &Chain) -> Result<(), sqlx::Error> {
    let mut previous = Mac::NONE;
    for mut seal in verify::seals(connection).await? {
        let before: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT prev FROM audit WHERE seq >= ? AND seq <= ? ORDER BY seq LIMIT 1",
        )
        .bind(seal.first.cast_signed())
        .bind(seal.last.cast_signed())
        .fetch_optional(&mut *connection)
        .await?;
        let end: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT mac FROM audit WHERE seq <= ? ORDER BY seq DESC LIMIT 1")
                .bind(seal.last.cast_signed())
                .fetch_optional(&mut *connection)
                .await?;
        let mac = |bytes: Option<Vec<u8>>| bytes.and_then(|bytes| Mac::from_bytes(&bytes));
        seal.before = mac(before).unwrap_or(seal.before);
        seal.end = mac(end).unwrap_or(seal.end);
        let seal = seal.sealed(chain, &previous);
        sqlx::query(
            "UPDATE audit_segments SET \"before\" = ?, \"end\" = ?, mac = ? WHERE segment = ?",
        )
        .bind(&seal.before.0[..])
        .bind(&seal.end.0[..])
        .bind(&seal.mac.0[..])
        .bind(seal.segment.cast_signed())
        .execute(&mut *connection)
        .await?;
        previous = seal.mac;
    }
    Ok(())
}

/// A log's key, as far as it can be had.
#[derive(Clone, Debug)]
pub struct KeyState {
    /// The key's file, or the note of where it is.
    pub file: PathBuf,
    /// The key that is there, and where: "file" or "keyring".
    pub found: Option<(String, &'static str)>,
    /// The name of the key that the log was made with, where there is a log.
    pub made_with: Option<String>,
    /// Why the log cannot go on with what is there, with a hint.
    pub trouble: Option<String>,
}

/// Looks where the key of the log at `path` is. Changes nothing.
///
/// # Errors
/// When the database cannot be read.
pub async fn key_state(path: &Path) -> Result<KeyState, StoreError> {
    let mut made_with = None;
    if path.exists() {
        let read = |source| StoreError::read("the audit log", path, source);
        let mut connection = crate::store::reading(path).connect().await.map_err(read)?;
        // A database from before there was a chain has no such table.
        made_with = Row::read(&mut connection)
            .await
            .ok()
            .flatten()
            .map(|row| row.key);
        connection.close().await.map_err(read)?;
    }
    let (found, trouble) = match (key::load(&key_path(path)), &made_with) {
        (Ok(Some(found)), made) => {
            let other = made.as_ref().filter(|made| *made != found.key.id());
            let other = other.map(|made| super::begin::other_key(path, made, found.key.id()));
            (Some(found), other)
        }
        (Ok(None), Some(made)) => (None, Some(super::begin::no_key(path, made))),
        (Ok(None), None) => (None, None),
        (Err(error), _) => (None, Some(error)),
    };
    Ok(KeyState {
        file: key_path(path),
        found: found.map(|found| (found.key.id().to_owned(), found.place)),
        made_with,
        trouble: trouble.map(|error| error.to_string()),
    })
}
