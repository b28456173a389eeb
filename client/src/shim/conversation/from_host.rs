//! What the host says.

use std::time::Instant;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use srt_mcp::{Details, Id, Message, Mode, Piece};

use super::asked::Answer;
use super::calls::{Call, Effect};
use super::held::Line;
use super::{Conversation, Link, Part, REQUESTS, ToServer, words};

/// What becomes of a message.
enum Fate {
    /// It passes as it is; with the request that it is.
    Pass(Option<Call>),
    /// It passes as this.
    As(Bytes),
    /// It is for nobody, or is answered already.
    Ends,
}

impl Conversation {
    /// The host wrote these bytes.
    pub(in crate::shim) fn host(&mut self, bytes: &[u8], now: Instant) {
        self.active = now;
        self.from_host.push(bytes);
        while let Some(piece) = self.from_host.next() {
            if self.from_host.mode() == Mode::Mcp && self.from_server.mode() == Mode::Unknown {
                self.from_server.set(Mode::Mcp);
            }
            match piece {
                Piece::Line(line) => self.host_line(line, now),
                Piece::Part { bytes, last } => self.host_part(bytes, last),
            }
        }
        self.renew_if_idle();
    }

    /// The host closed its stdin.
    pub(in crate::shim) fn host_end(&mut self, now: Instant) {
        let rest = self.from_host.rest();
        self.host_over = true;
        self.active = now;
        if self.link == Link::Live {
            self.out.server(rest);
            self.out.to_server.push_back(ToServer::End);
        }
        self.end_if_over();
    }

    /// Where there is no launch, what waits is still asked, and answered; then it is over.
    pub(super) fn end_if_over(&mut self) {
        let alone = matches!(self.link, Link::Handshake(_) | Link::Away);
        if self.host_over && alone && self.held.oldest().is_none() {
            self.out.end(0, None);
        }
    }

    /// Bytes of a line that is no message, or too long to be read.
    fn host_part(&mut self, bytes: Bytes, last: bool) {
        if self.part == Part::None {
            let message = self.from_host.mode() == Mode::Mcp && begins_message(&bytes);
            self.part = match self.link {
                Link::Live => Part::Passes,
                _ if message => {
                    self.end_unread();
                    Part::Dropped
                }
                _ => {
                    if !bytes.trim_ascii().is_empty() {
                        let text = "dropped a line of the host that is no message: there is no server to read it";
                        self.out.notice(text.to_owned());
                    }
                    Part::Dropped
                }
            };
            // It is too long to be read, and may be a request.
            self.unread |= message;
        }
        if self.part == Part::Passes {
            self.out.server(bytes);
        }
        if last {
            self.part = Part::None;
        }
    }

    fn host_line(&mut self, line: Bytes, now: Instant) {
        let mut calls = Vec::new();
        let bytes = match srt_mcp::read(&line) {
            // What does not read as a message means nothing to us; what it means to the server is theirs.
            None => line,
            Some(Message::Batch(parts)) => match self.host_batch(&line, &parts, &mut calls) {
                Some(bytes) => bytes,
                None => return,
            },
            Some(message) => match self.host_message(&message, &line, Some(&line)) {
                Fate::Pass(call) => {
                    calls.extend(call);
                    line
                }
                Fate::As(bytes) => bytes,
                Fate::Ends => return,
            },
        };
        let line = Line {
            bytes,
            calls,
            since: now,
        };
        match self.link {
            Link::Live => self.send(line),
            _ => self.held.push(line),
        }
    }

    /// A batch; `None` where nothing is left of it.
    fn host_batch(
        &mut self,
        line: &Bytes,
        parts: &[&RawValue],
        calls: &mut Vec<Call>,
    ) -> Option<Bytes> {
        let mut kept: Vec<Bytes> = Vec::with_capacity(parts.len());
        let mut same = true;
        for part in parts {
            let bytes = part.get().as_bytes();
            let fate = match srt_mcp::read(bytes) {
                Some(message) => self.host_message(&message, bytes, None),
                None => Fate::Pass(None),
            };
            match fate {
                Fate::Pass(call) => {
                    calls.extend(call);
                    kept.push(line.slice_ref(bytes));
                }
                Fate::As(changed) => {
                    same = false;
                    kept.push(changed);
                }
                Fate::Ends => same = false,
            }
        }
        match same {
            true => Some(line.clone()),
            false => super::from_server::batch(&kept),
        }
    }

