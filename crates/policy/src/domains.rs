//! A list of domain rules, found by host: a decision costs the labels of a name, not the length of the list.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::host::LOCALHOST;
use crate::pattern::{HostPattern, Pattern};
use crate::{Host, RuleRef, Target};

#[derive(Clone, Debug)]
pub(crate) struct DomainRule {
    pub(crate) pattern: Pattern,
    pub(crate) rule: Arc<RuleRef>,
    /// Its entry in `network.deniedDomainReasons`.
    pub(crate) reason: Option<String>,
    /// Whether a wildcard is what allows it: the name must then be told over TLS.
    pub(crate) below_wildcard: bool,
}

impl DomainRule {
    pub(crate) fn refusal(&self) -> String {
        let list = format!("{} has {:?}", self.rule.key, self.rule.pattern);
        match &self.reason {
            Some(reason) => format!("{list}: {reason}"),
            None => list,
        }
    }
}

/// Rules in the order of their document, with their places by host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Domains {
    rules: Vec<DomainRule>,
    names: HashMap<String, Vec<usize>>,
    addresses: HashMap<IpAddr, Vec<usize>>,
    /// By the base of a wildcard.
    below: HashMap<String, Vec<usize>>,
    /// The labels of the longest such base.
    deepest: usize,
    any: Vec<usize>,
}

impl FromIterator<DomainRule> for Domains {
    fn from_iter<I: IntoIterator<Item = DomainRule>>(rules: I) -> Self {
        let mut domains = Self::default();
        rules.into_iter().for_each(|rule| domains.push(rule));
        domains
    }
}

impl Domains {
    pub(crate) fn push(&mut self, rule: DomainRule) {
        let place = self.rules.len();
        match &rule.pattern.host {
            HostPattern::Exact(Host::Name(name)) => {
                self.names.entry(name.clone()).or_default().push(place);
            }
            HostPattern::Exact(Host::Ip(ip)) => {
                self.addresses.entry(*ip).or_default().push(place);
            }
            HostPattern::Subdomains(base) => {
                self.deepest = self.deepest.max(base.split('.').count());
                self.below.entry(base.clone()).or_default().push(place);
            }
            HostPattern::Any => self.any.push(place),
        }
        self.rules.push(rule);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// All, in the document's order, to be changed in what they are not found by.
    pub(crate) fn iter_mut(&mut self) -> std::slice::IterMut<'_, DomainRule> {
        self.rules.iter_mut()
    }

