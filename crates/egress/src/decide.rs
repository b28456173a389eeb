//! The one pipeline from a target to a connection: decide → the user's proxy? → resolve on the host → check → dial.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use srt_policy::{
    Checked, Decision, Denial, FlowKind, Host, NetworkPolicy, Permit, Target, Upstream,
};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::context::Context;
use crate::dial::dial;
#[cfg(target_os = "linux")]
use crate::dial::dial_datagrams;
use crate::flows::Exchange;
use crate::handoff::{HandoffError, hand_on};
use crate::own;
use crate::secured::secure;
use crate::{Event, FrontEnd};

/// Why something permitted could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The host's resolver failed.
    #[error("cannot resolve {name}: {source}")]
    Resolve {
        /// The name.
        name: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// The name has no address.
    #[error("{name} has no address")]
    NoAddress {
        /// The name.
        name: String,
    },
    /// This host's own addresses, which must not be reached, could not be read.
    #[error("cannot read this host's own addresses: {0}")]
    OwnAddresses(io::Error),
    /// No address answered; the last one's error.
    #[error("cannot connect to {address}: {source}")]
    Dial {
        /// The last address tried.
        address: SocketAddr,
        /// What it answered.
        source: io::Error,
    },
    /// The user's own proxy did not hand on.
    #[error("the proxy at {address} did not connect: {source}")]
    Handoff {
        /// The proxy.
        address: SocketAddr,
        /// What it answered.
        source: HandoffError,
    },
}

/// Why the pipeline ended without a connection. Already recorded.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Policy says no.
    Denied(Box<Denial>),
    /// Policy says yes, the network says no.
    Failed(Failure),
}

/// A decision, with the policy that made it.
pub(crate) struct Permitted {
    pub(crate) policy: Arc<NetworkPolicy>,
    pub(crate) permit: Permit,
}

/// A connection to the outside.
pub(crate) struct Outbound {
    pub(crate) stream: TcpStream,
    pub(crate) address: SocketAddr,
    pub(crate) exchange: Exchange,
    /// The user's own HTTP proxy at the other end, which is still to be asked, request by request. Without plain
    /// HTTP there is none: a proxy has then been asked to connect.
    pub(crate) parent: Option<Upstream>,
}

impl Context {
    /// The first step alone: what the current policy says, and where it says "ask", a person. The HTTP front end takes
    /// it before each request, also when it then reuses a connection. `client` is watched for its leaving while it is
    /// held; `None` where the front end itself sees that.
    pub(crate) async fn decide(
        self: &Arc<Self>,
        front_end: FrontEnd,
        target: &Target,
        client: Option<&TcpStream>,
    ) -> Result<Permitted, Refused> {
        let policy = self.policy();
        let decided = match policy.decide(target) {
            Decision::Allow(permit) => Ok((policy, permit)),
            Decision::Deny(denial) => Err(denial),
            Decision::Ask(question) => self.held(front_end, question, client).await,
        };
        match decided {
            Ok((policy, permit)) => {
                self.room().await;
                Ok(Permitted { policy, permit })
            }
            Err(denial) => {
                self.denied(front_end, denial.clone()).await;
                Err(Refused::Denied(Box::new(denial)))
            }
        }
    }

