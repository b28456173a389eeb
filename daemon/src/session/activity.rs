//! What goes on in the conversation of one launch, as counts: how many requests are under way, whether the server is
//! ready, messages, and how long calls take. The relay counts; the supervisor, `status` and the metrics look.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// Upper bounds of the classes that durations of calls are counted in, in milliseconds. What takes longer than the last
/// one is counted beyond it.
pub(crate) const CLASSES: [u64; 13] = [
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 30_000, 300_000,
];

/// Where a conversation stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Requests of the host that the server has not answered, those that were cancelled left out.
    pub(crate) asked: u32,
    /// Requests of the server that the host has not answered.
    pub(crate) asked_back: u32,
    /// The server answered `initialize`, or a request of the modern era, and not with an error.
    pub(crate) ready: bool,
}

/// Counts that only rise: of one launch, or of the daemon.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    to_server: AtomicU64,
    to_host: AtomicU64,
    calls: [AtomicU64; CLASSES.len() + 1],
    micros: AtomicU64,
}

/// A [`Tally`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Messages from the host to the server, and back.
    pub(crate) to_server: u64,
    pub(crate) to_host: u64,
    /// Answered requests of the host, by how long they took: as many as took no longer than each of [`CLASSES`] and
    /// longer than the one before it; the last are those beyond.
    pub(crate) calls: [u64; CLASSES.len() + 1],
    /// How long they took together, in microseconds.
    pub(crate) micros: u64,
}

impl Tally {
    pub(crate) fn read(&self) -> Counted {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counted {
            to_server: read(&self.to_server),
            to_host: read(&self.to_host),
            calls: std::array::from_fn(|class| read(&self.calls[class])),
            micros: read(&self.micros),
        }
    }

    fn called(&self, took: Duration) {
        let class = CLASSES.partition_point(|bound| Duration::from_millis(*bound) < took);
        self.calls[class].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

/// The conversation of one launch. Nothing is counted before it is known to be MCP.
#[derive(Debug)]
pub(crate) struct Activity {
    standing: watch::Sender<Standing>,
    own: Tally,
    /// The daemon's, which outlives the launch.
    all: Arc<Tally>,
    /// All that the server wrote was read.
    read: watch::Sender<bool>,
}

impl Activity {
    pub(crate) fn new(all: Arc<Tally>) -> Self {
        Self {
            standing: watch::Sender::default(),
            own: Tally::default(),
            all,
            read: watch::Sender::default(),
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// Follows it.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// All that the server wrote was read: it answers nothing any more.
    pub(super) fn is_read(&self) {
        self.read.send_replace(true);
    }

    /// Waits for that, where requests are under way.
    pub(crate) async fn read(&self) {
        let mut read = self.read.subscribe();
        let mut standing = self.subscribe();
        tokio::select! {
            _ = read.wait_for(|read| *read) => {}
            _ = standing.wait_for(|standing| standing.asked == 0) => {}
        }
    }

    /// What was counted in this launch.
    pub(crate) fn counted(&self) -> Counted {
        self.own.read()
    }

    /// So many messages went to the server.
    pub(super) fn to_server(&self, messages: u64) {
        for tally in [&self.own, &*self.all] {
            tally.to_server.fetch_add(messages, Ordering::Relaxed);
        }
    }

    /// So many messages came from the server.
    pub(super) fn to_host(&self, messages: u64) {
        for tally in [&self.own, &*self.all] {
            tally.to_host.fetch_add(messages, Ordering::Relaxed);
        }
    }

    /// A request of the host was answered after so long.
    pub(super) fn called(&self, took: Duration) {
        self.own.called(took);
        self.all.called(took);
    }

    /// This is how it stands now.
    pub(super) fn stands(&self, now: Standing) {
        self.standing.send_if_modified(|standing| {
            let changed = *standing != now;
            *standing = now;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_fall_into_the_class_whose_bound_they_do_not_exceed() {
        let all = Arc::new(Tally::default());
        let activity = Activity::new(all.clone());
        for millis in [0, 1, 2, 3, 300_000, 300_001] {
            activity.called(Duration::from_millis(millis));
        }
        activity.to_server(2);
        activity.to_host(3);
        let counted = activity.counted();
        assert_eq!(counted.calls[..3], [2, 1, 1]);
        assert_eq!(counted.calls[CLASSES.len() - 1..], [1, 1]);
        assert_eq!(counted.micros, 600_007_000);
        assert_eq!((counted.to_server, counted.to_host), (2, 3));
        assert_eq!(all.read(), counted);
    }

    #[test]
    fn who_follows_is_told_of_changes_only() {
        let activity = Activity::new(Arc::default());
        let mut follow = activity.subscribe();
        activity.stands(Standing::default());
        assert!(!follow.has_changed().unwrap());
        let now = Standing {
            asked: 1,
            ..Standing::default()
        };
        activity.stands(now);
        assert_eq!(*follow.borrow_and_update(), now);
    }
}
