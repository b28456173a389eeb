//! Bodies on their way through, counted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Poller, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::pool::Lease;
use crate::context::{Counters, Exchange};

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
}

impl Download {
    pub(super) fn new(inner: Incoming, exchange: Exchange, lease: Lease) -> Self {
        let mut download = Self {
            inner,
            exchange,
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
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let download = match self.get_mut() {
            Self::Own(bytes) => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))));
            }
            Self::Relayed(download) => download,
        };
        let frame = ready!(download.poll_inner(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    download.exchange.counters().add_in(data.len());
                }
                download.give_back_at_end();
            }
            Some(Err(_)) => {}
            None => download.give_back(),
        }
        Poll::Ready(frame)
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

/// The body of a request on its way out.
pub(super) struct Upload {
    inner: Incoming,
    /// Those of the exchange in which it is sent; set anew when a request is sent again.
    pub(super) counters: Arc<Counters>,
}

impl Upload {
    pub(super) fn new(inner: Incoming) -> Self {
        Self {
            inner,
            counters: Arc::default(),
        }
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
