//! What one launch of the scripted server read and wrote, as it says itself.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// One line of a launch's log, written before what it tells of a write, and after what it tells of a read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// It began, so many nanoseconds after 1970.
    Began(u64),
    /// It read this line.
    Read(String),
    /// It wrote this line, or was killed at it.
    Wrote(String),
    /// It wrote this much of a line, and never the rest.
    Part(String),
}

/// A launch that was spoken to.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// In order.
    pub entries: Vec<Entry>,
}

impl Launch {
    /// The lines that it wrote whole.
    pub fn wrote(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Wrote(line) => Some(line.as_str()),
            _ => None,
        })
    }

    /// The lines that it read.
    pub fn read(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Read(line) => Some(line.as_str()),
            _ => None,
        })
    }
}

/// The launches of one session, the first first; those that nobody spoke to left out.
///
/// # Panics
///
/// When the folder cannot be read, or a log is none.
pub fn launches(folder: &Path) -> Vec<Launch> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the launches' folder") {
        let path = entry.expect("the launches' folder").path();
        let text = fs::read_to_string(&path).expect("a launch's log");
        // The last line may be half: the launch was killed at it.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let entries: Vec<Entry> = whole
            .lines()
            .map(|line| {
                serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("{}: {error}: {line}", path.display()))
            })
            .collect();
        let began = match entries.first() {
            Some(Entry::Began(at)) => *at,
            _ => continue,
        };
        let launch = Launch { entries };
        if launch.read().next().is_some() {
            found.push((began, launch));
        }
    }
    found.sort_by_key(|(began, _)| *began);
    found.into_iter().map(|(_, launch)| launch).collect()
}
