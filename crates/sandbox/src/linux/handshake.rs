//! The conversation between the daemon and `srt-jail`: length-prefixed JSON over a Unix stream, with descriptors.
//!
//! One connection serves both stages. It carries what must not stand in an argument list or an environment that
//! others can read, and it is closed by the `execve` of the server, which is how success is told.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::broker::Stop;
use super::seccomp::Rules;
use crate::{Limits, NetworkSpec, Overlay, Step, Terminal};

/// No message may be longer, in bytes: the peer of a handshake is not trusted with our memory.
const MAX_MESSAGE: usize = 4 << 20;

/// No message may carry more descriptors.
const MAX_FDS: usize = 64;

/// The daemon's first message: all of stage 1.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) network: NetworkSpec,
    pub(crate) overlays: Vec<Overlay>,
    pub(crate) bwrap: PathBuf,
    pub(crate) arguments: Vec<Argument>,
}

/// One argument of bubblewrap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Argument {
    /// As it stands.
    Text(String),
    /// The number of a descriptor from which bubblewrap reads these bytes.
    Data(Vec<u8>),
    /// The number of a descriptor from which bubblewrap reads this file of the host's.
    Host(PathBuf),
}

/// The daemon's second message: all of stage 2. It carries those of the server's stdin, stdout and stderr that are not its
/// own terminal.
#[derive(Serialize, Deserialize)]
pub(crate) struct Go {
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) cwd: PathBuf,
    /// What must stand where: device and inode.
    pub(crate) expected: Vec<(PathBuf, (u64, u64))>,
    pub(crate) umask: u32,
    pub(crate) limits: Limits,
    /// Folders and files that Landlock lets the server write.
    pub(crate) writable: Vec<PathBuf>,
    pub(crate) seccomp: Rules,
    /// Which calls stop for the broker, if any.
    pub(crate) stop: Option<Stop>,
    /// Whether the launch cannot be without it.
    pub(crate) judged: bool,
    /// Which of 0, 1 and 2 are the server's own terminal.
    pub(crate) on_terminal: [bool; 3],
    /// What that is like at first.
    pub(crate) terminal: Terminal,
}

/// What the helper reports.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// Stage 1 listens; the descriptors are attached in the order of the labels.
    Listening {
        labels: Vec<Label>,
        /// Why not every port is captured, if so.
        partial: Option<String>,
    },
    /// Stage 2 runs, inside everything, and waits for [`Go`]. Its credentials tell its pid on the host.
    Inside,
    /// The server's own terminal is made. Carries the other side of it (pts(4)).
    Terminal,
    /// The next thing is `execve`. Carries the listener of the calls that stop, where there is one.
    Executing,
    /// A step failed; the helper exits.
    Failed {
        step: Step,
        errno: i32,
        message: String,
    },
}

/// What a descriptor of [`Report::Listening`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Label {
    Http(SocketAddr),
    Socks(SocketAddr),
    Transparent,
    DnsUdp,
    DnsTcp,
    Udp,
}

/// A received message and what came with it.
pub(crate) struct Received<T> {
    pub(crate) message: T,
    pub(crate) fds: Vec<OwnedFd>,
    /// The sender's process id in our pid namespace, where the socket asks for credentials.
    pub(crate) pid: Option<i32>,
}

/// Sends one message.
pub(crate) fn send(stream: &UnixStream, message: &impl Serialize, fds: &[RawFd]) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= MAX_MESSAGE)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"))?
        .to_le_bytes();
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    // Descriptors travel with the first byte; a stream socket never splits four bytes.
    let sent = sendmsg::<()>(
        stream.as_raw_fd(),
        &[IoSlice::new(&length)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    if sent != length.len() {
        return Err(io::Error::from(io::ErrorKind::WriteZero));
    }
    (&mut &*stream).write_all(&body)
}

/// Receives one message; `None` when the peer closed the connection before one began.
pub(crate) fn receive<T: DeserializeOwned>(stream: &UnixStream) -> io::Result<Option<Received<T>>> {
    let mut length = [0u8; 4];
    let mut fds = Vec::new();
    let mut pid = None;
    let mut have = 0;
    while have < length.len() {
        let mut space = nix::cmsg_space!([RawFd; MAX_FDS], libc::ucred);
        let mut parts = [IoSliceMut::new(&mut length[have..])];
        let message = match recvmsg::<()>(
            stream.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other?,
        };
        for control in message.cmsgs()? {
            match control {
                ControlMessageOwned::ScmRights(received) => {
                    fds.extend(received.into_iter().map(|fd| {
                        // SAFETY: the kernel has just installed `fd` in our table for this message
                        // (unix(7), SCM_RIGHTS); nobody else knows its number, so we own it.
                        unsafe { OwnedFd::from_raw_fd(fd) }
                    }))
                }
                ControlMessageOwned::ScmCredentials(sender) if sender.pid() > 0 => {
                    pid = Some(sender.pid())
                }
                _ => {}
            }
        }
        if message.bytes == 0 {
            return if have == 0 {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
        have += message.bytes;
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the message is too long",
        ));
    }
    let mut body = vec![0; length];
    (&mut &*stream).read_exact(&mut body)?;
    Ok(Some(Received {
        message: serde_json::from_slice(&body)?,
        fds,
        pid,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_and_its_descriptors_arrive() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        nix::sys::socket::setsockopt(&ours, nix::sys::socket::sockopt::PassCred, &true).unwrap();
        let file = tempfile::tempfile().unwrap();
        let sent = Report::Failed {
            step: Step::Routes,
            errno: 7,
            message: "x".repeat(300_000),
        };
        let sender = std::thread::spawn(move || {
            send(&theirs, &sent, &[file.as_raw_fd()]).unwrap();
        });
        let got = receive::<Report>(&ours).unwrap().unwrap();
        sender.join().unwrap();
        assert_eq!(got.fds.len(), 1);
        assert_eq!(got.pid, Some(std::process::id() as i32));
        assert!(matches!(
            got.message,
            Report::Failed {
                step: Step::Routes,
                errno: 7,
                ..
            }
        ));
        assert!(receive::<Report>(&ours).unwrap().is_none());
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_memory_is_taken() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (&theirs).write_all(&u32::MAX.to_le_bytes()).unwrap();
        let Err(error) = receive::<Report>(&ours) else {
            panic!("it was accepted")
        };
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
