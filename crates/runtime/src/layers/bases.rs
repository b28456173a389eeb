//! What the host's copy was when a layer first had something in its place: how it is known later that it changed.
//!
//! A launch cannot look at the whole folder beforehand, or its cost would grow with the folder. So a layer is looked
//! at while its server runs (a second or two apart), before each launch and before each listing, and whatever is in
//! it for the first time is noted here with the host's file of that moment. That this file is still the one that the
//! server began from follows from two times: what came into the layer did so after it was made (its birth time, which
//! overlayfs sets at the copy) and after the look before; a host's file that the kernel says has changed since
//! (ctime) is noted as in doubt.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::tree::{Folder, Identity, Seen};

/// How far a file's ctime may lag behind the clock, in nanoseconds: a tick at 100 Hz.
const TICK: i64 = 10_000_000;

/// What is noted of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Base {
    /// What the layer has there came not before this.
    since: i64,
    /// The host's; `None` where it had nothing.
    lower: Option<Identity>,
    /// Whether the host's was a folder: of what is in it, times alone tell.
    folder: bool,
    /// The host's had changed after `since` when it was noted.
    doubtful: bool,
}

#[derive(Serialize, Deserialize)]
struct Line {
    path: PathBuf,
    /// `None`: it is settled.
    base: Option<Base>,
}

/// The notes of one layer, by path in the folder.
#[derive(Debug)]
pub(super) struct Bases {
    path: PathBuf,
    notes: BTreeMap<PathBuf, Base>,
    fresh: Vec<PathBuf>,
}

/// Why the host's copy is not what the server began from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// It was written, replaced or had its mode changed.
    Changed,
    /// There was nothing.
    Created,
    /// It is gone.
    Deleted,
    /// It changed at about the time at which the server changed its own.
    Doubtful,
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Changed => "the host's copy changed meanwhile",
            Self::Created => "the host made one of its own meanwhile",
            Self::Deleted => "the host's copy was deleted meanwhile",
            Self::Doubtful => "the host's copy changed at about the same time",
        })
    }
}

impl Bases {
    /// Reads the notes of a layer; an unfinished last line, of a daemon that died, is left out.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub(super) fn read(path: PathBuf) -> io::Result<Self> {
        let mut notes = BTreeMap::new();
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(file) => {
                for line in BufReader::new(file).split(b'\n') {
                    if let Ok(Line { path, base }) = serde_json::from_slice(&line?) {
                        match base {
                            Some(base) => notes.insert(path, base),
                            None => notes.remove(&path),
                        };
                    }
                }
            }
        }
        Ok(Self {
            path,
            notes,
            fresh: Vec::new(),
        })
    }

    /// Whether a path is noted itself.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.notes.contains_key(path)
    }

    /// Notes what the host has where the layer has something for the first time. `since` is a time at which the layer
    /// did not have it yet.
    pub(super) fn note(&mut self, path: &Path, since: i64, lower: Option<&Seen>) {
        let base = Base {
            since,
            lower: lower.map(|seen| seen.identity),
            folder: lower.is_some_and(Seen::is_folder),
            // A folder's own times change with each name in it.
            doubtful: lower
                .is_some_and(|seen| !seen.is_folder() && changed_after(&seen.identity, since)),
        };
        self.put(path, base);
    }

    /// Notes that the host's is from now on what the layer has.
    pub(super) fn settle(&mut self, path: &Path, now: i64, lower: Option<&Seen>) {
        let base = Base {
            since: now,
            lower: lower.map(|seen| seen.identity),
            folder: lower.is_some_and(Seen::is_folder),
            doubtful: false,
        };
        self.put(path, base);
    }

    fn put(&mut self, path: &Path, base: Base) {
        self.notes.insert(path.to_owned(), base);
        self.fresh.push(path.to_owned());
    }

    /// Appends what is new to the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn save(&mut self) -> io::Result<()> {
        if self.fresh.is_empty() {
            return Ok(());
        }
        let mut text = Vec::new();
        for path in std::mem::take(&mut self.fresh) {
            // A name that JSON cannot hold is never applied, and needs no note.
            if path.to_str().is_none() {
                continue;
            }
            let base = self.notes.get(&path).copied();
            serde_json::to_writer(&mut text, &Line { path, base })?;
            text.push(b'\n');
        }
        let mut file = File::options().create(true).append(true).open(&self.path)?;
        // In case the last line of a daemon that died has no end.
        if file.metadata()?.len() > 0 {
            file.write_all(b"\n")?;
        }
        file.write_all(&text)?;
        file.sync_data()
    }

    /// Forgets the notes about what the layer has no longer, and writes the file anew.
    ///
    /// # Errors
    /// When it cannot be written; the old file then stays.
    pub(super) fn forget(&mut self, upper: &Folder) -> io::Result<()> {
        self.notes.retain(|path, _| {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                return false;
            };
            upper
                .descend(parent)
                .and_then(|folder| folder.look(name))
                .is_ok_and(|seen| seen.is_some())
        });
        let new = self.path.with_extension("new");
        let mut text = Vec::new();
        for (path, base) in &self.notes {
            if path.to_str().is_some() {
                let (path, base) = (path.clone(), Some(*base));
                serde_json::to_writer(&mut text, &Line { path, base })?;
                text.push(b'\n');
            }
        }
        let mut file = File::create(&new)?;
        file.write_all(&text)?;
        file.sync_data()?;
        std::fs::rename(&new, &self.path)?;
        self.fresh.clear();
        Ok(())
    }

    /// Whether the host's copy is another than the one that the server began from.
    pub(super) fn judge(&self, path: &Path, lower: Option<&Seen>) -> Option<Conflict> {
        if let Some(base) = self.notes.get(path) {
            return base.judge(lower);
        }
        let above = path
            .ancestors()
            .skip(1)
            .find_map(|above| self.notes.get(above));
        match (above, lower) {
            // In a folder that the layer made anew, or deleted.
            (Some(base), Some(seen)) if base.folder => base.touched(seen),
            (Some(base), None) if base.folder => None,
            (Some(_), None) => None,
            (Some(_), Some(_)) => Some(Conflict::Created),
            // It came after the last look.
            (None, _) => Some(Conflict::Doubtful),
        }
    }

    /// Whether something in a folder of the host's that the layer has replaced or deleted changed since.
    pub(super) fn judge_below(&self, folder: &Path, seen: &Seen) -> Option<Conflict> {
        folder
            .ancestors()
            .find_map(|above| self.notes.get(above))
            .map_or(Some(Conflict::Doubtful), |base| base.touched(seen))
    }
}