    fn host_message(&mut self, message: &Message<'_>, bytes: &[u8], line: Option<&[u8]>) -> Fate {
        match message {
            Message::Request { id, method, params } => self.host_request(id, method, *params, line),
            Message::Notification { method, params } => self.host_notification(method, *params),
            Message::Response { id, .. } => match self.asked.answer(id) {
                Answer::Pass => Fate::Pass(None),
                Answer::As(id) => match srt_mcp::with_id(bytes, &id) {
                    Some(changed) => Fate::As(changed),
                    None => Fate::Ends,
                },
                Answer::Late => Fate::Ends,
            },
            Message::Batch(_) => Fate::Pass(None),
        }
    }

    fn host_request(
        &mut self,
        id: &Id,
        method: &str,
        params: Option<&RawValue>,
        line: Option<&[u8]>,
    ) -> Fate {
        let details = Details::of(params).unwrap_or_default();
        let call = Call::new(
            id.clone(),
            method,
            &details,
            has_cursor(method, params),
            line,
        );
        if self.calls.len() >= REQUESTS {
            self.out.host(words::too_many(&call, REQUESTS));
            return Fate::Ends;
        }
        if call.effect == Effect::Initialize {
            self.memory.params = params.map(ToOwned::to_owned);
        }
        if call.modern && (self.memory.meta.is_none() || call.effect != Effect::None) {
            self.memory.remember_meta(params);
        }
        Fate::Pass(Some(call))
    }

    fn host_notification(&mut self, method: &str, params: Option<&RawValue>) -> Fate {
        let details = || Details::of(params).unwrap_or_default();
        match method {
            "notifications/initialized" => {
                self.memory.initialized = true;
                // A new launch is told when it has answered.
                match self.link {
                    Link::Live => Fate::Pass(None),
                    _ => Fate::Ends,
                }
            }
            "notifications/cancelled" => match details().request_id {
                Some(id) => self.host_cancels(&id),
                None => Fate::Pass(None),
            },
            "notifications/progress" => match details().progress {
                Some(token) if self.asked.is_late_progress(&token) => Fate::Ends,
                _ => Fate::Pass(None),
            },
            _ => Fate::Pass(None),
        }
    }

    /// The host takes a request back: one that the server has, one that waits, or one that is answered already since
    /// its launch is dead.
    fn host_cancels(&mut self, id: &Id) -> Fate {
        let listen = self.memory.unlisten(id);
        let known = self.calls.remove(id).is_some() || listen;
        match self.link {
            Link::Live if known || self.past == 0 => Fate::Pass(None),
            // Its server is being ended; no answer is wanted, and none will be.
            _ if known => Fate::Ends,
            _ => {
                self.held.cancel(id);
                Fate::Ends
            }
        }
    }

    /// To the server, with all that follows from it.
    pub(super) fn send(&mut self, line: Line) {
        for call in line.calls {
            let call = match call.effect {
                Effect::Listen => self.memory.listen(call),
                _ => Some(call),
            };
            if let Some(call) = call {
                self.calls.insert(call);
            }
        }
        self.out.server(line.bytes);
    }
}

fn begins_message(bytes: &[u8]) -> bool {
    matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'['))
}

/// Whether a request for a list is for a later page.
fn has_cursor(method: &str, params: Option<&RawValue>) -> bool {
    #[derive(Deserialize)]
    struct Params {
        cursor: Option<String>,
    }
    method.ends_with("/list")
        && params
            .and_then(|params| serde_json::from_str::<Params>(params.get()).ok())
            .is_some_and(|params| params.cursor.is_some())
}
