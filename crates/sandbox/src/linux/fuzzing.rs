//! What fuzz targets reach of what is otherwise this crate's alone. `cargo fuzz` builds it and nobody else.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::{Serialize, de::DeserializeOwned};

use super::handshake::{Go, Report, Setup, receive, send};
use super::listeners;

/// Which end of the handshake reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The daemon, from the helper.
    Daemon,
    /// The helper's first stage.
    Outside,
    /// The helper's second stage.
    Inside,
}

/// Bytes as a peer may send them: in pieces, with descriptors.
#[derive(Clone, Debug)]
pub struct Sent<'a> {
    /// Written one after the other, each with so many descriptors.
    pub pieces: Vec<(&'a [u8], usize)>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Got {
    /// How many messages were read before the first that is none.
    pub messages: usize,
    /// How many descriptors came with them.
    pub descriptors: usize,
    /// How the reading ended, if not with the end of the bytes.
    pub error: Option<io::ErrorKind>,
}

/// Reads every message that `sent` makes, as that end of a handshake does. What was read is written and read again,
/// and has to be the same.
///
/// # Errors
/// When there are no sockets.
///
/// # Panics
/// When a message is another after it has been sent on.
pub fn handshake(end: End, sent: &Sent<'_>) -> io::Result<Got> {
    let (ours, theirs) = UnixStream::pair()?;
    nix::sys::socket::setsockopt(&ours, nix::sys::socket::sockopt::PassCred, &true)?;
    let file: OwnedFd = std::fs::File::open("/dev/null")?.into();
    for (bytes, descriptors) in &sent.pieces {
        let rights = vec![file.as_raw_fd(); *descriptors];
        write(&theirs, bytes, &rights)?;
    }
    drop(theirs);
    let mut got = Got::default();
    loop {
        let read = match end {
            End::Daemon => one::<Report>(&ours, |report, fds| {
                if let Report::Listening { labels, .. } = report {
                    let _ = listeners::sort(labels, fds, true);
                }
            }),
            End::Outside => one::<Setup>(&ours, |_, _| {}),
            End::Inside => one::<Go>(&ours, |_, _| {}),
        };
        match read {
            Ok(Some(descriptors)) => {
                got.messages += 1;
                got.descriptors += descriptors;
            }
            Ok(None) => return Ok(got),
            Err(error) => {
                got.error = Some(error.kind());
                return Ok(got);
            }
        }
    }
}

/// Reads one message; how many descriptors it had.
fn one<T: Serialize + DeserializeOwned>(
    stream: &UnixStream,
    used: impl FnOnce(&T, Vec<OwnedFd>),
) -> io::Result<Option<usize>> {
    let Some(received) = receive::<T>(stream)? else {
        return Ok(None);
    };
    let descriptors = received.fds.len();
    used(&received.message, received.fds);
    let text = serde_json::to_string(&received.message)?;
    let (near, far) = UnixStream::pair()?;
    send(&near, &received.message, &[])?;
    let again = receive::<T>(&far)?.map(|again| serde_json::to_string(&again.message));
    assert_eq!(
        again.transpose()?,
        Some(text),
        "a message sent on is another"
    );
    Ok(Some(descriptors))
}

fn write(stream: &UnixStream, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    let parts = [io::IoSlice::new(bytes)];
    sendmsg::<()>(
        stream.as_raw_fd(),
        &parts,
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}
