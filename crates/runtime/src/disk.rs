//! What stands where, and what links lead to: one look a path, remembered for one launch.
//!
//! A policy names more than a hundred places, most of them absent and in the same few folders; asking the kernel
//! for each from the root costs as much as the rest of a launch's preparation.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::Place;

/// The disk as one launch saw it.
#[derive(Debug, Default)]
pub(crate) struct Disk(RefCell<HashMap<PathBuf, Seen>>);

#[derive(Clone, Debug)]
struct Seen {
    /// Without links in the part that exists.
    real: PathBuf,
    place: Place,
}

impl Disk {
    /// What stands at an absolute, lexically normal path, links followed.
    pub(crate) fn place(&self, path: &Path) -> Place {
        self.look(path).place
    }

    /// The path without links in the part that exists.
    pub(crate) fn resolve(&self, path: &Path) -> PathBuf {
        self.look(path).real
    }

    fn look(&self, path: &Path) -> Seen {
        if let Some(seen) = self.0.borrow().get(path) {
            return seen.clone();
        }
        let seen = self.look_anew(path);
        self.0.borrow_mut().insert(path.to_owned(), seen.clone());
        seen
    }

    fn look_anew(&self, path: &Path) -> Seen {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Seen {
                real: path.to_owned(),
                place: Place::Folder,
            };
        };
        let parent = self.look(parent);
        let real = parent.real.join(name);
        let absent = |real| Seen {
            real,
            place: Place::Absent,
        };
        if parent.place != Place::Folder {
            return absent(real);
        }
        match std::fs::symlink_metadata(&real) {
            Err(_) => absent(real),
            Ok(meta) if meta.is_symlink() => match std::fs::canonicalize(&real) {
                Ok(target) => Seen {
                    place: if target.is_dir() {
                        Place::Folder
                    } else {
                        Place::File
                    },
                    real: target,
                },
                // It leads nowhere.
                Err(_) => absent(real),
            },
            Ok(meta) => Seen {
                real,
                place: if meta.is_dir() {
                    Place::Folder
                } else {
                    Place::File
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_and_what_is_missing_keeps_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(top.join("real/inner")).unwrap();
        std::fs::write(top.join("real/file"), "").unwrap();
        symlink(top.join("real"), top.join("link")).unwrap();
        symlink("real/file", top.join("to-file")).unwrap();
        symlink("nowhere", top.join("dangling")).unwrap();
        symlink("loop", top.join("loop")).unwrap();
        let disk = Disk::default();
        for (path, real, place) in [
            ("real/inner", "real/inner", Place::Folder),
            ("link/inner", "real/inner", Place::Folder),
            ("link/file", "real/file", Place::File),
            ("link/missing/x", "real/missing/x", Place::Absent),
            ("to-file", "real/file", Place::File),
            ("to-file/x", "real/file/x", Place::Absent),
            ("dangling", "dangling", Place::Absent),
            ("loop/x", "loop/x", Place::Absent),
        ] {
            assert_eq!(disk.resolve(&top.join(path)), top.join(real), "{path}");
            assert_eq!(disk.place(&top.join(path)), place, "{path}");
        }
        assert_eq!(disk.place(Path::new("/")), Place::Folder);
    }
}
