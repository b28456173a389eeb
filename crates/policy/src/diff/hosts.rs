//! Which hosts a server may reach by one policy and not by another.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Difference, Effect};
use crate::domains::{DomainRule, Domains};
use crate::network::{ALLOWED, ALLOWED_UDP, DENIED, DENIED_ADDRESSES, Unlisted};
use crate::pattern::{HostPattern, Pattern};
use crate::{NetworkPolicy, Origin, RuleRef};

/// What becomes of a connection, from the tightest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// By a rule of its own.
    Denied,
    /// No rule speaks of it.
    Refused,
    /// No rule speaks of it, and a person is asked.
    Asked,
    /// No rule speaks of it, and the list is only observed.
    Observed,
    Allowed,
}

pub(super) fn differences(before: &NetworkPolicy, after: &NetworkPolicy) -> Vec<Difference> {
    let mut found: Vec<Difference> = unlisted(before, after).into_iter().collect();
    for list in [List::Connections, List::Datagrams] {
        for rule in candidates(list, before, after) {
            found.extend(of_pattern(list, before, after, &rule));
        }
    }
    found.extend(ranges(before, after));
    found
}

/// The patterns of both policies, in the words of the newer one; and, where one speaks of every port of hosts of which a
/// wider one speaks at one port, those hosts at that port: what decides on them may differ.
fn candidates(list: List, before: &NetworkPolicy, after: &NetworkPolicy) -> Vec<DomainRule> {
    let mut written: BTreeMap<String, &DomainRule> = BTreeMap::new();
    for policy in [before, after] {
        for rule in list.of(policy).iter().chain(policy.denied.iter()) {
            written.insert(format!("{:?}", rule.pattern), rule);
        }
    }
    let mut all: BTreeMap<String, DomainRule> = BTreeMap::new();
    for rule in written.values().filter(|rule| rule.pattern.port.is_none()) {
        let same = (
            list.fate(before, &rule.pattern),
            list.fate(after, &rule.pattern),
        );
        for wider in written.values() {
            let Some(port) = wider.pattern.port else {
                continue;
            };
            if !wider.pattern.host.covers(&rule.pattern.host) {
                continue;
            }
            let at_port = at_port(rule, port);
            let fates = (
                list.fate(before, &at_port.pattern),
                list.fate(after, &at_port.pattern),
            );
            // Else what is said of every port says it.
            if fates != same && fates.0 != fates.1 {
                all.insert(format!("{:?}", at_port.pattern), at_port);
            }
        }
    }
    let rules = written.into_iter();
    all.extend(rules.map(|(key, rule)| (key, rule.clone())));
    let mut all: Vec<DomainRule> = all.into_values().collect();
    if list == List::Datagrams {
        // What denies is no permission to send datagrams: it is told once.
        let speaks = |rule: &DomainRule| {
            let mut policies = [before, after].into_iter();
            policies.any(|policy| names(list.of(policy), &rule.pattern).is_some())
        };
        all.retain(speaks);
    }
    all
}

fn at_port(rule: &DomainRule, port: u16) -> DomainRule {
    let mut at_port = rule.clone();
    at_port.pattern.port = Some(port);
    let mut told = RuleRef::clone(&rule.rule);
    told.pattern = format!("{}:{port}", told.pattern);
    at_port.rule = Arc::new(told);
    at_port
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    Connections,
    Datagrams,
}

impl List {
    fn of(self, policy: &NetworkPolicy) -> &Domains {
        match self {
            Self::Connections => &policy.allowed,
            Self::Datagrams => &policy.allowed_udp,
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Connections => ALLOWED,
            Self::Datagrams => ALLOWED_UDP,
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Connections => "reach",
            Self::Datagrams => "send datagrams to",
        }
    }

    /// What becomes of everything that a pattern matches, as far as one rule decides on all of it.
    fn fate(self, policy: &NetworkPolicy, pattern: &Pattern) -> Fate {
        if covering(&policy.denied, pattern).is_some() {
            return Fate::Denied;
        }
        if covering(self.of(policy), pattern).is_some() {
            return Fate::Allowed;
        }
        match (self, &policy.unlisted) {
            (Self::Connections, Unlisted::Asked) => Fate::Asked,
            (Self::Connections, Unlisted::Allowed(_)) => Fate::Observed,
            _ => Fate::Refused,
        }
    }

    /// The rule by which that becomes of it.
    fn deciding<'a>(
        self,
        policy: &'a NetworkPolicy,
        pattern: &Pattern,
        fate: Fate,
    ) -> Option<&'a DomainRule> {
        match fate {
            Fate::Denied => covering(&policy.denied, pattern),
            _ => covering(self.of(policy), pattern),
        }
    }
}

