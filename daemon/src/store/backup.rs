//! A copy of the database while it is in use: one file, whole, tried.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use sqlx::{ConnectOptions as _, Connection as _};

use super::{Store, StoreError, reading};

/// A backup that was made.
#[derive(Clone, Debug)]
pub struct Backup {
    /// The file.
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// How many audit entries are in it.
    pub entries: u64,
    /// The number of the newest, 0 where there is none.
    pub newest: u64,
}

impl Store {
    /// Writes the database at `path`, as it is at one moment, to a new file `to` (0600). A daemon may have it open. The file
    /// is there under its name only once it is durable and SQLite found it whole.
    ///
    /// # Errors
    /// When `to` exists, cannot be written, or the copy is not whole, as that of a damaged database.
    pub async fn backup(path: &Path, to: &Path) -> Result<Backup, StoreError> {
        let failed = |source: io::Error| StoreError::Backup {
            to: to.into(),
            source: Arc::new(source),
        };
        if fs::symlink_metadata(to).is_ok() {
            return Err(failed(rustix::io::Errno::EXIST.into()));
        }
        if !path.exists() {
            return Err(StoreError::Missing { path: path.into() });
        }
        // SQLite takes the name as text.
        let part = part(to)
            .filter(|part| part.to_str().is_some())
            .ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
        // Private from its first byte; SQLite writes into a file that is empty.
        OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&part)
            .map_err(failed)?;
        let made = Self::copy(path, &part, to).await;
        let made = made.and_then(|backup| {
            publish(&part, to).map_err(failed)?;
            Ok(backup)
        });
        if made.is_err() {
            let _ = fs::remove_file(&part);
        }
        made
    }

    async fn copy(path: &Path, part: &Path, to: &Path) -> Result<Backup, StoreError> {
        let from = |source| StoreError::Open {
            path: path.into(),
            source: Arc::new(source),
        };
        let copied = |source| StoreError::Copy {
            path: path.into(),
            to: to.into(),
            source: Arc::new(source),
        };
        let mut connection = reading(path).connect().await.map_err(from)?;
        sqlx::query("VACUUM INTO ?")
            .bind(part.to_string_lossy().into_owned())
            .execute(&mut connection)
            .await
            .map_err(copied)?;
        connection.close().await.map_err(copied)?;
        let mut copy = reading(part).connect().await.map_err(copied)?;
        let verdict: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
            .fetch_one(&mut copy)
            .await
            .map_err(copied)?;
        if verdict != "ok" {
            return Err(copied(sqlx::Error::Protocol(verdict)));
        }
        let (entries, newest): (i64, i64) =
            sqlx::query_as("SELECT COUNT(*), COALESCE(MAX(seq), 0) FROM audit")
                .fetch_one(&mut copy)
                .await
                .map_err(copied)?;
        copy.close().await.map_err(copied)?;
        Ok(Backup {
            file: to.to_owned(),
            bytes: fs::metadata(part).map_or(0, |meta| meta.len()),
            entries: entries.cast_unsigned(),
            newest: newest.cast_unsigned(),
        })
    }
}

/// The name that a backup has while it is made: in the same folder, and not the wanted one.
fn part(to: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(".");
    name.push(to.file_name()?);
    name.push(format!(".{}.part", std::process::id()));
    Some(to.with_file_name(name))
}

/// Makes the copy durable and gives it its name, unless somebody else has taken that.
fn publish(part: &Path, to: &Path) -> io::Result<()> {
    File::open(part)?.sync_all()?;
    renameat_with(CWD, part, CWD, to, RenameFlags::NOREPLACE)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
