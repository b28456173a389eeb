//! The HTTP proxy: CONNECT tunnels and absolute-form requests (RFC 9110, RFC 9112), and the same over HTTP/2 where a
//! client begins with it (RFC 9113).

mod body;
mod forward;
mod framed;
#[cfg(fuzzing)]
pub mod fuzzing;
mod head;
mod headers;
mod pool;
mod reply;
mod target;
mod tunnel;
mod wire;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use srt_policy::{Host, RequestRules, Target};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::FrontEnd;
use crate::context::Context;
use crate::refusal::{unreadable, without_rule};
use body::Answer;
use head::Flaw;
use wire::{Line, Wire};

pub(crate) use framed::{Framed, Piece};
pub(crate) use head::{Framing, framing};
pub(crate) use pool::{Pool, sweep};

/// Splits `host[:port]` as requests to the proxy are read: `None` where it has two readings.
pub(crate) fn authority(text: &str) -> Option<(&str, Option<u16>)> {
    target::authority(text, false).ok()
}

/// One client's connection, or one stream of it in HTTP/2: what its requests, and the tunnels they turn into, share.
struct Client {
    context: Arc<Context>,
    line: Arc<Line>,
    /// Ends this connection or stream, when a response under way is no longer permitted.
    closing: CancellationToken,
    /// Held until the last tunnel of this connection has ended.
    _slot: OwnedSemaphorePermit,
}

/// Serves one client.
pub(crate) async fn serve(context: Arc<Context>, stream: TcpStream, slot: OwnedSemaphorePermit) {
    let cancel = context.cancel.clone();
    let serving = async {
        let bounds = &context.bounds;
        let line = Arc::new(Line::default());
        let mut wire = Wire::new(
            stream,
            Arc::clone(&line),
            bounds.header_bytes,
            bounds.idle_timeout,
        );
        match timeout(bounds.header_timeout, wire.begins_http2()).await {
            Ok(Ok(true)) => serve_http2(context, wire, slot).await,
            Ok(Ok(false)) => serve_http1(context, wire, line, slot).await,
            Ok(Err(error)) => tracing::debug!(%error, "http client left without a request"),
            Err(_elapsed) => tracing::debug!("http client sent nothing in time"),
        }
    };
    let _ = cancel.run_until_cancelled(serving).await;
}

async fn serve_http1(
    context: Arc<Context>,
    wire: Wire<TcpStream>,
    line: Arc<Line>,
    slot: OwnedSemaphorePermit,
) {
    let closing = context.cancel.child_token();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(context.bounds.header_timeout)
        .max_buf_size(context.bounds.header_bytes.max(MOST_BUFFERED));
    let client = Arc::new(Client {
        context,
        line,
        closing: closing.clone(),
        _slot: slot,
    });
    let service = service_fn(move |request| {
        let client = Arc::clone(&client);
        async move { Ok::<_, Infallible>(answer(client, request).await) }
    });
    let connection = pin!(builder.serve_connection(wire, service).with_upgrades());
    if let Some(Err(error)) = closing.run_until_cancelled(connection).await {
        tracing::debug!(%error, "http client's connection ended badly");
    }
}

/// What hyper may buffer of a client's connection in each direction, in bytes.
const MOST_BUFFERED: usize = 128 * 1024;
/// What a stream of HTTP/2 may send without being read, and all streams of a connection together; bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

async fn serve_http2(context: Arc<Context>, wire: Wire<TcpStream>, slot: OwnedSemaphorePermit) {
    let bounds = &context.bounds;
    let mut builder = http2::Builder::new(Tasks(context.tasks.clone()));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(bounds.streams)
        .max_header_list_size(u32::try_from(bounds.header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(MOST_BUFFERED)
        // A client that answers no ping is gone; one that has streams open and is silent is not.
        .keep_alive_interval(bounds.header_timeout)
        .keep_alive_timeout(bounds.header_timeout);
    let shared = Arc::clone(&context);
    let service = service_fn(move |request| {
        let context = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer_stream(context, request).await) }
    });
    if let Err(error) = builder.serve_connection(wire, service).await {
        tracing::debug!(%error, "http/2 client's connection ended badly");
    }
    drop(slot);
}

