//! Opening as the caller does, from its own user namespace.
//!
//! The maps of a user namespace may be written by who opened them in that namespace or the one above it
//! (user_namespaces(7), "Defining user and group ID mappings"): opened by us, who are outside of both, they are refused
//! (EPERM). A process of our own enters the caller's namespace, with no more capabilities than the caller has, and opens
//! them there.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::{self as at, Mode, OFlags};
use rustix::io::Errno;

use super::target::Target;
use super::view::Found;

/// The files of a process in `/proc` that tell by whom they were opened.
const MAPS: [&str; 4] = ["uid_map", "gid_map", "projid_map", "setgroups"];

/// Whether a path of procfs is one of the files that only a process of their own namespace, or of the one above, may write.
pub(crate) fn is_map(path: &Path) -> bool {
    let mut parts = path.iter().skip(1);
    parts.next() == Some(OsStr::new("proc"))
        && path
            .file_name()
            .is_some_and(|name| MAPS.iter().any(|map| name == *map))
}

/// Opens what was found for a caller, in its user namespace.
///
/// # Errors
/// Those of open(2) and setns(2).
pub(crate) fn open(target: Target, found: &Found, flags: OFlags) -> Result<OwnedFd, Errno> {
    let namespace = format!("/proc/{}/ns/user", target.thread);
    let namespace = at::open(namespace, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let capabilities = target.capabilities()?;
    let link = CString::new(found.link()).map_err(|_| Errno::INVAL)?;
    // Its number is where the child puts what it opens: both have one table of descriptors.
    let slot = at::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let wish = Wish {
        namespace: namespace.as_raw_fd(),
        capabilities,
        link: &link,
        flags: (flags | OFlags::CLOEXEC).bits().cast_signed(),
        slot: slot.as_raw_fd(),
    };
    // A process, since only one with a single thread may enter a user namespace (setns(2)).
    let how = libc::CLONE_FILES | libc::CLONE_VFORK;
    // SAFETY: clone(2) without CLONE_VM and without a stack is a fork: the child has a copy of this memory and one thread.
    // Locks that other threads held stay locked in the copy, so the child does nothing but system calls, and leaves by one.
    let child = unsafe { libc::syscall(libc::SYS_clone, how, 0, 0, 0, 0) };
    if child == 0 {
        carry_out(&wish);
    }
    let child = i32::try_from(child).unwrap_or(-1);
    if child < 0 {
        return Err(last());
    }
    let mut status = 0;
    loop {
        // SAFETY: `status` is ours and outlives the call. The child ends without a signal, hence __WALL (wait(2)).
        match unsafe { libc::waitpid(child, &raw mut status, libc::__WALL) } {
            -1 if last() == Errno::INTR => {}
            -1 => return Err(last()),
            _ => break,
        }
    }
    match libc::WEXITSTATUS(status) {
        0 if libc::WIFEXITED(status) => Ok(slot),
        error if libc::WIFEXITED(status) => Err(Errno::from_raw_os_error(error)),
        _ => Err(Errno::IO),
    }
}

fn last() -> Errno {
    let error = std::io::Error::last_os_error();
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// What the child needs, made before there is one.
struct Wish<'a> {
    namespace: RawFd,
    capabilities: u64,
    link: &'a CStr,
    flags: i32,
    slot: RawFd,
}

/// `struct __user_cap_header_struct` (capset(2)).
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`, of which version 3 has two: the lower and the upper half.
#[repr(C)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3` (linux/capability.h).
const VERSION: u32 = 0x2008_0522;

/// In the child. Ends with 0, or with what errno is.
fn carry_out(wish: &Wish<'_>) -> ! {
    let header = Header {
        version: VERSION,
        pid: 0,
    };
    let half = |bits: u64| {
        let bits = bits as u32;
        Half {
            effective: bits,
            permitted: bits,
            inheritable: 0,
        }
    };
    let halves = [half(wish.capabilities), half(wish.capabilities >> 32)];
    // SAFETY: system calls on descriptors and memory that this process has a copy of; errno is this thread's own. The
    // descriptor that is opened is nobody else's until it is at the number that the parent keeps for it.
    unsafe {
        let check = |result: libc::c_int| {
            if result < 0 {
                libc::_exit(*libc::__errno_location());
            }
            result
        };
        check(libc::setns(wish.namespace, libc::CLONE_NEWUSER));
        let set = libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr());
        check(set as libc::c_int);
        let file = check(libc::open(wish.link.as_ptr(), wish.flags));
        let placed = libc::dup3(file, wish.slot, libc::O_CLOEXEC);
        let error = *libc::__errno_location();
        libc::close(file);
        libc::_exit(if placed < 0 { error } else { 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_maps_are_opened_so() {
        for (path, expected) in [
            ("/proc/12/uid_map", true),
            ("/proc/12/task/13/gid_map", true),
            ("/proc/12/setgroups", true),
            ("/proc/12/mem", false),
            ("/home/proc/uid_map", false),
            ("/uid_map", false),
        ] {
            assert_eq!(is_map(Path::new(path)), expected, "{path}");
        }
    }
}
