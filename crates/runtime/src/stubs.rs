//! Empty files on the host that hold a rule's place while nothing is there: made once for all the launches that
//! need one, and gone with the last.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The mode of a stub: with its emptiness, how a left-over one is known.
const MODE: u32 = 0o400;

/// The stubs of all launches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stubs(Arc<Mutex<HashMap<PathBuf, Stub>>>);

#[derive(Debug)]
struct Stub {
    users: usize,
    /// Device and inode of the file that we made; `None` if something came to stand there first.
    made: Option<(u64, u64)>,
}

/// A launch's hold on its stubs; dropping it lets go.
#[derive(Debug)]
pub(crate) struct Held {
    all: Stubs,
    paths: Vec<PathBuf>,
}

impl Stubs {
    /// Whether a stub of ours stands at a path. To a launch it is nothing: one that took it for the person's file
    /// would not hold it, and lose its rule with the launch that made it.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(path).is_some_and(|stub| stub.made.is_some())
    }

    /// Makes what is missing of `paths`.
    pub(crate) fn hold(&self, paths: &[PathBuf]) -> io::Result<Held> {
        let mut held = Held {
            all: self.clone(),
            paths: Vec::new(),
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for path in paths {
            if let Some(stub) = all.get_mut(path) {
                stub.users += 1;
            } else {
                let made = match std::fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(MODE)
                    .open(path)
                {
                    Ok(file) => file.metadata().map(|meta| Some((meta.dev(), meta.ino())))?,
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
                    Err(error) => {
                        drop(all);
                        return Err(error);
                    }
                };
                all.insert(path.clone(), Stub { users: 1, made });
            }
            held.paths.push(path.clone());
        }
        drop(all);
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        for path in &self.paths {
            let Some(stub) = all.get_mut(path) else {
                continue;
            };
            stub.users -= 1;
            if stub.users == 0 {
                let made = stub.made;
                all.remove(path);
                let is_ours = |meta: &std::fs::Metadata| {
                    Some((meta.dev(), meta.ino())) == made && meta.len() == 0
                };
                if std::fs::symlink_metadata(path).is_ok_and(|meta| is_ours(&meta)) {
                    let _ = std::fs::remove_file(path);
                }
            }
        }
    }
}

/// Whether an empty file of ours stands at `path` and no word of a person's.
pub fn is_stub(path: &Path) -> bool {
    std::fs::symlink_metadata(path)
        .is_ok_and(|meta| meta.is_file() && meta.len() == 0 && meta.mode() & 0o7777 == MODE)
}

/// Removes what a dead daemon left at `path`, if it is a stub.
pub(crate) fn sweep(path: &Path) {
    if is_stub(path) {
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stub_lasts_as_long_as_its_last_user_and_nothing_of_the_users_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        let stubs = Stubs::default();
        let first = stubs.hold(std::slice::from_ref(&path)).unwrap();
        assert!(stubs.holds(&path));
        let second = stubs.hold(std::slice::from_ref(&path)).unwrap();
        drop(first);
        assert!(path.exists() && is_stub(&path));
        drop(second);
        assert!(!path.exists());

        // The person replaces it while it stands: theirs stays.
        let held = stubs.hold(std::slice::from_ref(&path)).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "mine").unwrap();
        assert!(!is_stub(&path));
        drop(held);
        assert!(!stubs.holds(&path));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        sweep(&path);
        assert!(path.exists());
    }

    #[test]
    fn a_sweep_takes_a_stub() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stub");
        std::mem::forget(Stubs::default().hold(std::slice::from_ref(&path)).unwrap());
        sweep(&path);
        assert!(!path.exists());
    }
}