    /// All, in the document's order.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, DomainRule> {
        self.rules.iter()
    }

    /// The first in the document's order that matches.
    pub(crate) fn find(&self, target: &Target) -> Option<&DomainRule> {
        self.places(&target.host)
            .filter_map(|place| Some((place, self.rules.get(place)?)))
            .filter(|(_, rule)| rule.pattern.covers_port(target.port))
            .min_by_key(|(place, _)| *place)
            .map(|(_, rule)| rule)
    }

    /// Those that match the host at some port, in no order.
    pub(crate) fn speaking_of<'a>(
        &'a self,
        host: &'a Host,
    ) -> impl Iterator<Item = &'a DomainRule> {
        self.places(host).filter_map(|place| self.rules.get(place))
    }

    /// A wildcard just below this name, which does not cover the name itself.
    pub(crate) fn just_below(&self, name: &str) -> Option<&DomainRule> {
        self.rules.get(*self.below.get(name)?.first()?)
    }

    /// The first that allows the target. An address of `localhost` in the list lets that name be asked for, too: it
    /// leads to that address alone, which the check of addresses sees to.
    pub(crate) fn allowing(&self, target: &Target) -> Option<&DomainRule> {
        let of_localhost = || {
            let targets = LOCALHOST.map(|ip| Target {
                host: Host::Ip(ip),
                port: target.port,
            });
            targets.iter().find_map(|target| self.find(target))
        };
        self.find(target)
            .or_else(|| target.host.is_localhost().then(of_localhost).flatten())
    }

    /// The rules that name this very address and speak of this port.
    pub(crate) fn naming(&self, ip: IpAddr, port: u16) -> impl Iterator<Item = &DomainRule> {
        let places = self.addresses.get(&ip).into_iter().flatten();
        places
            .filter_map(|place| self.rules.get(*place))
            .filter(move |rule| rule.pattern.covers_port(port))
    }

    /// The rules that name `localhost` and speak of this port.
    pub(crate) fn naming_localhost(&self, port: u16) -> impl Iterator<Item = &DomainRule> {
        let places = self.names.get("localhost").into_iter().flatten();
        places
            .filter_map(|place| self.rules.get(*place))
            .filter(move |rule| rule.pattern.covers_port(port))
    }

    fn places<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = usize> + 'a {
        let (exact, name) = match host {
            Host::Name(name) => (self.names.get(name), name.as_str()),
            Host::Ip(ip) => (self.addresses.get(ip), ""),
        };
        let localhost = host.is_localhosts().then(|| self.names.get("localhost"));
        // From the right: the n-th dot stands in front of n labels.
        let below = name
            .rmatch_indices('.')
            .take(self.deepest)
            .filter_map(|(dot, _)| self.below.get(name.get(dot + 1..)?))
            .flatten();
        exact
            .into_iter()
            .chain(localhost.flatten())
            .flatten()
            .chain(below)
            .chain(&self.any)
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;
    use crate::pattern::List;

    fn rule(text: &str) -> DomainRule {
        DomainRule {
            pattern: Pattern::parse(text, List::Denied).expect(text),
            rule: Arc::new(RuleRef {
                key: "network.deniedDomains".to_owned(),
                pattern: text.to_owned(),
                origin: Origin::BuiltIn("a test"),
            }),
            reason: None,
            below_wildcard: false,
        }
    }

    /// Lists drawn from a few entries that overlap: the index finds the rule that reading them in order finds.
    #[test]
    fn the_first_rule_in_order_decides() {
        let entries = [
            "a.example.com",
            "*.example.com",
            "*.a.example.com",
            "*.a.example.com:443",
            "a.example.com:443",
            "*.b.a.example.com",
            "example.com",
            "*",
            "*:443",
            "192.0.2.1",
            "192.0.2.1:443",
            "[::1]",
            "127.0.0.1:80",
            "localhost",
            "localhost:443",
        ];
        let hosts = [
            "example.com",
            "a.example.com",
            "x.a.example.com",
            "x.b.a.example.com",
            "aexample.com",
            "com",
            "localhost",
            "192.0.2.1",
            "192.0.2.2",
            "127.0.0.1",
            "127.0.0.2",
            "::1",
        ];
        // A linear congruential generator (Knuth's constants): the same lists in every run.
        let mut seed = 3_u64;
        let mut draw = |below: usize| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).expect("31 bits") % below
        };
        let mut found = 0;
        for _ in 0..500 {
            let list: Vec<DomainRule> = (0..draw(8))
                .map(|_| rule(entries[draw(entries.len())]))
                .collect();
            let domains = Domains::from_iter(list.iter().cloned());
            for host in hosts {
                let host = Host::parse(host).expect(host);
                for port in [80, 443] {
                    let target = Target {
                        host: host.clone(),
                        port,
                    };
                    let first = list.iter().position(|rule| {
                        rule.pattern.host.matches(&host) && rule.pattern.covers_port(port)
                    });
                    let place = domains.find(&target).map(|found| {
                        let same = |rule: &DomainRule| Arc::ptr_eq(&rule.rule, &found.rule);
                        list.iter().position(same).expect("one of the list")
                    });
                    assert_eq!(place, first, "{target} in {list:?}");
                    found += usize::from(place.is_some());
                }
                let speaking = list
                    .iter()
                    .filter(|rule| rule.pattern.host.matches(&host))
                    .count();
                assert_eq!(domains.speaking_of(&host).count(), speaking, "{host}");
            }
        }
        assert!(found > 1000, "{found} targets were found");
    }
}
