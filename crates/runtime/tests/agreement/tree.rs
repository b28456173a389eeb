//! The tree as it stands on the host: made, looked at, and walked as the kernel walks it.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::draw::{Item, What};

/// As many links as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: Kind,
    /// Device and inode.
    pub(crate) identity: (u64, u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    /// And its contents.
    File(Vec<u8>),
    /// And its text.
    Link(PathBuf),
}

/// Everything in a tree, by its path.
pub(crate) type Snapshot = BTreeMap<PathBuf, Seen>;

/// Makes an item. What cannot be made there is left out.
pub(crate) fn make(top: &Path, item: &Item) -> io::Result<()> {
    let path = top.join(&item.path);
    match &item.what {
        What::Folder => std::fs::create_dir(path),
        What::File => std::fs::File::create_new(path).map(drop),
        What::Link(text) => symlink(text.replace("TOP", &top.to_string_lossy()), path),
        What::Hard(file) => std::fs::hard_link(top.join(file), path),
    }
}

/// Puts a new file in the place of the one at a path.
pub(crate) fn replace(top: &Path, path: &str) -> io::Result<()> {
    let path = top.join(path);
    if !std::fs::symlink_metadata(&path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let new = top.join(".new-by-the-host");
    std::fs::write(&new, "by the host")?;
    std::fs::rename(new, path)
}

/// What is in a tree now, its top included.
pub(crate) fn look(top: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    let mut open = vec![top.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(meta) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        let kind = if meta.is_dir() {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            open.extend(entries.map(|entry| entry.path()));
            Kind::Folder
        } else if meta.is_symlink() {
            Kind::Link(std::fs::read_link(&path).unwrap_or_default())
        } else {
            Kind::File(std::fs::read(&path).unwrap_or_default())
        };
        let identity = (meta.dev(), meta.ino());
        found.insert(path, Seen { kind, identity });
    }
    found
}

/// The paths at which two trees differ.
pub(crate) fn difference(one: &Snapshot, other: &Snapshot) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = one.keys().chain(other.keys()).cloned().collect();
    paths.sort();
    paths.dedup();
    paths.retain(|path| one.get(path) != other.get(path));
    paths
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// To what is there.
    There(PathBuf),
    /// To where something may be made.
    New(PathBuf),
    Nowhere,
}

/// A walk along a path.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    pub(crate) end: End,
    /// The real places of every folder and link on the way.
    pub(crate) through: Vec<PathBuf>,
}

/// Walks along an absolute path; `follow` the link that it ends with.
pub(crate) fn walk(path: &Path, follow: bool) -> Walk {
    let parts = |path: &Path| -> Vec<PathBuf> { path.iter().rev().map(PathBuf::from).collect() };
    let mut rest = parts(path);
    let mut here = PathBuf::from("/");
    let mut through = Vec::new();
    let mut links = 0;
    let nowhere = |through| Walk {
        end: End::Nowhere,
        through,
    };
    while let Some(part) = rest.pop() {
        match part.to_str() {
            Some("/") => {
                here = PathBuf::from("/");
                continue;
            }
            Some("..") => {
                here.pop();
                continue;
            }
            _ => {}
        }
        let there = here.join(&part);
        let last = rest.is_empty();
        let meta = match std::fs::symlink_metadata(&there) {
            Ok(meta) => meta,
            Err(error) if last && error.kind() == io::ErrorKind::NotFound => {
                return Walk {
                    end: End::New(there),
                    through,
                };
            }
            Err(_) => return nowhere(through),
        };
        if meta.is_symlink() && (follow || !last) {
            links += 1;
            let Ok(text) = std::fs::read_link(&there) else {
                return nowhere(through);
            };
            if links > MOST_LINKS {
                return nowhere(through);
            }
            through.push(there);
            rest.extend(parts(&text));
            continue;
        }
        if !last {
            if !meta.is_dir() {
                return nowhere(through);
            }
            through.push(there.clone());
        }
        here = there;
    }
    Walk {
        end: End::There(here),
        through,
    }
}

/// A path without links in the part that exists. A link that leads nowhere yet stands for the place that it names; one
/// that leads in circles, for itself.
pub(crate) fn resolve(path: &Path) -> PathBuf {
    resolve_within(path, MOST_LINKS).unwrap_or_else(|| path.to_owned())
}

fn resolve_within(path: &Path, links: usize) -> Option<PathBuf> {
    if let Ok(real) = path.canonicalize() {
        return Some(real);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Some(path.to_owned());
    };
    let real = resolve_within(folder, links)?.join(name);
    match std::fs::read_link(&real) {
        Ok(text) if links > 0 => {
            let named = srt_policy::normalise(&real.parent()?.join(text));
            Some(resolve_within(&named, links - 1).unwrap_or(real))
        }
        _ => Some(real),
    }
}