    /// The whole pipeline, for a tunnel.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        front_end: FrontEnd,
        target: &Target,
        client: Option<&TcpStream>,
    ) -> Result<Outbound, Refused> {
        let permitted = self.decide(front_end, target, client).await?;
        self.refuse_opaque(front_end, &permitted).await?;
        self.open(front_end, &permitted, FlowKind::Tunnel).await
    }

    /// `network.refuseOpaqueTunnels`: what would pass in a tunnel cannot be read, since nothing here opens TLS. Every
    /// way to a tunnel comes by: CONNECT, SOCKS5, captured connections, and requests that offer to switch protocols.
    pub(crate) async fn refuse_opaque(
        &self,
        front_end: FrontEnd,
        permitted: &Permitted,
    ) -> Result<(), Refused> {
        if !permitted.policy.requests().refuse_opaque_tunnels {
            return Ok(());
        }
        let denial = Denial {
            generation: permitted.permit.generation(),
            subject: permitted.permit.target().to_string(),
            reason: "network.refuseOpaqueTunnels: nobody can see what passes in a tunnel; only plain HTTP \
                     through the HTTP proxy can be read"
                .to_owned(),
            rule: None,
            remedy: Some("\"network\": { \"refuseOpaqueTunnels\": false }".to_owned()),
        };
        self.denied(front_end, denial.clone()).await;
        Err(Refused::Denied(Box::new(denial)))
    }

    /// The steps after the decision.
    pub(crate) async fn open(
        self: &Arc<Self>,
        front_end: FrontEnd,
        permitted: &Permitted,
        kind: FlowKind,
    ) -> Result<Outbound, Refused> {
        let opened = self.open_unrecorded(front_end, permitted, kind).await;
        self.told(front_end, permitted, opened).await
    }

    /// The same for datagrams, which go through no proxy.
    #[cfg(target_os = "linux")]
    pub(crate) async fn open_datagrams(
        self: &Arc<Self>,
        permitted: &Permitted,
    ) -> Result<(tokio::net::UdpSocket, Exchange), Refused> {
        let opened = async {
            let checked = self.checked(permitted).await?;
            let (socket, address) = dial_datagrams(&checked).await.map_err(Refused::Failed)?;
            let exchange = Exchange::new(self, FrontEnd::Udp, permitted, address);
            Ok((socket, exchange))
        };
        let opened = opened.await;
        self.told(FrontEnd::Udp, permitted, opened).await
    }

    /// Records why there is no connection.
    async fn told<T>(
        &self,
        front_end: FrontEnd,
        permitted: &Permitted,
        opened: Result<T, Refused>,
    ) -> Result<T, Refused> {
        match &opened {
            Ok(_) => {}
            Err(Refused::Denied(denial)) => self.denied(front_end, (**denial).clone()).await,
            Err(Refused::Failed(failure)) => {
                let target = permitted.permit.target().clone();
                let error = failure.to_string();
                tracing::debug!(%front_end, %target, %error, "permitted but not reached");
                self.record(Event::Failed {
                    front_end,
                    target,
                    error,
                    generation: permitted.permit.generation(),
                })
                .await;
            }
        }
        opened
    }

    async fn open_unrecorded(
        self: &Arc<Self>,
        front_end: FrontEnd,
        permitted: &Permitted,
        kind: FlowKind,
    ) -> Result<Outbound, Refused> {
        let Permitted { policy, permit } = permitted;
        let checked = match policy.upstream(permit, kind) {
            Some(upstream) => {
                let addresses = self
                    .resolve(&upstream.proxy().host)
                    .await
                    .map_err(Refused::Failed)?;
                policy
                    .check_upstream(permit.clone(), upstream, &addresses)
                    .map_err(|denial| Refused::Denied(Box::new(denial)))?
            }
            None => self.checked(permitted).await?,
        };

        let limit = self.bounds.dial_timeout;
        let (mut stream, address) = dial(&checked, limit).await.map_err(Refused::Failed)?;
        // An HTTP proxy takes plain requests as they are; all else it is asked to connect.
        let parent = checked.upstream().filter(|upstream| {
            kind == FlowKind::PlainHttp && matches!(upstream, Upstream::Http { .. })
        });
        if let Some(upstream) = checked.upstream() {
            let handing = async {
                if matches!(upstream, Upstream::Http { tls: true, .. }) {
                    stream = secure(self, stream, &upstream.proxy().host).await?;
                }
                if parent.is_none() {
                    hand_on(&mut stream, upstream, permit.target()).await?;
                }
                Ok(stream)
            };
            stream = timeout(limit, handing)
                .await
                .unwrap_or(Err(HandoffError::TimedOut))
                .map_err(|source| Refused::Failed(Failure::Handoff { address, source }))?;
        }
        let exchange = Exchange::through(self, front_end, kind, permitted, address);
        let parent = parent.cloned();
        Ok(Outbound {
            stream,
            address,
            exchange,
            parent,
        })
    }

    /// The target's own addresses, those that may be dialled.
    async fn checked(&self, permitted: &Permitted) -> Result<Checked, Refused> {
        let Permitted { policy, permit } = permitted;
        let addresses = self
            .resolve(&permit.target().host)
            .await
            .map_err(Refused::Failed)?;
        let own =
            own::addresses().map_err(|error| Refused::Failed(Failure::OwnAddresses(error)))?;
        policy
            .check(permit.clone(), &addresses, &own)
            .map_err(|denial| Refused::Denied(Box::new(denial)))
    }

    async fn resolve(&self, host: &Host) -> Result<Vec<IpAddr>, Failure> {
        let name = match host {
            Host::Ip(ip) => return Ok(vec![*ip]),
            Host::Name(name) => name,
        };
        let lookup = async {
            // The semaphore is never closed; were it, going on would only lift the bound.
            let _slot = self.lookups.acquire().await;
            self.resolver.resolve(name).await
        };
        let addresses = timeout(self.bounds.dial_timeout, lookup)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| Failure::Resolve {
                name: name.clone(),
                source,
            })?;
        if addresses.is_empty() {
            return Err(Failure::NoAddress { name: name.clone() });
        }
        Ok(addresses)
    }
}
