//! The process whose call stopped: its memory, its folders, its mask.
//!
//! What is read by its number is its own only while the call waits; [`super::Listener::waits`] is asked before
//! anything is done with it.

use std::ffi::CString;
use std::io::{IoSliceMut, Read as _};
use std::path::PathBuf;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use rustix::fs::Mode;
use rustix::io::Errno;

/// `PATH_MAX` (limits.h), the closing NUL included.
pub(crate) const LONGEST_PATH: usize = 4096;

/// The bits of a mode that a sandbox may give to what is the host's. Not set-user-ID and set-group-ID: a program of the
/// server's that anybody may run as the user would be left behind (inode(7)).
pub(crate) const KEPT_MODE: u32 = 0o1777;

/// The calling thread, by its number in our pid namespace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) thread: u32,
}

impl Target {
    /// The text at an address.
    ///
    /// # Errors
    /// EFAULT where there is none, ENAMETOOLONG where it has no end.
    pub(crate) fn text(self, address: u64) -> Result<CString, Errno> {
        // Most paths are short, and the rest of the page need not be there.
        let mut bytes = [0; LONGEST_PATH];
        for length in [256, LONGEST_PATH] {
            let got = self.copy(address, &mut bytes[..length]);
            if let Some(end) = bytes[..got].iter().position(|byte| *byte == 0) {
                return CString::new(&bytes[..end]).map_err(|_| Errno::FAULT);
            }
            if got < length {
                return Err(Errno::FAULT);
            }
        }
        Err(Errno::NAMETOOLONG)
    }

    /// `N` bytes at an address.
    ///
    /// # Errors
    /// EFAULT where they are not there.
    pub(crate) fn bytes<const N: usize>(self, address: u64) -> Result<[u8; N], Errno> {
        let mut bytes = [0; N];
        if self.copy(address, &mut bytes) == N {
            Ok(bytes)
        } else {
            Err(Errno::FAULT)
        }
    }

    /// As many bytes as asked for, at most `most`.
    ///
    /// # Errors
    /// EFAULT where they are not there, E2BIG above the bound.
    pub(crate) fn block(self, address: u64, length: u64, most: usize) -> Result<Vec<u8>, Errno> {
        let length = usize::try_from(length).map_err(|_| Errno::TOOBIG)?;
        if length > most {
            return Err(Errno::TOOBIG);
        }
        let mut bytes = vec![0; length];
        if self.copy(address, &mut bytes) == length {
            Ok(bytes)
        } else {
            Err(Errno::FAULT)
        }
    }

    /// What its working directory, or a descriptor of its, is called, from the root of its mount namespace.
    ///
    /// # Errors
    /// EBADF where there is no such descriptor.
    pub(crate) fn folder(self, descriptor: Option<i32>) -> Result<PathBuf, Errno> {
        std::fs::read_link(self.link(descriptor)).map_err(|_| Errno::BADF)
    }

    /// The link in `/proc` that leads to its working directory or a descriptor of its.
    pub(crate) fn link(self, descriptor: Option<i32>) -> PathBuf {
        let thread = self.thread;
        match descriptor {
            None | Some(libc::AT_FDCWD) => format!("/proc/{thread}/cwd"),
            Some(descriptor) => format!("/proc/{thread}/fd/{descriptor}"),
        }
        .into()
    }

    /// A mode with its mask (umask(2)) taken off.
    ///
    /// # Errors
    /// ESRCH where it is gone.
    pub(crate) fn masked(self, mode: u64) -> Result<Mode, Errno> {
        let status = self.status()?;
        let mask = field(&status, "Umask:")
            .and_then(|text| u32::from_str_radix(text, 8).ok())
            .ok_or(Errno::SRCH)?;
        Ok(Mode::from_raw_mode(mode as u32 & KEPT_MODE & !mask))
    }

    /// The name of its program: threads have names of their own.
    pub(crate) fn program(self) -> Option<String> {
        let process = self.process().ok()?;
        let name = std::fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
        Some(name.trim_end().to_owned())
    }

    /// Its effective capabilities, in its user namespace: a bit for each (capabilities(7)).
    ///
    /// # Errors
    /// ESRCH where it is gone.
    pub(crate) fn capabilities(self) -> Result<u64, Errno> {
        let status = self.status()?;
        field(&status, "CapEff:")
            .and_then(|text| u64::from_str_radix(text, 16).ok())
            .ok_or(Errno::SRCH)
    }

