//! Settings files put together: which of them a place is in.
//!
//! All files share one space of offsets, one after the other, so that a place is one number wherever a value comes to be.

use std::path::Path;

use crate::document::Positions;
use crate::gather::is_template;

/// The files, in the order in which they count.
#[derive(Default)]
pub(crate) struct SourceMap<'a> {
    files: Vec<Mapped<'a>>,
    end: usize,
}

struct Mapped<'a> {
    base: usize,
    path: &'a Path,
    positions: Positions<'a>,
}

impl<'a> SourceMap<'a> {
    /// Adds a file; where it begins in the space of all files. `text` has no byte order mark any more.
    pub(crate) fn add(&mut self, path: &'a Path, text: &'a str) -> usize {
        let base = self.end;
        // One more: the place behind the last byte is the file's, too.
        self.end += text.len() + 1;
        self.files.push(Mapped {
            base,
            path,
            positions: Positions::new(text),
        });
        base
    }

    /// The files' paths.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &'a Path> {
        self.files.iter().map(|file| file.path)
    }

    /// Path, line and column (in characters, both from 1) of a place.
    pub(crate) fn at(&self, offset: usize) -> (&'a Path, u32, u32) {
        let next = self.files.partition_point(|file| file.base <= offset);
        match self.files.get(next.saturating_sub(1)) {
            Some(file) => {
                let (line, column) = file.positions.at(offset - file.base);
                (file.path, line, column)
            }
            None => (Path::new(""), 1, 1),
        }
    }

    /// The file that a place is in; for a template, the file that extends it: it is further on, since what is extended counts
    /// before.
    pub(crate) fn holder(&self, offset: usize) -> &'a Path {
        let next = self.files.partition_point(|file| file.base <= offset);
        let mut files = self.files.iter().skip(next.saturating_sub(1));
        let found = files.find(|file| !is_template(file.path));
        found.map_or_else(|| self.at(offset).0, |file| file.path)
    }

    /// The place as a person reads it: `PATH:LINE:COLUMN`.
    pub(crate) fn shown(&self, offset: usize) -> String {
        let (path, line, column) = self.at(offset);
        format!("{}:{line}:{column}", path.display())
    }
}

/// A file's text as it is parsed: editors on Windows put a byte order mark in front, which is no JSON.
pub(crate) fn unmarked(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_in_its_file() {
        let mut sources = SourceMap::default();
        let bases = [
            sources.add(Path::new("/a"), "{\n}"),
            sources.add(Path::new("/b"), ""),
            sources.add(Path::new("/c"), "x\nyz"),
        ];
        assert_eq!(bases, [0, 4, 5]);
        for (offset, shown) in [
            (0, "/a:1:1"),
            (2, "/a:2:1"),
            (3, "/a:2:2"),
            (4, "/b:1:1"),
            (5, "/c:1:1"),
            (8, "/c:2:2"),
            (9, "/c:2:3"),
        ] {
            assert_eq!(sources.shown(offset), shown, "{offset}");
        }
    }
}
