//! The requests of a tunnel in plain HTTP, one after another, under `network.requireHostMatch`.
//!
//! A server behind one address answers for many hosts, and a connection that began with a request for the permitted one may
//! go on with a request for another. So each head is judged as the first was, and where it begins is found by the framing
//! that the proxy's own requests are held to. What the server says is looked at for one thing: whether it takes the
//! first request's offer to go on with another protocol (WebSocket). After that nothing is looked at. No later request may
//! change the protocol: what would follow has to be requests.

use srt_policy::Permit;

use super::{Judged, Refusal, judge_request, wrong_host};
use crate::http::{Framed, Piece};

/// The most that a server may say before the status of its first response is known; bytes.
pub(crate) const MOST_ANSWER: usize = 64 * 1024;

/// Where a client is in its requests.
#[derive(Debug)]
pub(crate) struct Requests {
    next: Next,
    may_switch: bool,
}

#[derive(Debug)]
enum Next {
    First,
    Head,
    Body(Framed),
    /// The server's answer says what.
    Switch,
}

/// What becomes of the bytes that a client has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many of them may pass.
    Pass(usize),
    /// More are needed.
    More,
    /// None, before it is known whether the server goes on with another protocol.
    Switch,
}

impl Requests {
    /// Before the first request.
    pub(crate) const fn new() -> Self {
        Self {
            next: Next::First,
            may_switch: false,
        }
    }

    /// The server has stayed with HTTP.
    pub(crate) fn stays(&mut self) {
        self.next = Next::Head;
    }

    /// Looks at what has come and not passed.
    ///
    /// # Errors
    ///
    /// The refusal, where a request is for another host or has no single reading.
    pub(crate) fn step(&mut self, held: &[u8], permit: &Permit) -> Result<Step, Box<Refusal>> {
        let have = held.len();
        if matches!(self.next, Next::Switch) {
            return Ok(Step::Switch);
        }
        if have == 0 {
            return Ok(Step::More);
        }
        let refused = |why: &str| match wrong_host(permit.target(), why.to_owned()) {
            Judged::Refused(refusal) => Err(refusal),
            _ => Ok(Step::More),
        };
        match &mut self.next {
            Next::First | Next::Head => {
                let first = matches!(self.next, Next::First);
                match judge_request(held, permit.target(), first) {
                    Judged::Refused(refusal) => Err(refusal),
                    Judged::Request(request) => {
                        self.may_switch = request.may_switch;
                        match Framed::new(request.body) {
                            None => self.ended(),
                            Some(body) => self.next = Next::Body(body),
                        }
                        Ok(Step::Pass(request.bytes))
                    }
                    Judged::More => Ok(Step::More),
                    // Only of first words that are no request, and those do not come here.
                    Judged::Pass => refused("it is no request"),
                }
            }
            Next::Body(body) => match body.step(held) {
                Err(flaw) => refused(&flaw.why),
                Ok(Piece::More) => Ok(Step::More),
                Ok(Piece::Some(bytes)) => Ok(Step::Pass(bytes)),
                Ok(Piece::Last(bytes)) => {
                    self.ended();
                    Ok(Step::Pass(bytes))
                }
            },
            Next::Switch => Ok(Step::Switch),
        }
    }

    fn ended(&mut self) {
        self.next = match std::mem::take(&mut self.may_switch) {
            true => Next::Switch,
            false => Next::Head,
        };
    }
}

/// Whether a server's first response, after those that are only interim, is that it switches protocols; `None` while it
/// cannot be told.
pub(crate) fn switches(said: &[u8]) -> Option<bool> {
    let mut rest = said;
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 128];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(rest) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if said.len() < MOST_ANSWER => return None,
            _ => return Some(false),
        };
        match response.code {
            Some(101) => return Some(true),
            Some(100..=199) => rest = &rest[length..],
            _ => return Some(false),
        }
    }
}
