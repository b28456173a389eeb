//! Whether a value has its key's type, and what would be right where it has not.

use std::collections::HashSet;

use jsonc_parser::ast::{Object, Value};
use jsonc_parser::common::Ranged;

use crate::check::{members, repeated, shorten};
use crate::diagnostics::{Findings, nearest, quoted};
use crate::document::kind;
use crate::keys::{Key, Shape};
use crate::version::Version;

/// Whether the value has its key's type; what is inside it is checked too.
pub(crate) fn shape(
    key: &Key,
    version: Version,
    value: &Value<'_>,
    findings: &mut Findings,
) -> bool {
    let (path, at) = (key.path, value.start());
    match (key.shape, value) {
        // What is no version was said before anything else.
        (Shape::Anything | Shape::Version, _)
        | (Shape::String | Shape::Size | Shape::Percent | Shape::Retention, Value::StringLit(_))
        | (Shape::Bool, Value::BooleanLit(_))
        // Said where it is read, with what would be right.
        | (Shape::Percent, Value::NumberLit(_)) => true,
        (Shape::Word(words), Value::StringLit(text)) => {
            word(path, at, words, &text.value, findings)
        }
        (Shape::Section, Value::Object(object)) => {
            members(path, version, object, findings);
            true
        }
        (Shape::Sections, Value::Array(array)) => {
            for element in &array.elements {
                match element {
                    Value::Object(object) => members(&format!("{path}[]"), version, object, findings),
                    other => wrong(
                        other.start(),
                        &format!("an entry of {path}"),
                        "an object",
                        other,
                        findings,
                    ),
                }
            }
            true
        }
        (Shape::StringMap, Value::Object(object)) => {
            map(path, object, findings, |at, name, value, findings| {
                if value.as_string_lit().is_none() {
                    wrong(
                        at,
                        &format!("{path} for {}", quoted(name)),
                        "a string",
                        value,
                        findings,
                    );
                }
            });
            true
        }
        (Shape::ListMap, Value::Object(object)) => {
            map(
                path,
                object,
                findings,
                |at, name, value, findings| match value {
                    Value::Array(array) => strings(path, &array.elements, findings),
                    other => wrong(
                        at,
                        &format!("{path} for {}", quoted(name)),
                        "a list of strings",
                        other,
                        findings,
                    ),
                },
            );
            true
        }
        (Shape::Strings, Value::Array(array)) => {
            strings(path, &array.elements, findings);
            true
        }
        (Shape::Paths, Value::Array(array)) => {
            paths(path, &array.elements, findings);
            true
        }
        (
            Shape::Number | Shape::Positive | Shape::Size | Shape::Retention,
            Value::NumberLit(number),
        ) => {
            let least = u64::from(key.shape != Shape::Number);
            let fits = number
                .value
                .parse::<u64>()
                .is_ok_and(|number| number >= least);
            if !fits {
                findings.error(
                    at,
                    format!(
                        "{path} must be a whole number from {least}, not {}",
                        shorten(number.value)
                    ),
                    None,
                );
            }
            fits
        }
        (expected, other) => {
            wrong(at, path, expected.describe(), other, findings);
            false
        }
    }
}

/// One of a few words, or an error that names the nearest of them.
fn word(
    path: &str,
    at: usize,
    words: &[(&str, &str)],
    text: &str,
    findings: &mut Findings,
) -> bool {
    if words.iter().any(|(word, _)| *word == text) {
        return true;
    }
    let offered = words.iter().filter(|(_, meaning)| !meaning.is_empty());
    let hint = match nearest(text, offered.clone().map(|(word, _)| *word)) {
        Some(near) => format!("did you mean {near:?}?"),
        None => {
            let all: Vec<String> = offered
                .map(|(word, meaning)| format!("{word:?} ({meaning})"))
                .collect();
            format!("write {}", all.join(" or "))
        }
    };
    findings.error(
        at,
        format!("{} is no value of {path}", quoted(text)),
        Some(hint),
    );
    false
}

