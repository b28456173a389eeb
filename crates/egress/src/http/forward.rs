//! Absolute-form requests, forwarded.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use http::{Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use srt_policy::Target;
use tokio::time::timeout;

use super::body::{Answer, Download, Upload};
use super::pool::{Connection, Lease};
use super::{Client, headers, reply, tunnel};
use crate::FrontEnd;
use crate::context::{Context, Exchange};
use crate::decide::{Outbound, Permitted, Refused};

/// Forwards one request and answers with the server's response, or says why there is none.
pub(super) async fn forward(
    client: Arc<Client>,
    mut request: Request<Incoming>,
    target: Target,
) -> Response<Answer> {
    let context = &client.context;
    let permitted = match context.decide(FrontEnd::Http, &target).await {
        Ok(permitted) => permitted,
        Err(refused) => return reply::refused(&refused),
    };
    let wants_upgrade = headers::upgrade(request.headers());
    let client_upgrade = wants_upgrade
        .is_some()
        .then(|| hyper::upgrade::on(&mut request));
    let mut request = rewrite(request);
    if let Some(protocol) = wants_upgrade {
        headers::set_upgrade(request.headers_mut(), protocol);
    }

    let sent = timeout(
        context.bounds.idle_timeout,
        send(context, request, &target, &permitted),
    )
    .await;
    let (mut response, exchange, mut connection) = match sent {
        Ok(Ok(sent)) => sent,
        Ok(Err(NotSent::Refused(refused))) => return reply::refused(&refused),
        Ok(Err(NotSent::Http(error))) => {
            return unanswered(context, target, &error_chain(&error)).await;
        }
        Err(_elapsed) => {
            return unanswered(context, target, "the server did not answer in time").await;
        }
    };

    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let (Some(client_upgrade), Some(protocol)) =
            (client_upgrade, headers::upgrade(response.headers()))
        else {
            return unanswered(
                context,
                target,
                "the server switched protocols without being asked to",
            )
            .await;
        };
        let server_upgrade = hyper::upgrade::on(&mut response);
        let far = tunnel::Far {
            driver: connection.driver.take(),
            upgrade: server_upgrade,
        };
        let task = tunnel::join(Arc::clone(&client), exchange, client_upgrade, far);
        context.tasks.spawn(task);
        headers::remove_hop_by_hop(response.headers_mut());
        headers::set_upgrade(response.headers_mut(), protocol);
        return response.map(|_empty| Answer::Own(None));
    }
    headers::remove_hop_by_hop(response.headers_mut());
    // The client's own connection has its own version; hyper fits the answer to it.
    *response.version_mut() = Version::HTTP_11;
    let lease = Lease {
        context: Arc::clone(context),
        target,
        connection,
    };
    response.map(|body| Answer::Relayed(Box::new(Download::new(body, exchange, lease))))
}

/// Records and answers that a permitted server gave no usable response.
async fn unanswered(context: &Context, target: Target, error: &str) -> Response<Answer> {
    let event = crate::Event::Failed {
        front_end: FrontEnd::Http,
        target,
        error: error.to_owned(),
    };
    context.record(event).await;
    reply::unreachable(error)
}

/// Turns a request to a proxy into one to a server.
fn rewrite(request: Request<Incoming>) -> Request<Upload> {
    let (mut parts, body) = request.into_parts();
    headers::remove_hop_by_hop(&mut parts.headers);
    if let Some(host) = parts.uri.authority().and_then(headers::host) {
        // Whatever Host the client sent, the server hears the one that was decided on.
        parts.headers.insert(header::HOST, host);
    }
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = parts.uri.path_and_query().cloned();
    parts.uri = http::Uri::from_parts(uri).unwrap_or_default();
    parts.version = Version::HTTP_11;
    parts.extensions = http::Extensions::new();
    Request::from_parts(parts, Upload::new(body))
}

enum NotSent {
    Refused(Refused),
    Http(hyper::Error),
}

/// Sends over an idle connection if there is one, else over a new one. A request that an idle connection could not
/// even begin to send, because the server had closed it meanwhile, goes over a new one.
async fn send(
    context: &Arc<Context>,
    mut request: Request<Upload>,
    target: &Target,
    permitted: &Permitted,
) -> Result<(Response<Incoming>, Exchange, Connection), NotSent> {
    while let Some(mut connection) = context.pool.take(target, &permitted.policy) {
        if !connection.is_ready().await {
            continue;
        }
        let permit = permitted.permit.clone();
        let exchange = Exchange::new(context, FrontEnd::Http, permit, connection.address);
        request.body_mut().counters = Arc::clone(exchange.counters());
        match try_send(&mut connection, request).await {
            Ok(response) => return Ok((response, exchange, connection)),
            Err(mut error) => match error.take_message() {
                Some(unsent) => {
                    exchange.forget();
                    request = unsent;
                }
                None => return Err(NotSent::Http(error.into_error())),
            },
        }
    }
    let opened = context.open(FrontEnd::Http, permitted).await;
    let Outbound {
        stream,
        address,
        exchange,
    } = opened.map_err(NotSent::Refused)?;
    let (sender, driver) = http1::Builder::new()
        .max_buf_size(256 * 1024)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(NotSent::Http)?;
    let mut connection = Connection {
        sender,
        driver: Some(Box::pin(driver.with_upgrades())),
        address,
        policy: Arc::clone(&permitted.policy),
    };
    request.body_mut().counters = Arc::clone(exchange.counters());
    match try_send(&mut connection, request).await {
        Ok(response) => Ok((response, exchange, connection)),
        Err(error) => Err(NotSent::Http(error.into_error())),
    }
}

/// Sends a request and drives its connection until the response's head is there.
async fn try_send(
    connection: &mut Connection,
    request: Request<Upload>,
) -> Result<Response<Incoming>, TrySendError<Request<Upload>>> {
    let mut response = pin!(connection.sender.try_send_request(request));
    poll_fn(|cx| {
        connection.poll_drive(cx);
        response.as_mut().poll(cx)
    })
    .await
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
