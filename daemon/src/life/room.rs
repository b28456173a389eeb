//! Whether a daemon that begins could write its database.

use std::fs::{OpenOptions, remove_file};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// What a daemon may write before it answers: the sweep's entries, migrations, a new write-ahead log.
const NEEDED: usize = 1 << 20;

/// There is no room for a daemon's database.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {} KiB in {}: {source}\nhint: make room on that disk, and try again", NEEDED >> 10, folder.display())]
pub struct NoRoom {
    folder: PathBuf,
    source: io::Error,
}

/// Writes as much as a daemon may need to begin in the folder of its database, and takes it away again.
///
/// # Errors
///
/// Where the disk does not take it: it is full, read-only, broken, or beyond its quota.
pub fn has_room(folder: &Path) -> Result<(), NoRoom> {
    write(folder).map_err(|source| NoRoom {
        folder: folder.to_owned(),
        source,
    })
}

fn write(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!(".room-{}", Uuid::new_v4()));
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path);
    let mut file = file?;
    // Nothing is left, however this ends.
    remove_file(&path)?;
    file.write_all(&vec![0; NEEDED])?;
    // Where room is found when it is written, and not before.
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_gone_and_what_cannot_be_is_named() {
        let folder = tempfile::tempdir().unwrap();
        has_room(folder.path()).unwrap();
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        let gone = folder.path().join("gone");
        let told = has_room(&gone).unwrap_err().to_string();
        assert!(told.contains("gone") && told.contains("hint: "), "{told}");
    }
}
