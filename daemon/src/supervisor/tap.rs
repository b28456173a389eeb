//! Where a server's standard error goes beside the log: to a session, while there is one; and what the daemon has to say
//! to the host in between.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

/// Lines of ours that may wait for the host. What comes beyond is in the server's log all the same.
const NOTES: usize = 64;

/// Where a server's standard error goes beside the log: to a session, while there is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tap(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    noted: Notify,
}

#[derive(Debug, Default)]
struct State {
    session: Option<mpsc::Sender<Bytes>>,
    /// Standard error is at its end.
    over: bool,
    notes: VecDeque<String>,
}

impl Tap {
    /// What comes from now on, in order, bounded; it ends with the server's standard error.
    pub(crate) fn open(&self) -> mpsc::Receiver<Bytes> {
        let (sender, receiver) = mpsc::channel(4);
        let mut state = self.lock();
        if !state.over {
            state.session = Some(sender);
        }
        receiver
    }

    /// Says a line to the host, between two of the server's. It never waits: a host that does not read its standard
    /// error misses it.
    pub(crate) fn note(&self, line: String) {
        let mut state = self.lock();
        if !state.over && state.notes.len() < NOTES {
            state.notes.push_back(line);
            self.0.noted.notify_one();
        }
    }

    /// Waits for a line that is to be said. Cancel safe.
    pub(crate) async fn noted(&self) -> String {
        loop {
            if let Some(line) = self.lock().notes.pop_front() {
                return line;
            }
            self.0.noted.notified().await;
        }
    }

    pub(super) fn close(&self) {
        *self.lock() = State {
            session: None,
            over: true,
            notes: VecDeque::new(),
        };
    }

    pub(super) fn session(&self) -> Option<mpsc::Sender<Bytes>> {
        self.lock().session.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn notes_come_in_order_are_bounded_and_end_with_standard_error() {
        let tap = Tap::default();
        for number in 0..NOTES + 3 {
            tap.note(number.to_string());
        }
        for number in 0..NOTES {
            assert_eq!(tap.noted().await, number.to_string());
        }
        tap.note("late".into());
        tap.close();
        tap.note("too late".into());
        let wait = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(wait, tap.noted()).await.is_err());
    }
}
