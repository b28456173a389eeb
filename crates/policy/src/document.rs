//! The raw document: JSON with comments and trailing commas, every value with its place.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jsonc_parser::ast::{Object, ObjectPropName, Value};
use jsonc_parser::common::{Range, Ranged};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use crate::diagnostics::Findings;
use crate::keys::{KEYS, Shape};
use crate::version::{Version, is_renamed, version, written};

/// Documents above this many bytes are refused before they are parsed.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 1 << 20;

/// The JSON that settings are: with comments and trailing commas, and nothing else.
pub(crate) const OPTIONS: ParseOptions = ParseOptions {
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

/// One file as it is written, its places counted from the file's beginning in the space of all files.
#[derive(Debug)]
pub(crate) struct Parsed<'a> {
    root: Object<'a>,
    version: Version,
}

/// The values in force, by dotted key: of one file, or of several whose values were put together. Its readers skip what
/// has the wrong type: `check` has reported that already.
#[derive(Clone, Debug, Default)]
pub(crate) struct Document<'a> {
    values: BTreeMap<&'static str, Value<'a>>,
}

impl<'a> Parsed<'a> {
    /// Parses `text`, which has no byte order mark any more and begins at `base` in the space of all files.
    pub(crate) fn parse(text: &'a str, base: usize, findings: &mut Findings) -> Option<Self> {
        if text.len() > MAX_DOCUMENT_BYTES {
            findings.error(
                base,
                format!(
                    "the document has {} bytes, more than {MAX_DOCUMENT_BYTES}",
                    text.len()
                ),
                Some("split it into one file per server".to_owned()),
            );
            return None;
        }
        match parse_to_ast(text, &CollectOptions::default(), &OPTIONS) {
            Ok(parsed) => match parsed.value {
                Some(Value::Object(mut root)) => {
                    shift_object(&mut root, base);
                    let version = version(&root, findings)?;
                    Some(Self { root, version })
                }
                Some(other) => {
                    findings.error(
                        base + other.start(),
                        format!("a settings file is one JSON object, not {}", kind(&other)),
                        Some("begin with { and end with }".to_owned()),
                    );
                    None
                }
                None => {
                    findings.error(
                        base,
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
                    base + error.range().start,
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

    /// The version of the format that it is of.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The values of the keys that the table knows.
    pub(crate) fn document(&self) -> Document<'a> {
        // By the names of the newest version, whichever the file is of.
        let rows = KEYS
            .iter()
            .filter(|key| key.shape != Shape::Section && !is_renamed(key.path));
        let values = rows.filter_map(|key| {
            let written = written(key.path, self.version);
            Some((key.path, self.value(written)?.clone()))
        });
        Document {
            values: values.collect(),
        }
    }

    fn value(&self, path: &str) -> Option<&Value<'a>> {
        let mut parts = path.split('.');
        let mut value = &self.root.get(parts.next()?)?.value;
        for part in parts {
            value = &value.as_object()?.get(part)?.value;
        }
        Some(value)
    }
}

/// Moves a value's places, and those of what is in it.
fn shift(value: &mut Value<'_>, by: usize) {
    match value {
        Value::StringLit(literal) => shift_range(&mut literal.range, by),
        Value::NumberLit(literal) => shift_range(&mut literal.range, by),
        Value::BooleanLit(literal) => shift_range(&mut literal.range, by),
        Value::NullKeyword(keyword) => shift_range(&mut keyword.range, by),
        Value::Object(object) => shift_object(object, by),
        Value::Array(array) => {
            shift_range(&mut array.range, by);
            array.elements.iter_mut().for_each(|item| shift(item, by));
        }
    }
}

fn shift_object(object: &mut Object<'_>, by: usize) {
    shift_range(&mut object.range, by);
    for property in &mut object.properties {
        shift_range(&mut property.range, by);
        match &mut property.name {
            ObjectPropName::String(name) => shift_range(&mut name.range, by),
            ObjectPropName::Word(name) => shift_range(&mut name.range, by),
        }
        shift(&mut property.value, by);
    }
}

fn shift_range(range: &mut Range, by: usize) {
    range.start += by;
    range.end += by;
}

impl<'a> Document<'a> {
    /// The value of a dotted key.
    pub(crate) fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.values.get(key)
    }

    /// Every value, by its dotted key.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&'static str, &Value<'a>)> {
        self.values.iter().map(|(key, value)| (*key, value))
    }

    /// Puts a value in force, in place of what was.
    pub(crate) fn set(&mut self, key: &'static str, value: Value<'a>) {
        self.values.insert(key, value);
    }

    /// Takes a key out.
    pub(crate) fn remove(&mut self, key: &str) {
        self.values.remove(key);
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

    /// A number as it is written, or a string.
    pub(crate) fn amount(&self, path: &str) -> Option<Located<String>> {
        match self.get(path)? {
            Value::NumberLit(number) => Some(Located {
                value: number.value.to_owned(),
                offset: number.start(),
            }),
            other => string(other),
        }
    }

    pub(crate) fn bool(&self, path: &str) -> Option<Located<bool>> {
        let literal = self.get(path)?.as_boolean_lit()?;
        Some(Located {
            value: literal.value,
            offset: literal.start(),
        })
    }

    /// The members of an object of lists of strings.
    pub(crate) fn lists(&self, path: &str) -> Vec<(String, Vec<Located<String>>)> {
        let Some(object) = self.get(path).and_then(Value::as_object) else {
            return Vec::new();
        };
        object
            .properties
            .iter()
            .filter_map(|property| {
                let list = property.value.as_array()?.elements.iter();
                let name = property.name.as_str().to_owned();
                Some((name, list.filter_map(string).collect()))
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
