//! splice(2): a tunnel's bytes go from socket to pipe to socket without being copied to this process.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What a pipe holds at most, in bytes; the kernel counts it in pages and may refuse to enlarge it
/// (`/proc/sys/fs/pipe-user-pages-soft`).
const PIPE: usize = 1024 * 1024;

/// What one call may move. More than [`PIPE`], since a part of a large segment takes one page's place.
const ONCE: usize = 4 * PIPE;

/// Empty pipes, for the next that has something to carry: a tunnel holds one only while bytes are on their way.
static SPARE: Mutex<Vec<Pipe>> = Mutex::new(Vec::new());

/// How many are kept.
const MOST_SPARE: usize = 8;

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    fn take() -> io::Result<Self> {
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(pipe) = spare {
            return Ok(pipe);
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A small pipe works too, only slower.
        let _ = fcntl_setpipe_size(&write, PIPE);
        Ok(Self { read, write })
    }

    /// Keeps it for the next; it must be empty.
    fn give_back(self) {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < MOST_SPARE {
            spare.push(self);
        }
    }
}

/// Carries bytes until `from` ends: true. False when there is no pipe to be had; nothing is lost then.
pub(crate) async fn pump(
    from: &TcpStream,
    to: &TcpStream,
    count: &impl Fn(usize),
) -> io::Result<bool> {
    loop {
        from.readable().await?;
        let Ok(pipe) = Pipe::take() else {
            return Ok(false);
        };
        loop {
            // The pipe is empty here, so "would block" can only mean that the socket has nothing.
            let mut held = match from.try_io(Interest::READABLE, || {
                Ok(splice(
                    from,
                    None,
                    &pipe.write,
                    None,
                    ONCE,
                    SpliceFlags::MOVE | SpliceFlags::NONBLOCK,
                )?)
            }) {
                Ok(held) => held,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            if held == 0 {
                pipe.give_back();
                return Ok(true);
            }
            while held > 0 {
                // And here it holds something, so it means that the other socket is full.
                let sent = to
                    .async_io(Interest::WRITABLE, || {
                        Ok(splice(
                            &pipe.read,
                            None,
                            to,
                            None,
                            held,
                            SpliceFlags::MOVE | SpliceFlags::NONBLOCK,
                        )?)
                    })
                    .await?;
                if sent == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                count(sent);
                held -= sent;
            }
        }
        pipe.give_back();
    }
}
