//! From a checked document to rules about hosts.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::parse_range;
use crate::compile::Compiler;
use crate::diagnostics::{Findings, nearest, quoted};
use crate::document::Located;
use crate::network::{ALLOWED, DENIED, DENIED_ADDRESSES, DomainRule, RangeRule, UpstreamRule};
use crate::pattern::{List, Pattern};
use crate::{Host, NetworkPolicy, RuleRef, Target, Upstream};

/// At most this many entries of a list are compared with another list for the sake of a warning: a hostile document
/// must not cost the square of its length.
const MOST_COMPARED: usize = 500;

impl Compiler<'_> {
    fn rule(&self, key: &str, entry: &Located<String>) -> RuleRef {
        RuleRef {
            key: key.to_owned(),
            pattern: entry.value.clone(),
            origin: self.origin(entry.offset),
        }
    }

    pub(crate) fn network(&self, findings: &mut Findings) -> NetworkPolicy {
        let mut network = NetworkPolicy {
            allowed: self.domains(ALLOWED, List::Allowed, findings),
            denied: self.domains(DENIED, List::Denied, findings),
            denied_ranges: self.ranges(findings),
            http_upstream: self.upstream("network.proxyConfig.http", findings),
            socks_upstream: self.upstream("network.proxyConfig.socks", findings),
        };
        self.reasons(&mut network.denied, findings);
        self.unreachable(&network, findings);
        network
    }

    fn domains(&self, key: &str, list: List, findings: &mut Findings) -> Vec<DomainRule> {
        let mut rules = Vec::new();
        for entry in self.document.strings(key) {
            match Pattern::parse(&entry.value, list) {
                Ok(pattern) => rules.push(DomainRule {
                    pattern,
                    rule: self.rule(key, &entry),
                    reason: None,
                }),
                Err(error) => findings.error(
                    entry.offset,
                    format!("{} in {key} {}", quoted(&entry.value), error.why),
                    Some(error.hint),
                ),
            }
        }
        rules
    }

    fn reasons(&self, denied: &mut [DomainRule], findings: &mut Findings) {
        let mut reasons: BTreeMap<String, String> = BTreeMap::new();
        let entries: BTreeSet<&str> = denied
            .iter()
            .map(|rule| rule.rule.pattern.as_str())
            .collect();
        for (name, reason) in self.document.members("network.deniedDomainReasons") {
            if entries.contains(name.value.as_str()) {
                reasons.insert(name.value, reason);
                continue;
            }
            let near = if findings.are_too_many() {
                None
            } else {
                nearest(&name.value, entries.iter().copied().take(MOST_COMPARED))
            };
            findings.warning(
                name.offset,
                format!(
                    "network.deniedDomainReasons has {}, which is no entry of {DENIED}",
                    quoted(&name.value)
                ),
                Some(match near {
                    Some(near) => format!("did you mean {}?", quoted(near)),
                    None => format!("add it to {DENIED}, or remove the reason"),
                }),
            );
        }
        for rule in denied {
            rule.reason = reasons.get(&rule.rule.pattern).cloned();
        }
    }

    /// An allowed entry that a denied one takes back whole is a mistake worth a word.
    fn unreachable(&self, network: &NetworkPolicy, findings: &mut Findings) {
        let entries = self.document.strings(ALLOWED);
        for entry in entries.iter().take(MOST_COMPARED) {
            let Ok(pattern) = Pattern::parse(&entry.value, List::Allowed) else {
                continue;
            };
            let taken_back = network.denied.iter().find(|denied| {
                denied.pattern.host.covers(&pattern.host)
                    && (denied.pattern.port.is_none() || denied.pattern.port == pattern.port)
            });
            if let Some(denied) = taken_back {
                findings.warning(
                    entry.offset,
                    format!(
                        "{} has no effect: {DENIED} has {}, which comes first",
                        quoted(&entry.value),
                        quoted(&denied.rule.pattern)
                    ),
                    None,
                );
            }
        }
    }

    fn ranges(&self, findings: &mut Findings) -> Vec<RangeRule> {
        let mut rules = Vec::new();
        for entry in self.document.strings(DENIED_ADDRESSES) {
            match parse_range(&entry.value) {
                Some(range) => rules.push(RangeRule {
                    range,
                    rule: self.rule(DENIED_ADDRESSES, &entry),
                }),
                None => findings.error(
                    entry.offset,
                    format!(
                        "{} in {DENIED_ADDRESSES} is no address and no range",
                        quoted(&entry.value)
                    ),
                    Some("write an address or a range such as \"192.0.2.1\", \"10.0.0.0/8\" or \"fd00::/8\"".to_owned()),
                ),
            }
        }
        rules
    }

    fn upstream(&self, key: &'static str, findings: &mut Findings) -> Option<UpstreamRule> {
        let entry = self.document.string(key)?;
        match parse_upstream(key, &entry.value) {
            Ok(upstream) => Some(UpstreamRule {
                upstream,
                origin: self.origin(entry.offset),
                text: entry.value,
            }),
            Err((why, hint)) => {
                // The URL itself is not repeated: it may hold a password.
                findings.error(entry.offset, format!("{key} {why}"), Some(hint));
                None
            }
        }
    }
}

fn parse_upstream(key: &str, text: &str) -> Result<Upstream, (&'static str, String)> {
    let http = key.ends_with(".http");
    let example = if http {
        "http://127.0.0.1:8080"
    } else {
        "socks5://127.0.0.1:1080"
    };
    let hint = || format!("write {example:?}");
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| ("is no URL", hint()))?;
    match (http, scheme) {
        (true, "http") | (false, "socks5" | "socks5h") => {}
        (true, "https") => {
            return Err((
                "asks for TLS to the proxy, which is not available yet",
                hint(),
            ));
        }
        _ => return Err(("has a scheme that is not for this kind of proxy", hint())),
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        return Err((
            "holds a user name or password, which is not supported yet",
            "run a local proxy that adds them, and name that one".to_owned(),
        ));
    }
    let (host, port) = authority
        .rsplit_once(':')
        .ok_or_else(|| ("has no port", hint()))?;
    if host.contains(':') && !host.starts_with('[') {
        return Err((
            "has an IPv6 address without brackets, or more than one port",
            hint(),
        ));
    }
    let port = port
        .parse::<u16>()
        .ok()
        .filter(|number| *number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()))
        .ok_or_else(|| ("has no port from 1 to 65535 at its end", hint()))?;
    let host = Host::parse(host).map_err(|_| ("names a host that is none", hint()))?;
    let target = Target { host, port };
    Ok(if http {
        Upstream::Http(target)
    } else {
        Upstream::Socks5(target)
    })
}
