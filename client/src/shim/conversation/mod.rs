//! One conversation of a host, whichever launches and daemons serve it. Pure: events in, what is to be done out; the time
//! is an argument.
//!
//! ```text
//!            opened                     handshake answered
//!  Away ────────────────▶ Handshake ─────────────────────────▶ Live
//!   ▲  ▲   (nothing to                                        │  │ give up: renewed, or it
//!   │  │    shake hands about: straight to Live)              │  ▼ does not answer
//!   │  └─────────────── gone ─────────────────────────────────┤ Leaving
//!   └────────────────── gone ─────────────────────────────────┴──┘
//! ```
//!
//! Live, lines pass as they came, and what a new launch would have to be told is remembered. What comes from the host
//! otherwise is held, within bounds of bytes and of time. A conversation that is no MCP, or in which nothing was answered
//! yet, is as it would be without us: what comes passes, and the end of its server is its own end.

mod asked;
mod calls;
mod from_host;
mod from_server;
mod held;
mod launch;
mod lists;
mod out;
mod replay;
#[cfg(test)]
mod tests;
mod words;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use srt_mcp::{Id, Mode, Wire};

pub(super) use launch::{Attached, Gone};
pub(super) use out::{Order, Out, ToServer};

use asked::Requests;
use calls::Calls;
use held::Held;
use lists::Lists;
use replay::{Memory, Private};
use words::Why;

/// How long a request waits for a launch.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many bytes of the host's wait for a launch; with more, its stdin is not read.
const HELD: usize = 16 * 1024 * 1024;
/// So many requests may be without an answer, in each direction.
const REQUESTS: usize = 65_536;

/// How things stand with the launch.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Link {
    /// Lines pass.
    Live,
    /// It must answer our handshake first, since then.
    Handshake(Instant),
    /// The daemon ends it for us; why.
    Leaving(String),
    /// There is none.
    Away,
}

/// What became of the long line that the host is writing, which passes in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    None,
    Passes,
    /// Its launch is gone; the rest is for nobody.
    Dropped,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Conversation {
    /// What is to be done. The shim takes it from here.
    pub(super) out: Out,
    name: String,
    link: Link,
    /// Why the last launch is gone.
    why: Why,
    /// The daemon lets the session go on in another launch.
    carried: bool,
    /// Launches that are gone.
    past: u32,
    from_host: Wire,
    from_server: Wire,
    part: Part,
    /// A message passed that was too long to be read: what is under way is not known any more.
    unread: bool,
    host_over: bool,
    calls: Calls,
    asked: Requests,
    lists: Lists,
    memory: Memory,
    held: Held,
    /// Requests of our own that this launch has.
    private: HashMap<Id, Private>,
    /// What our ids begin with, so that they are nobody else's.
    mark: String,
    ids: u64,
    /// A new launch is wanted as soon as nothing is under way; why.
    renewal: Option<String>,
    /// How long a server may leave a sign of life unanswered; none: it is not asked for one.
    health: Option<Duration>,
    /// When something passed last.
    active: Instant,
    /// Since when a sign of life is waited for.
    probed: Option<Instant>,
}

impl Conversation {
    /// With the server called `name`. Ids of our own begin with `mark`, which nobody else's do.
    pub(super) fn new(name: &str, mark: u64, now: Instant) -> Self {
        Self {
            out: Out::default(),
            name: name.to_owned(),
            link: Link::Live,
            why: Why::Lost,
            carried: false,
            past: 0,
            from_host: Wire::of_host(),
            from_server: Wire::of_server(),
            part: Part::None,
            unread: false,
            host_over: false,
            calls: Calls::default(),
            asked: Requests::default(),
            lists: Lists::default(),
            memory: Memory::default(),
            held: Held::default(),
            private: HashMap::new(),
            mark: format!("srt-{mark:016x}-"),
            ids: 0,
            renewal: None,
            health: None,
            active: now,
            probed: None,
        }
    }

    /// Whether the host's stdin may be read: not while too much waits for a launch.
    pub(super) fn takes_host(&self) -> bool {
        self.held.bytes() < HELD
    }

    /// When [`Conversation::tick`] is to be called next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let held = self.held.oldest().map(|since| since + PATIENCE);
        let handshake = match self.link {
            Link::Handshake(since) => Some(since + PATIENCE),
            _ => None,
        };
        [held, handshake, self.health_due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// What is due by now is done.
    pub(super) fn tick(&mut self, now: Instant) {
        self.fail_held(now);
        self.end_if_over();
        if matches!(self.link, Link::Handshake(since) if now >= since + PATIENCE) {
            self.give_up(format!(
                "its new launch did not answer the handshake within {} s",
                PATIENCE.as_secs()
            ));
        }
        if self.health_due().is_some_and(|due| now >= due) {
            self.look_after_health(now);
        }
    }

    /// The daemon wants the session to go on in another launch: at once, or when nothing is under way.
    pub(super) fn renew(&mut self, reason: &str, at_once: bool) {
        if !self.is_carried() {
            self.out.notice(format!(
                "{reason} takes effect when the server is started again: this session cannot go on in another launch"
            ));
            return;
        }
        match self.link {
            Link::Live if at_once => self.give_up(reason.to_owned()),
            Link::Live | Link::Handshake(_) => {
                self.renewal = Some(reason.to_owned());
                self.renew_if_idle();
            }
            // The next launch is another one already.
            Link::Leaving(_) | Link::Away => {}
        }
    }

    /// Whether the session can go on when its launch is gone.
    fn is_carried(&self) -> bool {
        self.carried && self.memory.ready && !self.unread && self.from_host.mode() == Mode::Mcp
    }

    fn is_idle(&self) -> bool {
        self.link == Link::Live
            && self.calls.is_empty()
            && self.asked.is_idle()
            && !self.from_host.is_within()
            && !self.host_over
    }

    fn renew_if_idle(&mut self) {
        if self.renewal.is_some() && self.is_idle() {
            let reason = self.renewal.take().unwrap_or_default();
            self.give_up(reason);
        }
    }

    fn give_up(&mut self, reason: String) {
        self.renewal = None;
        self.probed = None;
        self.link = Link::Leaving(reason.clone());
        self.out.orders.push_back(Order::GiveUp { reason });
    }

    /// A server that works is not asked: one that does one thing at a time could not answer.
    fn health_due(&self) -> Option<Instant> {
        let limit = self.health?;
        match self.probed {
            Some(since) => Some(since + limit),
            None if self.is_carried() && self.is_idle() => Some(self.active + limit),
            None => None,
        }
    }

    fn look_after_health(&mut self, now: Instant) {
        let (method, params) = self.memory.health();
        match (self.probed, self.health) {
            (Some(_), Some(limit)) => {
                self.give_up(format!(
                    "no answer to {method} within {} s",
                    limit.as_secs()
                ));
            }
            _ => {
                self.probed = Some(now);
                self.ask(method, &params, Private::Health);
            }
        }
    }

    /// Sends a request of our own.
    fn ask(&mut self, method: &str, params: &serde_json::Value, private: Private) {
        let id = self.fresh();
        self.out.server(srt_mcp::request(&id, method, Some(params)));
        self.private.insert(id, private);
    }

    /// An id that nobody has used.
    fn fresh(&mut self) -> Id {
        self.ids += 1;
        Id::text(&format!("{}{}", self.mark, self.ids))
    }
}
