//! seccomp's user notification (seccomp_unotify(2)): calls that name a path stop until an observer let them go on.
//!
//! Only ever to *observe*: the answer is always "continue", and what may be done is decided by mounts, Landlock and
//! the other filters. A path argument can change between our look at it and the kernel's, so nothing may depend on
//! what we saw.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use libc as c;

const SECCOMP_FILTER_FLAG_NEW_LISTENER: c::c_ulong = 1 << 3;
/// Linux 5.19: once the observer has the call, only a fatal signal interrupts it.
const SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: c::c_ulong = 1 << 5;
const SECCOMP_RET_USER_NOTIF: u32 = 0x7fc0_0000;
const SECCOMP_RET_ALLOW: u32 = 0x7fff_0000;
const SECCOMP_USER_NOTIF_FLAG_CONTINUE: u32 = 1;

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

/// What a call does with which of its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    number: c::c_long,
    /// Index of the argument that is the folder's descriptor; `None`: the working directory.
    pub(crate) folder: Option<usize>,
    /// Index of the argument that points to the path.
    pub(crate) path: usize,
    pub(crate) use_: Use,
}

/// Reading, writing, or by the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Write,
    /// Makes something where nothing is; where something is, it fails for that reason.
    Create,
    /// open(2) flags in this argument.
    Flags(usize),
    /// Flags in a `struct open_how` that this argument points to (openat2(2)): its first eight bytes.
    How(usize),
}

const fn at(number: c::c_long, folder: usize, path: usize, use_: Use) -> Call {
    Call {
        number,
        folder: Some(folder),
        path,
        use_,
    }
}

/// The calls that stop. Not `stat`, `access` and their like: they tell a name's existence at most, and are the most
/// frequent of all.
const CALLS: &[Call] = &[
    at(c::SYS_openat, 0, 1, Use::Flags(2)),
    at(c::SYS_openat2, 0, 1, Use::How(2)),
    at(c::SYS_mkdirat, 0, 1, Use::Create),
    at(c::SYS_mknodat, 0, 1, Use::Create),
    at(c::SYS_symlinkat, 1, 2, Use::Create),
    at(c::SYS_linkat, 2, 3, Use::Create),
    at(c::SYS_unlinkat, 0, 1, Use::Write),
    at(c::SYS_renameat2, 2, 3, Use::Write),
    at(c::SYS_renameat, 2, 3, Use::Write),
];

#[cfg(target_arch = "x86_64")]
const fn plain(number: c::c_long, path: usize, use_: Use) -> Call {
    Call {
        number,
        folder: None,
        path,
        use_,
    }
}

/// Older calls that newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const OLDER_CALLS: &[Call] = &[
    plain(c::SYS_open, 0, Use::Flags(1)),
    plain(c::SYS_creat, 0, Use::Write),
    plain(c::SYS_truncate, 0, Use::Write),
    plain(c::SYS_mkdir, 0, Use::Create),
    plain(c::SYS_mknod, 0, Use::Create),
    plain(c::SYS_symlink, 1, Use::Create),
    plain(c::SYS_link, 1, Use::Create),
    plain(c::SYS_unlink, 0, Use::Write),
    plain(c::SYS_rmdir, 0, Use::Write),
    plain(c::SYS_rename, 1, Use::Write),
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_CALLS: &[Call] = &[Call {
    number: c::SYS_truncate,
    folder: None,
    path: 0,
    use_: Use::Write,
}];

/// The call of this number.
pub(crate) fn call(number: i32) -> Option<&'static Call> {
    CALLS
        .iter()
        .chain(OLDER_CALLS)
        .find(|call| call.number == c::c_long::from(number))
}

/// Installs the filter for the calling thread and all that it will start; the listener.
///
/// # Errors
/// What the kernel said: EBUSY where somebody observes already, EINVAL before Linux 5.0.
pub(crate) fn install() -> io::Result<OwnedFd> {
    let mut program = program();
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

/// `if arch is ours and the number is one of the table: notify, else allow` (bpf instructions, linux/filter.h).
fn program() -> Vec<c::sock_filter> {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    // Offsets of `nr` and `arch` in struct seccomp_data (linux/seccomp.h).
    const NR: u32 = 0;
    const ARCH: u32 = 4;
    let instruction = |code, jt, jf, k| c::sock_filter { code, jt, jf, k };
    let calls: Vec<&Call> = CALLS.iter().chain(OLDER_CALLS).collect();
    let count = calls.len() as u8;
    let mut program = vec![
        instruction(LOAD, 0, 0, ARCH),
        // Not ours: to the allowing return, behind the second load and the comparisons.
        instruction(JUMP_EQUAL, 0, count + 1, AUDIT_ARCH),
        instruction(LOAD, 0, 0, NR),
    ];
    for (index, call) in calls.iter().enumerate() {
        // Over the remaining comparisons and the allowing return.
        let over = count - index as u8;
        program.push(instruction(JUMP_EQUAL, over, 0, call.number as u32));
    }
    program.push(instruction(RETURN, 0, 0, SECCOMP_RET_ALLOW));
    program.push(instruction(RETURN, 0, 0, SECCOMP_RET_USER_NOTIF));
    program
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

/// `_IOWR('!', 0, struct seccomp_notif)` and its like (linux/seccomp.h); the sizes are part of the numbers.
const RECEIVE: c::c_ulong = 0xc050_2100;
const SEND: c::c_ulong = 0xc018_2101;
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

    /// Lets the call go on. A caller that is gone is no error.
    pub(crate) fn let_go_on(&self, id: u64) {
        let response = Response {
            id,
            value: 0,
            error: 0,
            flags: SECCOMP_USER_NOTIF_FLAG_CONTINUE,
        };
        // SAFETY: the request reads one `struct seccomp_notif_resp`, whose layout `Response` has (24 bytes), from a
        // place that lives through the call.
        unsafe { c::ioctl(self.0.as_raw_fd(), SEND as _, &raw const response) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_and_jumps_are_the_kernels() {
        assert_eq!(size_of::<Notification>(), 80);
        assert_eq!(size_of::<Response>(), 24);
        let program = program();
        let last = program.len() - 1;
        assert_eq!(program[last].k, SECCOMP_RET_USER_NOTIF);
        assert_eq!(
            1 + 1 + usize::from(program[1].jf),
            last - 1,
            "another architecture is let through"
        );
        for (index, instruction) in program.iter().enumerate().skip(3).take(last - 4) {
            assert_eq!(
                index + 1 + usize::from(instruction.jt),
                last,
                "instruction {index}"
            );
        }
    }
}
