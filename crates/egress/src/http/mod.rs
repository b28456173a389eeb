//! The HTTP proxy: CONNECT tunnels and absolute-form requests (RFC 9110, RFC 9112).

mod body;
mod forward;
mod headers;
mod pool;
mod reply;
mod tunnel;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use http::{Method, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use srt_policy::{Host, HostError, Target};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use crate::FrontEnd;
use crate::context::Context;
use crate::refusal::unreadable;
use body::Answer;

pub(crate) use pool::{Pool, sweep};

/// One client's connection: what its requests, and the tunnels they turn into, share.
struct Client {
    context: Arc<Context>,
    /// Held until the last tunnel of this connection has ended.
    _slot: OwnedSemaphorePermit,
}

/// Serves one client.
pub(crate) async fn serve(context: Arc<Context>, stream: TcpStream, slot: OwnedSemaphorePermit) {
    let cancel = context.cancel.clone();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(context.bounds.header_timeout)
        .max_header_size(context.bounds.header_bytes);
    let client = Arc::new(Client {
        context,
        _slot: slot,
    });
    let service = service_fn(move |request| {
        let client = Arc::clone(&client);
        async move { Ok::<_, Infallible>(respond(client, request).await) }
    });
    let connection = pin!(
        builder
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    if let Some(Err(error)) = cancel.run_until_cancelled(connection).await {
        tracing::debug!(%error, "http client's connection ended badly");
    }
}

async fn respond(client: Arc<Client>, request: Request<Incoming>) -> Response<Answer> {
    let context = &client.context;
    if let Some(token) = &context.token {
        let offered = request.headers().get(header::PROXY_AUTHORIZATION);
        if !offered.is_some_and(|value| token.admits_header(value.as_bytes())) {
            return reply::needs_token();
        }
    }
    let connect = request.method() == Method::CONNECT;
    let front_end = if connect {
        FrontEnd::Connect
    } else {
        FrontEnd::Http
    };
    let target = match target(context, &request) {
        Ok(target) => target,
        Err(NoTarget::Unclear(why)) => return reply::bad_request(why),
        Err(NoTarget::Host(error)) => {
            let denial = unreadable(&error);
            let answer = reply::blocked(&denial);
            context.denied(front_end, denial).await;
            return answer;
        }
    };
    if connect {
        tunnel::open(client, request, &target).await
    } else {
        forward::forward(client, request, target).await
    }
}

#[derive(Debug, PartialEq)]
enum NoTarget {
    Unclear(&'static str),
    Host(HostError),
}

/// What a request wants to reach: its URI alone says, never its Host header.
fn target<B>(context: &Context, request: &Request<B>) -> Result<Target, NoTarget> {
    let (host, port) = authority(request)?;
    let host = Host::parse(host).map_err(NoTarget::Host)?;
    Ok(context.target(host, port))
}

fn authority<B>(request: &Request<B>) -> Result<(&str, u16), NoTarget> {
    let uri = request.uri();
    let Some(authority) = uri.authority() else {
        return Err(NoTarget::Unclear(
            "this is a proxy: ask for an absolute URI (GET http://host/path) or CONNECT host:port",
        ));
    };
    // `port_u16` is silent about ":99999" and ":"; the authority that it leaves behind is not.
    let given = authority.port_u16();
    if given.is_none() && !authority.as_str().ends_with(authority.host()) {
        return Err(NoTarget::Unclear("the port is not a number below 65536"));
    }
    let port = if request.method() == Method::CONNECT {
        given.ok_or(NoTarget::Unclear("CONNECT needs host:port"))?
    } else if uri.scheme() == Some(&http::uri::Scheme::HTTP) {
        given.unwrap_or(80)
    } else {
        return Err(NoTarget::Unclear(
            "only http:// URIs can be forwarded; for https use CONNECT host:443",
        ));
    };
    Ok((authority.host(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uri_names_the_target() {
        let check = |method: &str, uri: &str, expected: Option<(&str, u16)>| {
            let request = Request::builder()
                .method(method)
                .uri(uri)
                .header("host", "other.test")
                .body(())
                .unwrap();
            let found = authority(&request);
            match expected {
                Some(expected) => assert_eq!(found, Ok(expected), "{method} {uri}"),
                None => assert!(
                    matches!(found, Err(NoTarget::Unclear(_))),
                    "{method} {uri}: {found:?}"
                ),
            }
        };
        check("GET", "http://a.test/x", Some(("a.test", 80)));
        check("GET", "http://user:word@a.test:81/x", Some(("a.test", 81)));
        check("GET", "http://[::1]:81/", Some(("[::1]", 81)));
        check("GET", "/x", None);
        check("OPTIONS", "*", None);
        check("GET", "https://a.test/", None);
        check("GET", "http://a.test:99999/", None);
        check("GET", "http://a.test:/", None);
        check("CONNECT", "a.test:443", Some(("a.test", 443)));
        check("CONNECT", "a.test", None);
    }
}
