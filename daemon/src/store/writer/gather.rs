//! How many requests become one transaction: what is queued, and what is worth a moment's wait.

use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::Writer;

/// How long callers that were answered together are waited for at most before the next transaction.
const TOGETHER: Duration = Duration::from_millis(5);
/// After how long without one of them no more are waited for.
const QUIET: Duration = Duration::from_micros(200);

impl Writer {
    /// Takes what else is queued, and lingers for more while nobody waits: asleep, since being woken for each entry
    /// would cost whoever writes it more than to write it.
    pub(super) async fn gather(&mut self) {
        let until = tokio::time::Instant::now() + self.tuning.linger;
        let mut seen = 0;
        let mut over = false;
        loop {
            while self.pending.len() < self.tuning.batch
                && let Ok(message) = self.inbox.messages.try_recv()
            {
                self.accept(message);
            }
            if self.pending.len() >= self.tuning.batch || self.closing {
                return;
            }
            let mut new = self.pending.range(seen..);
            if new.any(|request| request.ack.is_some()) {
                self.gather_callers().await;
                return;
            }
            if over {
                return;
            }
            seen = self.pending.len();
            // A reminder may be of what was taken already: then there is nothing new, and the rest of the time is left.
            over = timeout_at(until, self.inbox.hurry.notified())
                .await
                .is_err();
        }
    }

    /// Takes what comes in the next moment where callers were answered together: they often ask again together, and the
    /// first of them alone in a transaction would make all others wait for one more. Ends when as many are there as were
    /// answered, when no more come, and after half of what that transaction took; who is alone waits for nobody.
    async fn gather_callers(&mut self) {
        let (callers, took) = self.answered;
        let (most, quiet) = (TOGETHER.min(took / 2), QUIET.min(took / 8));
        let begun = Instant::now();
        let mut newest = begun;
        let (mut waiting, mut seen) = (0, 0);
        loop {
            while self.pending.len() < self.tuning.batch
                && let Ok(message) = self.inbox.messages.try_recv()
            {
                self.accept(message);
            }
            let now = Instant::now();
            if self.pending.len() > seen {
                newest = now;
            }
            let new = self.pending.range(seen..);
            waiting += new.filter(|request| request.ack.is_some()).count();
            seen = self.pending.len();
            let all = waiting >= callers || seen >= self.tuning.batch || self.closing;
            if all || now - begun >= most || now - newest >= quiet {
                return;
            }
            // A timer would be too coarse.
            tokio::task::yield_now().await;
        }
    }
}
