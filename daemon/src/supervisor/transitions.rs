//! What servers' lives are told as: every change of state, to whoever listens, and the newest for who comes later.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::State;

/// So many of the newest are kept for who comes later, and so many may wait for who listens.
const KEPT: usize = 512;

/// A server, in one of its lineages, went from one state to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transition {
    /// Numbers them, from 1 on, without gaps: who listens can tell what it missed.
    pub(crate) number: u64,
    pub(crate) server: String,
    /// None where no launch is meant, as with the wait for the next one.
    pub(crate) launch: Option<Uuid>,
    /// None where it runs without a host.
    pub(crate) session: Option<Uuid>,
    pub(crate) from: State,
    pub(crate) to: State,
    /// Why, for a person; empty where there is nothing to say.
    pub(crate) reason: String,
    pub(crate) at: Timestamp,
}

/// The transitions of every server of this daemon.
#[derive(Debug)]
pub(crate) struct Transitions {
    kept: Mutex<Kept>,
    listeners: broadcast::Sender<Transition>,
}

#[derive(Debug, Default)]
struct Kept {
    newest: VecDeque<Transition>,
    number: u64,
}

impl Default for Transitions {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            listeners: broadcast::Sender::new(KEPT),
        }
    }
}

impl Transitions {
    /// Tells of one; its number is given here. Nobody is waited for: who listens too slowly misses some, and is told
    /// how many.
    pub(crate) fn tell(&self, mut transition: Transition) {
        // Under the lock, so that they are heard in the order of their numbers.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.number += 1;
        transition.number = kept.number;
        if kept.newest.len() == KEPT {
            kept.newest.pop_front();
        }
        kept.newest.push_back(transition.clone());
        // An error says that nobody listens.
        let _ = self.listeners.send(transition);
    }

    /// The newest, oldest first, and all that come after them.
    #[allow(dead_code, reason = "events are streamed next")]
    pub(crate) fn listen(&self) -> (Vec<Transition>, broadcast::Receiver<Transition>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = kept.newest.iter().cloned().collect();
        (newest, self.listeners.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transition(server: &str) -> Transition {
        Transition {
            number: 0,
            server: server.into(),
            launch: None,
            session: None,
            from: State::Stopped,
            to: State::Starting,
            reason: String::new(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn who_listens_misses_none_and_the_newest_are_kept() {
        let transitions = Transitions::default();
        for _ in 0..KEPT + 2 {
            transitions.tell(transition("before"));
        }
        let (newest, mut later) = transitions.listen();
        transitions.tell(transition("after"));
        let numbers: Vec<u64> = newest.iter().map(|told| told.number).collect();
        let last = KEPT as u64 + 2;
        assert_eq!(numbers, (3..=last).collect::<Vec<_>>());
        let next = later.try_recv().unwrap();
        assert_eq!((next.number, next.server.as_str()), (last + 1, "after"));
        assert!(later.try_recv().is_err());
    }
}