fn covers(wide: &Pattern, narrow: &Pattern) -> bool {
    wide.host.covers(&narrow.host) && (wide.port.is_none() || wide.port == narrow.port)
}

fn covering<'a>(list: &'a Domains, pattern: &Pattern) -> Option<&'a DomainRule> {
    list.iter().find(|rule| covers(&rule.pattern, pattern))
}

/// The entry of a list that is this very pattern.
fn names<'a>(list: &'a Domains, pattern: &Pattern) -> Option<&'a DomainRule> {
    list.iter().find(|rule| rule.pattern == *pattern)
}

fn of_pattern(
    list: List,
    before: &NetworkPolicy,
    after: &NetworkPolicy,
    rule: &DomainRule,
) -> Vec<Difference> {
    let pattern = &rule.pattern;
    let (was, is) = (list.fate(before, pattern), list.fate(after, pattern));
    let what = shown(rule);
    let verb = list.verb();
    if was == is {
        return said_otherwise(list, before, after, rule);
    }
    // What came and decides now, else what went and decided before.
    let (now, then) = (
        list.deciding(after, pattern, is),
        list.deciding(before, pattern, was),
    );
    let decisive = match (now, then) {
        (Some(now), None) => now,
        (Some(now), Some(then)) if has(after, then) && !has(before, now) => now,
        (_, Some(then)) => then,
        (None, None) => rule,
    };
    let but = exceptions(list, after, pattern, is);
    let (effect, text) = match (was, is) {
        (Fate::Denied, Fate::Refused) => (
            Effect::Neutral,
            format!("{what} is no longer denied; what no rule allows stays refused"),
        ),
        (Fate::Refused, Fate::Denied) => (
            Effect::Neutral,
            format!("{what} is now denied, which no rule allowed as a whole before"),
        ),
        (Fate::Asked, Fate::Allowed) => (
            Effect::Loosens,
            format!("may now {verb} {what}{but} without a person's yes"),
        ),
        (Fate::Observed, Fate::Allowed) => (
            Effect::Loosens,
            format!("may now {verb} {what}{but} by a rule, which was only observed before"),
        ),
        (Fate::Allowed, Fate::Observed) => (
            Effect::Tightens,
            format!("no rule allows {what} any more; it is only observed"),
        ),
        (Fate::Allowed | Fate::Observed, Fate::Asked) => (
            Effect::Tightens,
            format!("may {verb} {what}{but} only where a person says yes"),
        ),
        (Fate::Denied | Fate::Refused, Fate::Asked) => (
            Effect::Loosens,
            format!("may now {verb} {what} where a person says yes"),
        ),
        (Fate::Asked, Fate::Denied | Fate::Refused) => (
            Effect::Tightens,
            format!("may no longer {verb} {what}, whatever a person says"),
        ),
        (was, is) if was < is => (Effect::Loosens, format!("may now {verb} {what}{but}")),
        _ => (
            Effect::Tightens,
            format!("may no longer {verb} {what}{but}"),
        ),
    };
    let key = key_of(decisive, list);
    vec![Difference::new(
        effect,
        key,
        text,
        Some(&decisive.rule.origin),
    )]
}

/// Whether a policy has an entry, in whichever list.
fn has(policy: &NetworkPolicy, rule: &DomainRule) -> bool {
    let mut lists = [&policy.denied, &policy.allowed, &policy.allowed_udp].into_iter();
    lists
        .any(|list| names(list, &rule.pattern).is_some_and(|found| found.rule.key == rule.rule.key))
}

/// The differences of a pattern of which the same becomes as before: it is written where it was not, or the reverse.
fn said_otherwise(
    list: List,
    before: &NetworkPolicy,
    after: &NetworkPolicy,
    rule: &DomainRule,
) -> Vec<Difference> {
    let mut found = Vec::new();
    let what = shown(rule);
    let lists = match list {
        List::Connections => vec![list, List::Datagrams],
        List::Datagrams => vec![list],
    };
    let mut compare = |key: &'static str, was: &Domains, is: &Domains| {
        let (was, is) = (names(was, &rule.pattern), names(is, &rule.pattern));
        let text = match (was, is) {
            (None, Some(_)) => format!("{what} is now in {key}, which changes nothing else"),
            (Some(_), None) => format!("{what} is no longer in {key}, which changes nothing else"),
            _ => return,
        };
        let origin = is.or(was).map(|rule| &rule.rule.origin);
        found.push(Difference::new(Effect::Neutral, key, text, origin));
    };
    compare(list.key(), list.of(before), list.of(after));
    if lists.len() > 1 {
        compare(DENIED, &before.denied, &after.denied);
    }
    found
}

