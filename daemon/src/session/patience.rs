//! `runtime.timeoutSeconds`: how long a server may take until it is ready. Of MCP that is an answer to what a conversation
//! begins with (`initialize`, `server/discover`, a request of the modern era); of anything else, and before such a request,
//! the first line that it writes after the first that it is sent. A server that hangs at its start is ended, so that a host
//! is not kept waiting for as long as it likes to.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use super::scene::Scene;

/// How far the first exchange has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// No whole line was sent yet.
    Unasked,
    /// One was, and none came back.
    Asked,
    Answered,
}

/// Looks after the first line in each direction. Lines are only looked for, never held back.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Option<Duration>,
    first: watch::Sender<First>,
    /// Why it was at its end.
    over: Mutex<Option<String>>,
}

impl Patience {
    /// Without a limit it waits for ever.
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self {
            limit,
            first: watch::Sender::new(First::Unasked),
            over: Mutex::default(),
        }
    }

    /// These bytes were written to the server.
    pub(super) fn sent(&self, bytes: &[u8]) {
        self.advance(First::Unasked, First::Asked, bytes);
    }

    /// These bytes came from the server.
    pub(super) fn came(&self, bytes: &[u8]) {
        // A server that speaks before it is asked runs as well.
        self.advance(First::Unasked, First::Answered, bytes);
        self.advance(First::Asked, First::Answered, bytes);
    }

    fn advance(&self, from: First, to: First, bytes: &[u8]) {
        if self.limit.is_none() || *self.first.borrow() != from || !bytes.contains(&b'\n') {
            return;
        }
        self.first.send_replace(to);
    }

    /// Why the server was given up, if it was.
    pub(super) fn over(&self) -> Option<String> {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        over.clone()
    }

    /// Waits until the server has taken too long: why it is ended. Never, where it is ready in time.
    pub(super) async fn exceeded(&self, scene: &Scene) -> String {
        let Some(limit) = self.limit else {
            return std::future::pending().await;
        };
        let why = tokio::select! {
            biased;
            why = unanswered(scene, limit) => why,
            why = self.silent(limit) => why,
        };
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
        why
    }

    /// Waits until a server has written no line for too long.
    async fn silent(&self, limit: Duration) -> String {
        let mut first = self.first.subscribe();
        if let Ok(asked) = first
            .wait_for(|first| *first != First::Unasked)
            .await
            .map(|first| *first == First::Asked)
            && asked
            && timeout(limit, first.wait_for(|first| *first == First::Answered))
                .await
                .is_err()
        {
            let seconds = limit.as_secs();
            return format!(
                "it wrote no line within {seconds} s of the first that it was sent (runtime.timeoutSeconds)"
            );
        }
        std::future::pending().await
    }
}

/// Waits until a server of MCP is not ready and has left a request unanswered for too long that would show it.
async fn unanswered(scene: &Scene, limit: Duration) -> String {
    let mut standing = scene.control.activity.subscribe();
    loop {
        // Before the look: what changes after it is not missed.
        let ready = standing.borrow_and_update().ready;
        let opening = scene.opening().filter(|_| !ready);
        // A limit beyond what a clock can tell is none.
        let due = opening.and_then(|(method, since)| Some((method, since.checked_add(limit)?)));
        let changed = match due {
            Some((method, due)) => tokio::select! {
                biased;
                changed = standing.changed() => changed,
                () = sleep_until(due.into()) => {
                    let seconds = limit.as_secs();
                    return format!(
                        "it did not answer {method:?} within {seconds} s (runtime.timeoutSeconds)"
                    );
                }
            },
            None => standing.changed().await,
        };
        if ready || changed.is_err() {
            return std::future::pending().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the limit is exceeded within twice its time, after what `act` does.
    async fn exceeded(limit: Duration, act: impl FnOnce(&Patience)) -> bool {
        let patience = Patience::new(Some(limit));
        act(&patience);
        tokio::time::timeout(Duration::from_millis(400), patience.silent(limit))
            .await
            .is_ok_and(|why| why.contains("runtime.timeoutSeconds"))
    }

    #[tokio::test]
    async fn only_a_server_that_was_asked_and_is_silent_is_out_of_time() {
        let limit = Duration::from_millis(50);
        assert!(exceeded(limit, |patience| patience.sent(b"{}\n")).await);
        assert!(
            exceeded(limit, |patience| {
                patience.sent(b"{}\n");
                patience.came(b"half a line");
            })
            .await
        );
        assert!(!exceeded(limit, |patience| patience.sent(b"half a line")).await);
        assert!(!exceeded(limit, |_| {}).await);
        assert!(
            !exceeded(limit, |patience| {
                patience.sent(b"{}\n");
                patience.came(b"{}\n");
            })
            .await
        );
        assert!(
            !exceeded(limit, |patience| {
                patience.came(b"hello\n");
                patience.sent(b"{}\n");
            })
            .await
        );
        assert!(
            !exceeded(Duration::from_secs(u64::MAX), |patience| patience
                .sent(b"{}\n"))
            .await
        );
    }
}
