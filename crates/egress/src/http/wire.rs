//! A client's connection, from which hyper gets nothing but requests that have one reading.
//!
//! Each head is looked at before hyper sees a byte of it, and the end of each body is found by the same framing, so
//! that this side and hyper never disagree about where the next request begins. In place of a head with a flaw hyper
//! gets one that no client can send through here, which the service answers with the flaw; nothing follows it.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::io::poll_read_buf;

use super::framed::{Framed, Piece};
use super::head::{self, Flaw};

/// What hyper reads in place of a head with a flaw. Heads in origin form do not pass, so it cannot be confused with
/// a client's own.
const FLAWED: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
/// How a connection begins whose client speaks HTTP/2 without having asked (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Read at once while heads are awaited, and while bodies are.
const SMALL: usize = 4 * 1024;
const LARGE: usize = 32 * 1024;
/// How long, and for how many bytes, a client that was answered before it had sent everything is listened to: closing
/// with bytes unread would take the answer away from it (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of interim responses that may wait.
const MOST_INTERIM: usize = 64 * 1024;

/// What a connection and the service that answers on it tell each other.
#[derive(Debug, Default)]
pub(super) struct Line {
    flaw: OnceLock<Flaw>,
    held: AtomicBool,
    waker: AtomicWaker,
    /// Interim responses (1xx) on their way, which hyper's server cannot send (RFC 9110, section 15.2).
    interim: Mutex<BytesMut>,
    interim_sent: AtomicWaker,
}

impl Line {
    /// The flaw that ended the connection's requests, if one did.
    pub(super) fn flaw(&self) -> Option<&Flaw> {
        self.flaw.get()
    }

    /// Sends an interim response as soon as nothing else is being written. One that does not fit is left out.
    pub(super) fn send_interim(&self, head: &[u8]) {
        let mut interim = self.interim();
        if interim.len() + head.len() <= MOST_INTERIM {
            interim.extend_from_slice(head);
        }
    }

