//! The daemon's own limit on open files, and what its servers get in its place.

use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Enough for thousands of sessions; some hard limits are a billion, and there are programs that close each.
const ENOUGH: u64 = 1 << 16;

/// The soft limit before it was raised.
static BEFORE: OnceLock<u64> = OnceLock::new();

/// Raises this process's soft limit on open files as far as the hard one lets it. Servers keep the old one: programs
/// that use select(2) break beyond 1024.
pub fn raise_limit() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    let wanted = hard.min(ENOUGH);
    if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() {
        let _ = BEFORE.set(soft);
    }
}

/// The soft limit that servers get, where it is not ours.
pub(crate) fn servers_limit() -> Option<u64> {
    BEFORE.get().copied()
}
