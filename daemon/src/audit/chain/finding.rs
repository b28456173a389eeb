//! What is wrong with a log, by name.

use std::fmt;

/// A way in which a log is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flaw {
    /// An entry's content was changed.
    Edited,
    /// An entry was put in without the key.
    Inserted,
    /// Entries were taken out.
    Deleted,
    /// An entry stands in another's place.
    Reordered,
    /// A copy of an entry stands in another place.
    Duplicated,
    /// The end was cut off.
    Truncated,
    /// An entry is of another history of the same log, such as a copy that went its own way.
    Spliced,
    /// The log was made with another key.
    OtherKey,
    /// It is another log than the one that was anchored, or parts of it are.
    OtherDatabase,
    /// A segment's seal is missing, or is not that of its entries.
    Seal,
    /// The anchor is missing or was changed.
    Anchor,
    /// The key of these entries was lost, and the log went on with another: nobody can tell what they were.
    KeyLost,
}

impl Flaw {
    /// Every one of them.
    pub const ALL: [Self; 12] = [
        Self::Edited,
        Self::Inserted,
        Self::Deleted,
        Self::Reordered,
        Self::Duplicated,
        Self::Truncated,
        Self::Spliced,
        Self::OtherKey,
        Self::OtherDatabase,
        Self::Seal,
        Self::Anchor,
        Self::KeyLost,
    ];

    /// The name, which programs read: it never changes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edited => "edited",
            Self::Inserted => "inserted",
            Self::Deleted => "deleted",
            Self::Reordered => "reordered",
            Self::Duplicated => "duplicated",
            Self::Truncated => "truncated",
            Self::Spliced => "spliced",
            Self::OtherKey => "other-key",
            Self::OtherDatabase => "other-database",
            Self::Seal => "seal",
            Self::Anchor => "anchor",
            Self::KeyLost => "key-lost",
        }
    }

    /// Reads the name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|flaw| flaw.as_str() == name)
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The subject of the daemon's own entry that the log does not go on from where it was anchored. Its detail has `flaw`,
/// `message` and, where one is known, `seq`.
pub const NOTICED: &str = "audit log broken";

/// The subject of the entry that the log's key was lost and it goes on with another. Its detail has `message` and, of the
/// entries that were there, the numbers of the `first` and the last (`through`).
pub const RENEWED: &str = "audit log key renewed";

/// The subject of the daemon's own entry that a damaged database was moved aside. Its detail has `moved_to`.
pub const QUARANTINED: &str = "quarantined";

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What sort of thing.
    pub flaw: Flaw,
    /// The number of the first entry that is concerned; `None`: the log as a whole.
    pub seq: Option<u64>,
    /// In words, for a person: lower case, no full stop.
    pub message: String,
}

impl Finding {
    /// A finding.
    pub fn new(flaw: Flaw, seq: impl Into<Option<u64>>, message: impl Into<String>) -> Self {
        Self {
            flaw,
            seq: seq.into(),
            message: message.into(),
        }
    }
}
