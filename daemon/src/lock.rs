//! One daemon a socket, and one a state folder: held by flock(2), so that the kernel lets go when we die.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub(crate) struct Lock(#[allow(dead_code, reason = "its drop is what it is for")] File);

/// Somebody else has it.
#[derive(Debug, thiserror::Error)]
#[error("another srtd (pid {pid}) uses {}\nhint: \"srtctl daemon status\" shows it, \"srtctl daemon stop\" ends it", what.display())]
pub struct Taken {
    pid: String,
    what: PathBuf,
}

impl Lock {
    /// Takes the lock `path` over `what`.
    pub(crate) fn take(path: &Path, what: &Path) -> anyhow::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("cannot open the lock {}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            return Err(Taken {
                pid: holder.trim().to_owned(),
                what: what.to_owned(),
            }
            .into());
        }
        // The pid is for people only; the lock is what counts.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_told_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::take(&path, folder.path()).unwrap();
        let error = Lock::take(&path, folder.path()).unwrap_err().to_string();
        assert!(
            error.contains(&std::process::id().to_string()) && error.contains("hint:"),
            "{error}"
        );
        drop(held);
        Lock::take(&path, folder.path()).unwrap();
    }
}
