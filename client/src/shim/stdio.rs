//! The host's ends of stdin, stdout and stderr.
//!
//! O_NONBLOCK belongs to the open file description, which the host (and, on a terminal, the person's shell) shares
//! with us: setting it would change their reads and writes too. So nothing here sets it: a thread reads fd 0 and
//! blocks there, another writes fd 1 and blocks there. The wake-ups cost little: a 1 KiB round trip through srt and an
//! echoing mock daemon took 33 µs (p50, release, 2 shared cores; `cat` alone 4 µs), and writing small chunks on the
//! runtime's thread after a poll(2) made it 31 µs, which is not worth a second way to write.

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use srt_proto::v1::{AttachRequest, StdinEnd, attach_request};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use tokio::sync::{mpsc, oneshot};

/// Reads stdin to its end, a chunk at a time as it comes, never re-framed.
pub(super) fn pump_stdin(requests: mpsc::Sender<AttachRequest>) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; srt_proto::CHUNK];
        loop {
            let message = match read(&mut buffer) {
                // A read error is as final as the end: nothing more will come.
                Ok(0) | Err(_) => attach_request::Message::StdinEnd(StdinEnd {}),
                Ok(length) => attach_request::Message::Stdin(copy(&buffer[..length])),
            };
            let last = matches!(message, attach_request::Message::StdinEnd(_));
            let request = AttachRequest {
                message: Some(message),
            };
            // The relay is over when nobody takes it.
            if requests.blocking_send(request).is_err() || last {
                return;
            }
        }
    });
}

/// For whichever type the generated code holds bytes in.
fn copy<T: From<Vec<u8>>>(bytes: &[u8]) -> T {
    bytes.to_vec().into()
}

fn read(buffer: &mut [u8]) -> Result<usize, Errno> {
    let stdin = rustix::stdio::stdin();
    loop {
        match rustix::io::read(stdin, &mut *buffer) {
            Err(Errno::INTR) => {}
            // The host made its end, which is ours too, non-blocking.
            Err(Errno::AGAIN) => wait(stdin, PollFlags::IN)?,
            done => return done,
        }
    }
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(fd, PollFlags::OUT)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn wait(fd: BorrowedFd<'_>, flags: PollFlags) -> Result<(), Errno> {
    match poll(&mut [PollFd::from_borrowed_fd(fd, flags)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes a line for a person to stderr.
pub(super) fn notice(text: &str) {
    let line = format!("srt: {}\n", crate::table::clean(text));
    // Nobody may be there to read it.
    let _ = write_all(rustix::stdio::stderr(), line.as_bytes());
}

/// Nobody reads this output any more.
#[derive(Debug)]
pub(super) struct Gone;

/// Stdout or stderr, written in order and in full by a thread that the first chunk starts.
pub(super) struct Output {
    fd: BorrowedFd<'static>,
    writer: Option<Writer>,
}

struct Writer {
    chunks: mpsc::Sender<Bytes>,
    done: oneshot::Receiver<Result<(), Errno>>,
}

impl Output {
    pub(super) fn stdout() -> Self {
        Self {
            fd: rustix::stdio::stdout(),
            writer: None,
        }
    }

    pub(super) fn stderr() -> Self {
        Self {
            fd: rustix::stdio::stderr(),
            writer: None,
        }
    }

    /// Queues `chunk` behind the one that is being written; waits while one is queued.
    pub(super) async fn write(&mut self, chunk: impl Into<Bytes>) -> Result<(), Gone> {
        let fd = self.fd;
        let writer = self.writer.get_or_insert_with(|| Writer::start(fd));
        writer.chunks.send(chunk.into()).await.map_err(|_| Gone)
    }

    /// Returns when a queued write finds nobody reading.
    pub(super) async fn gone(&self) {
        match &self.writer {
            Some(writer) => writer.chunks.closed().await,
            None => std::future::pending().await,
        }
    }

    /// Waits until everything is written.
    pub(super) async fn finish(self) -> Result<(), Gone> {
        let Some(Writer { chunks, done }) = self.writer else {
            return Ok(());
        };
        drop(chunks);
        match done.await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }
}

/// Chunks (of at most [`srt_proto::CHUNK`]) of standard error that may wait for the host: 1 MiB at most.
const STDERR_CHUNKS: usize = 16;

impl Writer {
    fn start(fd: BorrowedFd<'static>) -> Self {
        // Standard output holds its server back at once. Standard error has some room, since a host that never reads
        // it must not stop the answers: a server that logs a little more than a pipe holds would block in one thread
        // bare, and as a whole here.
        let room = if fd.as_raw_fd() == 2 {
            STDERR_CHUNKS
        } else {
            1
        };
        let (chunks, mut queue) = mpsc::channel::<Bytes>(room);
        let (end, done) = oneshot::channel();
        std::thread::spawn(move || {
            let mut result = Ok(());
            while let Some(chunk) = queue.blocking_recv() {
                result = write_all(fd, &chunk);
                if result.is_err() {
                    break;
                }
            }
            // Nobody waits for it when the relay ended otherwise.
            let _ = end.send(result);
        });
        Self { chunks, done }
    }
}
