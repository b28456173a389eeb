//! The one pipeline from a target to a connection: decide → the user's proxy? → resolve on the host → check → dial.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use srt_policy::{Decision, Denial, Host, NetworkPolicy, Permit, Target, Upstream};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::context::{Context, Exchange};
use crate::dial::dial;
use crate::handoff::{HandoffError, hand_on};
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
}

impl Context {
    /// The first step alone: what the current policy says. The HTTP front end takes it before each request, also
    /// when it then reuses a connection.
    pub(crate) async fn decide(
        &self,
        front_end: FrontEnd,
        target: &Target,
    ) -> Result<Permitted, Refused> {
        let policy = self.policy();
        match policy.decide(target) {
            Decision::Allow(permit) => {
                self.room().await;
                Ok(Permitted { policy, permit })
            }
            Decision::Deny(denial) => {
                self.denied(front_end, denial.clone()).await;
                Err(Refused::Denied(Box::new(denial)))
            }
        }
    }

    /// The whole pipeline.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        front_end: FrontEnd,
        target: &Target,
    ) -> Result<Outbound, Refused> {
        let permitted = self.decide(front_end, target).await?;
        self.open(front_end, &permitted).await
    }

    /// The steps after the decision.
    pub(crate) async fn open(
        self: &Arc<Self>,
        front_end: FrontEnd,
        permitted: &Permitted,
    ) -> Result<Outbound, Refused> {
        let opened = self.open_unrecorded(front_end, permitted).await;
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
    ) -> Result<Outbound, Refused> {
        let Permitted { policy, permit } = permitted;
        let checked = match policy.upstream(permit) {
            Some(upstream) => {
                let (Upstream::Http(proxy) | Upstream::Socks5(proxy)) = &upstream;
                let addresses = self.resolve(&proxy.host).await.map_err(Refused::Failed)?;
                policy.check_upstream(permit.clone(), upstream, &addresses)
            }
            None => {
                let addresses = self
                    .resolve(&permit.target().host)
                    .await
                    .map_err(Refused::Failed)?;
                let own = own_addresses()
                    .map_err(|error| Refused::Failed(Failure::OwnAddresses(error)))?;
                policy.check(permit.clone(), &addresses, &own)
            }
        }
        .map_err(|denial| Refused::Denied(Box::new(denial)))?;

        let limit = self.bounds.dial_timeout;
        let (mut stream, address) = dial(&checked, limit).await.map_err(Refused::Failed)?;
        if let Some(upstream) = checked.upstream() {
            timeout(limit, hand_on(&mut stream, upstream, permit.target()))
                .await
                .unwrap_or(Err(HandoffError::TimedOut))
                .map_err(|source| Refused::Failed(Failure::Handoff { address, source }))?;
        }
        let exchange = Exchange::new(self, front_end, permit.clone(), address);
        Ok(Outbound {
            stream,
            address,
            exchange,
        })
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

/// This host's own addresses, read anew at each dial: an interface may have come up since the last.
fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let mut own = Vec::new();
    for interface in nix::ifaddrs::getifaddrs()? {
        let Some(address) = interface.address else {
            continue;
        };
        if let Some(v4) = address.as_sockaddr_in() {
            own.push(IpAddr::V4(v4.ip()));
        } else if let Some(v6) = address.as_sockaddr_in6() {
            own.push(IpAddr::V6(v6.ip()));
        }
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_hold_loopback() {
        let own = own_addresses().unwrap();
        assert!(own.contains(&"127.0.0.1".parse().unwrap()), "{own:?}");
    }
}