    /// The number of its process, in our pid namespace.
    ///
    /// # Errors
    /// ESRCH where it is gone.
    pub(crate) fn process(self) -> Result<u32, Errno> {
        let status = self.status()?;
        field(&status, "Tgid:")
            .and_then(|text| text.parse().ok())
            .ok_or(Errno::SRCH)
    }

    /// The numbers of its process and thread in the pid namespace of a depth, ours being 0.
    ///
    /// # Errors
    /// ESRCH where it is gone, or not in one so deep.
    pub(crate) fn numbers(self, depth: usize) -> Result<(u32, u32), Errno> {
        let status = self.status()?;
        let number = |name| {
            field(&status, name)
                .and_then(|numbers| numbers.split_ascii_whitespace().nth(depth))
                .and_then(|text| text.parse().ok())
                .ok_or(Errno::SRCH)
        };
        Ok((number("NStgid:")?, number("NSpid:")?))
    }

    /// How deep its own pid namespace is below ours.
    ///
    /// # Errors
    /// ESRCH where it is gone.
    pub(crate) fn depth(self) -> Result<usize, Errno> {
        let status = self.status()?;
        let numbers = field(&status, "NSpid:").ok_or(Errno::SRCH)?;
        Ok(numbers.split_ascii_whitespace().count().saturating_sub(1))
    }

    /// What the lines asked for are among: one read, since the kernel writes it all anew for each.
    fn status(self) -> Result<String, Errno> {
        let gone = |_| Errno::SRCH;
        let mut file =
            std::fs::File::open(format!("/proc/{}/status", self.thread)).map_err(gone)?;
        let mut bytes = vec![0; 4096];
        let length = file.read(&mut bytes).map_err(gone)?;
        bytes.truncate(length);
        // A name may be cut in the middle of a letter (proc_pid_status(5)).
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Copies as much as is there, page by page: where one is missing, the bytes before it still come
    /// (process_vm_readv(2): partial transfers end at an element).
    fn copy(self, address: u64, into: &mut [u8]) -> usize {
        let (Ok(pid), Ok(address)) = (i32::try_from(self.thread), usize::try_from(address)) else {
            return 0;
        };
        let page = rustix::param::page_size();
        let Some(end) = address.checked_add(into.len()) else {
            return 0;
        };
        let mut remote = Vec::with_capacity(into.len() / page + 2);
        let mut base = address;
        while base < end {
            let next = (base / page + 1) * page;
            remote.push(RemoteIoVec {
                base,
                len: next.min(end) - base,
            });
            base = next;
        }
        process_vm_readv(Pid::from_raw(pid), &mut [IoSliceMut::new(into)], &remote).unwrap_or(0)
    }
}

/// The value of a line of `/proc/PID/status`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_copied_up_to_where_it_ends() {
        let me = Target {
            thread: std::process::id(),
        };
        let text = c"/some/path";
        assert_eq!(me.text(text.as_ptr() as u64).unwrap(), text.to_owned());
        let long = CString::new("x".repeat(1000)).unwrap();
        assert_eq!(me.text(long.as_ptr() as u64).unwrap(), long);
        let endless = vec![b'x'; 2 * LONGEST_PATH];
        assert_eq!(me.text(endless.as_ptr() as u64), Err(Errno::NAMETOOLONG));
        assert_eq!(me.text(8), Err(Errno::FAULT));
        assert_eq!(me.text(u64::MAX - 1), Err(Errno::FAULT));
        assert_eq!(me.block(text.as_ptr() as u64, 5, 4), Err(Errno::TOOBIG));
    }

    #[test]
    fn a_process_tells_of_itself() {
        let me = Target {
            thread: std::process::id(),
        };
        assert_eq!(me.folder(None).unwrap(), std::env::current_dir().unwrap());
        assert_eq!(me.folder(Some(99_999)), Err(Errno::BADF));
        assert!(me.program().is_some());
        let me_twice = (std::process::id(), me.thread);
        assert_eq!(me.numbers(me.depth().unwrap()).unwrap(), me_twice);
        assert_eq!(me.numbers(me.depth().unwrap() + 1), Err(Errno::SRCH));
        assert_eq!(me.masked(0).unwrap(), Mode::empty());
    }
}
