//! Streams of what the store keeps, page by page, at the pace of the client that reads; and how times are written.

use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::error::{bad_request, of_store};
use crate::store::{Paged, Pages, Store};
use crate::supervisor::Shared;

/// A stream of a call that answers with many messages.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A question waits this long for what is on its way into the log: more than a slow disk needs, and no wait to speak of
/// where nothing can be written.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// Lets what was told to the store before now be written, so that an answer has what a person just saw happen.
pub(super) async fn settled(store: &Store) {
    let _ = tokio::time::timeout(ON_ITS_WAY, store.answers()).await;
}

/// Sends what is read, each row as `shown`; with `follow`, also what comes later, until the client goes or the
/// daemon stops. A reader that pauses does not hold the daemon's end up.
pub(super) fn answers<Q, T>(
    shared: &Shared,
    mut pages: Pages<Q>,
    follow: bool,
    shown: impl Fn(Q::Item) -> T + Send + 'static,
) -> Answers<T>
where
    Q: Paged + Send + Sync + 'static,
    Q::Item: Send,
    T: Send + 'static,
{
    let (sender, receiver) = mpsc::channel(256);
    let store = shared.store.clone();
    let read = async move {
        settled(&store).await;
        loop {
            match pages.next().await {
                Ok(page) if page.is_empty() => {
                    let more = async { follow && pages.more().await };
                    let wanted = tokio::select! {
                        more = more => more,
                        () = sender.closed() => false,
                    };
                    if !wanted {
                        return;
                    }
                }
                Ok(page) => {
                    for row in page {
                        if sender.send(Ok(shown(row))).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) => {
                    let _ = sender.send(Err(of_store(&error))).await;
                    return;
                }
            }
        }
    };
    let shutdown = shared.shutdown.clone();
    shared.tracker.spawn(async move {
        tokio::select! {
            () = read => {}
            () = shutdown.cancelled() => {}
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

/// RFC 3339, UTC, with milliseconds.
pub(super) fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// A bound in time; empty means none.
pub(super) fn bound(text: &str) -> Result<Option<Timestamp>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| {
        bad_request(format!(
            "{text:?} is not a time: {error}\nhint: 2026-01-31T12:00:00Z"
        ))
    })
}
