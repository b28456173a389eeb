//! `srt.v1.Audit`: reading what happened; and what every stream of pages shares.

use std::future::Future;
use std::pin::Pin;

use futures_util::Stream;
use jiff::Timestamp;
use srt_proto::v1::audit_server::Audit;
use srt_proto::v1::{AuditEntry, AuditRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::Api;
use super::error::{bad_request, of_store};
use crate::audit::{Record, UnknownKind};
use crate::store::AuditQuery;

#[tonic::async_trait]
impl Audit for Api {
    type QueryStream = Pin<Box<dyn Stream<Item = Result<AuditEntry, Status>> + Send>>;

    async fn query(
        &self,
        request: Request<AuditRequest>,
    ) -> Result<Response<Self::QueryStream>, Status> {
        let request = request.into_inner();
        let kind = match request.kind.as_str() {
            "" => None,
            name => Some(
                name.parse()
                    .map_err(|error: UnknownKind| bad_request(error.to_string()))?,
            ),
        };
        let query = AuditQuery {
            server: (!request.server.is_empty()).then_some(request.server),
            since: since(&request.since)?,
            kind,
            after_seq: 0,
            limit: (request.limit > 0).then_some(request.limit),
        };
        let shared = &self.supervisor.shared;
        let mut pages = shared.store.audit(query);
        let (sender, stream) = paged(shared.shutdown.clone());
        shared.tracker.spawn(async move {
            loop {
                match pages.next().await {
                    Ok(page) if page.is_empty() => {
                        if !request.follow || !sender.wait(pages.more()).await {
                            return;
                        }
                    }
                    Ok(page) => {
                        for record in page {
                            if !sender.send(Ok(entry(record))).await {
                                return;
                            }
                        }
                    }
                    Err(error) => {
                        sender.send(Err(of_store(&error))).await;
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

fn entry(record: Record) -> AuditEntry {
    let entry = record.entry;
    AuditEntry {
        seq: record.seq,
        at: time(entry.at),
        kind: entry.kind.to_string(),
        server: entry.server.unwrap_or_default(),
        launch: entry.launch.map(|id| id.to_string()).unwrap_or_default(),
        subject: entry.subject,
        detail: serde_json::Value::Object(entry.detail).to_string(),
    }
}

/// RFC 3339, UTC, with milliseconds.
pub(super) fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// A lower bound in time; empty means none.
pub(super) fn since(text: &str) -> Result<Option<Timestamp>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| {
        bad_request(format!(
            "{text:?} is not a time: {error}\nhint: 2026-01-31T12:00:00Z"
        ))
    })
}

/// The daemon's end of a stream that a client reads at its own pace.
pub(super) struct PageSender<T> {
    sender: mpsc::Sender<Result<T, Status>>,
    shutdown: CancellationToken,
}

/// A stream and its sender. Following ends with the daemon.
pub(super) fn paged<T>(
    shutdown: CancellationToken,
) -> (PageSender<T>, ReceiverStream<Result<T, Status>>) {
    let (sender, receiver) = mpsc::channel(256);
    (
        PageSender { sender, shutdown },
        ReceiverStream::new(receiver),
    )
}

impl<T> PageSender<T> {
    /// False when nobody reads any more, or the daemon stops: a reader that pauses does not hold that up.
    pub(super) async fn send(&self, item: Result<T, Status>) -> bool {
        tokio::select! {
            sent = self.sender.send(item) => sent.is_ok(),
            () = self.shutdown.cancelled() => false,
        }
    }

    /// Waits for more; false when there is none to come or nobody to read it.
    pub(super) async fn wait(&self, more: impl Future<Output = bool>) -> bool {
        tokio::select! {
            more = more => more,
            () = self.sender.closed() => false,
            () = self.shutdown.cancelled() => false,
        }
    }
}
