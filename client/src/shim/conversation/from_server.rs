//! What the server says.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;
use srt_mcp::{Details, Id, Message, Mode, Piece};

use super::calls::{Call, Effect, Page};
use super::lists::{List, Next};
use super::replay::{Agreed, Private, said};
use super::{Conversation, Link, REQUESTS};

/// What becomes of a message.
enum Fate {
    Pass,
    As(Bytes),
    /// It is ours.
    Swallow,
}

type Outcome<'a> = Result<&'a RawValue, &'a RawValue>;

impl Conversation {
    /// The server wrote these bytes to its stdout.
    pub(in crate::shim) fn server(&mut self, bytes: Bytes, now: Instant) {
        self.active = now;
        // Nothing is looked for in what is no conversation.
        if self.from_server.mode() == Mode::Raw || self.from_host.mode() == Mode::Raw {
            self.out.host(bytes);
            return;
        }
        self.from_server.push(&bytes);
        while let Some(piece) = self.from_server.next() {
            match piece {
                Piece::Line(line) => self.server_line(line),
                Piece::Part { bytes, .. } => {
                    // Which request it answers, nobody knows.
                    self.unread |=
                        self.from_server.mode() == Mode::Mcp && bytes.len() > srt_mcp::LONGEST;
                    self.out.host(bytes);
                }
            }
        }
        self.renew_if_idle();
    }

    fn server_line(&mut self, line: Bytes) {
        match srt_mcp::read(&line) {
            None => self.out.host(line),
            Some(Message::Batch(parts)) => {
                let mut kept = Vec::with_capacity(parts.len());
                let mut same = true;
                for part in parts {
                    let bytes = part.get().as_bytes();
                    let fate = match srt_mcp::read(bytes) {
                        Some(message) => self.server_message(&message, bytes),
                        None => Fate::Pass,
                    };
                    match fate {
                        Fate::Pass => kept.push(line.slice_ref(bytes)),
                        Fate::As(changed) => {
                            same = false;
                            kept.push(changed);
                        }
                        Fate::Swallow => same = false,
                    }
                }
                let left = if same { Some(line) } else { batch(&kept) };
                left.into_iter().for_each(|line| self.out.host(line));
            }
            Some(message) => match self.server_message(&message, &line) {
                Fate::Pass => self.out.host(line),
                Fate::As(line) => self.out.host(line),
                Fate::Swallow => {}
            },
        }
    }

    fn server_message(&mut self, message: &Message<'_>, bytes: &[u8]) -> Fate {
        match message {
            Message::Response { id, outcome } => {
                if let Some(private) = self.private.remove(id) {
                    self.answered_us(private, *outcome);
                    return Fate::Swallow;
                }
                if let Some(call) = self.calls.remove(id) {
                    self.answered(&call, *outcome);
                } else {
                    self.memory.unlisten(id);
                }
                Fate::Pass
            }
            Message::Request { id, params, .. } => {
                if self.asked.len() >= REQUESTS {
                    // Nobody keeps so many questions open; what we do not know of we do not rename.
                    return Fate::Pass;
                }
                let progress = params
                    .filter(|params| params.get().contains("progressToken"))
                    .and_then(|params| Details::of(Some(params))?.progress_wanted);
                let (mark, ids) = (&self.mark, &mut self.ids);
                let renamed = self.asked.ask(id, progress, || {
                    *ids += 1;
                    Id::text(&format!("{mark}{ids}"))
                });
                match renamed.and_then(|id| srt_mcp::with_id(bytes, &id)) {
                    Some(changed) => Fate::As(changed),
                    None => Fate::Pass,
                }
            }
            Message::Notification { method, params } => {
                self.server_notification(method, *params, bytes)
            }
            Message::Batch(_) => Fate::Pass,
        }
    }

    fn server_notification(
        &mut self,
        method: &str,
        params: Option<&RawValue>,
        bytes: &[u8],
    ) -> Fate {
        let details = || Details::of(params).unwrap_or_default();
        match method {
            "notifications/cancelled" => {
                let Some(id) = details().request_id else {
                    return Fate::Pass;
                };
                let (renamed, known) = self.asked.cancel(&id);
                if !known {
                    // A modern server ends a listen so.
                    self.memory.unlisten(&id);
                }
                match renamed.and_then(|id| srt_mcp::with_request_id(bytes, &id)) {
                    Some(changed) => Fate::As(changed),
                    None => Fate::Pass,
                }
            }
            "notifications/subscriptions/acknowledged" => match details().subscription {
                Some(id) if self.memory.acknowledge(&id, params) => Fate::Swallow,
                _ => Fate::Pass,
            },
            method if method.ends_with("/list_changed") => {
                self.lists.announced(method);
                Fate::Pass
            }
            _ => Fate::Pass,
        }
    }

    /// The host's request is answered: what a new launch must know of it.
    fn answered(&mut self, call: &Call, outcome: Outcome<'_>) {
        let Ok(result) = outcome else {
            return;
        };
        self.memory.ready |= call.modern;
        match &call.effect {
            Effect::Initialize => {
                self.memory.legacy = Agreed::of(result);
                self.memory.ready = true;
            }
            Effect::Discover => self.memory.modern = Agreed::of(result),
            Effect::Level(level) => self.memory.set_level(level),
            Effect::Subscribe(uri) => {
                if !self.memory.subscribe(uri.clone()) {
                    self.out.notice(format!(
                        "too many subscriptions: that to {uri} is not made again should the server be started again"
                    ));
                }
            }
            Effect::Unsubscribe(uri) => self.memory.unsubscribe(uri),
            Effect::List(list, page) => self.lists.saw(*list, *page == Page::First, result),
            Effect::Listen | Effect::None => {}
        }
    }

    /// A request of our own is answered.
    fn answered_us(&mut self, private: Private, outcome: Outcome<'_>) {
        match private {
            Private::Handshake => match self.memory.compare(outcome) {
                Ok(()) => self.shaken(),
                Err(why) => {
                    self.end_session(&format!("a new launch is not what the host knows: {why}"))
                }
            },
            Private::Restore(what) => {
                if let Err(error) = outcome {
                    self.out.notice(format!(
                        "the new launch refused {what}, which the last one had: {}",
                        said(error)
                    ));
                }
            }
            // Also an error is a sign of life.
            Private::Health => self.probed = None,
            Private::Page(list) => match self.lists.page(list, outcome.ok()) {
                Next::Ask(cursor) => self.ask_page(list, Some(&cursor)),
                Next::Changed => self.tell_of(list),
                Next::Same => {}
            },
        }
    }

    pub(super) fn ask_page(&mut self, list: List, cursor: Option<&str>) {
        let params = match cursor {
            Some(cursor) => serde_json::json!({ "cursor": cursor }),
            None => serde_json::json!({}),
        };
        let params = self.memory.params_with(params);
        self.ask(list.method(), &params, Private::Page(list));
    }

    fn tell_of(&mut self, list: List) {
        if self.link != Link::Live {
            return;
        }
        // Resources and their templates are told of together.
        self.lists.announced(list.notification());
        for params in self.memory.told_of(list) {
            self.out
                .host(srt_mcp::notification(list.notification(), params.as_ref()));
        }
    }
}

/// A batch of what is left of one; `None` where that is nothing.
pub(super) fn batch(parts: &[Bytes]) -> Option<Bytes> {
    if parts.is_empty() {
        return None;
    }
    let mut text = BytesMut::from(&b"["[..]);
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            text.extend_from_slice(b",");
        }
        text.extend_from_slice(part);
    }
    text.extend_from_slice(b"]\n");
    Some(text.freeze())
}
