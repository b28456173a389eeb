//! The host's ends of stdin, stdout and stderr.
//!
//! O_NONBLOCK belongs to the open file description, which the host (and, on a terminal, the person's shell) shares
//! with us: setting it would change their reads and writes too. So nothing here sets it. Where the kernel reads and
//! writes without waiting if it is asked to for one call (RWF_NOWAIT: pipes and sockets on Linux, which is what hosts
//! give), the runtime's thread does so. Elsewhere a thread reads fd 0 and blocks there, another writes fd 1 and blocks
//! there; so does one for what a host does not read at once. Each of these threads is woken for each message, which on
//! idle cores costs more than all that `srt` does with it.

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

/// Stdin, read to its end, a chunk at a time as it comes, never re-framed.
pub(super) struct Input(Way);

enum Way {
    Polled {
        fd: AsyncFd<BorrowedFd<'static>>,
        buffer: Vec<u8>,
    },
    Thread(mpsc::Receiver<Bytes>),
}

impl Input {
    /// # Panics
    ///
    /// Outside of a runtime.
    pub(super) fn stdin() -> Self {
        Self::of(rustix::stdio::stdin())
    }

    fn of(fd: BorrowedFd<'static>) -> Self {
        #[expect(
            deprecated,
            reason = "its successor is unsafe for what may be closed meanwhile; 'static says that this is not"
        )]
        let poll = || AsyncFd::with_interest(fd, Interest::READABLE);
        Self(match at_once::SUPPORTED.then(poll) {
            Some(Ok(fd)) => Way::Polled {
                fd,
                buffer: vec![0; srt_proto::CHUNK],
            },
            // A file and /dev/null cannot be polled.
            Some(Err(_)) | None => Way::Thread(read_in_thread(fd)),
        })
    }

    /// What comes next; an empty chunk is the end. Nothing is lost where this is given up.
    pub(super) async fn next(&mut self) -> Bytes {
        loop {
            let (fd, buffer) = match &mut self.0 {
                Way::Polled { fd, buffer } => (fd, buffer),
                // It sends the end before it is gone.
                Way::Thread(chunks) => return chunks.recv().await.unwrap_or_default(),
            };
            let own = *fd.get_ref();
            let Ok(mut ready) = fd.readable().await else {
                return Bytes::new();
            };
            match at_once::read(own, buffer) {
                Ok(length) => return Bytes::copy_from_slice(&buffer[..length]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(error) if at_once::is_refused(error) => {
                    self.0 = Way::Thread(read_in_thread(own));
                }
                // A read error is as final as the end: nothing more will come.
                Err(_) => return Bytes::new(),
            }
        }
    }
}

fn read_in_thread(fd: BorrowedFd<'static>) -> mpsc::Receiver<Bytes> {
    let (chunks, queue) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut buffer = vec![0; srt_proto::CHUNK];
        loop {
            // A read error is as final as the end: nothing more will come.
            let length = read_from(fd, &mut buffer).unwrap_or(0);
            let chunk = Bytes::copy_from_slice(&buffer[..length]);
            // The relay is over when nobody takes it.
            if chunks.blocking_send(chunk).is_err() || length == 0 {
                return;
            }
        }
    });
    queue
}

/// Reads and writes that fail where they would wait (`RWF_NOWAIT`, preadv2(2)), whatever the description's flags.
#[cfg(target_os = "linux")]
mod at_once {
    use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev2};
    use std::io::{IoSlice, IoSliceMut};
    use std::os::fd::BorrowedFd;

    pub(super) const SUPPORTED: bool = true;
    /// -1: where the description is, as read(2) and write(2) have it.
    const HERE: u64 = u64::MAX;

    pub(super) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
        preadv2(
            fd,
            &mut [IoSliceMut::new(buffer)],
            HERE,
            ReadWriteFlags::NOWAIT,
        )
    }

    pub(super) fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
        pwritev2(fd, &[IoSlice::new(bytes)], HERE, ReadWriteFlags::NOWAIT)
    }

    /// Neither this kernel (before 6.4 for pipes and sockets) nor this kind of file (a terminal, a FIFO) can.
    pub(super) fn is_refused(error: Errno) -> bool {
        matches!(error, Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL)
    }
}

