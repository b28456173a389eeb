//! CONNECT tunnels, and connections that a request has turned into something else (WebSocket).

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use srt_policy::Target;
use tokio::net::TcpStream;

use super::body::Answer;
use super::pool::Driver;
use super::{Client, reply};
use crate::FrontEnd;
use crate::context::Exchange;
use crate::relay::{Side, relay};

/// Opens a tunnel: dials first, so that the answer tells whether the target was reached.
pub(super) async fn open(
    client: Arc<Client>,
    mut request: Request<Incoming>,
    target: &Target,
) -> Response<Answer> {
    let context = &client.context;
    let mut outbound = match context.connect(FrontEnd::Connect, target).await {
        Ok(outbound) => outbound,
        Err(refused) => return reply::refused(&refused),
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let task = {
        let client = Arc::clone(&client);
        async move {
            let context = &client.context;
            let Some(Some((mut stream, early))) =
                context.cancel.run_until_cancelled(raw(upgrade)).await
            else {
                return;
            };
            let near = Side {
                stream: &mut stream,
                early: &early,
            };
            let far = Side {
                stream: &mut outbound.stream,
                early: &[],
            };
            relay(context, &outbound.exchange, near, far).await;
        }
    };
    context.tasks.spawn(task);
    reply::connected()
}

/// A server's connection that has switched protocols.
pub(super) struct Far {
    /// Drives it to the end of its life as HTTP.
    pub(super) driver: Option<Driver>,
    pub(super) upgrade: OnUpgrade,
}

/// Joins two connections that have both switched protocols.
pub(super) async fn join(client: Arc<Client>, exchange: Exchange, near: OnUpgrade, far: Far) {
    let Far { driver, upgrade } = far;
    let context = &client.context;
    let driven = async {
        match driver {
            Some(driver) => driver.await,
            None => Ok(()),
        }
    };
    let both = async {
        let (near, far, _ended) = tokio::join!(raw(near), raw(upgrade), driven);
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
    relay(context, &exchange, near, far).await;
}

/// The socket beneath an upgraded connection, and what hyper had already read of the tunnel.
async fn raw(upgrade: OnUpgrade) -> Option<(TcpStream, Bytes)> {
    let upgraded: Upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(%error, "connection did not become a tunnel");
            return None;
        }
    };
    // All connections of this crate are made of exactly this type.
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
}
