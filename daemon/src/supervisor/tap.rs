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
            if let Some(line) = self.next_note() {
                return line;
            }
            self.0.noted.notified().await;
        }
    }

    /// The next line that is to be said, where there is one now.
    pub(crate) fn next_note(&self) -> Option<String> {
        self.lock().notes.pop_front()
    }

    /// Says `note` to the session, on a line of its own wherever the server is in one of its.
    pub(super) async fn say(session: &mpsc::Sender<Bytes>, note: &str, within_line: bool) {
        let before = if within_line { "\n" } else { "" };
        // A session that is gone has no use for it.
        let _ = session.send(format!("{before}{note}\n").into()).await;
    }

    /// Standard error is at its end: what was noted before is said, and nothing after.
    pub(super) async fn finish(&self, within_line: bool) {
        let over = State {
            over: true,
            ..State::default()
        };
        let State { session, notes, .. } = std::mem::replace(&mut *self.lock(), over);
        let Some(session) = session else {
            return;
        };
        let mut within_line = within_line;
        for note in notes {
            Self::say(&session, &note, std::mem::take(&mut within_line)).await;
        }
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
        let mut session = tap.open();
        tap.note("late".into());
        tap.note("last".into());
        tap.finish(true).await;
        tap.note("too late".into());
        assert_eq!(session.recv().await.unwrap(), "\nlate\n");
        assert_eq!(session.recv().await.unwrap(), "last\n");
        assert_eq!(session.recv().await, None);
        assert_eq!(tap.next_note(), None);
    }
}
