//! Absolute-form requests, forwarded.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper::ext::on_informational;
use hyper_util::rt::TokioIo;
use srt_policy::{FlowKind, NetworkPolicy, Target};

use super::body::{Answer, Download, Sending, Upload};
use super::pool::{Connection, Lease, Parent};
use super::wire::Line;
use super::{Asked, Client, headers, refuse, reply, tunnel};
use crate::FrontEnd;
use crate::context::Context;
use crate::decide::{Outbound, Permitted, Refused};
use crate::flows::Exchange;
use crate::handoff::basic;

/// Forwards one request and answers with the server's response, or says why there is none.
pub(super) async fn forward(
    client: Arc<Client>,
    mut request: Request<Incoming>,
    asked: Asked,
) -> Response<Answer> {
    let Asked { target, path } = asked;
    let context = &client.context;
    let permitted = match context.decide(FrontEnd::Http, &target, None).await {
        Ok(permitted) => permitted,
        Err(refused) => return reply::refused(&refused),
    };
    let wants_upgrade = headers::upgrade(request.headers());
    if wants_upgrade.is_some()
        && let Err(refused) = context.refuse_opaque(FrontEnd::Http, &permitted).await
    {
        return reply::refused(&refused);
    }
    let client_upgrade = wants_upgrade
        .is_some()
        .then(|| hyper::upgrade::on(&mut request));
    let http2 = request.version() == Version::HTTP_2;
    let http11 = request.version() == Version::HTTP_11;
    let trailers = headers::takes_trailers(request.headers());
    let mut request = rewrite(request, &target, path);
    if trailers {
        headers::set_trailers(request.headers_mut());
    }
    if let Some(protocol) = wants_upgrade {
        headers::set_upgrade(request.headers_mut(), protocol);
    }

    if http11 {
        let (line, policy) = (Arc::clone(&client.line), Arc::clone(&permitted.policy));
        on_informational(&mut request, move |response| {
            pass_interim(&line, &policy, response.status(), response.headers());
        });
    }
    let sending = request.body().sending();
    let sent = Sending::patiently(
        sending.as_deref(),
        context.bounds.idle_timeout,
        send(context, request, &target, &permitted),
    )
    .await;
    let (mut response, exchange, mut connection) = match sent {
        Some(Ok(sent)) => sent,
        Some(Err(NotSent::Refused(refused))) => return reply::refused(&refused),
        Some(Err(NotSent::Http(error))) => {
            // Perhaps the client's own body is what could not be sent.
            if let Some(flaw) = client.line.flaw() {
                let named = target.to_string();
                return refuse(context, &flaw.clone().of(false, named.as_bytes())).await;
            }
            return unanswered(context, &permitted, &error_chain(&error)).await;
        }
        None => {
            return unanswered(context, &permitted, "the server did not answer in time").await;
        }
    };

    if connection.parent.is_some() && response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
    {
        // Between this proxy and that one; the client can do nothing about it.
        let error = "the user's own proxy does not accept these credentials (407)";
        return unanswered(context, &permitted, error).await;
    }
    headers::strip(response.headers_mut(), permitted.policy.requests());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let (Some(client_upgrade), Some(protocol)) =
            (client_upgrade, headers::upgrade(response.headers()))
        else {
            return unanswered(
                context,
                &permitted,
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
    exchange.closes(client.closing.clone());
    headers::remove_hop_by_hop(response.headers_mut());
    // The client's own connection has its own version; hyper fits the answer to it.
    *response.version_mut() = Version::HTTP_11;
    let lease = Lease {
        context: Arc::clone(context),
        target,
        connection,
        sending,
    };
    let cut = http2.then(|| client.closing.clone());
    response.map(|body| Answer::Relayed(Box::new(Download::new(body, exchange, lease, cut))))
}

/// Sends on what a server says before its response; a 100 is between each pair of neighbours alone, and hyper's to send.
fn pass_interim(line: &Line, policy: &NetworkPolicy, status: StatusCode, fields: &HeaderMap) {
    if status == StatusCode::CONTINUE {
        return;
    }
    let mut fields = fields.clone();
    headers::remove_hop_by_hop(&mut fields);
    headers::strip(&mut fields, policy.requests());
    let mut head = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in &fields {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    line.send_interim(&head);
}

/// Records and answers that a permitted server gave no usable response.
async fn unanswered(context: &Context, permitted: &Permitted, error: &str) -> Response<Answer> {
    let event = crate::Event::Failed {
        front_end: FrontEnd::Http,
        target: permitted.permit.target().clone(),
        error: error.to_owned(),
        generation: permitted.permit.generation(),
    };
    context.record(event).await;
    reply::unreachable(error)
}

/// Turns a request to a proxy into one to a server.
fn rewrite(
    request: Request<Incoming>,
    target: &Target,
    path: Option<PathAndQuery>,
) -> Request<Upload> {
    let (mut parts, body) = request.into_parts();
    headers::remove_hop_by_hop(&mut parts.headers);
    if parts.version == Version::HTTP_2 {
        headers::join_cookies(&mut parts.headers);
    }
    if let Some(host) = headers::host(target) {
        // However the client spelt it, the server hears what was decided on.
        parts.headers.insert(header::HOST, host);
    }
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = path.or_else(|| parts.uri.path_and_query().cloned());
    parts.uri = http::Uri::from_parts(uri).unwrap_or_default();
    parts.version = Version::HTTP_11;
    parts.extensions = http::Extensions::new();
    Request::from_parts(parts, Upload::new(body))
}

impl Parent {
    /// Puts a request into the form that a proxy takes: the absolute one (RFC 9112, section 3.2.2), with what it asks
    /// for.
    fn address(&self, request: &mut Request<Upload>) {
        let host = request.headers().get(header::HOST);
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        uri.path_and_query = request
            .uri()
            .path_and_query()
            .cloned()
            .or_else(|| Some(PathAndQuery::from_static("/")));
        *request.uri_mut() = http::Uri::from_parts(uri).unwrap_or_default();
        if let Some(authorization) = &self.authorization {
            let headers = request.headers_mut();
            headers.insert(header::PROXY_AUTHORIZATION, authorization.clone());
        }
    }
}

enum NotSent {
    Refused(Refused),
    Http(hyper::Error),
}

/// Policy took the permit back while the server thought.
fn denied(denial: srt_policy::Denial) -> Refused {
    Refused::Denied(Box::new(denial))
}

/// Sends over an idle connection if there is one, else over a new one. A request that an idle connection could not
/// even begin to send, because the server had closed it meanwhile, goes over a new one.
async fn send(
    context: &Arc<Context>,
    mut request: Request<Upload>,
    target: &Target,
    permitted: &Permitted,
) -> Result<(Response<Incoming>, Exchange, Connection), NotSent> {
    // What may become a tunnel is not sent through a proxy as a request, so it takes a connection of its own.
    let kind = match request.headers().contains_key(header::UPGRADE) {
        true => FlowKind::Tunnel,
        false => FlowKind::PlainHttp,
    };
    while kind == FlowKind::PlainHttp
        && let Some(mut connection) = context.pool.take(target, &permitted.policy)
    {
        if !connection.is_ready().await {
            continue;
        }
        let exchange = Exchange::new(context, FrontEnd::Http, permitted, connection.address);
        request.body_mut().counters = Arc::clone(exchange.counters());
        if let Some(parent) = &connection.parent {
            parent.address(&mut request);
        }
        let sent = tokio::select! {
            sent = try_send(&mut connection, request) => sent,
            denial = exchange.refused() => return Err(NotSent::Refused(denied(denial))),
        };
        match sent {
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
    let opened = context.open(FrontEnd::Http, permitted, kind).await;
    let Outbound {
        stream,
        address,
        exchange,
        parent,
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
        parent: parent.map(|upstream| Parent {
            authorization: upstream
                .credentials()
                .and_then(|credentials| HeaderValue::try_from(basic(credentials)).ok()),
        }),
    };
    if let Some(parent) = &connection.parent {
        parent.address(&mut request);
    }
    request.body_mut().counters = Arc::clone(exchange.counters());
    let sent = tokio::select! {
        sent = try_send(&mut connection, request) => sent,
        denial = exchange.refused() => return Err(NotSent::Refused(denied(denial))),
    };
    match sent {
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
