//! From a permit to addresses that may be dialled: the resolved-address check, and the user's own proxy.

use std::net::{IpAddr, SocketAddr};

use crate::address::{classify, faces};
use crate::network::{DENIED_ADDRESSES, allow_line};
use crate::{Checked, Denial, Host, NetworkPolicy, Origin, Permit, RuleRef, Target, Upstream};

impl NetworkPolicy {
    /// Checks the addresses that a permitted target resolved to (pure: the addresses and this host's own
    /// addresses are facts). Addresses of the denied classes are dropped, unless a literal in `allowedDomains`
    /// names that very address (and port, if it has one) or the rule is `localhost` and the address is loopback.
    /// An address literal in `deniedDomains` stays refused whatever else names it. Where the target is itself an
    /// address, `resolved` is not looked at: that address is the only one that can be dialled.
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
                literal = [ip];
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
            subject: target.to_string(),
            reason: "the name has no address".to_owned(),
            rule: None,
            remedy: None,
        }))
    }

    fn refuses_address(&self, permit: &Permit, ip: IpAddr, own: &[IpAddr]) -> Option<Denial> {
        let target = &permit.target;
        let denial = |reason: String, rule: RuleRef, remedy: Option<String>| {
            Some(Denial {
                subject: target.to_string(),
                reason,
                rule: Some(rule),
                remedy,
            })
        };
        let denied_literal = faces(ip).find_map(|face| {
            self.denied
                .iter()
                .find(|rule| rule.names_address(face, target.port))
        });
        if let Some(denied) = denied_literal {
            return denial(
                format!("it leads to {ip}, and {}", denied.refusal()),
                denied.rule.clone(),
                None,
            );
        }
        if self
            .allowed
            .iter()
            .any(|rule| rule.names_address(ip, target.port))
        {
            return None;
        }
        if ip.is_loopback() && target.host == Host::Name("localhost".to_owned()) {
            // Only a rule that says `localhost` can have permitted this target.
            return None;
        }
        let remedy = allow_line(
            &Target {
                host: Host::Ip(ip),
                port: target.port,
            }
            .to_string(),
        );
        let denied_range = self
            .denied_ranges
            .iter()
            .find(|rule| faces(ip).any(|face| rule.range.contains(&face)));
        if let Some(denied) = denied_range {
            let reason = format!(
                "it leads to {ip}, and {DENIED_ADDRESSES} has {:?}",
                denied.rule.pattern
            );
            return denial(reason, denied.rule.clone(), Some(remedy));
        }
        let class = classify(ip, own)?;
        let rule = RuleRef {
            key: "built-in".to_owned(),
            pattern: class.name.to_owned(),
            origin: Origin::BuiltIn(class.reason),
        };
        denial(
            format!(
                "it leads to {ip}, which is {}: {}",
                class.name, class.reason
            ),
            rule,
            Some(remedy),
        )
    }

    /// The user's own proxy for a permitted target, if the settings name one: the HTTP one where both kinds are
    /// named. Loopback targets have none: at the far end of a proxy, loopback would be another machine's.
    pub fn upstream(&self, permit: &Permit) -> Option<Upstream> {
        let local = match &permit.target.host {
            Host::Ip(ip) => ip.is_loopback(),
            Host::Name(name) => name == "localhost",
        };
        if local {
            return None;
        }
        self.http_upstream
            .as_ref()
            .or(self.socks_upstream.as_ref())
            .map(|rule| rule.upstream.clone())
    }

    /// Turns a permit into a dialable one through `upstream`, whose addresses are a fact. They are the user's
    /// own choice and so not checked against the denied classes. The permit must come from this very policy's
    /// [`decide`](Self::decide).
    ///
    /// # Errors
    /// The denial, when the proxy has no address.
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
        let (Upstream::Http(proxy) | Upstream::Socks5(proxy)) = &upstream;
        let addresses: Vec<SocketAddr> = resolved
            .iter()
            .map(|ip| SocketAddr::new(ip.to_canonical(), proxy.port))
            .collect();
        if addresses.is_empty() {
            return Err(Denial {
                subject: permit.target.to_string(),
                reason: format!("the proxy {proxy} of network.proxyConfig has no address"),
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
