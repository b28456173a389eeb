//! The host's ends of stdin, stdout and stderr.
//!
//! O_NONBLOCK belongs to the open file description, which the host (and, on a terminal, the person's shell) shares
//! with us: setting it would change their reads and writes too. So nothing here sets it. A thread reads fd 0 and
//! blocks there; another, made when the first write would wait, writes and blocks there. What certainly fits is
//! written where it arrives, which saves a thread's wake-up on every small message.

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::Errno;
use srt_proto::v1::{AttachRequest, StdinEnd, attach_request};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{mpsc, oneshot};

/// What a pipe that polls as writable takes without waiting: Linux frees a pipe by whole pages, Darwin calls it
/// writable from PIPE_BUF on. A socket that polls as writable has room for far more on both.
const CERTAIN: usize = if cfg!(target_os = "linux") { 4096 } else { 512 };

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

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

/// Stdout or stderr, written in order and in full.
pub(super) struct Output {
    fd: BorrowedFd<'static>,
    /// Whether polling tells that a small write will not wait.
    pollable: bool,
    writer: Option<Writer>,
}

struct Writer {
    chunks: mpsc::Sender<Bytes>,
    /// Chunks that are queued or being written. Only we add, so that 0 stays 0 until we do.
    pending: Arc<AtomicUsize>,
    done: oneshot::Receiver<Result<(), Errno>>,
}

impl Output {
    pub(super) fn stdout() -> Self {
        Self::new(rustix::stdio::stdout())
    }

    pub(super) fn stderr() -> Self {
        Self::new(rustix::stdio::stderr())
    }

    fn new(fd: BorrowedFd<'static>) -> Self {
        let pollable = rustix::fs::fstat(fd).is_ok_and(|stat| {
            matches!(
                FileType::from_raw_mode(stat.st_mode),
                FileType::Fifo | FileType::Socket
            )
        });
        Self {
            fd,
            pollable,
            writer: None,
        }
    }

    /// Writes `chunk`, or queues it behind one chunk that is being written; waits while there is one queued.
    pub(super) async fn write(&mut self, chunk: impl Into<Bytes>) -> Result<(), Gone> {
        let chunk = chunk.into();
        if self.takes(chunk.len()) {
            return write_all(self.fd, &chunk).map_err(|_| Gone);
        }
        let fd = self.fd;
        let writer = self.writer.get_or_insert_with(|| Writer::start(fd));
        writer.pending.fetch_add(1, Ordering::AcqRel);
        writer.chunks.send(chunk).await.map_err(|_| Gone)
    }

    fn takes(&self, length: usize) -> bool {
        let idle = |writer: &Writer| writer.pending.load(Ordering::Acquire) == 0;
        self.pollable
            && length <= CERTAIN
            && self.writer.as_ref().is_none_or(idle)
            && writable(self.fd)
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
        let Some(Writer { chunks, done, .. }) = self.writer else {
            return Ok(());
        };
        drop(chunks);
        match done.await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }
}

fn writable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    poll(&mut fds, Some(&NOW)).is_ok() && fds[0].revents().contains(PollFlags::OUT)
}

impl Writer {
    fn start(fd: BorrowedFd<'static>) -> Self {
        let (chunks, mut queue) = mpsc::channel::<Bytes>(1);
        let (end, done) = oneshot::channel();
        let pending = Arc::new(AtomicUsize::new(0));
        let written = Arc::clone(&pending);
        std::thread::spawn(move || {
            let mut result = Ok(());
            while let Some(chunk) = queue.blocking_recv() {
                result = write_all(fd, &chunk);
                if result.is_err() {
                    break;
                }
                written.fetch_sub(1, Ordering::AcqRel);
            }
            let _ = end.send(result);
        });
        Self {
            chunks,
            pending,
            done,
        }
    }
}