/// There is no such call.
#[cfg(not(target_os = "linux"))]
mod at_once {
    use rustix::io::Errno;
    use std::os::fd::BorrowedFd;

    pub(super) const SUPPORTED: bool = false;

    pub(super) fn read(_: BorrowedFd<'_>, _: &mut [u8]) -> Result<usize, Errno> {
        Err(Errno::NOSYS)
    }

    pub(super) fn write(_: BorrowedFd<'_>, _: &[u8]) -> Result<usize, Errno> {
        Err(Errno::NOSYS)
    }

    pub(super) fn is_refused(error: Errno) -> bool {
        error == Errno::NOSYS
    }
}

/// What comes next, at most as much as fits; 0 at the end.
pub(crate) fn read_from(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match rustix::io::read(fd, &mut *buffer) {
            Err(Errno::INTR) => {}
            // The host made its end, which is ours too, non-blocking.
            Err(Errno::AGAIN) => wait(fd, PollFlags::IN)?,
            done => return done,
        }
    }
}

/// Writes everything.
pub(crate) fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
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
pub(crate) fn notice(text: &str) {
    let line = format!("srt: {}\n", crate::table::clean(text));
    // Nobody may be there to read it.
    let _ = write_all(rustix::stdio::stderr(), line.as_bytes());
}

/// Nobody reads this output any more.
#[derive(Debug)]
pub(super) struct Gone;

/// Stdout or stderr, written in order and in full: at once where that can be, else by a thread that the first chunk
/// starts which its reader has no room for.
pub(super) struct Output {
    fd: BorrowedFd<'static>,
    at_once: bool,
    writer: Option<Writer>,
}

struct Writer {
    chunks: mpsc::Sender<Bytes>,
    /// What it has and did not write yet.
    unwritten: Arc<AtomicUsize>,
    done: oneshot::Receiver<Result<(), Errno>>,
}

impl Output {
    pub(super) fn stdout() -> Self {
        Self::of(rustix::stdio::stdout())
    }

    pub(super) fn stderr() -> Self {
        Self::of(rustix::stdio::stderr())
    }

    fn of(fd: BorrowedFd<'static>) -> Self {
        Self {
            fd,
            at_once: at_once::SUPPORTED,
            writer: None,
        }
    }

    /// Waits until there is room for a chunk behind the one that is being written.
    pub(super) async fn room(&self) -> Result<(), Gone> {
        match &self.writer {
            Some(writer) => writer.chunks.reserve().await.map(drop).map_err(|_| Gone),
            None => Ok(()),
        }
    }

    /// Writes `chunk`, or queues it if there is room for it now; otherwise what is not written comes back.
    pub(super) fn try_write(&mut self, mut chunk: Bytes) -> Option<Bytes> {
        let fd = self.fd;
        if self.at_once && self.writer.as_ref().is_none_or(Writer::is_idle) {
            match at_once::write(fd, &chunk) {
                Ok(length) if length == chunk.len() => return None,
                Ok(length) => drop(chunk.split_to(length)),
                Err(error) => self.at_once = !at_once::is_refused(error),
            }
        }
        let writer = self.writer.get_or_insert_with(|| Writer::start(fd));
        // Before the thread has it, so that it is never seen to be idle too early.
        writer.unwritten.fetch_add(1, Ordering::Relaxed);
        match writer.chunks.try_send(chunk) {
            Ok(()) => None,
            // Who waits for room finds out whether anybody reads.
            Err(TrySendError::Full(chunk) | TrySendError::Closed(chunk)) => {
                writer.unwritten.fetch_sub(1, Ordering::Relaxed);
                Some(chunk)
            }
        }
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
        let unwritten = Arc::new(AtomicUsize::new(0));
        let ours = unwritten.clone();
        std::thread::spawn(move || {
            let mut result = Ok(());
            while let Some(chunk) = queue.blocking_recv() {
                result = write_all(fd, &chunk);
                if result.is_err() {
                    // What is left stays unwritten.
                    break;
                }
                ours.fetch_sub(1, Ordering::Release);
            }
            // Nobody waits for it when the relay ended otherwise.
            let _ = end.send(result);
        });
        Self {
            chunks,
            unwritten,
            done,
        }
    }

