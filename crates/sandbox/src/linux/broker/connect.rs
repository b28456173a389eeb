//! connect(2), where some Unix sockets may be reached: carried out here, on the caller's own socket.
//!
//! The kernel would read address and descriptor again after we looked at them, so nothing goes on to it, whatever the
//! family: the address is copied once, the socket is taken out of the caller (pidfd_getfd(2)), and these two are
//! brought together. A Unix address is resolved as the caller sees it, and connected to as what was found there.
//!
//! The one at the other end sees the daemon's process as its peer (unix(7), SO_PEERCRED), with the same user.

use std::ffi::OsStr;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, shutdown, sockopt};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::listener::{Answer, Listener, Notification};
use super::target::Target;
use super::view::{View, own_link};

/// The longest address (socket(7): `struct sockaddr_storage`).
const LONGEST_ADDRESS: usize = 128;
/// The length of the family that each address begins with.
const FAMILY: usize = 2;
/// Where a netlink address names processes and groups (netlink(7), `struct sockaddr_nl`). The kernel reads neither the
/// padding before, which CPython leaves as it finds it, nor what comes behind; it refuses a shorter one by itself.
const NETLINK_PEER: Range<usize> = 4..12;
/// A connection may wait for its other end; so many may at once, for one launch.
const MOST: usize = 64;
/// Linux 6.9: of the thread, and not of its process.
const PIDFD_THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::O_EXCL as u32);

/// Carries out the connections of one launch.
#[derive(Debug)]
pub(crate) struct Connector<'a> {
    /// Paths, without links, at which and below which sockets may be connected to.
    allowed: &'a [PathBuf],
    listener: Arc<Listener>,
    pending: Vec<(JoinHandle<()>, Arc<OwnedFd>)>,
}

impl<'a> Connector<'a> {
    pub(crate) fn new(allowed: &'a [PathBuf], listener: Arc<Listener>) -> Self {
        Self {
            allowed,
            listener,
            pending: Vec::new(),
        }
    }

    /// Answers a call of connect(2), at once or when the other end does.
    pub(crate) fn connect(&mut self, view: &View, notification: &Notification) {
        let id = notification.id;
        let result = self
            .prepare(view, notification)
            .and_then(|(socket, address)| {
                self.pending.retain(|(thread, _)| !thread.is_finished());
                if self.pending.len() >= MOST {
                    return Err(Errno::AGAIN);
                }
                let socket = Arc::new(socket);
                let (ours, listener) = (socket.clone(), self.listener.clone());
                // A thread of its own, because a socket that waits would keep every other call waiting.
                let thread = std::thread::Builder::new()
                    .name("srt-connect".into())
                    .stack_size(64 * 1024)
                    .spawn(move || {
                        let answer = match address.connect(&ours) {
                            Ok(()) => Answer::Done,
                            Err(error) => Answer::Failed(error),
                        };
                        listener.answer(id, answer);
                    })
                    .map_err(|_| Errno::AGAIN)?;
                self.pending.push((thread, socket));
                Ok(())
            });
        if let Err(error) = result {
            self.listener.answer(id, Answer::Failed(error));
        }
    }

    fn prepare(
        &self,
        view: &View,
        notification: &Notification,
    ) -> Result<(OwnedFd, Address), Errno> {
        let [fd, pointer, length, ..] = notification.arguments;
        let target = Target {
            thread: notification.pid,
        };
        // An int, of which the kernel looks at the low half.
        let length = length as u32 as i32;
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= LONGEST_ADDRESS)
            .ok_or(Errno::INVAL)?;
        let address = target.block(pointer, length as u64, LONGEST_ADDRESS)?;
        let socket = take(target, fd as i32)?;
        // Only now is what was read by the caller's number the caller's.
        if !self.listener.waits(notification.id) {
            return Err(Errno::SRCH);
        }
        let family = sockopt::socket_domain(&socket)?;
        let address = match family {
            AddressFamily::UNIX => self.unix(view, target, &address)?,
            AddressFamily::NETLINK => {
                // To the kernel. Another process of the sandbox needs a capability that we have over its network and
                // the caller has not.
                let peer = address.get(NETLINK_PEER).unwrap_or_default();
                if peer.iter().any(|byte| *byte != 0) {
                    return Err(Errno::PERM);
                }
                Address::Plain(address)
            }
            _ => Address::Plain(address),
        };
        Ok((socket, address))
    }

    /// The socket that an address names, if it may be reached.
    fn unix(&self, view: &View, target: Target, address: &[u8]) -> Result<Address, Errno> {
        let (family, path) = address.split_at_checked(FAMILY).ok_or(Errno::INVAL)?;
        if family != (libc::AF_UNIX as u16).to_ne_bytes() || path.is_empty() {
            return Err(Errno::INVAL);
        }
        let end = path
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(path.len());
        let path = Path::new(OsStr::from_bytes(&path[..end]));
        if end == 0 {
            // Abstract: nothing of the host, whose network namespace is another, and no path that could be listed.
            return Err(Errno::ACCESS);
        }
        let path = match path.is_absolute() {
            true => path.to_owned(),
            false => target.folder(None)?.join(path),
        };
        // What is not listed is refused, whether it is there or not.
        let found = view
            .existing(target, &path, true)
            .map_err(|_| Errno::ACCESS)?;
        let listed = self
            .allowed
            .iter()
            .any(|allowed| found.path.starts_with(allowed));
        if !listed || found.kind() != FileType::Socket {
            return Err(Errno::ACCESS);
        }
        Ok(Address::Found(found.file))
    }

    /// Ends what still waits, and waits for it.
    pub(crate) fn close(self) {
        for (thread, socket) in self.pending {
            // Nobody is left to whom the connection would be of use; this wakes who waits for it.
            let _ = shutdown(socket.as_fd(), Shutdown::Both);
            let _ = thread.join();
        }
    }
}

/// Where to connect to.
#[derive(Debug)]
enum Address {
    /// As the caller wrote it.
    Plain(Vec<u8>),
    /// A socket in the file system, open by name only.
    Found(OwnedFd),
}

impl Address {
    fn connect(&self, socket: &OwnedFd) -> Result<(), Errno> {
        let bytes = match self {
            Self::Plain(bytes) => bytes.clone(),
            // The very thing that was found: the link leads to it and to nothing else.
            Self::Found(file) => {
                let mut bytes = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
                bytes.extend(own_link(file).as_bytes());
                bytes.push(0);
                bytes
            }
        };
        // SAFETY: connect(2) reads `bytes.len()` bytes from a place that lives through the call, and judges them by
        // itself; the descriptor is open as long as `socket` is borrowed.
        let result = unsafe {
            libc::connect(
                socket.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len() as libc::socklen_t,
            )
        };
        match result {
            0 => Ok(()),
            _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)),
        }
    }
}

/// A copy of a descriptor of the caller.
fn take(target: Target, fd: i32) -> Result<OwnedFd, Errno> {
    let pid = |number: u32| {
        i32::try_from(number)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(Errno::SRCH)
    };
    let holder = match pidfd_open(pid(target.thread)?, PIDFD_THREAD) {
        Err(Errno::INVAL) => pidfd_open(pid(target.process()?)?, PidfdFlags::empty()),
        other => other,
    }?;
    let socket = pidfd_getfd(&holder, fd, PidfdGetfdFlags::empty())?;
    Ok(socket)
}
