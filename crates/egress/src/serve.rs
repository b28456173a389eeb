//! Accepting, and the handle that ends it.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use srt_policy::NetworkPolicy;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::context::Context;
use crate::share::Share;
use crate::synthetic::SyntheticNames;
use crate::token::Token;
use crate::{
    Bounds, Event, FlowsHandle, Gate, LiveFlow, Resolve, dns, flows, http, socks, told, transparent,
};

/// The sockets of one sandbox, bound (and listening) already. Any may be missing.
#[derive(Debug, Default)]
pub struct Listeners {
    /// The HTTP proxy.
    pub http: Option<TcpListener>,
    /// The SOCKS5 proxy.
    pub socks: Option<TcpListener>,
    /// Where captured connections arrive: redirected ones, v4 and v6, and those at explicit loopback addresses.
    pub transparent: Vec<TcpListener>,
    /// DNS over UDP.
    pub dns_udp: Vec<UdpSocket>,
    /// DNS over TCP.
    pub dns_tcp: Vec<TcpListener>,
    /// Datagrams to the ports that `network.allowedUdp` names. Linux only: elsewhere nothing is captured, and these
    /// are closed.
    pub udp: Vec<UdpSocket>,
}

/// What decides and what listens.
pub struct Config {
    /// The policy; each request is decided on the value of that moment.
    pub policy: watch::Receiver<Arc<NetworkPolicy>>,
    /// Where events go. Bounded: while it is full the sandbox's requests wait, and nothing is dropped. Keep
    /// receiving until [`Egress::shutdown`] has returned, or drop the receiver.
    pub events: mpsc::Sender<Event>,
    /// How names are resolved on the host.
    pub resolver: Arc<dyn Resolve>,
    /// The secret that the proxies ask for, where other programs of the machine can reach them (macOS). User name
    /// `srt`, the token as the password.
    pub token: Option<String>,
    /// Bounds.
    pub bounds: Bounds,
    /// Who asks a person, where policy says "ask". Without one, what would be asked is refused.
    pub gate: Option<Arc<dyn Gate>>,
}

