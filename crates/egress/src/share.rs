//! A sandbox's fair share of the descriptors that the whole process may have open.

use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::resource::{Resource, getrlimit};

/// Sandboxes that have a share now.
static SANDBOXES: AtomicUsize = AtomicUsize::new(0);

/// The most that a connection takes: both its ends, and a pipe for each direction (splice(2)).
const EACH: usize = 6;
/// Taken for granted where the limit cannot be read: what POSIX programs usually start with.
const USUAL: usize = 1024;

/// One sandbox's share, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Share {
    /// Connections for all sandboxes together.
    all: usize,
}

impl Share {
    pub(crate) fn new() -> Self {
        let limit = match getrlimit(Resource::RLIMIT_NOFILE) {
            Ok((soft, _hard)) => usize::try_from(soft).unwrap_or(usize::MAX),
            Err(_) => USUAL,
        };
        SANDBOXES.fetch_add(1, Ordering::Relaxed);
        Self { all: all(limit) }
    }

    /// How many connections the sandbox may have open now. One share is always left for the next sandbox.
    pub(crate) fn connections(&self) -> usize {
        each(self.all, SANDBOXES.load(Ordering::Relaxed))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        SANDBOXES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A quarter is for everything else that the process has open.
fn all(limit: usize) -> usize {
    (limit - limit / 4) / EACH
}

fn each(all: usize, sandboxes: usize) -> usize {
    // Even where there are too many sandboxes for the limit, each gets somewhere.
    (all / (sandboxes + 1)).max(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_leave_room_for_one_more_and_for_the_rest() {
        for limit in [1024, 65_536] {
            for sandboxes in [1, 2, 8, 20] {
                let taken = each(all(limit), sandboxes) * sandboxes * EACH;
                let next = each(all(limit), sandboxes + 1) * EACH;
                assert!(
                    taken + next <= limit - limit / 4,
                    "{limit} {sandboxes}: {taken} {next}"
                );
            }
        }
        // The default bound is what counts for the first few sandboxes of a daemon with a usual hard limit.
        assert!(each(all(65_536), 6) >= 1024);
        assert_eq!(each(all(64), 100), 4);
    }

    #[test]
    fn a_share_shrinks_and_grows_with_the_others() {
        let first = Share::new();
        let alone = first.connections();
        let others: Vec<_> = (0..50).map(|_| Share::new()).collect();
        assert!(first.connections() < alone);
        drop(others);
        assert!(first.connections() > 4);
    }
}
