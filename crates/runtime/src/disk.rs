//! What stands where, and what links lead to: one look a path, remembered for one launch.
//!
//! A policy names more than a hundred places, most of them absent and in the same few folders; asking the kernel
//! for each from the root costs as much as the rest of a launch's preparation.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::{Look, Place};

/// How many entries of a folder are looked at for hard links: key folders are small, and a launch must not wait for
/// a large one.
const MOST_ENTRIES: usize = 64;

/// As many links as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

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
                // It leads nowhere yet: what comes to be there is what it names.
                Err(_) => absent(self.end_of(&real).unwrap_or(real)),
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

    /// The place that a dangling link leads to; `None` for one that leads in circles.
    fn end_of(&self, link: &Path) -> Option<PathBuf> {
        let mut here = link.to_owned();
        for _ in 0..MOST_LINKS {
            let Ok(target) = std::fs::read_link(&here) else {
                return Some(here);
            };
            let target = here.parent()?.join(target);
            // The way there may lead through links too, which `canonicalize` follows as far as they go.
            let (mut stands, mut missing) = (target.as_path(), Vec::new());
            let real = loop {
                match std::fs::canonicalize(stands) {
                    Ok(real) => break real,
                    Err(_) if std::fs::symlink_metadata(stands).is_ok() => {
                        break std::fs::canonicalize(stands.parent()?)
                            .ok()?
                            .join(stands.file_name()?);
                    }
                    Err(_) => {
                        missing.push(stands.file_name()?);
                        stands = stands.parent()?;
                    }
                }
            };
            here = missing
                .iter()
                .rev()
                .fold(real, |path, name| path.join(name));
        }
        None
    }
}

impl Look for Disk {
    fn place(&self, path: &Path) -> Place {
        self.look(path).place
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        self.look(path).real
    }

    fn several_names(&self, path: &Path) -> Vec<(u64, u64)> {
        let seen = self.look(path);
        let linked = |meta: std::fs::Metadata| {
            (meta.is_file() && meta.nlink() > 1).then(|| (meta.dev(), meta.ino()))
        };
        match seen.place {
            Place::Absent => Vec::new(),
            Place::File => std::fs::symlink_metadata(seen.real)
                .ok()
                .and_then(linked)
                .into_iter()
                .collect(),
            Place::Folder => std::fs::read_dir(seen.real)
                .into_iter()
                .flatten()
                .flatten()
                .take(MOST_ENTRIES)
                .filter_map(|entry| entry.metadata().ok().and_then(linked))
                .collect(),
        }
    }
}

/// The links that a path leads through, each by its place without links.
pub(crate) fn links(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut here = PathBuf::from("/");
    let mut rest: Vec<PathBuf> = path.iter().rev().map(PathBuf::from).collect();
    while let Some(part) = rest.pop() {
        match part.to_str() {
            Some("/") => here = PathBuf::from("/"),
            Some(".") => {}
            Some("..") => {
                here.pop();
            }
            _ => {
                let there = here.join(&part);
                match std::fs::read_link(&there) {
                    Ok(target) if found.len() < MOST_LINKS => {
                        rest.extend(target.iter().rev().map(PathBuf::from));
                        found.push(there);
                    }
                    _ => here = there,
                }
            }
        }
    }
    found
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
        symlink("dangling", top.join("twice")).unwrap();
        symlink(top.join("link/missing/x"), top.join("far")).unwrap();
        symlink("loop", top.join("loop")).unwrap();
        let disk = Disk::default();
        for (path, real, place) in [
            ("real/inner", "real/inner", Place::Folder),
            ("link/inner", "real/inner", Place::Folder),
            ("link/file", "real/file", Place::File),
            ("link/missing/x", "real/missing/x", Place::Absent),
            ("to-file", "real/file", Place::File),
            ("to-file/x", "real/file/x", Place::Absent),
            ("dangling", "nowhere", Place::Absent),
            ("twice", "nowhere", Place::Absent),
            ("far", "real/missing/x", Place::Absent),
            ("loop/x", "loop/x", Place::Absent),
        ] {
            assert_eq!(disk.resolve(&top.join(path)), top.join(real), "{path}");
            assert_eq!(disk.place(&top.join(path)), place, "{path}");
        }
        assert_eq!(disk.place(Path::new("/")), Place::Folder);
    }

    #[test]
    fn every_link_on_the_way_is_found_where_it_really_is() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path().canonicalize().unwrap();
        std::fs::create_dir_all(top.join("real/deep")).unwrap();
        symlink("real", top.join("one")).unwrap();
        symlink("../deep/nowhere", top.join("real/deep/two")).unwrap();
        symlink(top.join("loop"), top.join("loop")).unwrap();
        assert_eq!(links(&top.join("real/deep")), [] as [PathBuf; 0]);
        assert_eq!(
            links(&top.join("one/deep/two/x")),
            [top.join("one"), top.join("real/deep/two")]
        );
        assert_eq!(links(&top.join("loop")).len(), 40);
    }
}
