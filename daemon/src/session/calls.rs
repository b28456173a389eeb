//! Requests under way in a conversation, in both directions: what is recorded of them when they are over. Pure: the
//! time is an argument.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use srt_mcp::Id;

use super::activity::Standing;

/// Requests that are followed in each direction. What comes beyond is carried, and not followed.
const FOLLOWED: usize = 10_000;
/// Cancelled requests of which a late answer is still recognised.
const CANCELLED: usize = 1_000;
/// A name that goes into the log, in bytes: whoever sends it chooses it.
const NAME: usize = 128;

/// The modern era's subscription: it is open for as long as its host likes, and nobody waits for its answer.
const LISTEN: &str = "subscriptions/listen";
/// What hosts and shims look with whether a server still answers.
const LOOKS: [&str; 2] = ["ping", "server/discover"];

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Side {
    Host,
    Server,
}

/// A request under way.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: String,
    /// Of `tools/call`.
    pub(super) tool: Option<String>,
    /// As it is written, its beginning.
    pub(super) id: String,
    /// A good answer to it shows that the server is ready.
    pub(super) opens: bool,
    since: Instant,
    /// Of the message, its line feed included.
    bytes: u64,
    /// The beginning of its parameters, where contents are recorded.
    params: Option<String>,
    /// The asker takes no interest in it any more.
    cancelled: bool,
}

/// How a request came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    Done,
    /// A tool's own failure (`isError`).
    Failed,
    /// With this code, where it has one.
    Error(Option<i64>),
    Cancelled,
    /// The launch ended first.
    Lost,
    /// Policy did not let it pass, or its answer.
    Refused,
}

impl Came {
    /// As the log has it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Error(_) => "error",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
            Self::Refused => "refused",
        }
    }
}

/// A request that is over.
#[derive(Clone, Debug)]
pub(super) struct Over {
    pub(super) asked_by: Side,
    pub(super) call: Call,
    pub(super) came: Came,
    pub(super) took: Duration,
    pub(super) bytes_asked: u64,
    pub(super) bytes_answered: u64,
    pub(super) params: Option<String>,
    /// The beginning of the result or error, where contents are recorded.
    pub(super) answer: Option<String>,
}

impl Over {
    /// Whether the other side answered it.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.came, Came::Done | Came::Failed | Came::Error(_))
    }

    /// Whether the log is told. Looking whether somebody is there is nothing that was done.
    pub(super) fn is_told(&self) -> bool {
        !LOOKS.contains(&self.call.method.as_str()) && self.call.method != LISTEN
    }
}

/// A request as it comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) id: &'a Id,
    pub(super) method: &'a str,
    pub(super) tool: Option<&'a str>,
    /// A good answer to it shows that the server is ready.
    pub(super) opens: bool,
    pub(super) bytes: usize,
    pub(super) params: Option<&'a str>,
}

/// The requests of both sides.
#[derive(Debug, Default)]
pub(super) struct Calls {
    of_host: Direction,
    of_server: Direction,
    ready: bool,
}

#[derive(Debug, Default)]
struct Direction {
    under_way: HashMap<Id, Call>,
    /// In the order in which they were cancelled; some may have been answered since.
    cancelled: VecDeque<Id>,
    /// How many of them nobody has cancelled, and somebody waits for.
    waited_for: u32,
}

impl Calls {
    fn side(&mut self, side: Side) -> &mut Direction {
        match side {
            Side::Host => &mut self.of_host,
            Side::Server => &mut self.of_server,
        }
    }

    /// Whether the server has shown that it speaks.
    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    /// It has.
    pub(super) fn set_ready(&mut self) {
        self.ready = true;
    }

    pub(super) fn standing(&self) -> Standing {
        Standing {
            asked: self.of_host.waited_for,
            asked_back: self.of_server.waited_for,
            ready: self.ready,
        }
    }