    /// Waits until all interim responses are sent; the final one must not begin before.
    pub(super) async fn interim_sent(&self) {
        std::future::poll_fn(|cx| {
            // The waker first, as with `held`.
            self.interim_sent.register(cx.waker());
            match self.interim().is_empty() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    fn interim(&self) -> MutexGuard<'_, BytesMut> {
        // Whole heads are added and sent bytes removed: nothing else is done under it.
        self.interim.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request that could have switched protocols did not: what follows is a request again.
    pub(super) fn release(&self) {
        self.held.store(false, Ordering::Release);
        self.waker.wake();
    }
}

/// What comes after the bytes that hyper may have.
#[derive(Debug)]
enum Next {
    /// A head, of which so many bytes were there when it was last looked at.
    Head {
        seen: usize,
    },
    Body(Framed),
    /// Perhaps no HTTP; the service knows.
    Held,
    /// HTTP/2, which frames itself.
    Anything,
    /// Nothing: a head had a flaw.
    Flawed,
    /// Nothing: a body had one.
    Broken,
}

/// The connection.
pub(super) struct Wire<S> {
    stream: S,
    line: Arc<Line>,
    buffer: BytesMut,
    /// So many bytes at the front of the buffer are for hyper.
    passed: usize,
    next: Next,
    /// The request that is being read may switch protocols.
    may_switch: bool,
    most_head: usize,
    reading: Stall,
    writing: Stall,
    linger: Option<(Pin<Box<Sleep>>, usize)>,
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// `most_head`: bytes of one head. `stall`: how long a client may take to send more of a body that is awaited, or
    /// to make room for more of its response. How long a head may take is for hyper to say.
    pub(super) fn new(stream: S, line: Arc<Line>, most_head: usize, stall: Duration) -> Self {
        Self {
            stream,
            line,
            buffer: BytesMut::new(),
            passed: 0,
            next: Next::Head { seen: 0 },
            may_switch: false,
            most_head,
            reading: Stall::new(stall),
            writing: Stall::new(stall),
            linger: None,
            ended: false,
        }
    }

    /// Whether the client begins with HTTP/2's preface. Waits for as many bytes as it takes to tell.
    pub(super) async fn begins_http2(&mut self) -> io::Result<bool> {
        loop {
            let have = self.buffer.len().min(PREFACE.len());
            if self.buffer[..have] != PREFACE[..have] {
                return Ok(false);
            }
            if have == PREFACE.len() {
                self.next = Next::Anything;
                return Ok(true);
            }
            if std::future::poll_fn(|cx| self.poll_more(cx, SMALL)).await? == 0 {
                return Ok(false);
            }
        }
    }

    /// The connection, and what was read of it and not passed on.
    pub(super) fn into_parts(self) -> (S, Bytes) {
        (self.stream, self.buffer.freeze())
    }

    fn poll_more(&mut self, cx: &mut Context<'_>, size: usize) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        self.buffer.reserve(size);
        let read = ready!(poll_read_buf(
            Pin::new(&mut self.stream),
            cx,
            &mut self.buffer
        ))?;
        self.ended = read == 0;
        Poll::Ready(Ok(read))
    }

    /// Passes bytes on, or reads until it can. `false` is the end.
    fn poll_pass(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.passed == 0 {
            let enough = match self.step(cx) {
                Ok(enough) => enough,
                Err(flaw) => {
                    self.flawed(flaw);
                    continue;
                }
            };
            let size = match enough {
                Step::Passed => continue,
                Step::Wait => return Poll::Pending,
                Step::Fail => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the request's body is malformed",
                    )));
                }
                Step::More(size) => size,
            };
            match self.poll_more(cx, size) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(false)),
                Poll::Ready(Ok(_)) => self.reading.progress(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if self.in_body() {
                        ready!(self.reading.poll_over(cx));
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    if self.buffer.is_empty() {
                        // Many connections are idle for long.
                        self.buffer = BytesMut::new();
                    }
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(true))
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Result<Step, Flaw> {
        let have = self.buffer.len();
        match &mut self.next {
            Next::Head { .. } if have == 0 => Ok(Step::More(SMALL)),
            Next::Head { seen } => match head::read(&self.buffer, *seen, self.most_head)? {
                None => {
                    *seen = have;
                    Ok(Step::More(SMALL))
                }
                Some(found) => {
                    self.may_switch = found.may_switch;
                    match Framed::new(found.body) {
                        None => self.end_of_request(),
                        Some(body) => self.next = Next::Body(body),
                    }
                    self.passed = found.bytes;
                    Ok(Step::Passed)
                }
            },
            Next::Body(body) => match body.step(&self.buffer)? {
                Piece::More if body.is_at_trailer() => Ok(Step::More(SMALL)),
                Piece::More => Ok(Step::More(LARGE)),
                Piece::Some(bytes) => {
                    self.passed = bytes;
                    Ok(Step::Passed)
                }
                Piece::Last(bytes) => {
                    self.end_of_request();
                    self.passed = bytes;
                    Ok(Step::Passed)
                }
            },
            Next::Held => {
                // The waker first: a release in between must not be missed.
                self.line.waker.register(cx.waker());
                if !self.line.held.load(Ordering::Acquire) {
                    self.next = Next::Head { seen: 0 };
                    return Ok(Step::Passed);
                }
                // Nothing more is read than shows that the client is still there.
                Ok(if have == 0 {
                    Step::More(SMALL)
                } else {
                    Step::Wait
                })
            }
            Next::Anything => {
                self.passed = have;
                Ok(if have == 0 {
                    Step::More(LARGE)
                } else {
                    Step::Passed
                })
            }
            Next::Flawed => Ok(Step::Wait),
            Next::Broken => Ok(Step::Fail),
        }
    }

    fn in_body(&self) -> bool {
        !matches!(
            self.next,
            Next::Head { .. } | Next::Held | Next::Anything | Next::Flawed | Next::Broken
        )
    }

    fn end_of_request(&mut self) {
        self.next = if std::mem::take(&mut self.may_switch) {
            self.line.held.store(true, Ordering::Release);
            Next::Held
        } else {
            Next::Head { seen: 0 }
        };
    }

    fn flawed(&mut self, flaw: Flaw) {
        let in_head = matches!(self.next, Next::Head { .. });
        // There is one at most: nothing is read after it.
        let _ = self.line.flaw.set(Flaw {
            ends_connection: true,
            ..flaw
        });
        self.buffer.clear();
        if in_head {
            self.buffer.extend_from_slice(FLAWED);
            self.passed = FLAWED.len();
            self.next = Next::Flawed;
        } else {
            self.next = Next::Broken;
        }
    }
}

enum Step {
    /// Look again.
    Passed,
    /// At most so many bytes more are needed.
    More(usize),
    /// Somebody else wakes.
    Wait,
    Fail,
}

impl<S: AsyncRead + AsyncWrite + Unpin> hyper::rt::Read for Wire<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if ready!(wire.poll_pass(cx))? {
            let now = wire.passed.min(into.remaining());
            into.put_slice(&wire.buffer[..now]);
            wire.buffer.advance(now);
            wire.passed -= now;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> hyper::rt::Write for Wire<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        let written = Pin::new(&mut wire.stream).poll_write(cx, bytes);
        wire.writing.watch(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        let written = Pin::new(&mut wire.stream).poll_write_vectored(cx, slices);
        wire.writing.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        // hyper comes here when it has written all that it had, and the service does not let the final response begin
        // while there are interim ones: this is between two heads.
        let mut interim = wire.line.interim();
        let any = !interim.is_empty();
        while !interim.is_empty() {
            let written = Pin::new(&mut wire.stream).poll_write(cx, &interim);
            let written = ready!(wire.writing.watch(cx, written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            interim.advance(written);
        }
        drop(interim);
        if any {
            wire.line.interim_sent.wake();
        }
        Pin::new(&mut wire.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if wire.linger.is_none() {
            ready!(Pin::new(&mut wire.stream).poll_shutdown(cx))?;
            wire.linger = Some((Box::pin(sleep(LINGER)), LINGER_BYTES));
        }
        while !wire.ended {
            wire.buffer.clear();
            match wire.poll_more(cx, LARGE) {
                Poll::Ready(Ok(read)) => {
                    if let Some((_, left)) = &mut wire.linger {
                        *left = left.saturating_sub(read);
                        if *left == 0 {
                            break;
                        }
                    }
                }
                Poll::Ready(Err(_gone)) => break,
                Poll::Pending => {
                    if let Some((sleep, _)) = &mut wire.linger {
                        ready!(sleep.as_mut().poll(cx));
                    }
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Fails a direction that makes no progress for too long. It has a timer only while it waits.
pub(super) struct Stall {
    limit: Duration,
    since: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, since: None }
    }

    /// Passes on what a write came to, or that the limit is over.
    fn watch<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match done {
            Poll::Ready(done) => {
                self.progress();
                Poll::Ready(done)
            }
            Poll::Pending => {
                ready!(self.poll_over(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Something moved.
    pub(super) fn progress(&mut self) {
        self.since = None;
    }

    /// Ready when nothing has moved for too long.
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let since = self
            .since
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        since.as_mut().poll(cx)
    }
}
