//! The database file and its folder: private before SQLite sees them.
//!
//! SQLite gives its `-wal` and `-shm` files the permissions of the database, so making the file 0600 first makes
//! all of them private, with no moment in which they are not.
//!
//! This runs only before a connection is open: closing any descriptor of a file drops all of the process's POSIX
//! locks on it, SQLite's included.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StoreError;

/// What SQLite has beside the database, by what is added to its name.
pub(super) const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// The file of which the name is the database's and more.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes the folder (0700) and the file (0600), or tightens those that are there.
pub(super) fn make_private(path: &Path) -> Result<(), StoreError> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        private_folder(folder)?;
    }
    private_file(path).map_err(|source| StoreError::File {
        path: path.into(),
        source: Arc::new(source),
    })
}

fn private_folder(path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Folder {
        path: path.into(),
        source: Arc::new(source),
    };
    let unsafe_folder = |problem: String, hint: &str| {
        Err(StoreError::UnsafeFolder {
            path: path.into(),
            problem,
            hint: hint.into(),
        })
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let meta = fs::symlink_metadata(path).map_err(failed)?;
    let us = rustix::process::getuid().as_raw();
    let mode = meta.mode() & 0o7777;
    if !meta.is_dir() {
        return unsafe_folder("is not a folder".into(), "remove it, or set XDG_STATE_HOME");
    }
    if meta.uid() != us {
        return unsafe_folder(
            format!("belongs to uid {}, not to us (uid {us})", meta.uid()),
            "set XDG_STATE_HOME to a folder of your own",
        );
    }
    // A folder for everybody, such as /tmp, is a mistake in the path: closing it to others would break them.
    if mode & 0o1002 != 0 {
        return unsafe_folder(
            format!("is everybody's (mode {mode:04o})"),
            "set XDG_STATE_HOME to a folder of your own",
        );
    }
    if mode & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

fn private_file(path: &Path) -> io::Result<()> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(no_follow)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    // Left by a daemon that was killed, perhaps one that an older version or a copy made.
    for suffix in BESIDE {
        match fs::set_permissions(beside(path, suffix), Permissions::from_mode(0o600)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    // SQLite makes the content durable; the file's name is ours.
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