    /// The request that an answer to `id` would belong to.
    /// Of the host's requests that show whether the server is ready the oldest that it has not answered: its method, and
    /// since when.
    pub(super) fn opening(&self) -> Option<(&str, Instant)> {
        let calls = self.of_host.under_way.values();
        calls
            .filter(|call| call.opens && !call.cancelled)
            .map(|call| (call.method.as_str(), call.since))
            .min_by_key(|(_, since)| *since)
    }

    /// The host's requests that somebody waits for, in no order.
    pub(super) fn unanswered(&self) -> impl Iterator<Item = &Id> {
        let calls = self.of_host.under_way.iter();
        calls.filter(|(_, call)| !call.cancelled).map(|(id, _)| id)
    }

    pub(super) fn get(&self, side: Side, id: &Id) -> Option<&Call> {
        let direction = match side {
            Side::Host => &self.of_host,
            Side::Server => &self.of_server,
        };
        direction.under_way.get(id)
    }

    /// A request passes. False where it cannot be followed: its id is in use, or there are too many.
    pub(super) fn asked(&mut self, side: Side, asked: &Asked<'_>, now: Instant) -> bool {
        let direction = self.side(side);
        if direction.under_way.len() >= FOLLOWED || direction.under_way.contains_key(asked.id) {
            return false;
        }
        let call = Call::new(asked, now);
        direction.waited_for += u32::from(call.method != LISTEN);
        direction.under_way.insert(asked.id.clone(), call);
        true
    }

    /// An answer comes. `None` where nothing is known that it answers, or nobody waits for it any more.
    pub(super) fn answered(
        &mut self,
        side: Side,
        id: &Id,
        came: Came,
        answer: (usize, Option<&str>),
        now: Instant,
    ) -> Option<Over> {
        let direction = self.side(side);
        let call = direction.under_way.remove(id)?;
        if call.cancelled {
            return None;
        }
        direction.waited_for -= u32::from(call.method != LISTEN);
        let mut over = call.over(side, came, now);
        over.bytes_answered = answer.0 as u64;
        over.answer = answer.1.map(str::to_owned);
        Some(over)
    }

    /// The asker gives a request up.
    pub(super) fn cancelled(&mut self, side: Side, id: &Id, now: Instant) -> Option<Over> {
        let direction = self.side(side);
        let call = direction.under_way.get_mut(id)?;
        if call.cancelled {
            return None;
        }
        call.cancelled = true;
        let over = call.clone().over(side, Came::Cancelled, now);
        direction.waited_for -= u32::from(over.call.method != LISTEN);
        direction.cancelled.push_back(id.clone());
        if direction.cancelled.len() > CANCELLED
            && let Some(oldest) = direction.cancelled.pop_front()
            && (direction.under_way.get(&oldest)).is_some_and(|call| call.cancelled)
        {
            direction.under_way.remove(&oldest);
        }
        Some(over)
    }

    /// The launch has ended: what nobody will answer any more.
    pub(super) fn lost(&mut self, now: Instant) -> Vec<Over> {
        let mut lost = Vec::new();
        for side in [Side::Host, Side::Server] {
            let direction = std::mem::take(self.side(side));
            let calls = direction.under_way.into_values();
            let waiting = calls.filter(|call| !call.cancelled);
            lost.extend(waiting.map(|call| call.over(side, Came::Lost, now)));
        }
        lost.sort_by_key(|over| over.call.since);
        lost
    }
}

impl Call {
    pub(super) fn new(asked: &Asked<'_>, now: Instant) -> Self {
        Self {
            method: beginning(asked.method, NAME),
            tool: asked.tool.map(|tool| beginning(tool, NAME)),
            id: beginning(asked.id.raw(), NAME),
            opens: asked.opens,
            since: now,
            bytes: asked.bytes as u64,
            params: asked.params.map(str::to_owned),
            cancelled: false,
        }
    }

