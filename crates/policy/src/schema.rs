//! The JSON Schema of a settings file, for editors and whoever validates. It is made from the table of keys that
//! documents are held against, so the two cannot differ.
//!
//! It is a first look: what depends on more than one value (a domain's grammar, keys that contradict each other)
//! `policy check` alone can tell.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::Limits;
use crate::about::about;
use crate::keys::{Key, Shape, Standing, find, names_below};
use crate::version::{NEWEST_VERSION, Version};

/// An entry of a list of paths.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum PathEntry {
    /// A path or a pattern.
    Text(String),
    Literal(LiteralPath),
}

/// A path whose *, ? and [ have no meaning.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct LiteralPath {
    path: String,
    #[schemars(default)]
    literal: bool,
}

/// The schema, in draft 2020-12. Comments and trailing commas, which a settings file may have, are no matter of a
/// schema.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    let mut definitions = Map::new();
    for version in (1..=NEWEST_VERSION).rev() {
        let mut top = section("", version, &mut generator);
        share(&mut top, version, &mut definitions);
        definitions.insert(format!("version{version}"), top);
    }
    // The newest, unless the file says that it is of another one, or nothing, which is the first.
    let of = |version: u64| json!({ "$ref": format!("#/$defs/version{version}") });
    let says = |version: u64| json!({ "properties": { "version": { "const": version } }, "required": ["version"] });
    let choice = (2..=NEWEST_VERSION).fold(
        of(1),
        |otherwise, version| json!({ "if": says(version), "then": of(version), "else": otherwise }),
    );
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "srt settings",
        "description": "What an MCP server may do in its sandbox. docs/POLICY.md says what each key means.",
        // What Visual Studio Code asks of a schema for files with comments.
        "allowComments": true,
        "allowTrailingCommas": true,
        "type": "object",
    });
    merge(&mut schema, choice);
    merge(&mut schema, json!({ "$defs": definitions }));
    schema
}

