//! For the fuzz target `http_target`: bytes through the real reader in front of hyper, and through hyper.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::target;
use super::wire::{Line, Wire};

/// A request as hyper gave it to the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// The host that it names, as spelled, and the port.
    pub target: Option<(String, u16)>,
    /// Path and query.
    pub path: String,
    /// Its body; `None` where that has no end.
    pub body: Option<Vec<u8>>,
}

/// What became of a connection's bytes.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The requests that were served, in order.
    pub seen: Vec<Seen>,
    /// Why no more were.
    pub flaw: Option<String>,
}

/// Sends `bytes` in pieces of `size`, then the end. No request switches protocols.
pub fn requests(bytes: &[u8], size: usize, most_head: usize) -> Outcome {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
    else {
        return Outcome::default();
    };
    runtime.block_on(serve(bytes, size.max(1), most_head))
}

async fn serve(bytes: &[u8], size: usize, most_head: usize) -> Outcome {
    let (near, far) = tokio::io::duplex(1024);
    let line = Arc::new(Line::default());
    let mut wire = Wire::new(far, Arc::clone(&line), most_head, Duration::from_secs(60));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let service = {
        let (seen, line) = (Arc::clone(&seen), Arc::clone(&line));
        service_fn(move |request| note(Arc::clone(&seen), Arc::clone(&line), request))
    };
    let serving = async {
        if wire.begins_http2().await.unwrap_or(true) {
            return;
        }
        // The client ends before it has been answered.
        let mut builder = http1::Builder::new();
        let _ = builder
            .half_close(true)
            .serve_connection(wire, service)
            .await;
    };
    let (mut read, mut write) = tokio::io::split(near);
    let sending = async move {
        for piece in bytes.chunks(size) {
            if write.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        let _ = write.shutdown().await;
    };
    let reading = async move {
        let mut answers = Vec::new();
        let _ = read.read_to_end(&mut answers).await;
    };
    tokio::join!(serving, sending, reading);
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Outcome {
        seen,
        flaw: line.flaw().map(|flaw| flaw.why.to_string()),
    }
}

async fn note(
    all: Arc<Mutex<Vec<Seen>>>,
    line: Arc<Line>,
    request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::FORBIDDEN;
    if request.uri().authority().is_none() && line.flaw().is_some() {
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        return Ok(response);
    }
    let (parts, body) = request.into_parts();
    let connect = parts.method == http::Method::CONNECT;
    let named = target::of_uri(connect, &parts.uri).ok();
    let seen = Seen {
        method: parts.method.to_string(),
        target: named.map(|(host, port)| (host.to_owned(), port)),
        path: parts
            .uri
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default(),
        body: body
            .collect()
            .await
            .ok()
            .map(|body| body.to_bytes().to_vec()),
    };
    all.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(seen);
    if connect || parts.headers.contains_key(http::header::UPGRADE) {
        line.release();
    }
    Ok(response)
}
