//! Which hosts a server may reach.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::address::classify;
use crate::pattern::{HostPattern, Pattern};
use crate::{Decision, Denial, Host, Origin, Permit, RuleRef, Target, Upstream};

pub(crate) const ALLOWED: &str = "network.allowedDomains";
pub(crate) const DENIED: &str = "network.deniedDomains";
pub(crate) const DENIED_ADDRESSES: &str = "network.deniedResolvedAddresses";

/// The network half of a policy.
#[derive(Clone, Debug, Default)]
pub struct NetworkPolicy {
    pub(crate) allowed: Vec<DomainRule>,
    pub(crate) denied: Vec<DomainRule>,
    pub(crate) denied_ranges: Vec<RangeRule>,
    pub(crate) http_upstream: Option<UpstreamRule>,
    pub(crate) socks_upstream: Option<UpstreamRule>,
}

#[derive(Clone, Debug)]
pub(crate) struct DomainRule {
    pub(crate) pattern: Pattern,
    pub(crate) rule: RuleRef,
    /// Its entry in `network.deniedDomainReasons`.
    pub(crate) reason: Option<String>,
}

impl DomainRule {
    /// Whether it names this very address and could speak of this port.
    pub(crate) fn names_address(&self, ip: IpAddr, port: u16) -> bool {
        self.pattern.host == HostPattern::Exact(Host::Ip(ip)) && self.pattern.covers_port(port)
    }

    pub(crate) fn refusal(&self) -> String {
        let list = format!("{DENIED} has {:?}", self.rule.pattern);
        match &self.reason {
            Some(reason) => format!("{list}: {reason}"),
            None => list,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct RangeRule {
    pub(crate) range: IpNet,
    pub(crate) rule: RuleRef,
}

#[derive(Clone, Debug)]
pub(crate) struct UpstreamRule {
    pub(crate) upstream: Upstream,
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

impl NetworkPolicy {
    /// Decides on a connection: denied domains first, then allowed ones, then no.
    pub fn decide(&self, target: &Target) -> Decision {
        if let Some(denied) = self.denied.iter().find(|rule| rule.pattern.matches(target)) {
            return Decision::Deny(Denial {
                subject: target.to_string(),
                reason: denied.refusal(),
                rule: Some(denied.rule.clone()),
                remedy: None,
            });
        }
        match self
            .allowed
            .iter()
            .find(|rule| rule.pattern.matches(target))
        {
            Some(allowed) => Decision::Allow(Permit {
                target: target.clone(),
                rule: allowed.rule.clone(),
            }),
            None => Decision::Deny(self.nothing_allows(&target.host, Some(target.port))),
        }
    }

    /// Decides on a name lookup: `Ok` if some port of the name could be allowed.
    ///
    /// # Errors
    /// The denial, when no port of the name could be.
    #[expect(
        clippy::result_large_err,
        reason = "a refusal is read by people: its words cost more than its size"
    )]
    pub fn decide_lookup(&self, host: &Host) -> Result<(), Denial> {
        let mut refused = None;
        for allowed in self
            .allowed
            .iter()
            .filter(|rule| rule.pattern.host.matches(host))
        {
            let denied = self.denied.iter().find(|rule| {
                rule.pattern.host.matches(host)
                    && (rule.pattern.port.is_none() || rule.pattern.port == allowed.pattern.port)
            });
            match denied {
                None => return Ok(()),
                Some(denied) => refused = Some(denied),
            }
        }
        // A denied name is reported as denied even where nothing would have allowed it: the line that one could
        // add would not help.
        let refused = refused.or_else(|| {
            self.denied
                .iter()
                .find(|rule| rule.pattern.port.is_none() && rule.pattern.host.matches(host))
        });
        Err(match refused {
            Some(denied) => Denial {
                subject: host.to_string(),
                reason: denied.refusal(),
                rule: Some(denied.rule.clone()),
                remedy: None,
            },
            None => self.nothing_allows(host, None),
        })
    }

    /// The default refusal, with the nearest miss: what one would otherwise hunt for.
    fn nothing_allows(&self, host: &Host, port: Option<u16>) -> Denial {
        let subject = match port {
            Some(port) => Target {
                host: host.clone(),
                port,
            }
            .to_string(),
            None => host.to_string(),
        };
        let mut reason = if self.allowed.is_empty() {
            format!("{ALLOWED} is empty, so no host can be reached")
        } else {
            format!("no rule in {ALLOWED} matches")
        };
        let other_port = self
            .allowed
            .iter()
            .find(|rule| rule.pattern.host.matches(host));
        let parent = self.allowed.iter().find(
            |rule| matches!((&rule.pattern.host, host), (HostPattern::Subdomains(base), Host::Name(name)) if base == name),
        );
        if let Some(rule) = other_port {
            reason.push_str(&format!("; {:?} is for another port", rule.rule.pattern));
        } else if let Some(rule) = parent {
            reason.push_str(&format!(
                "; {:?} covers subdomains, not the domain itself",
                rule.rule.pattern
            ));
        }
        let mut nameable = true;
        match host {
            Host::Ip(ip) => {
                if let Some(class) = classify(*ip, &[]) {
                    reason.push_str(&format!(
                        "; the address is {}: {}",
                        class.name, class.reason
                    ));
                } else {
                    reason.push_str(
                        "; an address is allowed only by naming it, never through a domain",
                    );
                }
            }
            Host::Name(name) if !name.contains('.') && name != "localhost" => {
                nameable = false;
                reason.push_str("; a name of a single label cannot be allowed, its full name or its address can");
            }
            Host::Name(_) => {}
        }
        Denial {
            remedy: nameable.then(|| allow_line(&subject)),
            subject,
            reason,
            rule: None,
        }
    }

    /// Loopback literals with a port in `allowedDomains` (`127.0.0.1:3000`, `[::1]:3000`, and both of them for
    /// `localhost:3000`): a sandbox has a loopback of its own, so the transparent front end must listen at
    /// exactly these. Sorted; without those that `deniedDomains` refuses.
    pub fn loopback_listeners(&self) -> Vec<SocketAddr> {
        let mut listeners = BTreeSet::new();
        for rule in &self.allowed {
            let (HostPattern::Exact(host), Some(port)) = (&rule.pattern.host, rule.pattern.port)
            else {
                continue;
            };
            let target = Target {
                host: host.clone(),
                port,
            };
            if matches!(self.decide(&target), Decision::Deny(_)) {
                continue;
            }
            match host {
                Host::Ip(ip) if ip.is_loopback() => {
                    listeners.insert(SocketAddr::new(*ip, port));
                }
                Host::Name(name) if name == "localhost" => {
                    listeners.insert(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
                    listeners.insert(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port));
                }
                Host::Ip(_) | Host::Name(_) => {}
            }
        }
        listeners.into_iter().collect()
    }

    /// Whether any host at all can be allowed.
    pub fn allows_anything(&self) -> bool {
        let everything_denied = self
            .denied
            .iter()
            .any(|rule| rule.pattern.host == HostPattern::Any && rule.pattern.port.is_none());
        !self.allowed.is_empty() && !everything_denied
    }
}

/// The settings line that allows `entry`.
pub(crate) fn allow_line(entry: &str) -> String {
    format!("\"network\": {{ \"allowedDomains\": [\"{entry}\"] }}")
}