/// Puts the sections of a version among the definitions, where another version may have the very same.
fn share(top: &mut Value, version: Version, definitions: &mut Map<String, Value>) {
    let Some(members) = top.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for (name, member) in members {
        if member.get("properties").is_none() {
            continue;
        }
        let name = match definitions.get(name) {
            Some(known) if known != member => format!("{name}{version}"),
            Some(_) | None => name.clone(),
        };
        let shared = json!({ "$ref": format!("#/$defs/{name}") });
        definitions.insert(name, std::mem::replace(member, shared));
    }
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

/// An object whose members are the rows of this version below `parent`.
fn section(parent: &str, version: Version, generator: &mut SchemaGenerator) -> Value {
    let members: Map<String, Value> = names_below(parent, version)
        .map(|name| {
            let path = match parent {
                "" => name.to_owned(),
                _ => format!("{parent}.{name}"),
            };
            let row = find(&path, version);
            let member = row.map_or(Value::Bool(true), |key| member(key, version, generator));
            (name.to_owned(), member)
        })
        .collect();
    let mut section = json!({
        "type": "object",
        "properties": members,
        "additionalProperties": false,
    });
    let required = match parent {
        "credentials.files[]" => Some(["path", "mode"]),
        "credentials.envVars[]" => Some(["name", "mode"]),
        _ => None,
    };
    if let Some(required) = required {
        merge(&mut section, json!({ "required": required }));
    }
    section
}

fn member(key: &Key, version: Version, generator: &mut SchemaGenerator) -> Value {
    let mut schema = json!({});
    let mut describe = |text: &str| merge(&mut schema, json!({ "description": text }));
    match (about(key.path), key.standing) {
        (Some(about), Standing::Stricter(why)) => {
            describe(&format!("{about} Not available: {why}."));
        }
        (Some(about), Standing::NoEffect(why)) => describe(&format!("{about} No effect: {why}.")),
        (Some(about), Standing::Refused(_)) => {
            describe(&format!("{about} Not enforced yet, and so refused."));
        }
        (Some(about), Standing::Enforced | Standing::Part) => describe(about),
        (None, _) => {}
    }
    match key.standing {
        // Visual Studio Code shows it as a warning; to a validator it says nothing.
        Standing::Stricter(why) | Standing::NoEffect(why) => merge(
            &mut schema,
            json!({ "deprecated": true, "deprecationMessage": why }),
        ),
        Standing::Enforced | Standing::Part | Standing::Refused(_) => {}
    }
    merge(&mut schema, of_shape(key, version, generator));
    // What asks for nothing is accepted.
    if matches!(key.standing, Standing::Refused(_)) {
        let nothing = match key.shape {
            Shape::Anything => json!({ "enum": [false, 0, "", [], {}, null] }),
            _ => json!({ "maxProperties": 0 }),
        };
        merge(&mut schema, nothing);
    }
    schema
}

fn of_shape(key: &Key, version: Version, generator: &mut SchemaGenerator) -> Value {
    let of = |schema: schemars::Schema| schema.to_value();
    match key.shape {
        Shape::Section => section(key.path, version, generator),
        Shape::Sections => {
            let items = section(&format!("{}[]", key.path), version, generator);
            json!({ "type": "array", "items": items })
        }
        Shape::StringMap => of(generator.subschema_for::<BTreeMap<String, String>>()),
        Shape::ListMap => of(generator.subschema_for::<BTreeMap<String, Vec<String>>>()),
        Shape::Strings => {
            let mut list = of(generator.subschema_for::<Vec<String>>());
            // The commonest slips: a URL, a path, a blank.
            if matches!(key.path, "network.allowedDomains" | "network.deniedDomains") {
                merge(
                    &mut list,
                    json!({ "items": { "type": "string", "pattern": "^[^\\s/@]+$" } }),
                );
            }
            list
        }
        Shape::Paths => of(generator.subschema_for::<Vec<PathEntry>>()),
        Shape::String => of(generator.subschema_for::<String>()),
        Shape::Word(words) => {
            let words: Vec<Value> = words
                .iter()
                .filter(|(_, meaning)| !meaning.is_empty())
                .map(|(word, meaning)| json!({ "const": word, "description": meaning }))
                .collect();
            json!({ "oneOf": words })
        }
        Shape::Percent => json!({ "type": "string", "pattern": "^0*[1-9][0-9]*%$" }),
        Shape::Bool => of(generator.subschema_for::<bool>()),
        Shape::Number => bounded(key.path, of(generator.subschema_for::<u64>())),
        Shape::Positive => bounded(key.path, of(generator.subschema_for::<NonZeroU64>())),
        Shape::Size => {
            let bytes = of(generator.subschema_for::<NonZeroU64>());
            let text = json!({ "type": "string", "pattern": "^[0-9]+([KkMmGgTt]([Ii][Bb])?)?$" });
            json!({ "anyOf": [bytes, text] })
        }
        Shape::Retention => {
            let entries = of(generator.subschema_for::<NonZeroU64>());
            let age = json!({ "type": "string", "pattern": "^0*[1-9][0-9]*[hdw]?$" });
            json!({ "anyOf": [entries, age] })
        }
        Shape::Version => json!({ "const": version }),
        Shape::Anything => json!({}),
    }
}

/// A number with its bounds, where the compiler has some.
fn bounded(path: &str, mut number: Value) -> Value {
    let bounds = match path {
        "runtime.warm" => json!({ "maximum": Limits::MOST_WARM }),
        "network.askTimeoutSeconds" => {
            json!({ "maximum": crate::compile_network::MOST_ASK_SECONDS })
        }
        "network.httpProxyPort" | "network.socksProxyPort" => {
            json!({ "minimum": 1, "maximum": u16::MAX })
        }
        _ => return number,
    };
    merge(&mut number, bounds);
    number
}
