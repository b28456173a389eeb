//! The listening end of seccomp's user notification (seccomp_unotify(2)): calls stop here until they are answered.
//!
//! Whatever an argument points to can change between our look at it and the kernel's. So an answer "go on" must
//! never be what allows: it is given where the kernel itself refuses whatever is not allowed (a read-only mount), or
//! where nothing is to be decided. What *is* to be decided is carried out here, on what was looked at.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use libc as c;

use super::calls::{Stop, program};

const SECCOMP_FILTER_FLAG_NEW_LISTENER: c::c_ulong = 1 << 3;
/// Linux 5.19: once the observer has the call, only a fatal signal interrupts it.
const SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: c::c_ulong = 1 << 5;
const SECCOMP_USER_NOTIF_FLAG_CONTINUE: u32 = 1;

/// Installs the filter for the calling thread and all that it will start; the listener.
///
/// # Errors
/// What the kernel said: EBUSY where somebody observes already, EINVAL before Linux 5.0.
pub(crate) fn install(stop: Stop) -> io::Result<OwnedFd> {
    let mut program = program(stop);
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let program = c::sock_fprog {
        len: length,
        filter: program.as_mut_ptr(),
    };
    let mut last = io::Error::from(io::ErrorKind::Unsupported);
    for flags in [
        SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
        SECCOMP_FILTER_FLAG_NEW_LISTENER,
    ] {
        // SAFETY: `program` points to `length` instructions that live until the call returns, by which time the
        // kernel has copied them (seccomp(2)).
        let fd = unsafe {
            c::syscall(
                c::SYS_seccomp,
                c::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        };
        if fd >= 0 {
            // SAFETY: with NEW_LISTENER the call returns a new descriptor, which is ours alone. It has CLOEXEC.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) });
        }
        last = io::Error::last_os_error();
    }
    Err(last)
}

/// `struct seccomp_notif` (linux/seccomp.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Notification {
    pub(crate) id: u64,
    pub(crate) pid: u32,
    flags: u32,
    pub(crate) number: i32,
    arch: u32,
    instruction_pointer: u64,
    pub(crate) arguments: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `struct seccomp_notif_addfd`.
#[repr(C)]
struct AddFd {
    id: u64,
    flags: u32,
    source: u32,
    target: u32,
    target_flags: u32,
}

/// Linux 5.14: the descriptor is added and the call answered with its number, in one step.
const SECCOMP_ADDFD_FLAG_SEND: u32 = 1 << 1;

/// `_IOWR('!', 0, struct seccomp_notif)` and its like (linux/seccomp.h); the sizes are part of the numbers.
const RECEIVE: c::c_ulong = 0xc050_2100;
const SEND: c::c_ulong = 0xc018_2101;
const ID_VALID: c::c_ulong = 0x4008_2102;
const ADD_FD: c::c_ulong = 0x4018_2103;
const SET_FLAGS: c::c_ulong = 0x4008_2104;
/// Linux 6.6: the waiting call is woken on this very processor.
const SYNC_WAKE_UP: c::c_ulong = 1;

/// The observer's end.
#[derive(Debug)]
pub(crate) struct Listener(OwnedFd);

impl Listener {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        // SAFETY: the request takes its argument by value and touches no memory; a kernel that does not know it
        // answers EINVAL.
        unsafe { c::ioctl(fd.as_raw_fd(), SET_FLAGS as _, SYNC_WAKE_UP) };
        Self(fd)
    }

    /// Waits for the next call; `None` when no process is left that could make one.
    pub(crate) fn next(&self) -> io::Result<Option<Notification>> {
        loop {
            let mut poll = [rustix::event::PollFd::new(
                &self.0,
                rustix::event::PollFlags::IN,
            )];
            match rustix::event::poll(&mut poll, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let ready = poll[0].revents();
            if !ready.contains(rustix::event::PollFlags::IN) {
                return Ok(None);
            }
            // The kernel refuses a buffer that is not zero.
            let mut notification = Notification::default();
            // SAFETY: the request writes one `struct seccomp_notif`, whose layout `Notification` has (80 bytes,
            // as the request's number says), to a place that lives through the call.
            let result =
                unsafe { c::ioctl(self.0.as_raw_fd(), RECEIVE as _, &raw mut notification) };
            if result == 0 {
                return Ok(Some(notification));
            }
            match io::Error::last_os_error() {
                // The caller was killed between the poll and here.
                error if matches!(error.raw_os_error(), Some(c::ENOENT | c::EINTR)) => {}
                error => return Err(error),
            }
        }
    }

    /// Whether the call still waits. What was read of a caller by its number is the caller's only if it does: the
    /// number may be another's by now.
    pub(crate) fn waits(&self, id: u64) -> bool {
        // SAFETY: the request reads one u64 from a place that lives through the call.
        unsafe { c::ioctl(self.0.as_raw_fd(), ID_VALID as _, &raw const id) == 0 }
    }

    /// Answers the call. A caller that is gone is no error.
    pub(crate) fn answer(&self, id: u64, answer: Answer) {
        let (value, error, flags) = match answer {
            Answer::GoOn => (0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE),
            Answer::Done => (0, 0, 0),
            Answer::Failed(errno) => (0, -errno.raw_os_error(), 0),
            Answer::Opened {
                file,
                close_on_exec,
            } => match self.add(id, &file, close_on_exec) {
                Ok(()) => return,
                // Its table is full, or it is gone.
                Err(error) => (0, -error.raw_os_error().unwrap_or(c::EMFILE), 0),
            },
        };
        let response = Response {
            id,
            value,
            error,
            flags,
        };
        // SAFETY: the request reads one `struct seccomp_notif_resp`, whose layout `Response` has (24 bytes), from a
        // place that lives through the call.
        unsafe { c::ioctl(self.0.as_raw_fd(), SEND as _, &raw const response) };
    }

    fn add(&self, id: u64, file: &OwnedFd, close_on_exec: bool) -> io::Result<()> {
        let request = AddFd {
            id,
            flags: SECCOMP_ADDFD_FLAG_SEND,
            source: file.as_raw_fd().unsigned_abs(),
            target: 0,
            target_flags: if close_on_exec {
                c::O_CLOEXEC as u32
            } else {
                0
            },
        };
        // SAFETY: the request reads one `struct seccomp_notif_addfd`, whose layout `AddFd` has (24 bytes), from a
        // place that lives through the call; the kernel takes a reference of its own to the open file.
        let number = unsafe { c::ioctl(self.0.as_raw_fd(), ADD_FD as _, &raw const request) };
        if number >= 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// What becomes of a call.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The kernel goes on with it.
    GoOn,
    /// It was carried out; its result is 0.
    Done,
    /// It fails.
    Failed(rustix::io::Errno),
    /// Its result is the number of this, added to the caller's descriptors.
    Opened { file: OwnedFd, close_on_exec: bool },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_the_kernels() {
        assert_eq!(size_of::<Notification>(), 80);
        assert_eq!(size_of::<Response>(), 24);
        assert_eq!(size_of::<AddFd>(), 24);
    }
}
