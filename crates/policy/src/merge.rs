//! Files put together, key by key: those that one file extends, and what a server's file inherits from the user's.

use std::collections::HashMap;

use jsonc_parser::ast::{Object, Value};

use crate::CpuQuota;
use crate::directions::{Direction, Otherwise, direction};
use crate::document::Document;
use crate::limits::bytes;

/// A file after those that it extends: lists add up, and of single values the later counts.
pub(crate) fn extended<'a>(mut base: Document<'a>, own: &Document<'a>) -> Document<'a> {
    for (key, value) in own.values() {
        let both = base.get(key).map(|first| joined(first, value));
        base.set(key, both.unwrap_or_else(|| value.clone()));
    }
    base
}

/// A server's file below the user's: what the user's tightens is inherited, what it loosens is not, and what the server's
/// says itself counts. Lists that deny add up.
///
/// So no server gets more by the user's file than it has by its own.
pub(crate) fn inherited<'a>(user: &Document<'a>, server: &Document<'a>) -> Document<'a> {
    let mut merged = server.clone();
    for (key, value) in user.values() {
        match (direction(key), server.get(key)) {
            (Direction::Denies, Some(own)) => merged.set(key, joined(value, own)),
            (Direction::OfFile, _) | (_, Some(_)) => {}
            (direction, None) if tightens(direction, value) => merged.set(key, value.clone()),
            (_, None) => {}
        }
    }
    // The server's own word is that the list is only observed.
    if server.get(ENFORCE).is_some_and(is_false) && server.get(STRICT).is_none() {
        merged.remove(STRICT);
    }
    // It would be told that it has no effect, in a file that does not say it.
    if !merged.get(ASK).is_some_and(is_true) && server.get(ASK_TIMEOUT).is_none() {
        merged.remove(ASK_TIMEOUT);
    }
    merged
}

pub(crate) const ENFORCE: &str = "network.enforceAllowlist";
pub(crate) const STRICT: &str = "network.strictAllowlist";
const ASK: &str = "network.ask";
const ASK_TIMEOUT: &str = "network.askTimeoutSeconds";

/// Whether a value is tighter than what holds without the key, or leaves it as it is.
fn tightens(direction: Direction, value: &Value<'_>) -> bool {
    match direction {
        Direction::Denies | Direction::Narrows | Direction::Daemon => true,
        Direction::Bool { tighter, otherwise } => match value.as_boolean_lit() {
            Some(literal) => literal.value == tighter || otherwise == Otherwise::Looser,
            None => false,
        },
        Direction::Smaller { otherwise } => match (amount(value), otherwise) {
            (Some(own), Some(otherwise)) => own <= otherwise,
            (own, None) => own.is_some(),
            (None, Some(_)) => false,
        },
        Direction::Ordered { words, otherwise } => {
            let rank = |word: &str| words.iter().position(|known| *known == word);
            let own = value.as_string_lit().and_then(|word| rank(&word.value));
            own.is_some_and(|own| Some(own) <= rank(otherwise))
        }
        Direction::Allows | Direction::Neutral | Direction::OfFile => false,
    }
}

/// An amount as a number: bytes, percents, or what it is.
pub(crate) fn amount(value: &Value<'_>) -> Option<u64> {
    match value {
        Value::NumberLit(number) => number.value.parse().ok(),
        Value::StringLit(text) => bytes(&text.value).ok().or_else(|| {
            let quota = CpuQuota::parse(&text.value).ok()?;
            Some(u64::from(quota.percent))
        }),
        _ => None,
    }
}

fn is_true(value: &Value<'_>) -> bool {
    value.as_boolean_lit().is_some_and(|literal| literal.value)
}

fn is_false(value: &Value<'_>) -> bool {
    value.as_boolean_lit().is_some_and(|literal| !literal.value)
}

/// Two values of a key as one: lists and objects add up, of all else the second counts.
pub(crate) fn joined<'a>(first: &Value<'a>, second: &Value<'a>) -> Value<'a> {
    match (first, second) {
        (Value::Array(first), Value::Array(second)) => {
            let mut both = first.clone();
            both.elements.extend(second.elements.iter().cloned());
            Value::Array(both)
        }
        (Value::Object(first), Value::Object(second)) => Value::Object(members(first, second)),
        (_, second) => second.clone(),
    }
}

fn members<'a>(first: &Object<'a>, second: &Object<'a>) -> Object<'a> {
    let mut both = first.clone();
    let places: HashMap<&str, usize> = (first.properties.iter().enumerate())
        .map(|(place, property)| (property.name.as_str(), place))
        .collect();
    for property in &second.properties {
        match places.get(property.name.as_str()) {
            Some(place) => {
                let known = &mut both.properties[*place];
                known.value = joined(&known.value, &property.value);
                known.name = property.name.clone();
                known.range = property.range;
            }
            None => both.properties.push(property.clone()),
        }
    }
    both
}
