//! Connections to HTTP servers that wait for another request of the same sandbox to the same target.
//!
//! The decision is taken anew before each request. A connection also remembers the policy under which its address
//! was checked, and serves again only under that very one: after a reload it is dialled, and so checked, afresh.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as Poller, Poll};
use std::time::Instant;

use http::HeaderValue;
use hyper::client::conn::http1::SendRequest;
use srt_policy::{NetworkPolicy, Target};

use super::body::{Sending, Upload};
use crate::context::Context;

/// hyper's half of a connection: the reading and writing, to be polled by whoever waits for its fruit.
pub(super) type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// A connection to a server, and what it was checked for.
///
/// It has no task of its own: the client's task drives it, since a hand-over between two tasks in each direction
/// would cost more than the request itself.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Upload>,
    /// `None` once the connection has ended.
    pub(super) driver: Option<Driver>,
    pub(super) address: SocketAddr,
    pub(super) policy: Arc<NetworkPolicy>,
    /// The user's own HTTP proxy, where it is that which was connected to.
    pub(super) parent: Option<Parent>,
}

/// How the user's own HTTP proxy wants its requests.
#[derive(Clone)]
pub(super) struct Parent {
    pub(super) authorization: Option<HeaderValue>,
}

impl Connection {
    /// Reads and writes what can be read and written now.
    pub(super) fn poll_drive(&mut self, cx: &mut Poller<'_>) {
        if let Some(driver) = &mut self.driver
            && let Poll::Ready(ended) = driver.as_mut().poll(cx)
        {
            self.driver = None;
            if let Err(error) = ended {
                tracing::debug!(%error, "http server's connection ended badly");
            }
        }
    }

    /// Whether it can take a request; looks at the socket, for a server may have closed it meanwhile.
    pub(super) async fn is_ready(&mut self) -> bool {
        poll_fn(|cx| {
            self.poll_drive(cx);
            Poll::Ready(self.driver.is_some() && self.sender.is_ready())
        })
        .await
    }
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// One sandbox's idle connections.
pub(crate) struct Pool {
    most: usize,
    idle: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    count: usize,
    by_target: HashMap<Target, Vec<Idle>>,
}

impl Pool {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            idle: Mutex::default(),
        }
    }

    /// Takes a connection to `target` that was checked under `policy`; whether it is ready is for the caller to see.
    pub(super) fn take(&self, target: &Target, policy: &Arc<NetworkPolicy>) -> Option<Connection> {
        let mut shelf = self.lock();
        let Shelf { count, by_target } = &mut *shelf;
        let list = by_target.get_mut(target)?;
        // The last one in is the likeliest to be still open.
        while let Some(Idle { connection, .. }) = list.pop() {
            *count -= 1;
            if Arc::ptr_eq(&connection.policy, policy) {
                return Some(connection);
            }
        }
        None
    }

    fn put(&self, context: &Context, target: &Target, connection: Connection) {
        if connection.driver.is_none() {
            return;
        }
        let mut shelf = self.lock();
        // Asked under the lock, so that `retire` cannot come between. One that was checked under an earlier policy
        // would never serve again.
        let current = Arc::ptr_eq(&connection.policy, &context.policy());
        if !current || shelf.count >= self.most {
            return;
        }
        shelf.count += 1;
        let idle = Idle {
            connection,
            since: Instant::now(),
        };
        match shelf.by_target.get_mut(target) {
            Some(list) => list.push(idle),
            None => {
                shelf.by_target.insert(target.clone(), vec![idle]);
            }
        }
    }

    /// Closes the idle connections that were checked under another policy than this.
    pub(crate) fn retire(&self, policy: &Arc<NetworkPolicy>) {
        self.retain(|idle| Arc::ptr_eq(&idle.connection.policy, policy));
    }

    /// Closes every idle connection.
    pub(crate) fn clear(&self) {
        *self.lock() = Shelf::default();
    }

    fn retain(&self, keep: impl Fn(&Idle) -> bool) {
        let mut shelf = self.lock();
        let mut count = 0;
        shelf.by_target.retain(|_target, list| {
            list.retain(&keep);
            count += list.len();
            !list.is_empty()
        });
        shelf.count = count;
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        // A panic while it is held can only have miscounted, which `retain` puts right.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in use, to be given back when its response has been read to the end.
pub(super) struct Lease {
    pub(super) context: Arc<Context>,
    pub(super) target: Target,
    pub(super) connection: Connection,
    /// The request's body, where it has one.
    pub(super) sending: Option<Arc<Sending>>,
}

impl Lease {
    pub(super) fn give_back(self) {
        // A server that answered before it had heard everything is left; so the client need not send the rest.
        let heard_all = self.sending.is_none_or(|sending| sending.is_done());
        if heard_all && !self.context.cancel.is_cancelled() {
            self.context
                .pool
                .put(&self.context, &self.target, self.connection);
        }
    }
}

/// Closes connections that have been idle for too long, for as long as the sandbox lives.
pub(crate) async fn sweep(context: Arc<Context>) {
    let limit = context.bounds.pool_timeout;
    let cancel = context.cancel.clone();
    let sweeping = async {
        loop {
            tokio::time::sleep(limit / 2).await;
            context.pool.retain(|idle| idle.since.elapsed() < limit);
        }
    };
    let _ = cancel.run_until_cancelled(sweeping).await;
}
