//! How far the writer is behind: what waits to be written, and for how long.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How far the writer is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Writes that wait.
    pub queued: u64,
    /// How long the oldest of them has waited.
    pub oldest: Option<Duration>,
}

/// What waits to be written, by the order in which it came.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    since: BTreeMap<u64, Instant>,
}

/// The place of one write, given back when this is dropped: written, refused or given up.
#[derive(Debug)]
pub(super) struct Ticket {
    waiting: Waiting,
    number: u64,
}

impl Waiting {
    /// One more waits from now on.
    pub(super) fn ticket(&self) -> Ticket {
        let mut queue = self.lock();
        let number = queue.next;
        queue.next += 1;
        queue.since.insert(number, Instant::now());
        drop(queue);
        Ticket {
            waiting: self.clone(),
            number,
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.lock().since.len() as u64
    }

    pub(super) fn lag(&self) -> Lag {
        let queue = self.lock();
        Lag {
            queued: queue.since.len() as u64,
            oldest: queue
                .since
                .first_key_value()
                .map(|(_, since)| since.elapsed()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.waiting.lock().since.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_waits_counts_whatever_order_they_go_in() {
        let waiting = Waiting::default();
        assert_eq!(waiting.lag(), Lag::default());
        let first = waiting.ticket();
        let second = waiting.ticket();
        let oldest = waiting.lag().oldest.unwrap();
        drop(second);
        assert_eq!(waiting.lag().queued, 1);
        assert!(waiting.lag().oldest.unwrap() >= oldest);
        drop(first);
        assert_eq!(waiting.lag(), Lag::default());
    }
}
