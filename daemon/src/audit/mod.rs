//! What happened, as entries of the audit log.
//!
//! An [`Entry`] is made where the event is known and given to the store, which numbers it; a [`Record`] is an
//! entry read back. Nothing here knows how or where entries are kept. The payloads in `detail` fix what the
//! detail object of each kind holds, so that whoever reads the log finds the same names every time.

mod asked;
pub mod chain;
mod detail;
mod kind;
mod redact;

use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

pub use asked::{Approval, Asked, GrantEnd, Rejection};
pub use detail::{
    Called, Denial, Ended, Flow, Pinned, PolicyChange, PolicyLoad, PolicyTrouble, Refusal,
    RolledBack, Settled, Signalled, Started,
};
pub use kind::{Kind, UnknownKind};
pub use redact::{Redacted, command_line, names_a_secret};

/// One event, not yet numbered.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When it happened.
    pub at: Timestamp,
    /// What sort of event.
    pub kind: Kind,
    /// The server it is about, if it is about one.
    pub server: Option<String>,
    /// The launch it is about, if it is about one.
    pub launch: Option<Uuid>,
    /// What it is about: `api.github.com:443`, a command, a file.
    pub subject: String,
    /// The rest, by name.
    pub detail: Map<String, Value>,
}

impl Entry {
    /// An entry about nothing but its subject.
    pub fn new(at: Timestamp, kind: Kind, subject: impl Into<String>) -> Self {
        Self {
            at,
            kind,
            server: None,
            launch: None,
            subject: subject.into(),
            detail: Map::new(),
        }
    }

    /// Names the server.
    #[must_use]
    pub fn server(mut self, name: impl Into<String>) -> Self {
        self.server = Some(name.into());
        self
    }

    /// Names the launch.
    #[must_use]
    pub fn launch(mut self, id: Uuid) -> Self {
        self.launch = Some(id);
        self
    }

    /// Adds one value to the detail object; a later value replaces an earlier one of the same name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.detail.insert(name.into(), value.into());
        self
    }
}

/// An entry as it stands in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its place: 1 for the first entry ever, one more for each that follows.
    pub seq: u64,
    /// The entry.
    pub entry: Entry,
}