fn map(
    path: &str,
    object: &Object<'_>,
    findings: &mut Findings,
    mut member: impl FnMut(usize, &str, &Value<'_>, &mut Findings),
) {
    let mut seen = HashSet::new();
    for property in &object.properties {
        let name = property.name.as_str();
        if !seen.insert(name) {
            repeated(
                &format!("{path} for {}", quoted(name)),
                property.start(),
                findings,
            );
        }
        member(property.value.start(), name, &property.value, findings);
    }
}

fn strings(path: &str, elements: &[Value<'_>], findings: &mut Findings) {
    for element in elements {
        if element.as_string_lit().is_none() {
            wrong(
                element.start(),
                &format!("an entry of {path}"),
                "a string",
                element,
                findings,
            );
        }
    }
}

fn paths(path: &str, elements: &[Value<'_>], findings: &mut Findings) {
    const FORM: &str = "write \"PATH\" or { \"path\": \"PATH\", \"literal\": true }";
    for element in elements {
        match element {
            Value::StringLit(_) => {}
            Value::Object(object) => {
                let mut seen = HashSet::new();
                for property in &object.properties {
                    let name = property.name.as_str();
                    if !seen.insert(name) {
                        repeated(
                            &shorten(&format!("{path}[].{name}")),
                            property.start(),
                            findings,
                        );
                    }
                    let value = &property.value;
                    match (name, value) {
                        ("path", Value::StringLit(_)) | ("literal", Value::BooleanLit(_)) => {}
                        ("path", _) => wrong(
                            value.start(),
                            &format!("{path}[].path"),
                            "a string",
                            value,
                            findings,
                        ),
                        ("literal", _) => {
                            wrong(
                                value.start(),
                                &format!("{path}[].literal"),
                                "true or false",
                                value,
                                findings,
                            );
                        }
                        _ => findings.error(
                            property.start(),
                            format!("unknown key {}", shorten(&format!("{path}[].{name}"))),
                            Some(FORM.to_owned()),
                        ),
                    }
                }
                if object.get("path").is_none() {
                    findings.error(
                        object.start(),
                        format!("an entry of {path} has no \"path\""),
                        Some(FORM.to_owned()),
                    );
                }
            }
            other => findings.error(
                other.start(),
                format!("an entry of {path} must be a path, not {}", kind(other)),
                Some(FORM.to_owned()),
            ),
        }
    }
}

fn wrong(at: usize, what: &str, expected: &str, found: &Value<'_>, findings: &mut Findings) {
    let hint = match (expected, found) {
        ("a list of strings" | "a list of paths", Value::StringLit(text)) => {
            Some(format!("write [{}]", quoted(&text.value)))
        }
        ("true or false", Value::StringLit(text)) => {
            meant(&text.value).map(|meant| format!("write {meant} without the quotes"))
        }
        ("a whole number", Value::StringLit(text)) if text.value.parse::<u64>().is_ok() => {
            Some(format!("write {} without the quotes", text.value))
        }
        (_, Value::NullKeyword(_)) => Some("remove the key: absent means its default".to_owned()),
        _ => None,
    };
    findings.error(
        at,
        format!("{what} must be {expected}, not {}", kind(found)),
        hint,
    );
}

/// The truth value that a text in its place was probably meant to be.
fn meant(text: &str) -> Option<bool> {
    let lower = text.trim().to_ascii_lowercase();
    match lower.as_str() {
        "yes" | "on" | "1" | "enabled" => Some(true),
        "no" | "off" | "0" | "disabled" => Some(false),
        _ => nearest(&lower, ["true", "false"]).map(|word| word == "true"),
    }
}

impl Shape {
    fn describe(self) -> &'static str {
        match self {
            Self::Section => "an object",
            Self::Sections => "a list of objects",
            Self::StringMap => "an object of strings",
            Self::ListMap => "an object of lists of strings",
            Self::Strings => "a list of strings",
            Self::Paths => "a list of paths",
            Self::String | Self::Word(_) => "a string",
            Self::Percent => "percents of one CPU, such as \"50%\"",
            Self::Bool => "true or false",
            Self::Number | Self::Positive => "a whole number",
            Self::Size => "a number of bytes, or text such as \"512M\"",
            Self::Retention => "an age such as \"90d\", or a number of entries",
            Self::Version => "a version",
            Self::Anything => "any value",
        }
    }
}