    /// Everything that it got is written.
    fn is_idle(&self) -> bool {
        self.unwritten.load(Ordering::Acquire) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{OFlags, fcntl_getfl};
    use std::io::{Read as _, Write as _};
    use std::os::fd::{AsFd as _, OwnedFd};
    use std::time::Duration;

    /// As the host's ends are: open as long as the process.
    fn kept(fd: impl Into<OwnedFd>) -> BorrowedFd<'static> {
        let fd: &'static OwnedFd = Box::leak(Box::new(fd.into()));
        fd.as_fd()
    }

    fn blocks(fd: BorrowedFd<'_>) -> bool {
        !fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK)
    }

    fn is_thread(input: &Input) -> bool {
        matches!(input.0, Way::Thread(_))
    }

    /// Whether this kernel reads this kind of file without waiting; nothing is there to be read.
    fn reads_at_once(fd: BorrowedFd<'_>) -> bool {
        at_once::read(fd, &mut [0]) == Err(Errno::AGAIN)
    }

    async fn all(input: &mut Input) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let chunk = input.next().await;
            if chunk.is_empty() {
                return all;
            }
            all.extend_from_slice(&chunk);
        }
    }

    #[tokio::test]
    async fn what_comes_is_read_in_whatever_way_the_file_allows() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let (socket, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
        for (fd, other) in [
            (kept(reader), &mut writer as &mut dyn std::io::Write),
            (kept(socket), &mut other),
        ] {
            let at_once = reads_at_once(fd);
            let mut input = Input::of(fd);
            tokio::time::timeout(Duration::from_millis(20), input.next())
                .await
                .unwrap_err();
            for text in ["one", "two"] {
                other.write_all(text.as_bytes()).unwrap();
                assert_eq!(input.next().await, text);
            }
            assert!(blocks(fd));
            assert_eq!(is_thread(&input), !at_once);
            other.write_all(b"rest").unwrap();
            assert_eq!(input.next().await, "rest");
        }
        drop((writer, other));

        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"of a file").unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let mut input = Input::of(kept(file));
        assert!(is_thread(&input));
        assert_eq!(all(&mut input).await, b"of a file");

        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(all(&mut Input::of(kept(null))).await, b"");

        // It can be polled, and not every kernel reads it so.
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let both = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&fifo)
            .unwrap();
        let at_once = reads_at_once(both.as_fd());
        let mut input = Input::of(kept(both.try_clone().unwrap()));
        (&both).write_all(b"of a FIFO").unwrap();
        assert_eq!(input.next().await, "of a FIFO");
        assert_eq!(is_thread(&input), !at_once);
    }

    #[tokio::test]
    async fn the_end_is_read_behind_what_came_before_it() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut input = Input::of(kept(reader));
        writer.write_all(b"last").unwrap();
        drop(writer);
        assert_eq!(all(&mut input).await, b"last");
    }

    #[tokio::test]
    async fn everything_is_written_in_order_to_who_reads_late() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let fd = kept(writer.try_clone().unwrap());
        drop(writer);
        let mut output = Output::of(fd);
        // More than fits a pipe (pipe(7): 64 KiB), in chunks that fit and that do not.
        let mut wanted = Vec::new();
        let chunks: Vec<Bytes> = (0..200_u32)
            .map(|number| number.to_le_bytes().repeat(1 + number as usize * 37 % 5000))
            .map(Bytes::from)
            .inspect(|chunk| wanted.extend_from_slice(chunk))
            .collect();
        let length = wanted.len();
        let late = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            let mut got = vec![0; length];
            // A part at a time, so that the writer is held back again and again.
            for part in got.chunks_mut(10_000) {
                reader.read_exact(part).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
            got
        });
        for chunk in chunks {
            let mut left = Some(chunk);
            while let Some(chunk) = left {
                left = output.try_write(chunk);
                if left.is_some() {
                    assert!(output.room().await.is_ok());
                }
            }
        }
        assert!(output.writer.is_some(), "the pipe was full");
        assert!(output.finish().await.is_ok());
        assert!(blocks(fd));
        assert!(late.join().unwrap() == wanted);
    }

    #[tokio::test]
    async fn who_reads_no_more_is_noticed() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut output = Output::of(kept(writer));
        let _ = output.try_write(Bytes::from_static(b"for nobody"));
        output.gone().await;
        assert!(output.finish().await.is_err());
    }
}
