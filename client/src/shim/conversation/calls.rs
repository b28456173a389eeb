//! The host's requests that have no answer yet.

use std::collections::HashMap;

use bytes::Bytes;
use srt_mcp::{Details, Id};

use super::lists::List;

/// A request is retried as often as this; then it is what kills the server.
pub(super) const TRIES: u8 = 2;
/// A longer request is not kept, in bytes, and so not retried.
const KEPT: usize = 256 * 1024;

/// What the answer to a request changes of what a new launch must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    Initialize,
    Discover,
    Level(Box<str>),
    Subscribe(Box<str>),
    Unsubscribe(Box<str>),
    /// A list's page; the first one, or a later one.
    List(List, Page),
    Listen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    First,
    Later,
}

/// A request of the host.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) id: Id,
    pub(super) method: Box<str>,
    /// The tool, the prompt or the resource.
    pub(super) subject: Option<Box<str>>,
    pub(super) effect: Effect,
    /// It is of the modern era.
    pub(super) modern: bool,
    /// The line, where asking again changes nothing.
    pub(super) line: Option<Bytes>,
    /// So many launches ended while it ran.
    pub(super) tries: u8,
    /// When it came, among others.
    order: u64,
}

impl Call {
    /// `line` is kept where asking again changes nothing; without one (part of a batch) it is never retried.
    pub(super) fn new(
        id: Id,
        method: &str,
        details: &Details,
        cursor: bool,
        line: Option<&[u8]>,
    ) -> Self {
        let text = |value: &Option<String>| value.as_deref().unwrap_or_default().into();
        let effect = match method {
            "initialize" => Effect::Initialize,
            "server/discover" => Effect::Discover,
            "logging/setLevel" => Effect::Level(text(&details.level)),
            "resources/subscribe" => Effect::Subscribe(text(&details.uri)),
            "resources/unsubscribe" => Effect::Unsubscribe(text(&details.uri)),
            "subscriptions/listen" => Effect::Listen,
            _ => match (List::of_method(method), cursor) {
                (Some(list), false) => Effect::List(list, Page::First),
                (Some(list), true) => Effect::List(list, Page::Later),
                (None, _) => Effect::None,
            },
        };
        let again = effect != Effect::None || is_safe(method);
        Self {
            id,
            method: method.into(),
            subject: details
                .name
                .as_deref()
                .or(details.uri.as_deref())
                .map(Into::into),
            effect,
            modern: details.modern.is_some(),
            // A copy: the line may be a small part of a large buffer.
            line: line
                .filter(|line| again && line.len() <= KEPT)
                .map(Bytes::copy_from_slice),
            tries: 0,
            order: 0,
        }
    }

    /// Whether the next launch may be asked again.
    pub(super) fn may_be_retried(&self) -> bool {
        self.line.is_some() && self.tries < TRIES
    }
}

/// Requests that read, beside those that have an effect on what we remember.
fn is_safe(method: &str) -> bool {
    matches!(
        method,
        "ping" | "resources/read" | "prompts/get" | "completion/complete"
    )
}

/// Those that the server has.
#[derive(Debug, Default)]
pub(super) struct Calls {
    running: HashMap<Id, Call>,
    next: u64,
}

impl Calls {
    pub(super) fn insert(&mut self, mut call: Call) {
        self.next += 1;
        call.order = self.next;
        self.running.insert(call.id.clone(), call);
    }

    pub(super) fn remove(&mut self, id: &Id) -> Option<Call> {
        self.running.remove(id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// All of them in the order in which they came; there are none then.
    pub(super) fn take(&mut self) -> Vec<Call> {
        let mut calls: Vec<_> = self.running.drain().map(|(_, call)| call).collect();
        calls.sort_unstable_by_key(|call| call.order);
        calls
    }
}
