//! What can go wrong with the store: each variant names the step that failed and the file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::migrate::MigrateError;
use uuid::Uuid;

use super::quarantine;

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
    /// The audit log's key cannot be had, or is not the one that it was made with.
    #[error("the audit log's key {} {problem}\nhint: {hint}", path.display())]
    Key {
        /// The key's file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// The audit log's anchor cannot be read or made.
    #[error("cannot use the audit log's anchor beside {}: {source}\nhint: it must be a file of yours, and its folder writable", path.display())]
    Anchor {
        /// The database.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the database {} up to date: {source}{}", path.display(), migrate_hint(source, path))]
    Migrate {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        source: Arc<MigrateError>,
    },
    /// A damaged database could not be moved aside.
    #[error("the database {} is damaged ({why}), and cannot be moved aside: {source}\nhint: move it away by hand, with the files that begin with its name", path.display())]
    Quarantine {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// There is none to look at.
    #[error("there is no database at {}\nhint: srtd makes it when it first starts", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A backup could not be written.
    #[error("cannot write the backup {}: {source}{}", to.display(), backup_hint(source))]
    Backup {
        /// The file.
        to: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The database could not be copied, or the copy is not whole.
    #[error("cannot copy the database {} to {}: {source}{}", path.display(), to.display(), hint(source, path))]
    Copy {
        /// The database.
        path: PathBuf,
        /// The backup.
        to: PathBuf,
        /// What SQLite said.
        source: Arc<sqlx::Error>,
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
    /// A write was not made yet; it is kept, and made as soon as that works.
    #[error("{0}")]
    Later(Box<StoreError>),
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
    pub(super) fn anchor(path: &Path, source: io::Error) -> Self {
        Self::Anchor {
            path: path.into(),
            source: Arc::new(source),
        }
    }

    /// Whether SQLite says that the file is damaged, or none of its own.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Open { source, .. } | Self::Read { source, .. } | Self::Write { source, .. } => {
                is_damage(source)
            }
            Self::Migrate { source, .. } => match &**source {
                MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                    is_damage(error)
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// A query failed. That the file is damaged is noted beside it, for the next start.
    pub(super) fn read(what: &'static str, path: &Path, source: sqlx::Error) -> Self {
        if is_damage(&source) {
            quarantine::suspect(path, &source.to_string());
        }
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

/// SQLite's extended result code, where the error comes from SQLite.
fn code(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// The primary one: the low byte of it.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    code(error).map(|extended| extended & 0xff)
}

/// The statement contradicts the data; the connection and the disk are well.
pub(super) fn is_constraint(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(19)
}

/// The file is damaged, or no database.
pub(super) fn is_damage(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(11 | 26))
}

fn hint(error: &sqlx::Error, path: &Path) -> String {
    let path = path.display();
    // SQLITE_READONLY_RECOVERY and SQLITE_READONLY_ROLLBACK (sqlite.org/rescode.html): only who may write can undo that.
    if matches!(code(error), Some(264 | 776)) {
        return "\nhint: a daemon was killed while it wrote there: start one, which undoes what was half done (srtctl daemon start)".into();
    }
    let remedy = match primary_code(error) {
        Some(5 | 6) => {
            "another process holds the database: end it, or look for a second srtd".into()
        }
        Some(8) => {
            format!("the disk or the file is read-only: make {path} and its folder writable")
        }
        Some(10) => "the disk reports an error: look at the kernel's log (dmesg)".into(),
        Some(11 | 26) => format!(
            "{path} is damaged: restart the daemon (srtctl daemon stop), which moves it aside and keeps of it what it can; \"srtctl store check\" tells more"
        ),
        Some(13) => format!("the disk is full: free some space where {path} is"),
        Some(14) => {
            format!("look at who owns {path} and its folder, and whether they are writable")
        }
        _ => return String::new(),
    };
    format!("\nhint: {remedy}")
}

fn backup_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            "\nhint: a backup replaces nothing: choose another name, or remove that file"
        }
        io::ErrorKind::NotFound => "\nhint: its folder must exist",
        _ => "",
    }
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