impl Base {
    fn judge(&self, lower: Option<&Seen>) -> Option<Conflict> {
        match (&self.lower, lower) {
            (None, None) => None,
            (None, Some(_)) => Some(Conflict::Created),
            (Some(_), None) => Some(Conflict::Deleted),
            (Some(was), Some(seen)) if self.folder && seen.is_folder() => {
                (was.ino != seen.identity.ino).then_some(Conflict::Changed)
            }
            (Some(was), Some(seen)) if *was != seen.identity => Some(Conflict::Changed),
            (Some(_), Some(_)) => self.doubtful.then_some(Conflict::Doubtful),
        }
    }

    fn touched(&self, seen: &Seen) -> Option<Conflict> {
        // A folder's time changes with each name in it; the names speak for themselves.
        (!seen.is_folder() && changed_after(&seen.identity, self.since))
            .then_some(Conflict::Changed)
    }
}

fn changed_after(identity: &Identity, time: i64) -> bool {
    identity.ctime.saturating_add(TICK) > time
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str, text: &str) -> Seen {
        std::fs::write(folder.join(name), text).unwrap();
        look(folder, name)
    }

    fn look(folder: &Path, name: &str) -> Seen {
        let folder = Folder::layer(folder).unwrap();
        folder.look(name.as_ref()).unwrap().unwrap()
    }

    #[test]
    fn a_change_of_the_host_is_seen_by_what_it_leaves() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path();
        let mut bases = Bases::read(top.join("bases")).unwrap();
        let was = file(top, "f", "one");
        let later = was.identity.ctime + TICK;
        bases.note(Path::new("f"), later, Some(&was));
        bases.note(Path::new("new"), later, None);
        bases.note(Path::new("doubt"), later - 1, Some(&was));
        assert_eq!(bases.judge(Path::new("f"), Some(&was)), None);
        assert_eq!(
            bases.judge(Path::new("doubt"), Some(&was)),
            Some(Conflict::Doubtful)
        );
        assert_eq!(bases.judge(Path::new("f"), None), Some(Conflict::Deleted));
        assert_eq!(bases.judge(Path::new("new/inner"), None), None);
        for path in ["new", "new/inner"] {
            assert_eq!(
                bases.judge(Path::new(path), Some(&was)),
                Some(Conflict::Created)
            );
        }
        // Nobody has looked yet.
        assert_eq!(
            bases.judge(Path::new("unseen"), None),
            Some(Conflict::Doubtful)
        );
        // The same length, and its time of modification set back: the kernel's own time gives it away.
        let file = File::options().write(true).open(top.join("f")).unwrap();
        (&file).write_all(b"two").unwrap();
        let nanos = u64::try_from(was.identity.mtime).unwrap();
        let before = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(nanos);
        file.set_modified(before).unwrap();
        let now = look(top, "f");
        assert_eq!(now.identity.mtime, was.identity.mtime);
        assert_eq!(
            bases.judge(Path::new("f"), Some(&now)),
            Some(Conflict::Changed)
        );
        bases.settle(Path::new("f"), later, Some(&now));
        assert_eq!(bases.judge(Path::new("f"), Some(&now)), None);
    }

    #[test]
    fn notes_are_read_back_without_what_was_cut_off() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("bases");
        let mut bases = Bases::read(path.clone()).unwrap();
        bases.note(Path::new("a\nb"), 5, None);
        bases.save().unwrap();
        let mut text = std::fs::read(&path).unwrap();
        text.extend(br#"{"path":"half"#);
        std::fs::write(&path, text).unwrap();
        let mut bases = Bases::read(path.clone()).unwrap();
        bases.note(Path::new("c"), 6, None);
        bases.save().unwrap();
        let mut bases = Bases::read(path.clone()).unwrap();
        assert!(bases.has(Path::new("a\nb")) && bases.has(Path::new("c")));
        assert!(!bases.has(Path::new("half")));
        // What the layer has no longer is forgotten.
        std::fs::write(top.path().join("c"), "").unwrap();
        bases.forget(&Folder::layer(top.path()).unwrap()).unwrap();
        let bases = Bases::read(path).unwrap();
        assert!(!bases.has(Path::new("a\nb")) && bases.has(Path::new("c")));
    }
}