    pub(super) fn over(mut self, asked_by: Side, came: Came, now: Instant) -> Over {
        Over {
            asked_by,
            came,
            took: now.saturating_duration_since(self.since),
            bytes_asked: self.bytes,
            bytes_answered: 0,
            params: self.params.take(),
            answer: None,
            call: self,
        }
    }
}

/// The beginning of a text; where something is missing it says so.
pub(super) fn beginning(text: &str, most: usize) -> String {
    match text.len() > most {
        true => format!("{}…", &text[..text.floor_char_boundary(most)]),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn id(number: usize) -> Id {
        serde_json::from_str(&number.to_string()).unwrap()
    }

    fn ask(calls: &mut Calls, number: usize, method: &str, now: Instant) -> bool {
        let asked = Asked {
            id: &id(number),
            method,
            tool: None,
            opens: false,
            bytes: 10,
            params: None,
        };
        calls.asked(Side::Host, &asked, now)
    }

    #[test]
    fn a_request_is_over_once() {
        let (mut calls, now) = (Calls::default(), Instant::now());
        assert!(ask(&mut calls, 1, "tools/call", now));
        assert!(!ask(&mut calls, 1, "ping", now), "its id is in use");
        assert_eq!(calls.standing().asked, 1);
        let later = now + Duration::from_millis(5);
        let mut answer = |side| calls.answered(side, &id(1), Came::Done, (7, Some("{}")), later);
        assert!(answer(Side::Server).is_none(), "the server asked nothing");
        let over = answer(Side::Host).unwrap();
        assert_eq!(
            (over.call.method.as_str(), over.came),
            ("tools/call", Came::Done)
        );
        assert_eq!((over.bytes_asked, over.bytes_answered), (10, 7));
        assert_eq!(over.took, Duration::from_millis(5));
        assert!(answer(Side::Host).is_none());
        assert_eq!(calls.standing(), Standing::default());
        assert!(calls.lost(later).is_empty());
    }

    #[test]
    fn a_cancelled_request_is_over_and_a_late_answer_is_known_and_not_told() {
        let (mut calls, now) = (Calls::default(), Instant::now());
        ask(&mut calls, 1, "tools/list", now);
        let over = calls.cancelled(Side::Host, &id(1), now).unwrap();
        assert_eq!(over.came, Came::Cancelled);
        assert!(calls.cancelled(Side::Host, &id(1), now).is_none());
        assert_eq!(calls.standing().asked, 0);
        assert_eq!(calls.get(Side::Host, &id(1)).unwrap().method, "tools/list");
        assert!(calls.lost(now).is_empty());
    }

    #[test]
    fn what_is_followed_is_bounded() {
        let (mut calls, now) = (Calls::default(), Instant::now());
        for number in 0..FOLLOWED {
            assert!(ask(&mut calls, number, "ping", now));
        }
        assert!(!ask(&mut calls, FOLLOWED, "ping", now));
        for number in 0..=CANCELLED {
            assert!(calls.cancelled(Side::Host, &id(number), now).is_some());
        }
        assert!(
            calls.get(Side::Host, &id(0)).is_none(),
            "the oldest is forgotten"
        );
        assert!(calls.get(Side::Host, &id(1)).is_some());
        assert_eq!(calls.lost(now).len(), FOLLOWED - CANCELLED - 1);
    }

    #[test]
    fn nobody_waits_for_a_subscription_and_looks_are_not_told() {
        let (mut calls, now) = (Calls::default(), Instant::now());
        ask(&mut calls, 1, LISTEN, now);
        assert_eq!(calls.standing().asked, 0);
        ask(&mut calls, 2, "ping", now);
        ask(&mut calls, 3, "tools/list", now);
        let told: Vec<bool> = calls.lost(now).iter().map(Over::is_told).collect();
        assert_eq!(told.iter().filter(|told| **told).count(), 1);
        assert_eq!(told.len(), 3);
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(beginning("äää", 3), "ä…");
        assert_eq!(beginning("äää", 6), "äää");
    }
}
