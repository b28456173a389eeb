//! Whether a value has its key's type, and what would be right where it has not.

use std::collections::HashSet;

use jsonc_parser::ast::{Object, Value};
use jsonc_parser::common::Ranged;

use crate::check::{members, repeated, shorten};
use crate::diagnostics::{Findings, quoted};
use crate::document::kind;
use crate::keys::{Key, Shape};

/// Whether the value has its key's type; what is inside it is checked too.
pub(crate) fn shape(key: &Key, value: &Value<'_>, findings: &mut Findings) -> bool {
    let (path, at) = (key.path, value.start());
    match (key.shape, value) {
        (Shape::Anything, _)
        | (Shape::String, Value::StringLit(_))
        | (Shape::Bool, Value::BooleanLit(_)) => true,
        (Shape::Section, Value::Object(object)) => {
            members(path, object, findings);
            true
        }
        (Shape::Sections, Value::Array(array)) => {
            for element in &array.elements {
                match element {
                    Value::Object(object) => members(&format!("{path}[]"), object, findings),
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
        (Shape::Number | Shape::Positive, Value::NumberLit(number)) => {
            let least = u64::from(key.shape == Shape::Positive);
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
        ("true or false", Value::StringLit(text)) if matches!(&*text.value, "true" | "false") => {
            Some(format!("write {} without the quotes", text.value))
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

impl Shape {
    fn describe(self) -> &'static str {
        match self {
            Self::Section => "an object",
            Self::Sections => "a list of objects",
            Self::StringMap => "an object of strings",
            Self::ListMap => "an object of lists of strings",
            Self::Strings => "a list of strings",
            Self::Paths => "a list of paths",
            Self::String => "a string",
            Self::Bool => "true or false",
            Self::Number | Self::Positive => "a whole number",
            Self::Anything => "any value",
        }
    }
}
