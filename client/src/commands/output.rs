//! Writing to stdout: whole texts, sorted JSON, and JSON that grows an element at a time.

use crate::errors::Failure;
use serde_json::Value;
use std::io::{self, Write as _};

/// Writes the whole text.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Writes one JSON document, keys sorted.
pub(super) fn print_json(mut value: Value) -> Result<(), Failure> {
    value.sort_all_objects();
    print(&format!("{value:#}\n"))
}

/// Writes entries as they come: as an array with an entry a line, or, where there is no end to wait for, as one JSON
/// document a line.
pub(super) struct Entries {
    follow: bool,
    count: u64,
}

impl Entries {
    pub(super) fn new(follow: bool) -> Self {
        Self { follow, count: 0 }
    }

    pub(super) fn entry(&mut self, mut value: Value) -> Result<(), Failure> {
        value.sort_all_objects();
        let before = match (self.follow, self.count) {
            (true, _) => "",
            (false, 0) => "[\n  ",
            (false, _) => ",\n  ",
        };
        let after = if self.follow { "\n" } else { "" };
        self.count += 1;
        print(&format!("{before}{value}{after}"))
    }

    pub(super) fn end(self) -> Result<(), Failure> {
        match (self.follow, self.count) {
            (true, _) => Ok(()),
            (false, 0) => print("[]\n"),
            (false, _) => print("\n]\n"),
        }
    }
}
