//! Holds a document against the table of keys: unknown and repeated names, types, and what is not enforced yet.

use std::collections::HashSet;

use jsonc_parser::ast::{Object, Value};
use jsonc_parser::common::Ranged;

use crate::diagnostics::{Findings, nearest, quoted};
use crate::document::Parsed;
use crate::keys::{KEYS, Key, Standing, find, names_below};
use crate::shape::shape;
use crate::version::{Version, elsewhere};

/// Reports everything about a file that its keys and types tell.
pub(crate) fn check(file: &Parsed<'_>, findings: &mut Findings) {
    members("", file.version(), file.root(), findings);
}

/// `parent` is the row's path ("credentials.files[]"), "" at the top.
pub(crate) fn members(
    parent: &str,
    version: Version,
    object: &Object<'_>,
    findings: &mut Findings,
) {
    let mut seen = HashSet::new();
    for property in &object.properties {
        let name = property.name.as_str();
        let path = if parent.is_empty() {
            name.to_owned()
        } else {
            format!("{parent}.{name}")
        };
        let at = property.start();
        if !seen.insert(name) {
            repeated(&shorten(&path), at, findings);
        }
        // A name with a dot in it would be found as a path of the table, and is none.
        match find(&path, version).filter(|_| !name.contains(['.', '['])) {
            Some(key) => {
                if shape(key, version, &property.value, findings) {
                    standing(key, at, &property.value, findings);
                }
            }
            None => unknown(parent, version, name, at, findings),
        }
    }
}

pub(crate) fn repeated(path: &str, at: usize, findings: &mut Findings) {
    findings.error(
        at,
        format!("{path} is given twice"),
        Some("keep one of them, with the values of both".to_owned()),
    );
}

fn unknown(parent: &str, version: Version, name: &str, at: usize, findings: &mut Findings) {
    let path = if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}.{name}")
    };
    if findings.are_too_many() {
        findings.error(at, format!("unknown key {}", shorten(&path)), None);
        return;
    }
    let own = || KEYS.iter().filter(|key| key.is_of(version));
    let hint = if let Some(elsewhere) = elsewhere(&path, version) {
        elsewhere
    } else if let Some(near) = nearest(name, names_below(parent, version)) {
        format!("did you mean {near:?}?")
    } else if let Some(elsewhere) =
        own().find(|key| key.path.rsplit('.').next() == Some(name) && !key.path.contains('['))
    {
        match elsewhere.path.rsplit_once('.') {
            Some((home, _)) => format!("{name:?} belongs in {home:?}"),
            None => format!("{name:?} belongs at the top of the file"),
        }
    } else if let Some(elsewhere) = own()
        .filter(|key| !key.path.contains('['))
        .find(|key| nearest(name, key.path.rsplit('.').next()).is_some())
    {
        format!("did you mean {:?}?", elsewhere.path)
    } else {
        format!(
            "known here: {}",
            names_below(parent, version).collect::<Vec<_>>().join(", ")
        )
    };
    findings.error(at, format!("unknown key {}", shorten(&path)), Some(hint));
}

/// A path for a message: names in documents may be of any length and hold anything.
pub(crate) fn shorten(path: &str) -> String {
    let plain = path.len() <= 80 && path.chars().all(|c| c.is_ascii_graphic());
    if plain { path.to_owned() } else { quoted(path) }
}

fn standing(key: &Key, at: usize, value: &Value<'_>, findings: &mut Findings) {
    let path = key.path;
    match key.standing {
        Standing::Refused(hint) if asks_for_something(value) => findings.error(
            at,
            format!("{path} is not enforced yet: ignoring it would weaken the sandbox"),
            Some(hint.to_owned()),
        ),
        Standing::Stricter(hint) if asks_for_something(value) => findings.warning(
            at,
            format!("{path} is not available: the sandbox stays as strict as without it"),
            Some(hint.to_owned()),
        ),
        Standing::NoEffect(hint) => {
            findings.warning(
                at,
                format!("{path} has no effect here"),
                Some(hint.to_owned()),
            );
        }
        Standing::Enforced | Standing::Part | Standing::Refused(..) | Standing::Stricter(..) => {}
    }
}

/// All values do but `false`, 0 and what is empty.
fn asks_for_something(value: &Value<'_>) -> bool {
    match value {
        Value::BooleanLit(literal) => literal.value,
        Value::Array(array) => !array.elements.is_empty(),
        Value::Object(object) => !object.properties.is_empty(),
        Value::StringLit(text) => !text.value.is_empty(),
        Value::NumberLit(number) => number.value != "0",
        Value::NullKeyword(_) => false,
    }
}
