//! One daemon a socket, and one a state folder: held by flock(2), so that the kernel lets go when we die.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Who only looks whether there is a daemon (srtctl daemon status) has the lock for a moment: so often it is tried again.
const LOOKS: u32 = 20;
const LOOK: Duration = Duration::from_millis(10);

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub(crate) struct Lock(File);

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
        let mut looks = 0;
        while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != Errno::WOULDBLOCK {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
            looks += 1;
            if looks < LOOKS {
                std::thread::sleep(LOOK);
                continue;
            }
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

    /// The lock that the program before us in this process took.
    pub(crate) fn keep(descriptor: OwnedFd) -> Self {
        Self(descriptor.into())
    }

    /// A second descriptor of it: the lock is held for as long as one of them is open (flock(2)).
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.0.try_clone()?.into())
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

    #[test]
    fn who_only_looks_keeps_nobody_from_taking_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let looking = File::create(&path).unwrap();
        looking.lock_shared().unwrap();
        let looks = std::thread::spawn(move || {
            std::thread::sleep(LOOK * 3);
            drop(looking);
        });
        Lock::take(&path, folder.path()).unwrap();
        looks.join().unwrap();
    }
}
