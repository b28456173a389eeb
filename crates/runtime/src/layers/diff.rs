//! What a change is, as text.

use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use similar::{Algorithm, TextDiff};

use super::compare::{Change, ChangeKind, What};
use super::tree::{Folder, Seen};

/// Longer files are not compared, in bytes: with all its lines shown twice a diff must fit a message of 4 MiB.
const LONGEST: u64 = 512 << 10;
/// After this the comparison settles for a rougher result.
const PATIENCE: Duration = Duration::from_secs(2);
/// Unchanged lines around a change.
const AROUND: usize = 3;

/// What a change shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Diff {
    /// A unified diff.
    Text(String),
    /// One of the two holds a zero byte or is not UTF-8.
    Binary,
    /// One of the two is longer than 512 KiB.
    TooLong,
    /// It is about no file's contents.
    None,
}

/// Compares the two sides of a change.
pub(super) fn of(upper: &Folder, lower: &Folder, change: &Change) -> io::Result<Diff> {
    let is_file = |seen: &Option<Seen>| {
        seen.is_some_and(|seen| seen.kind == rustix::fs::FileType::RegularFile)
    };
    let shown = change.what == What::File && (change.lower.is_none() || is_file(&change.lower));
    if !shown {
        return Ok(Diff::None);
    }
    let new = match change.kind {
        ChangeKind::Deleted => Side::Text(String::new()),
        _ => read(upper, &change.path)?,
    };
    let old = match change.lower {
        None => Side::Text(String::new()),
        Some(_) => read(lower, &change.path)?,
    };
    let (old, new) = match (old, new) {
        (Side::Text(old), Side::Text(new)) => (old, new),
        (Side::TooLong, _) | (_, Side::TooLong) => return Ok(Diff::TooLong),
        _ => return Ok(Diff::Binary),
    };
    Ok(Diff::Text(unified(&change.path, &old, &new, change.kind)))
}

fn unified(path: &Path, old: &str, new: &str, kind: ChangeKind) -> String {
    let path = path.display();
    let (mut before, mut after) = (format!("a/{path}"), format!("b/{path}"));
    match kind {
        ChangeKind::Added => before = "/dev/null".into(),
        ChangeKind::Deleted => after = "/dev/null".into(),
        ChangeKind::Changed => {}
    }
    TextDiff::configure()
        .algorithm(Algorithm::Myers)
        .timeout(PATIENCE)
        .diff_lines(old, new)
        .unified_diff()
        .context_radius(AROUND)
        .header(&before, &after)
        .to_string()
}

enum Side {
    Text(String),
    Binary,
    TooLong,
}

fn read(top: &Folder, path: &Path) -> io::Result<Side> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut bytes = Vec::new();
    let file = top.descend(parent)?.file(name)?;
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Ok(Side::TooLong);
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Side::Text(text),
        _ => Side::Binary,
    })
}
