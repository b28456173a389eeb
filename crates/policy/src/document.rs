//! The raw document: JSON with comments and trailing commas, every value with its place.

use std::borrow::Cow;

use jsonc_parser::ast::{Object, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use crate::diagnostics::Findings;

/// Documents above this many bytes are refused before they are parsed.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 1 << 20;

/// Turns byte offsets into lines and columns. A checkpoint every kilobyte keeps a lookup short, however long a
/// line a (possibly hostile) document has.
pub(crate) struct Positions<'a> {
    text: &'a str,
    checkpoints: Vec<Checkpoint>,
}

#[derive(Clone, Copy)]
struct Checkpoint {
    offset: usize,
    line: u32,
    column: u32,
}

impl Checkpoint {
    const START: Self = Self {
        offset: 0,
        line: 1,
        column: 1,
    };

    fn pass(&mut self, character: char) {
        self.offset += character.len_utf8();
        if character == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
    }
}

impl<'a> Positions<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let mut checkpoints = vec![Checkpoint::START];
        let mut here = Checkpoint::START;
        let mut last = 0;
        for character in text.chars() {
            here.pass(character);
            if here.offset - last >= 1024 {
                last = here.offset;
                checkpoints.push(here);
            }
        }
        Self { text, checkpoints }
    }

    /// Line and column (in characters) of a byte offset, both from 1.
    pub(crate) fn at(&self, offset: usize) -> (u32, u32) {
        let next = self
            .checkpoints
            .partition_point(|point| point.offset <= offset);
        let mut here = self
            .checkpoints
            .get(next.saturating_sub(1))
            .copied()
            .unwrap_or(Checkpoint::START);
        for character in self.text[here.offset..].chars() {
            if here.offset >= offset {
                break;
            }
            here.pass(character);
        }
        (here.line, here.column)
    }
}

/// A value and the byte offset where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) offset: usize,
}

/// A path as a document writes it: `"~/x"` or `{"path": "~/x", "literal": true}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathEntry {
    pub(crate) text: String,
    pub(crate) literal: bool,
}

/// A parsed document. Its readers skip what has the wrong type: `check` has reported that already.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    root: Object<'a>,
}

impl<'a> Document<'a> {
    /// Parses `text`, which has no byte order mark any more.
    pub(crate) fn parse(text: &'a str, findings: &mut Findings) -> Option<Self> {
        if text.len() > MAX_DOCUMENT_BYTES {
            findings.error(
                0,
                format!(
                    "the document has {} bytes, more than {MAX_DOCUMENT_BYTES}",
                    text.len()
                ),
                Some("split it into one file per server".to_owned()),
            );
            return None;
        }
        let options = ParseOptions {
            allow_comments: true,
            allow_trailing_commas: true,
            allow_loose_object_property_names: false,
            allow_missing_commas: false,
            allow_single_quoted_strings: false,
            allow_hexadecimal_numbers: false,
            allow_unary_plus_numbers: false,
            allow_bare_decimal_point_numbers: false,
            allow_non_finite_numbers: false,
            allow_extended_string_escapes: false,
        };
        match parse_to_ast(text, &CollectOptions::default(), &options) {
            Ok(parsed) => match parsed.value {
                Some(Value::Object(root)) => Some(Self { root }),
                Some(other) => {
                    findings.error(
                        other.start(),
                        format!("a settings file is one JSON object, not {}", kind(&other)),
                        Some("begin with { and end with }".to_owned()),
                    );
                    None
                }
                None => {
                    findings.error(
                        0,
                        "the document is empty",
                        Some("write {} for the built-in default".to_owned()),
                    );
                    None
                }
            },
            Err(error) => {
                let message = error.kind().to_string();
                let mut characters = message.chars();
                let lower: String = characters
                    .next()
                    .map(|first| first.to_lowercase().chain(characters).collect())
                    .unwrap_or_default();
                findings.error(
                    error.range().start,
                    format!("not JSON: {lower}"),
                    Some(
                        "settings are JSON; comments and trailing commas are accepted, names and strings \
                         stand in double quotes"
                            .to_owned(),
                    ),
                );
                None
            }
        }
    }

    pub(crate) fn root(&self) -> &Object<'a> {
        &self.root
    }

    /// The value at a dotted path.
    pub(crate) fn get(&self, path: &str) -> Option<&Value<'a>> {
        let mut parts = path.split('.');
        let mut value = &self.root.get(parts.next()?)?.value;
        for part in parts {
            value = &value.as_object()?.get(part)?.value;
        }
        Some(value)
    }

    pub(crate) fn elements(&self, path: &str) -> &[Value<'a>] {
        self.get(path)
            .and_then(Value::as_array)
            .map_or(&[], |array| array.elements.as_slice())
    }

    pub(crate) fn string(&self, path: &str) -> Option<Located<String>> {
        string(self.get(path)?)
    }

    pub(crate) fn strings(&self, path: &str) -> Vec<Located<String>> {
        self.elements(path).iter().filter_map(string).collect()
    }

    pub(crate) fn paths(&self, path: &str) -> Vec<Located<PathEntry>> {
        self.elements(path)
            .iter()
            .filter_map(|element| match element {
                Value::Object(object) => Some(Located {
                    value: PathEntry {
                        text: object.get_string("path")?.value.clone().into_owned(),
                        literal: object
                            .get_boolean("literal")
                            .is_some_and(|literal| literal.value),
                    },
                    offset: object.start(),
                }),
                other => string(other).map(|text| Located {
                    value: PathEntry {
                        text: text.value,
                        literal: false,
                    },
                    offset: text.offset,
                }),
            })
            .collect()
    }

    /// The members of an object of strings, each placed at its name.
    pub(crate) fn members(&self, path: &str) -> Vec<(Located<String>, String)> {
        let Some(object) = self.get(path).and_then(Value::as_object) else {
            return Vec::new();
        };
        object
            .properties
            .iter()
            .filter_map(|property| {
                let name = Located {
                    value: property.name.as_str().to_owned(),
                    offset: property.start(),
                };
                Some((name, string(&property.value)?.value))
            })
            .collect()
    }

    /// A whole number that is not negative.
    pub(crate) fn number(&self, path: &str) -> Option<Located<u64>> {
        let literal = self.get(path)?.as_number_lit()?;
        Some(Located {
            value: literal.value.parse().ok()?,
            offset: literal.start(),
        })
    }
}

/// A string value.
pub(crate) fn string(value: &Value<'_>) -> Option<Located<String>> {
    value.as_string_lit().map(|literal| Located {
        value: Cow::clone(&literal.value).into_owned(),
        offset: literal.start(),
    })
}

/// A value's type, with its article.
pub(crate) fn kind(value: &Value<'_>) -> &'static str {
    match value {
        Value::StringLit(_) => "a string",
        Value::NumberLit(_) => "a number",
        Value::BooleanLit(_) => "true or false",
        Value::Object(_) => "an object",
        Value::Array(_) => "a list",
        Value::NullKeyword(_) => "null",
    }
}