/// Where hyper runs the streams of an HTTP/2 connection: among the sandbox's tasks, which are joined at its end.
#[derive(Clone)]
struct Tasks(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

/// A stream takes a connection's place, since it may hold as much: its own way out.
async fn answer_stream(context: Arc<Context>, request: Request<Incoming>) -> Response<Answer> {
    let slot = Arc::clone(&context.connections).try_acquire_owned().ok();
    let Some(slot) = slot.filter(|_| context.has_share_left()) else {
        return reply::too_many();
    };
    let client = Arc::new(Client {
        closing: context.cancel.child_token(),
        context,
        line: Arc::default(),
        _slot: slot,
    });
    respond(&client, request).await
}

/// Answers a request of HTTP/1.
async fn answer(client: Arc<Client>, request: Request<Incoming>) -> Response<Answer> {
    let connect = request.method() == Method::CONNECT;
    let may_switch = connect || request.headers().contains_key(header::UPGRADE);
    let response = respond(&client, request).await;
    client.line.interim_sent().await;
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS
        || connect && response.status().is_success();
    if may_switch && !switches {
        client.line.release();
    }
    response
}

async fn respond(client: &Arc<Client>, request: Request<Incoming>) -> Response<Answer> {
    let context = &client.context;
    // A body with a flaw is told by whoever reads the body.
    if request.uri().authority().is_none()
        && let Some(flaw) = client.line.flaw()
    {
        return refuse(context, flaw).await;
    }
    if let Some(token) = &context.token {
        let offered = request.headers().get(header::PROXY_AUTHORIZATION);
        if !offered.is_some_and(|value| token.admits_header(value.as_bytes())) {
            return reply::needs_token();
        }
    }
    let connect = request.method() == Method::CONNECT;
    let policy = context.policy();
    let asked = match asked(context, policy.requests(), &request, connect) {
        Ok(asked) => asked,
        Err(NoTarget::Flaw(flaw)) => {
            let shown = request.uri().to_string();
            return refuse(context, &flaw.of(connect, shown.as_bytes())).await;
        }
        Err(NoTarget::Host(denial)) => {
            let answer = reply::blocked(&denial);
            context.denied(front_end(connect), *denial).await;
            return answer;
        }
    };
    drop(policy);
    if connect {
        tunnel::open(Arc::clone(client), request, &asked.target).await
    } else {
        forward::forward(Arc::clone(client), request, asked).await
    }
}

/// Records a request that has no reading, or two, and says so.
async fn refuse(context: &Context, flaw: &Flaw) -> Response<Answer> {
    let denial = without_rule(flaw.subject.as_str(), flaw.why.as_ref());
    context.denied(front_end(flaw.connect), denial).await;
    reply::flawed(flaw)
}

const fn front_end(connect: bool) -> FrontEnd {
    match connect {
        true => FrontEnd::Connect,
        false => FrontEnd::Http,
    }
}

enum NoTarget {
    Flaw(Flaw),
    Host(Box<srt_policy::Denial>),
}

/// What a request wants.
struct Asked {
    target: Target,
    /// What to ask the server for, where that is not the path as the client spelled it.
    path: Option<PathAndQuery>,
}

/// What a request wants to reach: its URI alone says; a Host header may only agree.
fn asked<B>(
    context: &Context,
    rules: &RequestRules,
    request: &Request<B>,
    connect: bool,
) -> Result<Asked, NoTarget> {
    let (host, port) = target::of_uri(connect, request.uri()).map_err(NoTarget::Flaw)?;
    let host = Host::parse(host).map_err(|error| NoTarget::Host(Box::new(unreadable(&error))))?;
    let target = context.target(host, port);
    target::check_host(
        context,
        request.headers(),
        &target,
        connect,
        rules.require_host_match,
    )
    .map_err(NoTarget::Flaw)?;
    if target::is_own(&target, &context.proxies) {
        return Err(NoTarget::Flaw(Flaw::new("the target is this proxy itself")));
    }
    let path = match connect {
        true => None,
        false => target::path(request.uri(), rules.ambiguous_target).map_err(NoTarget::Flaw)?,
    };
    Ok(Asked { target, path })
}
