//! What can go wrong with the store: each variant names the step that failed and the file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::migrate::MigrateError;
use uuid::Uuid;

/// A step of the store that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The folder of the database could not be made or read.
    #[error("cannot use the state folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The folder is one that others share.
    #[error("the state folder {} {problem}\nhint: {hint}", path.display())]
    UnsafeFolder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// The database file could not be made, or its permissions could not be set.
    #[error("cannot make the database {} private: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// SQLite could not open the file.
    #[error("cannot open the database {}: {source}{}", path.display(), hint(source, path))]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: Arc<sqlx::Error>,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the database {} up to date: {source}{}", path.display(), migrate_hint(source, path))]
    Migrate {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        source: Arc<MigrateError>,
    },
    /// A query failed.
    #[error("cannot read {what} from the database {}: {source}{}", path.display(), hint(source, path))]
    Read {
        /// What was looked for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: Arc<sqlx::Error>,
    },
    /// A write was not made, and will not be.
    #[error("cannot write to the database {}: {source}{}", path.display(), hint(source, path))]
    Write {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: Arc<sqlx::Error>,
    },
    /// The daemon ends with entries that could not be written.
    #[error("{count} entries were not written to the database {}: {source}{}", path.display(), hint(source, path))]
    Unwritten {
        /// How many audit entries and log lines are lost.
        count: usize,
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: Arc<sqlx::Error>,
    },
    /// A registered server has this name.
    #[error(
        "a server named {name:?} is registered already\nhint: remove it first: srtctl remove {name}"
    )]
    ServerExists {
        /// The name.
        name: String,
    },
    /// No launch has this id, or it has ended.
    #[error("no unfinished launch has the id {id}")]
    NoSuchLaunch {
        /// The id.
        id: Uuid,
    },
    /// The store was closed: the daemon is ending.
    #[error("the database is closed, the daemon is ending")]
    Closed,
}

impl StoreError {
    pub(super) fn read(what: &'static str, path: &Path, source: sqlx::Error) -> Self {
        match source {
            sqlx::Error::PoolClosed => Self::Closed,
            source => Self::Read {
                what,
                path: path.into(),
                source: Arc::new(source),
            },
        }
    }
}

/// SQLite's primary result code (the low byte of the extended one), where the error comes from SQLite.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<u32>().ok().map(|extended| extended & 0xff)
}

/// The statement contradicts the data; the connection and the disk are well.
pub(super) fn is_constraint(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(19)
}

fn hint(error: &sqlx::Error, path: &Path) -> String {
    let path = path.display();
    let remedy = match primary_code(error) {
        Some(5 | 6) => {
            "another process holds the database: end it, or look for a second srtd".into()
        }
        Some(8) => {
            format!("the disk or the file is read-only: make {path} and its folder writable")
        }
        Some(10) => "the disk reports an error: look at the kernel's log (dmesg)".into(),
        Some(11 | 26) => format!(
            "the file is damaged: stop srtd, move {path} away (keep it for rescue), and start srtd, which makes a new one"
        ),
        Some(13) => format!("the disk is full: free some space where {path} is"),
        Some(14) => {
            format!("look at who owns {path} and its folder, and whether they are writable")
        }
        _ => return String::new(),
    };
    format!("\nhint: {remedy}")
}

fn migrate_hint(error: &MigrateError, path: &Path) -> String {
    match error {
        MigrateError::VersionMissing(_) => {
            "\nhint: a newer srtd made this database: install that version or a newer one".into()
        }
        MigrateError::VersionMismatch(_) => format!(
            "\nhint: another build of srtd made this database: use that build, or move {} away",
            path.display()
        ),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            hint(error, path)
        }
        _ => String::new(),
    }
}
