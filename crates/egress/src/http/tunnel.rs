//! CONNECT tunnels, and connections that a request has turned into something else (WebSocket).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use srt_policy::Target;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::body::Answer;
use super::pool::Driver;
use super::wire::Wire;
use super::{Client, reply};
use crate::FrontEnd;
use crate::flows::Exchange;
use crate::pair::pair;
use crate::relay::{Side, relay};

/// Opens a tunnel: dials first, so that the answer tells whether the target was reached.
pub(super) async fn open(
    client: Arc<Client>,
    mut request: Request<Incoming>,
    target: &Target,
) -> Response<Answer> {
    let context = &client.context;
    let mut outbound = match context.connect(FrontEnd::Connect, target, None).await {
        Ok(outbound) => outbound,
        Err(refused) => return reply::refused(&refused),
    };
    let http2 = request.version() == Version::HTTP_2;
    let upgrade = hyper::upgrade::on(&mut request);
    let task = {
        let client = Arc::clone(&client);
        async move {
            let context = &client.context;
            let begun = async {
                match http2 {
                    true => stream(upgrade).await,
                    false => {
                        let (socket, early) = near(upgrade).await?;
                        Some((socket, early, None))
                    }
                }
            };
            let Some(Some((mut socket, early, carrier))) =
                context.cancel.run_until_cancelled(begun).await
            else {
                return;
            };
            let cancel = context.cancel.clone();
            // It owns both ends, so that they are closed as soon as it is done.
            let relayed = async move {
                let near = Side {
                    stream: &mut socket,
                    early: &early,
                };
                let far = Side {
                    stream: &mut outbound.stream,
                    early: &[],
                };
                relay(&client.context, outbound.exchange, near, far).await;
            };
            match carrier {
                None => relayed.await,
                Some(carrier) => carry(carrier, relayed, cancel).await,
            }
        }
    };
    context.tasks.spawn(task);
    reply::connected()
}

/// A stream of HTTP/2 and our end of the pair of sockets that stands for it.
type Carrier = (TokioIo<Upgraded>, TcpStream);

/// A stream of HTTP/2 has no socket of its own. It gets one end of a pair, so that all tunnels are one kind to whoever
/// looks into them, counts and closes them.
async fn stream(upgrade: OnUpgrade) -> Option<(TcpStream, Bytes, Option<Carrier>)> {
    let upgraded = upgraded(upgrade).await?;
    match pair() {
        Ok((inner, outer)) => Some((inner, Bytes::new(), Some((TokioIo::new(upgraded), outer)))),
        Err(error) => {
            tracing::warn!(%error, "no pair of sockets for a stream of http/2");
            None
        }
    }
}

/// Carries bytes between stream and pair while `relayed` relays, and until what it left behind has gone.
async fn carry(
    (mut stream, mut outer): Carrier,
    relayed: impl Future<Output = ()>,
    cancel: CancellationToken,
) {
    let carrying = async move {
        if let Err(error) = tokio::io::copy_bidirectional(&mut stream, &mut outer).await {
            tracing::debug!(%error, "a stream of http/2 broke");
        }
    };
    let (mut carrying, mut relayed) = (pin!(carrying), pin!(relayed));
    tokio::select! {
        // What the pair still holds is for the server.
        () = &mut carrying => relayed.await,
        () = &mut relayed => {
            // What the pair still holds is for the client.
            let rest = timeout(LAST_BYTES, carrying);
            let _ = cancel.run_until_cancelled(rest).await;
        }
    }
}

/// How long the end of a tunnel may take to reach an HTTP/2 client.
const LAST_BYTES: Duration = Duration::from_secs(10);

/// A server's connection that has switched protocols.
pub(super) struct Far {
    /// Drives it to the end of its life as HTTP.
    pub(super) driver: Option<Driver>,
    pub(super) upgrade: OnUpgrade,
}

/// Joins two connections that have both switched protocols.
pub(super) async fn join(
    client: Arc<Client>,
    exchange: Exchange,
    client_upgrade: OnUpgrade,
    server: Far,
) {
    let Far { driver, upgrade } = server;
    let context = &client.context;
    let driven = async {
        match driver {
            Some(driver) => driver.await,
            None => Ok(()),
        }
    };
    let both = async {
        let (near, far, _ended) = tokio::join!(near(client_upgrade), far(upgrade), driven);
        (near, far)
    };
    let Some((Some((mut near, near_early)), Some((mut far, far_early)))) =
        context.cancel.run_until_cancelled(both).await
    else {
        return;
    };
    let near = Side {
        stream: &mut near,
        early: &near_early,
    };
    let far = Side {
        stream: &mut far,
        early: &far_early,
    };
    relay(context, exchange, near, far).await;
}

/// The socket beneath a client's upgraded connection, and what had already been read of the tunnel.
async fn near(upgrade: OnUpgrade) -> Option<(TcpStream, Bytes)> {
    let parts = upgraded(upgrade)
        .await?
        .downcast::<Wire<TcpStream>>()
        .ok()?;
    // hyper got no byte of it: the wire holds back what follows a request that may switch.
    if !parts.read_buf.is_empty() {
        tracing::warn!("a tunnel whose first bytes went elsewhere is not opened");
        return None;
    }
    Some(parts.io.into_parts())
}

/// The same of a server's connection.
async fn far(upgrade: OnUpgrade) -> Option<(TcpStream, Bytes)> {
    let parts = upgraded(upgrade)
        .await?
        .downcast::<TokioIo<TcpStream>>()
        .ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
}

async fn upgraded(upgrade: OnUpgrade) -> Option<Upgraded> {
    match upgrade.await {
        Ok(upgraded) => Some(upgraded),
        Err(error) => {
            tracing::debug!(%error, "connection did not become a tunnel");
            None
        }
    }
}
