//! Bodies on their way through, counted.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context as Poller, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::headers;
use super::pool::Lease;
use super::wire::Stall;
use crate::flows::{Counters, Exchange};

/// Why a response ends before its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error(transparent)]
    Http(hyper::Error),
    #[error("the server sent nothing more in time")]
    Silent,
    #[error("it is no longer permitted")]
    Refused,
}

/// The body of a response to the sandbox.
pub(super) enum Answer {
    /// The proxy's own words.
    Own(Option<Bytes>),
    /// A server's response.
    Relayed(Box<Download>),
}

/// A server's response body. When it has ended the connection may serve again; when it is dropped, at its end or
/// before, the flow is recorded.
pub(super) struct Download {
    inner: Incoming,
    exchange: Exchange,
    lease: Option<Lease>,
    /// A server that stops in the middle.
    stall: Stall,
    /// Where it is not the connection that ends when policy takes the permit back, but this stream of it.
    cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Download {
    pub(super) fn new(
        inner: Incoming,
        exchange: Exchange,
        lease: Lease,
        cut: Option<CancellationToken>,
    ) -> Self {
        let mut download = Self {
            inner,
            exchange,
            cut: cut.map(|token| Box::pin(token.cancelled_owned())),
            stall: Stall::new(lease.context.bounds.idle_timeout),
            lease: Some(lease),
        };
        download.give_back_at_end();
        download
    }

    /// The next frame, reading more from the server where none is at hand.
    fn poll_inner(
        &mut self,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        match &mut self.lease {
            Some(lease) if frame.is_pending() => {
                lease.connection.poll_drive(cx);
                Pin::new(&mut self.inner).poll_frame(cx)
            }
            _ => frame,
        }
    }

    /// Dropped before its end, a lease closes its connection instead.
    fn give_back_at_end(&mut self) {
        if self.inner.is_end_stream() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let download = match self.get_mut() {
            Self::Own(bytes) => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))));
            }
            Self::Relayed(download) => download,
        };
        if let Some(cut) = &mut download.cut
            && cut.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Some(Err(BodyError::Refused)));
        }
        let Poll::Ready(frame) = download.poll_inner(cx) else {
            ready!(download.stall.poll_over(cx));
            return Poll::Ready(Some(Err(BodyError::Silent)));
        };
        download.stall.progress();
        let mut frame = frame;
        if let Some(Ok(frame)) = &mut frame
            && let Some(fields) = frame.trailers_mut()
            && let Some(lease) = &download.lease
        {
            headers::strip(fields, lease.connection.policy.requests());
        }
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    download.exchange.counters().add_in(data.len());
                }
                // Nothing comes after trailers, and nobody asks.
                match frame.is_trailers() {
                    true => download.give_back(),
                    false => download.give_back_at_end(),
                }
            }
            Some(Err(_)) => {}
            None => download.give_back(),
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Http)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Relayed(download) => download.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Relayed(download) => download.inner.size_hint(),
        }
    }
}

/// How far a request's body has got.
#[derive(Debug, Default)]
pub(super) struct Sending {
    bytes: AtomicU64,
    done: AtomicBool,
}

impl Sending {
    pub(super) fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// Awaits for as long as the body moves at least once in each `limit`; `None` where it did not.
    pub(super) async fn patiently<T>(
        sending: Option<&Self>,
        limit: Duration,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let mut future = std::pin::pin!(future);
        let moved = || sending.map_or(0, |sending| sending.bytes.load(Ordering::Relaxed));
        let mut seen = moved();
        loop {
            if let Ok(done) = tokio::time::timeout(limit, future.as_mut()).await {
                return Some(done);
            }
            let now = moved();
            if now == seen {
                return None;
            }
            seen = now;
        }
    }
}

/// The body of a request on its way out.
pub(super) struct Upload {
    inner: Incoming,
    /// Those of the exchange in which it is sent; set anew when a request is sent again.
    pub(super) counters: Arc<Counters>,
    sending: Option<Arc<Sending>>,
}

impl Upload {
    pub(super) fn new(inner: Incoming) -> Self {
        // Most requests have no body.
        let sending = (!inner.is_end_stream()).then(Arc::default);
        Self {
            inner,
            counters: Arc::default(),
            sending,
        }
    }

    /// Where it can be seen how far it has got; `None` where there is no body.
    pub(super) fn sending(&self) -> Option<Arc<Sending>> {
        self.sending.clone()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let upload = self.get_mut();
        let frame = ready!(Pin::new(&mut upload.inner).poll_frame(cx));
        if let Some(data) = frame
            .as_ref()
            .and_then(|frame| frame.as_ref().ok()?.data_ref())
        {
            upload.counters.add_out(data.len());
            if let Some(sending) = &upload.sending {
                sending
                    .bytes
                    .fetch_add(data.len() as u64, Ordering::Relaxed);
            }
        }
        let trailers = matches!(&frame, Some(Ok(frame)) if frame.is_trailers());
        if (frame.is_none() || trailers || upload.inner.is_end_stream())
            && let Some(sending) = &upload.sending
        {
            sending.done.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
