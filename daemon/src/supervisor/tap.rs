//! Where a server's standard error goes beside the log: to a session, while there is one; and what the daemon has to say
//! to the host in between.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Lines of ours that may wait for the host. What comes beyond is in the server's log all the same.
const NOTES: usize = 64;

/// Where a server's standard error goes beside the log: to a session, while there is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tap(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    noted: Notify,
    /// Whoever has something to say of the launch's traffic has said it.
    told: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    session: Option<mpsc::Sender<Bytes>>,
    /// Nothing more is said.
    over: bool,
    notes: VecDeque<String>,
}

impl Tap {
    /// What comes from now on, in order, bounded; until the server says nothing more, and we of it.
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

    /// Says `note` to the session, if there is one, on a line of its own wherever the server is in one of its.
    pub(super) async fn say(&self, note: &str, within_line: bool) {
        let before = if within_line { "\n" } else { "" };
        if let Some(session) = self.session() {
            // A session that is gone has no use for it.
            let _ = session.send(format!("{before}{note}\n").into()).await;
        }
    }

    /// Dropped when all is noted that the launch's traffic gives reason to.
    pub(super) fn teller(&self) -> DropGuard {
        self.0.told.clone().drop_guard()
    }

    /// The server's standard error is at its end. What is noted is said for as long as the launch's traffic is told of: a
    /// refused connection may have been the last that the server did, and one without standard error goes on.
    pub(super) async fn finish(&self, mut within_line: bool) {
        loop {
            let note = tokio::select! {
                biased;
                note = self.noted() => note,
                () = self.0.told.cancelled() => break,
            };
            self.say(&note, std::mem::take(&mut within_line)).await;
        }
        *self.lock() = State {
            over: true,
            ..State::default()
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
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn notes_come_in_order_are_bounded_and_end_when_all_is_told() {
        let tap = Tap::default();
        for number in 0..NOTES + 3 {
            tap.note(number.to_string());
        }
        for number in 0..NOTES {
            assert_eq!(tap.noted().await, number.to_string());
        }
        let (mut session, teller) = (tap.open(), tap.teller());
        tap.note("late".into());
        let finish = tap.finish(true);
        tokio::pin!(finish);
        let wait = Duration::from_millis(20);
        timeout(wait, &mut finish).await.unwrap_err();
        assert_eq!(session.recv().await.unwrap(), "\nlate\n");
        tap.note("last".into());
        drop(teller);
        finish.await;
        tap.note("too late".into());
        assert_eq!(session.recv().await.unwrap(), "last\n");
        assert_eq!(session.recv().await, None);
        assert_eq!(tap.next_note(), None);
    }
}
