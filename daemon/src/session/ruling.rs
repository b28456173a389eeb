//! By what a line of a conversation is judged, and what becomes of it.

use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;
use srt_policy::{McpAudit, ToolPolicy};

use super::calls::{Over, beginning};
use crate::store::Tool;

/// By what a line is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    pub(super) tools: &'a ToolPolicy,
    pub(super) audit: McpAudit,
}

/// When.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) at: Timestamp,
}

/// What becomes of a line.
#[derive(Debug, Default)]
pub(super) struct Ruling {
    pub(super) passes: Passes,
    /// Lines of ours for the host.
    pub(super) answers: Vec<Bytes>,
    /// Requests that are over by it.
    pub(super) over: Vec<Over>,
    /// What did not pass.
    pub(super) refused: Vec<Refusal>,
    /// What is to be written down of tools, before it passes where tools are pinned.
    pub(super) rows: Vec<Tool>,
    /// For the server's log.
    pub(super) notes: Vec<String>,
    /// How many messages it was.
    pub(super) messages: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Passes {
    #[default]
    AsItCame,
    Instead(Bytes),
    Nothing,
}

/// Something that did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The tool, or the method.
    pub(super) subject: String,
    /// For a person: a clause.
    pub(super) reason: String,
    pub(super) rule: Option<String>,
    pub(super) remedy: Option<String>,
}

impl Refusal {
    pub(super) fn new(subject: &str, reason: impl Into<String>) -> Self {
        Self {
            subject: beginning(subject, 128),
            reason: reason.into(),
            rule: None,
            remedy: None,
        }
    }
}