fn key_of(rule: &DomainRule, list: List) -> &'static str {
    [DENIED, ALLOWED, ALLOWED_UDP]
        .into_iter()
        .find(|key| *key == rule.rule.key)
        .unwrap_or(list.key())
}

fn shown(rule: &DomainRule) -> String {
    let text = &rule.rule.pattern;
    match (rule.pattern.port, &rule.pattern.host) {
        (None, HostPattern::Any) => "any host".to_owned(),
        (None, _) => format!("{text} (every port)"),
        (Some(_), _) => text.clone(),
    }
}

/// Whether a rule speaks of a part of what a pattern matches: of some of its hosts, or of one port of all.
fn meets(pattern: &Pattern, part: &Pattern) -> bool {
    let at_a_port = pattern.port.is_none() && part.port.is_some();
    covers(pattern, part) || (at_a_port && part.host.covers(&pattern.host))
}

/// What of a pattern fares otherwise, by narrower rules: " but for a.example.com".
fn exceptions(list: List, policy: &NetworkPolicy, pattern: &Pattern, fate: Fate) -> String {
    let narrower = match fate {
        Fate::Allowed | Fate::Observed | Fate::Asked => &policy.denied,
        Fate::Denied => return String::new(),
        Fate::Refused => list.of(policy),
    };
    let found: Vec<&str> = narrower
        .iter()
        .filter(|rule| rule.pattern != *pattern && meets(pattern, &rule.pattern))
        .map(|rule| rule.rule.pattern.as_str())
        .collect();
    match found.as_slice() {
        [] => String::new(),
        few if few.len() <= 3 => format!(" but for {}", few.join(", ")),
        many => format!(
            " but for {} and {} more",
            many[..2].join(", "),
            many.len() - 2
        ),
    }
}

/// What becomes of the hosts that no rule speaks of.
fn unlisted(before: &NetworkPolicy, after: &NetworkPolicy) -> Option<Difference> {
    let fate = |policy: &NetworkPolicy| match &policy.unlisted {
        Unlisted::Refused => Fate::Refused,
        Unlisted::Asked => Fate::Asked,
        Unlisted::Allowed(_) => Fate::Observed,
    };
    let (was, is) = (fate(before), fate(after));
    if was == is {
        return None;
    }
    let effect = match was < is {
        true => Effect::Loosens,
        false => Effect::Tightens,
    };
    let (text, key) = match (was, is) {
        (_, Fate::Observed) => (
            "may now reach every host that no rule denies; the list is only observed",
            "network.enforceAllowlist",
        ),
        (Fate::Refused, _) => (
            "may now reach hosts that no rule names where a person says yes",
            "network.ask",
        ),
        (Fate::Observed, Fate::Asked) => (
            "may reach hosts that no rule names only where a person says yes",
            "network.enforceAllowlist",
        ),
        (Fate::Observed, _) => (
            "may no longer reach hosts that no rule names",
            "network.enforceAllowlist",
        ),
        _ => (
            "may no longer reach hosts that no rule names; nobody is asked",
            "network.ask",
        ),
    };
    let set = |policy: &NetworkPolicy| setting(policy, key).cloned();
    let origin = set(after).or_else(|| set(before));
    Some(Difference::new(
        effect,
        key,
        text.to_owned(),
        origin.as_ref(),
    ))
}

fn setting<'a>(policy: &'a NetworkPolicy, key: &str) -> Option<&'a Origin> {
    let mut settings = policy.settings.iter();
    settings
        .find(|(name, _, _)| *name == key)
        .map(|(_, _, origin)| origin)
}

/// `network.deniedResolvedAddresses`.
fn ranges(before: &NetworkPolicy, after: &NetworkPolicy) -> Vec<Difference> {
    let only = |one: &NetworkPolicy, other: &NetworkPolicy, effect, words: &str| {
        let mut found = Vec::new();
        for rule in &one.denied_ranges {
            let range = &rule.rule.pattern;
            let kept = other.denied_ranges.iter();
            if kept.clone().any(|kept| kept.range == rule.range) {
                continue;
            }
            let covered = kept.clone().any(|kept| kept.range.contains(&rule.range));
            let (effect, text) = match covered {
                true => (
                    Effect::Neutral,
                    format!(
                        "{DENIED_ADDRESSES} has {range} in one of both, which a wider range covers"
                    ),
                ),
                false => (
                    effect,
                    format!("{words} {range}, whatever name leads there"),
                ),
            };
            let origin = Some(&rule.rule.origin);
            found.push(Difference::new(effect, DENIED_ADDRESSES, text, origin));
        }
        found
    };
    let mut found = only(
        after,
        before,
        Effect::Tightens,
        "may no longer reach addresses of",
    );
    found.extend(only(
        before,
        after,
        Effect::Loosens,
        "may now reach addresses of",
    ));
    found
}