impl Config {
    /// A configuration with the host's resolver, no token, nobody to ask, and the default bounds.
    pub fn new(policy: watch::Receiver<Arc<NetworkPolicy>>, events: mpsc::Sender<Event>) -> Self {
        Self {
            policy,
            events,
            resolver: Arc::new(crate::SystemResolver),
            token: None,
            bounds: Bounds::default(),
            gate: None,
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("policy", &self.policy)
            .field("token", &self.token.as_ref().map(|_| "hidden"))
            .field("bounds", &self.bounds)
            .field("gate", &self.gate.is_some())
            .finish_non_exhaustive()
    }
}

/// Why the listeners cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Not called from within a tokio runtime.
    #[error("no tokio runtime to serve on")]
    NoRuntime(#[from] tokio::runtime::TryCurrentError),
    /// A socket could not be taken over.
    #[error("cannot take over the {socket} socket: {source}")]
    Socket {
        /// Which one.
        socket: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// The egress of one sandbox, until shut down or dropped.
pub struct Egress {
    pub(crate) context: Arc<Context>,
    /// Dropping the handle without a shutdown still ends the tasks, only unwaited for.
    _guard: DropGuard,
}

impl Egress {
    /// Starts serving.
    ///
    /// # Errors
    /// When a socket cannot be handed to the runtime, or there is none.
    pub fn serve(listeners: Listeners, config: Config) -> Result<Self, ServeError> {
        let runtime = tokio::runtime::Handle::try_current()?;
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        let proxies = [&listeners.http, &listeners.socks]
            .into_iter()
            .flatten()
            .filter_map(|listener| listener.local_addr().ok())
            .collect();
        let context = Arc::new(Context {
            proxies,
            policy: config.policy,
            events: config.events,
            resolver: config.resolver,
            token: config.token.map(Token::new),
            names: SyntheticNames::new(config.bounds.names),
            told: told::Told::default(),
            #[cfg(target_os = "linux")]
            datagrams: Arc::new(Semaphore::new(config.bounds.datagram_flows)),
            pool: http::Pool::new(config.bounds.pooled),
            connections: Arc::new(Semaphore::new(config.bounds.connections)),
            share: Share::new(),
            lookups: Semaphore::new(config.bounds.lookups),
            held: Semaphore::new(config.bounds.held),
            gate: config.gate,
            flows: Arc::default(),
            bounds: config.bounds,
            cancel,
            tasks: TaskTracker::new(),
            runtime,
        });

        // All are taken over before any is served: a failure half-way must not leave a sandbox half-connected.
        let http = listeners
            .http
            .map(|listener| take_tcp("http", listener))
            .transpose()?;
        let socks = listeners
            .socks
            .map(|listener| take_tcp("socks5", listener))
            .transpose()?;
        let transparent = take_all("transparent", listeners.transparent, take_tcp)?;
        let dns_tcp = take_all("dns over tcp", listeners.dns_tcp, take_tcp)?;
        let dns_udp = take_all("dns over udp", listeners.dns_udp, |socket, udp| {
            dns::udp::take(udp).map_err(|source| ServeError::Socket { socket, source })
        })?;

        #[cfg(target_os = "linux")]
        let udp = take_all("udp", listeners.udp, |socket, udp| {
            dns::udp::take(udp).map_err(|source| ServeError::Socket { socket, source })
        })?;

        if let Some(listener) = http {
            accept(&context, listener, http::serve);
            context.tasks.spawn(http::sweep(Arc::clone(&context)));
        }
        if let Some(listener) = socks {
            accept(&context, listener, |context, stream, slot| async move {
                socks::serve(context, stream).await;
                drop(slot);
            });
        }
        for listener in transparent {
            accept(&context, listener, |context, stream, slot| async move {
                transparent::serve(context, stream).await;
                drop(slot);
            });
        }
        for listener in dns_tcp {
            accept(&context, listener, |context, stream, slot| async move {
                dns::tcp::serve(context, stream).await;
                drop(slot);
            });
        }
        context.tasks.spawn(told::sum_up(Arc::clone(&context)));
        for socket in dns_udp {
            context
                .tasks
                .spawn(dns::udp::serve(Arc::clone(&context), socket));
        }
        #[cfg(target_os = "linux")]
        for socket in udp {
            context
                .tasks
                .spawn(crate::udp::serve(Arc::clone(&context), socket));
        }
        context.tasks.spawn(flows::keep(Arc::clone(&context)));
        Ok(Self {
            context,
            _guard: guard,
        })
    }

    /// The permitted exchanges under way, the oldest first.
    pub fn flows(&self) -> Vec<LiveFlow> {
        self.context.flows.list()
    }

    /// The same for somebody who does not hold the egress, and does not keep it alive.
    pub fn watch(&self) -> FlowsHandle {
        FlowsHandle::new(&self.context.flows)
    }

    /// Stops accepting, ends every connection, and returns when every task has ended and every event is handed over.
    pub async fn shutdown(self) {
        self.context.cancel.cancel();
        self.context.tasks.close();
        self.context.tasks.wait().await;
        // Only now: until its task had ended, a client could still give a connection back.
        self.context.pool.clear();
    }
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress")
            .field("tasks", &self.context.tasks.len())
            .finish_non_exhaustive()
    }
}

fn take_tcp(
    socket: &'static str,
    listener: TcpListener,
) -> Result<tokio::net::TcpListener, ServeError> {
    listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(listener))
        .map_err(|source| ServeError::Socket { socket, source })
}

fn take_all<S, T>(
    socket: &'static str,
    sockets: Vec<S>,
    take: impl Fn(&'static str, S) -> Result<T, ServeError>,
) -> Result<Vec<T>, ServeError> {
    sockets.into_iter().map(|one| take(socket, one)).collect()
}

/// Accepts for as long as the sandbox lives. A connection is a task of its own, so none holds up the next; only
/// having all connections in use does, and that only this sandbox.
fn accept<F, S>(context: &Arc<Context>, listener: tokio::net::TcpListener, serve: S)
where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(Arc<Context>, TcpStream, OwnedSemaphorePermit) -> F + Send + Sync + 'static,
{
    let context = Arc::clone(context);
    let tasks = context.tasks.clone();
    tasks.spawn(async move {
        let cancel = context.cancel.clone();
        let accepting = async {
            loop {
                match listener.accept().await {
                    Ok((stream, _peer)) => {
                        // Nothing tells when other sandboxes end; and it is rare.
                        while !context.has_share_left() {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        // Closed semaphores do not happen here: nobody closes this one.
                        let Ok(slot) = Arc::clone(&context.connections).acquire_owned().await
                        else {
                            return;
                        };
                        let _ = stream.set_nodelay(true);
                        context
                            .tasks
                            .spawn(serve(Arc::clone(&context), stream, slot));
                    }
                    // Out of descriptors, or a connection gone before it was accepted. The first needs a moment to
                    // pass, or this loop would spin.
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        };
        let _ = cancel.run_until_cancelled(accepting).await;
    });
}
