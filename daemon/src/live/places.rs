//! Where a settings file can change: the folders to watch, and what tells one state of it from another.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows (path_resolution(7)).
const LINKS: usize = 40;

/// Where changes are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Folders to watch. Not files: an editor puts another file in a file's place.
    pub(super) folders: BTreeSet<PathBuf>,
    /// What in them matters: the file, each link on the way to it, and what is not there yet.
    pub(super) names: BTreeSet<PathBuf>,
    /// The links on the way, each by its place without links.
    links: BTreeSet<PathBuf>,
}

/// The links that a path leads through, each by its place without links; the last part of the path may be one.
pub(crate) fn links_to(file: &Path) -> BTreeSet<PathBuf> {
    let mut places = Places::default();
    places.add(file);
    places.links
}

impl Places {
    /// Adds what leads to a file, whether it is there or not.
    pub(super) fn add(&mut self, file: &Path) {
        let mut rest: VecDeque<OsString> = names(file);
        let mut at = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                at.pop();
                continue;
            }
            let next = at.join(name);
            let target = std::fs::read_link(&next);
            let there = target.is_ok() || next.symlink_metadata().is_ok();
            // Its parent, too: a folder may be put in the place of the file's own. Anything further up is found by
            // looking from time to time.
            let near = rest.len() <= 1;
            if target.is_ok() || near || !there {
                self.folders.insert(at.clone());
                self.names.insert(next.clone());
            }
            match target {
                Ok(target) => {
                    self.links.insert(next);
                    links += 1;
                    if links > LINKS {
                        return;
                    }
                    if target.is_absolute() {
                        at = PathBuf::from("/");
                    }
                    let mut way = names(&target);
                    way.append(&mut rest);
                    rest = way;
                }
                Err(_) if !there => return,
                Err(_) => at = next,
            }
        }
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

/// How files look from outside; of two looks that are equal, the files say the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen(Vec<(Option<Look>, BTreeSet<PathBuf>)>);

/// Device, inode, size, and the times of the last change of content and of anything, in nanoseconds.
type Look = (u64, u64, u64, (i64, i64), (i64, i64));

impl Seen {
    /// Looks at files, links followed, and at which links those are.
    pub(crate) fn at(files: &[PathBuf]) -> Self {
        let look = |file: &PathBuf| (look(file), links_to(file));
        Self(files.iter().map(look).collect())
    }
}

fn look(file: &Path) -> Option<Look> {
    let meta = std::fs::metadata(file).ok()?;
    Some((
        meta.dev(),
        meta.ino(),
        meta.size(),
        (meta.mtime(), meta.mtime_nsec()),
        (meta.ctime(), meta.ctime_nsec()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_link_on_the_way_and_what_is_not_there_are_watched() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path().canonicalize().unwrap();
        // As a mounted ConfigMap has it: settings.json -> ..data/settings.json, ..data -> ..1.
        fs::create_dir(top.join("..1")).unwrap();
        fs::write(top.join("..1/settings.json"), "{}").unwrap();
        symlink("..1", top.join("..data")).unwrap();
        symlink("..data/settings.json", top.join("settings.json")).unwrap();
        let mut places = Places::default();
        places.add(&top.join("settings.json"));
        for name in ["settings.json", "..data", "..1/settings.json"] {
            assert!(places.names.contains(&top.join(name)), "{name}: {places:?}");
        }
        assert_eq!(
            links_to(&top.join("settings.json")),
            [top.join("..data"), top.join("settings.json")].into()
        );
        for folder in [top.clone(), top.join("..1")] {
            assert!(places.folders.contains(&folder), "{folder:?}: {places:?}");
        }
        let mut places = Places::default();
        places.add(&top.join("none/below/settings.json"));
        assert_eq!(places.folders, [top.clone()].into());
        assert_eq!(places.names, [top.join("none")].into());
        // A loop ends.
        symlink("loop", top.join("loop")).unwrap();
        Places::default().add(&top.join("loop"));
    }

    #[test]
    fn another_file_of_the_same_size_looks_different() {
        let top = tempfile::tempdir().unwrap();
        let file = top.path().join("s.json");
        let files = [file.clone()];
        assert_eq!(Seen::at(&files), Seen(vec![(None, BTreeSet::new())]));
        fs::write(&file, "{}").unwrap();
        let first = Seen::at(&files);
        assert_eq!(Seen::at(&files), first);
        fs::write(top.path().join("other"), "[]").unwrap();
        fs::rename(top.path().join("other"), &file).unwrap();
        let second = Seen::at(&files);
        assert_ne!(second, first);
        // The same file by another way.
        fs::rename(&file, top.path().join("real")).unwrap();
        symlink("real", &file).unwrap();
        assert_ne!(Seen::at(&files), second);
    }
}
