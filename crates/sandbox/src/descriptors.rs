//! How many descriptors the daemon may have open, that a server has no more for it, and those that it was given by
//! whoever executed it.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Gives the process back the soft limit that it was started with: for whoever replaces its program, whose first look at
/// the limit must find what ours found.
///
/// # Errors
/// What setrlimit(2) said.
pub fn restore_descriptor_limit() -> io::Result<()> {
    let Some(soft) = STARTED_WITH.get() else {
        return Ok(());
    };
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, *soft, hard)?)
}

/// Takes over open descriptors that whoever executed this program left to it by number: the sockets of a service
/// manager (sd_listen_fds(3)), what a program that replaces itself has kept. They close with the next exec(2).
///
/// For the first lines of `main`, before anything is opened; it works once.
///
/// # Errors
/// When one of them is standard input, output or error, is named twice or is not open, or on a second call. The others are
/// left as they are.
pub fn inherit(numbers: &[RawFd]) -> io::Result<Vec<OwnedFd>> {
    static DONE: AtomicBool = AtomicBool::new(false);
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
    for (index, number) in numbers.iter().enumerate() {
        if *number < 3 || numbers[..index].contains(number) {
            return Err(wrong(format!("descriptor {number} cannot be passed on")));
        }
        // SAFETY: F_SETFD takes a number and no pointer, and changes nothing that the owner of an open descriptor could
        // rely on; one that is not open is answered with EBADF.
        if unsafe { libc::fcntl(*number, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
            let error = io::Error::last_os_error();
            return Err(wrong(format!(
                "descriptor {number} was not passed: {error}"
            )));
        }
    }
    if DONE.swap(true, Ordering::Relaxed) {
        return Err(wrong("descriptors were taken over before".to_owned()));
    }
    Ok(numbers
        .iter()
        // SAFETY: each is open, as fcntl(2) has just said, and there are no two of one number. It was opened before this
        // program was executed, and whoever did so left it to us: nothing in this process owns it, since this runs
        // before anything is opened, and once.
        .map(|number| unsafe { OwnedFd::from_raw_fd(*number) })
        .collect())
}

/// The soft limit for a launch whose policy says nothing, if it is not the one that is inherited.
pub(crate) fn soft_limit() -> Option<u64> {
    STARTED_WITH.get().copied()
}
