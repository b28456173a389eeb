//! splice(2): a tunnel's bytes go from socket to pipe to socket without being copied to this process.

use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What a pipe holds at most. The kernel may refuse to enlarge it (`/proc/sys/fs/pipe-user-pages-soft`).
const PIPE: usize = 512 * 1024;

/// The pipe of one direction.
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    pub(crate) fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A small pipe works too, only slower.
        let _ = fcntl_setpipe_size(&write, PIPE);
        Ok(Self { read, write })
    }

    /// Carries bytes until `from` ends.
    pub(crate) async fn pump(
        &self,
        from: &TcpStream,
        to: &TcpStream,
        count: &impl Fn(usize),
    ) -> io::Result<()> {
        loop {
            // The pipe is empty here, so "would block" can only mean that the socket has nothing.
            let mut held = from
                .async_io(Interest::READABLE, || {
                    Ok(splice(
                        from,
                        None,
                        &self.write,
                        None,
                        PIPE,
                        SpliceFlags::MOVE | SpliceFlags::NONBLOCK,
                    )?)
                })
                .await?;
            if held == 0 {
                return Ok(());
            }
            while held > 0 {
                // And here it holds something, so it means that the other socket is full.
                let sent = to
                    .async_io(Interest::WRITABLE, || {
                        Ok(splice(
                            &self.read,
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
    }
}
