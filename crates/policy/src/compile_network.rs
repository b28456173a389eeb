//! From a checked document to rules about hosts.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::address::parse_range;
use crate::compile::Compiler;
use crate::compile_requests::STRIPPED;
use crate::diagnostics::{Findings, nearest, quoted};
use crate::document::Located;
use crate::domains::{DomainRule, Domains};
use crate::network::{ALLOWED, ALLOWED_UDP, DENIED, DENIED_ADDRESSES, RangeRule, Unlisted};
use crate::pattern::{HostPattern, List, Pattern};
use crate::suffix::{Shared, corrected, shared};
use crate::{Host, NetworkPolicy, Origin, RuleRef};

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
        let mut denied = self.domains(DENIED, List::Denied, findings);
        self.reasons(&mut denied, findings);
        let on = |key: &str| self.document.bool(key).is_some_and(|literal| literal.value);
        let off = |key: &str| {
            self.document
                .bool(key)
                .is_some_and(|literal| !literal.value)
        };
        let network = NetworkPolicy {
            allowed: Domains::from_iter(self.domains(ALLOWED, List::Allowed, findings)),
            allowed_udp: Domains::from_iter(self.domains(ALLOWED_UDP, List::Udp, findings)),
            denied: Domains::from_iter(denied),
            denied_ranges: self.ranges(findings),
            upstreams: self.upstreams(findings),
            unlisted: self.unlisted(findings),
            strict: on("network.strictAllowlist"),
            ask_timeout: self.ask_timeout(findings),
            drops_unrecorded: off("network.logDroppedConnections"),
            require_sni: self.document.bool("tls.requireSni").map(|on| on.value),
            refuse_ech: self.refuses_ech(),
            requests: self.requests(findings),
            settings: self.settings(),
            generation: None,
        };
        self.unreachable(&network, findings);
        network
    }

    /// What becomes of the hosts that no rule speaks of.
    fn unlisted(&self, findings: &mut Findings) -> Unlisted {
        const ENFORCE: &str = "network.enforceAllowlist";
        const STRICT: &str = "network.strictAllowlist";
        const ASK: &str = "network.ask";
        let set = |key, value| self.document.bool(key).filter(|found| found.value == value);
        let (strict, ask) = (set(STRICT, true), set(ASK, true));
        if let Some(observe) = set(ENFORCE, false) {
            if strict.is_some() {
                findings.error(
                    observe.offset,
                    format!("{ENFORCE}: false and {STRICT}: true contradict each other"),
                    Some("remove one of them: the first lets through what is not listed, the second refuses it without asking".to_owned()),
                );
            }
            self.too_broad(
                observe.offset,
                format!("with {ENFORCE}: false every host is reached that {DENIED} does not name"),
                "what the list would refuse is recorded as \"would be denied\": add what is needed to network.allowedDomains, and remove the key".to_owned(),
                findings,
            );
            if let Some(ask) = ask {
                findings.warning(
                    ask.offset,
                    format!(
                        "{ASK} has no effect: with {ENFORCE}: false there is nothing to ask about"
                    ),
                    Some("remove one of them".to_owned()),
                );
            }
            return Unlisted::Allowed(Arc::new(RuleRef {
                key: ENFORCE.to_owned(),
                pattern: "false".to_owned(),
                origin: self.origin(observe.offset),
            }));
        }
        match (ask, strict) {
            (None, _) => Unlisted::Refused,
            (Some(_), None) => Unlisted::Asked,
            (Some(ask), Some(_)) => {
                findings.warning(
                    ask.offset,
                    format!("{ASK} has no effect: with {STRICT}: true nobody is asked"),
                    Some("remove one of them".to_owned()),
                );
                Unlisted::Refused
            }
        }
    }

    fn ask_timeout(&self, findings: &mut Findings) -> Option<Duration> {
        const KEY: &str = "network.askTimeoutSeconds";
        let seconds = self.document.number(KEY)?;
        if seconds.value > MOST_ASK_SECONDS {
            findings.error(
                seconds.offset,
                format!(
                    "{KEY} must be from 1 to {MOST_ASK_SECONDS}, not {}",
                    seconds.value
                ),
                Some("few programs wait longer for a connection".to_owned()),
            );
        }
        if self
            .document
            .bool("network.ask")
            .is_none_or(|ask| !ask.value)
        {
            findings.warning(
                seconds.offset,
                format!("{KEY} has no effect: nobody is asked"),
                Some("add \"ask\": true, or remove it".to_owned()),
            );
        }
        Some(Duration::from_secs(seconds.value))
    }

    fn domains(&self, key: &str, list: List, findings: &mut Findings) -> Vec<DomainRule> {
        let mut rules = Vec::new();
        for entry in self.document.strings(key) {
            let parsed = Pattern::parse(&entry.value, list);
            if list == List::Allowed
                && let Ok(pattern) = &parsed
            {
                self.suffix(&entry, pattern, findings);
            }
            match parsed {
                Ok(pattern) => {
                    misspelt(key, &entry, &pattern, findings);
                    rules.push(DomainRule {
                        below_wildcard: matches!(pattern.host, HostPattern::Subdomains(_)),
                        pattern,
                        rule: Arc::new(self.rule(key, &entry)),
                        reason: None,
                    });
                }
                Err(error) => findings.error(
                    entry.offset,
                    format!("{} in {key} {}", quoted(&shown(&entry.value)), error.why),
                    Some(error.hint),
                ),
            }
        }
        rules
    }

    /// A wildcard whose names belong to many is wider than it looks.
    fn suffix(&self, entry: &Located<String>, pattern: &Pattern, findings: &mut Findings) {
        let HostPattern::Subdomains(base) = &pattern.host else {
            return;
        };
        let Some(shared) = shared(base) else {
            return;
        };
        let port = pattern
            .port
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        let (why, hint) = match shared {
            Shared::Registry => (
                "below which anybody can register a name",
                format!("name the domain that you mean, such as \"*.example.{base}{port}\""),
            ),
            Shared::Company => (
                "below which a company gives out names to anybody",
                format!("name the one that you mean, such as \"example.{base}{port}\""),
            ),
        };
        self.too_broad(
            entry.offset,
            format!(
                "{} in {ALLOWED} covers a public suffix, {why}",
                quoted(&entry.value)
            ),
            hint,
            findings,
        );
    }

    /// A rule that allows more than its writer may think: a warning, or an error where the document is strict.
    fn too_broad(&self, offset: usize, message: String, hint: String, findings: &mut Findings) {
        if self
            .document
            .bool("strict")
            .is_some_and(|strict| strict.value)
        {
            findings.error(
                offset,
                format!("{message}; with \"strict\": true that is an error"),
                Some(hint),
            );
        } else {
            findings.warning(offset, message, Some(hint));
        }
    }

    /// The keys of one value that the document sets, for `policy show`.
    fn settings(&self) -> Vec<(&'static str, String, Origin)> {
        let mut settings = Vec::new();
        for key in SETTINGS {
            let set = match self.document.bool(key) {
                Some(literal) => Some((literal.value.to_string(), literal.offset)),
                None => self
                    .document
                    .amount(key)
                    .map(|text| (text.value, text.offset)),
            };
            settings.extend(set.map(|(value, offset)| (*key, value, self.origin(offset))));
        }
        for header in self.document.strings(STRIPPED) {
            settings.push((STRIPPED, header.value, self.origin(header.offset)));
        }
        settings
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
        for (key, list) in [(ALLOWED, List::Allowed), (ALLOWED_UDP, List::Udp)] {
            for entry in self.document.strings(key).iter().take(MOST_COMPARED) {
                let Ok(pattern) = Pattern::parse(&entry.value, list) else {
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
}

/// A top-level domain that does not exist, and is one letter beside one that does, is a slip: such a rule allows, or
/// refuses, nothing.
fn misspelt(key: &str, entry: &Located<String>, pattern: &Pattern, findings: &mut Findings) {
    let (wildcard, name) = match &pattern.host {
        HostPattern::Exact(Host::Name(name)) => ("", name),
        HostPattern::Subdomains(base) => ("*.", base),
        HostPattern::Exact(Host::Ip(_)) | HostPattern::Any => return,
    };
    let Some(corrected) = corrected(name) else {
        return;
    };
    let port = pattern
        .port
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    findings.warning(
        entry.offset,
        format!(
            "{} in {key} has a top-level domain that does not exist",
            quoted(&entry.value)
        ),
        Some(format!("did you mean \"{wildcard}{corrected}{port}\"?")),
    );
}

/// An entry with `***` for the password that a URL may have brought along.
pub(crate) fn shown(entry: &str) -> Cow<'_, str> {
    let Some((front, host)) = entry.rsplit_once('@') else {
        return Cow::Borrowed(entry);
    };
    let begin = front.find("://").map_or(0, |scheme| scheme + 3);
    match front[begin..].find(':') {
        Some(user) => Cow::Owned(format!("{}:***@{host}", &front[..begin + user])),
        None => Cow::Borrowed(entry),
    }
}

/// Keys of one value.
const SETTINGS: &[&str] = &[
    "network.enforceAllowlist",
    "network.strictAllowlist",
    "network.ask",
    "network.askTimeoutSeconds",
    "network.logDroppedConnections",
    "network.parentProxy.noProxy",
    "network.allowPlaintextHeaderSet",
    "network.refuseOpaqueTunnels",
    "network.requireHostMatch",
    "network.ambiguousRequestTarget",
    "tls.requireSni",
    "tls.ech",
    "strict",
];

/// What `network.askTimeoutSeconds` may say at most.
pub(crate) const MOST_ASK_SECONDS: u64 = 600;
