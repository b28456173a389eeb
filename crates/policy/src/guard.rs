//! From a permit to addresses that may be dialled: the resolved-address check.

use std::net::{IpAddr, SocketAddr};

use crate::address::{classify, faces};
use crate::decision::Ground;
use crate::domains::Domains;
use crate::host::LOCALHOST;
use crate::network::{ALLOWED, ALLOWED_UDP, allow_line};
use crate::{Checked, Denial, Host, NetworkPolicy, Origin, Permit, RuleRef, Target, Upstream};

impl NetworkPolicy {
    /// Checks the addresses that a permitted target resolved to (pure: the addresses and this host's own
    /// addresses are facts). Addresses of the denied classes are dropped, unless a literal in `allowedDomains`
    /// names that very address (and port, if it has one) or a rule is `localhost`, the address is loopback, and it or
    /// `localhost` was asked for. `localhost` leads to loopback and nowhere else.
    /// An address literal in `deniedDomains` stays refused whatever else names it. Where the target is itself an
    /// address, `resolved` is not looked at: that address is the only one that can be dialled, but for those of
    /// `localhost`, which are both where a rule is that name.
    ///
    /// The permit must come from this very policy's [`decide`](Self::decide).
    ///
    /// # Errors
    /// The denial, naming the class, when none is left.
    #[expect(
        clippy::result_large_err,
        reason = "a refusal is read by people: its words cost more than its size"
    )]
    pub fn check(
        &self,
        permit: Permit,
        resolved: &[IpAddr],
        own: &[IpAddr],
    ) -> Result<Checked, Denial> {
        let target = permit.target.clone();
        let literal;
        let resolved = match target.host {
            Host::Ip(ip) => {
                literal = self.meant(&permit, ip);
                &literal[..]
            }
            Host::Name(_) => resolved,
        };
        let mut addresses: Vec<SocketAddr> = Vec::new();
        let mut first_refusal = None;
        for ip in resolved.iter().map(IpAddr::to_canonical) {
            match self.refuses_address(&permit, ip, own) {
                None => {
                    let address = SocketAddr::new(ip, target.port);
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
                Some(refusal) if first_refusal.is_none() => first_refusal = Some(refusal),
                Some(_) => {}
            }
        }
        if !addresses.is_empty() {
            return Ok(Checked {
                permit,
                addresses,
                upstream: None,
            });
        }
        Err(first_refusal.unwrap_or_else(|| Denial {
            generation: self.generation,
            subject: target.to_string(),
            reason: "the name has no address".to_owned(),
            rule: None,
            remedy: None,
        }))
    }

    /// The addresses that one may mean: itself, and where it is one of `localhost` and allowed by that name, the other, too.
    /// A client that looks `localhost` up has both, finds either open in its sandbox and tries no further; the service
    /// itself may listen at one alone.
    fn meant(&self, permit: &Permit, ip: IpAddr) -> Vec<IpAddr> {
        let mut addresses = vec![ip];
        let port = permit.target.port;
        if permit.target.host.is_localhosts()
            && self.list(permit).naming_localhost(port).next().is_some()
        {
            addresses.extend(LOCALHOST.iter().filter(|other| **other != ip));
        }
        addresses
    }

    /// The list that a permit is by.
    fn list(&self, permit: &Permit) -> &Domains {
        match permit.ground {
            Ground::Datagrams => &self.allowed_udp,
            Ground::Rule | Ground::Observed(_) | Ground::Once => &self.allowed,
        }
    }

    pub(crate) fn refuses_address(
        &self,
        permit: &Permit,
        ip: IpAddr,
        own: &[IpAddr],
    ) -> Option<Denial> {
        let target = &permit.target;
        let denial = |reason: String, rule: RuleRef, remedy: Option<String>| {
            Some(Denial {
                generation: self.generation,
                subject: target.to_string(),
                reason,
                rule: Some(rule),
                remedy,
            })
        };
        let denied_literal =
            faces(ip).find_map(|face| self.denied.naming(face, target.port).next());
        if let Some(denied) = denied_literal {
            return denial(
                format!("it leads to {ip}, and {}", denied.refusal()),
                RuleRef::clone(&denied.rule),
                None,
            );
        }
        let list = self.list(permit);
        let key = match permit.ground {
            Ground::Datagrams => ALLOWED_UDP,
            Ground::Rule | Ground::Observed(_) | Ground::Once => ALLOWED,
        };
        let localhost = target.host.is_localhost();
        // Whatever the host's resolver has been told of it.
        if localhost && !ip.is_loopback() {
            return denial(
                format!("it leads to {ip}, and localhost is loopback alone"),
                built_in(
                    "localhost",
                    "localhost means this machine's own services (RFC 6761, section 6.3)",
                ),
                None,
            );
        }
        // `localhost` names its addresses where it is what is asked for, or they are.
        let is_asked = localhost || target.host == Host::Ip(ip);
        let is_its = target.host.is_localhosts() && Host::Ip(ip).is_localhosts();
        let means_it = ip.is_loopback() && (is_asked || is_its);
        let by_name = means_it.then(|| list.naming_localhost(target.port));
        let naming = list
            .naming(ip, target.port)
            .chain(by_name.into_iter().flatten());
        let mut granted = false;
        for rule in naming {
            match rule.rule.origin {
                Origin::Grant { .. } => granted = true,
                _ => return None,
            }
        }
        let remedy = allow_line(
            key,
            &Target {
                host: Host::Ip(ip),
                port: target.port,
            }
            .to_string(),
        );
        if let Some(denied) = self.denied_ranges.iter().find(|rule| rule.covers(ip)) {
            return Some(self.cited(denied.refusal(target, ip, Some(remedy))));
        }
        // A person's yes to an address opens it against what is built in, not against what the file denies.
        let once =
            matches!(permit.ground, Ground::Once) && (localhost || target.host == Host::Ip(ip));
        if once || granted {
            return None;
        }
        let class = classify(ip, own)?;
        let rule = built_in(class.name, class.reason);
        denial(
            format!(
                "it leads to {ip}, which is {}: {}",
                class.name, class.reason
            ),
            rule,
            Some(remedy),
        )
    }

    /// Turns a permit into a dialable one through `upstream`, whose addresses are a fact. They are the user's
    /// own choice and so not checked against the denied classes; a target that is itself an address is. The permit must come from this very policy's
    /// [`decide`](Self::decide).
    ///
    /// # Errors
    /// The denial, when the proxy has no address, or the target is an address of a denied class.
    #[expect(
        clippy::result_large_err,
        reason = "a refusal is read by people: its words cost more than its size"
    )]
    pub fn check_upstream(
        &self,
        permit: Permit,
        upstream: Upstream,
        resolved: &[IpAddr],
    ) -> Result<Checked, Denial> {
        // The proxy resolves names; an address is what it is. Only one that nobody named can be refused here.
        if let Host::Ip(ip) = permit.target.host
            && let Some(refusal) = self.refuses_address(&permit, ip, &[])
        {
            return Err(refusal);
        }
        let proxy = upstream.proxy();
        let addresses: Vec<SocketAddr> = resolved
            .iter()
            .map(|ip| SocketAddr::new(ip.to_canonical(), proxy.port))
            .collect();
        if addresses.is_empty() {
            return Err(Denial {
                generation: self.generation,
                subject: permit.target.to_string(),
                reason: format!("the proxy {proxy} has no address"),
                rule: None,
                remedy: None,
            });
        }
        Ok(Checked {
            permit,
            addresses,
            upstream: Some(upstream),
        })
    }
}

fn built_in(pattern: &str, reason: &'static str) -> RuleRef {
    RuleRef {
        key: "built-in".to_owned(),
        pattern: pattern.to_owned(),
        origin: Origin::BuiltIn(reason),
    }
}
