//! What else differs between two policies: every key of the format that is about neither hosts nor files.

use std::collections::{BTreeMap, BTreeSet};

use super::{Difference, Effect};
use crate::directions::{Direction, Otherwise, direction};
use crate::limits::bytes;
use crate::network::{ALLOWED, ALLOWED_UDP, DENIED, DENIED_ADDRESSES};
use crate::tools::{ALLOW as ALLOW_TOOLS, DENY as DENY_TOOLS};
use crate::{Origin, Policy};

/// Keys whose differences are told by what they do to hosts and files, and what is the daemon's own affair.
const TOLD_ELSEWHERE: [&str; 11] = [
    ALLOWED,
    ALLOWED_UDP,
    DENIED,
    DENIED_ADDRESSES,
    "filesystem.overlay",
    "filesystem.denyRead",
    "filesystem.allowRead",
    "filesystem.allowWrite",
    "filesystem.denyWrite",
    "built-in.protected",
    "built-in.environment",
];

/// Keys that say what becomes of hosts that no rule names: told by that, where it differs.
const UNLISTED: [&str; 2] = ["network.ask", "network.enforceAllowlist"];

/// The values of a key, each with where it is written.
type Values = BTreeMap<String, Origin>;

pub(super) fn differences(before: &Policy, after: &Policy) -> Vec<Difference> {
    let (was, is) = (values(before), values(after));
    let none = Values::new();
    let keys: BTreeSet<&'static str> = was.keys().chain(is.keys()).copied().collect();
    let mut found = Vec::new();
    for key in keys {
        let of = |values: &BTreeMap<&'static str, Values>| {
            values.get(key).cloned().unwrap_or_else(|| none.clone())
        };
        let (was, is) = (of(&was), of(&is));
        let fate = |policy: &Policy| std::mem::discriminant(&policy.network.unlisted);
        let told = UNLISTED.contains(&key) && fate(before) != fate(after);
        if was.keys().eq(is.keys()) || told {
            continue;
        }
        match direction(key) {
            Direction::Denies | Direction::Allows => found.extend(entries(key, &was, &is)),
            Direction::Narrows => found.extend(narrowed(key, &was, &is)),
            way => found.push(value(key, way, &was, &is)),
        }
    }
    found
}

fn values(policy: &Policy) -> BTreeMap<&'static str, Values> {
    let mut values: BTreeMap<&'static str, Values> = BTreeMap::new();
    for line in policy.lines() {
        if !TOLD_ELSEWHERE.contains(&line.key) {
            let of_key = values.entry(line.key).or_default();
            of_key.insert(line.value, line.origin);
        }
    }
    values
}

/// A list of what is allowed or denied: each entry that came or went.
fn entries(key: &'static str, was: &Values, is: &Values) -> Vec<Difference> {
    let denies = direction(key) == Direction::Denies;
    let mut found = Vec::new();
    let came = is.iter().filter(|(value, _)| !was.contains_key(*value));
    let went = was.iter().filter(|(value, _)| !is.contains_key(*value));
    let all = came
        .map(|entry| (entry, true))
        .chain(went.map(|entry| (entry, false)));
    for ((value, origin), came) in all {
        let more = came != denies;
        let (effect, may) = match more {
            true => (Effect::Loosens, "may now"),
            false => (Effect::Tightens, "may no longer"),
        };
        let (effect, text) = match key {
            "runtime.envStrip" | "credentials.envVars" => (
                effect,
                format!("{may} get the variable {value}, where one is passed"),
            ),
            "network.allowUnixSockets" => (effect, format!("{may} connect to the socket {value}")),
            "network.stripResponseHeaders" => {
                (effect, format!("{may} see the response header {value}"))
            }
            DENY_TOOLS => (effect, format!("{may} use the tools {value}")),
            "network.deniedDomainReasons" => (
                Effect::Neutral,
                format!("the reason of a denied host {}: {value}", added(came)),
            ),
            "ignoreViolations" => (
                effect,
                match came {
                    true => format!("may be refused without a record: {value}"),
                    false => format!("is no longer refused without a record: {value}"),
                },
            ),
            _ => (effect, format!("{key}: {value} {}", added(came))),
        };
        found.push(Difference::new(effect, key, text, Some(origin)));
    }
    found
}

fn added(came: bool) -> &'static str {
    match came {
        true => "is new",
        false => "is gone",
    }
}

/// `mcp.tools.allow`: without the list every tool is allowed.
fn narrowed(key: &'static str, was: &Values, is: &Values) -> Vec<Difference> {
    let list = |values: &Values| values.keys().cloned().collect::<Vec<_>>().join(", ");
    let first = |values: &Values| values.values().next().cloned();
    let one = |effect, text: String, origin: Option<Origin>| {
        vec![Difference::new(effect, key, text, origin.as_ref())]
    };
    match (was.is_empty(), is.is_empty()) {
        (true, _) => one(
            Effect::Tightens,
            format!("may no longer use any tools but {}", list(is)),
            first(is),
        ),
        (_, true) => one(
            Effect::Loosens,
            format!(
                "may now use every tool that is not denied, not only {}",
                list(was)
            ),
            first(was),
        ),
        _ => {
            let mut found = Vec::new();
            for (one, other, effect, may) in [
                (is, was, Effect::Loosens, "may now"),
                (was, is, Effect::Tightens, "may no longer"),
            ] {
                for (value, origin) in one.iter().filter(|(value, _)| !other.contains_key(*value)) {
                    if value == NONE {
                        continue;
                    }
                    let text = format!("{may} use the tools {value}");
                    found.push(Difference::new(effect, ALLOW_TOOLS, text, Some(origin)));
                }
            }
            found
        }
    }
}

/// How lines say that a list is empty.
const NONE: &str = "(none)";

/// A key of one value.
fn value(key: &'static str, way: Direction, was: &Values, is: &Values) -> Difference {
    let text = |values: &Values| values.keys().next().cloned();
    let (old, new) = (text(was), text(is));
    let origin = is.values().next().or(was.values().next());
    let rank = |value: Option<&String>| rank(way, value.map(String::as_str));
    let effect = match (rank(old.as_ref()), rank(new.as_ref())) {
        (Some(old), Some(new)) if old < new => Effect::Loosens,
        (Some(old), Some(new)) if old > new => Effect::Tightens,
        _ => Effect::Neutral,
    };
    let words = |value: Option<String>| value.unwrap_or_else(|| "not set".to_owned());
    let text = format!("{key}: {} before, {} now", words(old), words(new));
    Difference::new(effect, key, text, origin)
}

/// How loose a value is; `None` where values of the key cannot be compared.
fn rank(way: Direction, value: Option<&str>) -> Option<u64> {
    match (way, value) {
        (Direction::Bool { tighter, .. }, Some(value)) => {
            Some(if value == tighter.to_string() { 0 } else { 2 })
        }
        (Direction::Bool { otherwise, .. }, None) => Some(match otherwise {
            Otherwise::Tighter => 0,
            Otherwise::Between => 1,
            Otherwise::Looser => 2,
        }),
        (Direction::Smaller { .. }, Some(value)) => {
            // Plain numbers, amounts of bytes, and percents.
            let number = value.trim_end_matches('%').parse().ok();
            number.or_else(|| bytes(value).ok())
        }
        (Direction::Smaller { otherwise }, None) => Some(otherwise.unwrap_or(u64::MAX)),
        (Direction::Ordered { words, otherwise }, value) => {
            let value = value.unwrap_or(otherwise);
            let place = words.iter().position(|word| *word == value)?;
            u64::try_from(place).ok()
        }
        _ => None,
    }
}
