//! How many descriptors the daemon may have open, and that a server has no more for it.

use std::io;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The soft limit that we were started with.
static STARTED_WITH: OnceLock<u64> = OnceLock::new();

/// Raises this process's soft limit of open descriptors to its hard limit. Launches keep the limit that the process
/// was started with: programs that use select(2) break above 1024.
///
/// # Errors
/// What setrlimit(2) said.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    STARTED_WITH.get_or_init(|| soft);
    // macOS refuses RLIM_INFINITY; nobody needs more than this.
    Ok(setrlimit(
        Resource::RLIMIT_NOFILE,
        hard.min(65_536).max(soft),
        hard,
    )?)
}

/// The soft limit for a launch whose policy says nothing, if it is not the one that is inherited.
pub(crate) fn soft_limit() -> Option<u64> {
    STARTED_WITH.get().copied()
}
