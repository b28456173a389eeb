//! The detail objects of what a person is asked and answers.

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::detail::about;
use super::{Entry, Kind};

/// A connection is held until a person answers.
#[derive(Clone, Debug, Serialize)]
pub struct Asked<'a> {
    /// The question's id.
    pub question: &'a str,
    /// What it came in by.
    pub front_end: &'a str,
    /// What keeps it from passing.
    pub reason: &'a str,
    /// How long an answer may take.
    pub seconds: u64,
    /// The policy generation that asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// A person said yes.
#[derive(Clone, Debug, Serialize)]
pub struct Approval<'a> {
    /// The question's id.
    pub question: &'a str,
    /// once, session, time or always.
    pub scope: &'a str,
    /// The grant that was recorded; absent for once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<&'a str>,
    /// When it is at its end, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Who, for a person.
    pub by: &'a str,
    /// Who, to the kernel.
    pub uid: u32,
    /// The policy generation in force when it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// A person said no, or nobody said anything.
#[derive(Clone, Debug, Serialize)]
pub struct Rejection<'a> {
    /// The question's id.
    pub question: &'a str,
    /// Why, for a person.
    pub reason: &'a str,
    /// Who; absent where nobody answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The policy generation in force when it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// A grant ended: kind expire or revoke.
#[derive(Clone, Debug, Serialize)]
pub struct GrantEnd<'a> {
    /// Its id.
    pub grant: &'a str,
    /// session, time or always.
    pub scope: &'a str,
    /// Why, for a person.
    pub reason: &'a str,
    /// Who revoked it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The policy generation in force for its server; absent where no launch of that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

impl Asked<'_> {
    /// The entry; its subject is the target.
    pub fn entry(&self, at: Timestamp, server: &str, launch: Uuid, target: &str) -> Entry {
        about(Kind::Ask, at, server, target, self).launch(launch)
    }
}

impl Approval<'_> {
    /// The entry; its subject is the target.
    pub fn entry(&self, at: Timestamp, server: &str, launch: Uuid, target: &str) -> Entry {
        about(Kind::Approve, at, server, target, self).launch(launch)
    }
}

impl Rejection<'_> {
    /// The entry; its subject is the target.
    pub fn entry(&self, at: Timestamp, server: &str, launch: Uuid, target: &str) -> Entry {
        about(Kind::Reject, at, server, target, self).launch(launch)
    }
}

impl GrantEnd<'_> {
    /// The entry; its subject is the target. A grant that outlives launches belongs to none.
    pub fn entry(
        &self,
        kind: Kind,
        at: Timestamp,
        server: &str,
        launch: Option<Uuid>,
        target: &str,
    ) -> Entry {
        let entry = about(kind, at, server, target, self);
        match launch {
            Some(launch) => entry.launch(launch),
            None => entry,
        }
    }
}
