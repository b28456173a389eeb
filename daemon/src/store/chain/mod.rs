//! The audit log's chain on disk: its key, its anchor beside the database, and what is looked at when the store is opened.

mod anchor;
mod begin;
mod key;
mod keyring;
mod renew;
mod rows;
mod segments;
mod state;
mod verify;

use std::path::{Path, PathBuf};

use super::{StoreError, files};

pub(super) use anchor::AnchorFile;
pub(super) use begin::{Begun, begin};
pub(super) use rows::{SELECT, row};
pub(super) use segments::{Limits, Segment, keep_going, maintain, rotate};
pub(super) use state::Head;

pub use key::{KEY_FILE, Prefer};
pub use renew::{KeyState, Reason, Renewed, key_state, renew};
pub use state::ChainState;
pub use verify::{Against, Report, VerifyError, verify};

/// The anchor's file, beside the database.
pub(super) fn anchor_path(database: &Path) -> PathBuf {
    files::beside(database, ".anchor")
}

/// The key's file, in the database's folder.
pub(super) fn key_path(database: &Path) -> PathBuf {
    database.with_file_name(KEY_FILE)
}

/// Whether the key of a database's log can be had, where there is one.
pub(super) fn key_can_be_had(database: &Path) -> Result<(), StoreError> {
    key::load(&key_path(database)).map(|_found| ())
}
