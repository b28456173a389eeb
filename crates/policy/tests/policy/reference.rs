//! docs/POLICY.md says what the table of keys says, and its examples are documents.

use crate::support::try_compile;

/// The table is private: it is read as text, one row a line.
const KEYS: &str = include_str!("../../src/keys.rs");
const REFERENCE: &str = include_str!("../../../../docs/POLICY.md");

/// A row of the table: the dotted path, and the status that the reference gives it (`None`: it details another).
fn keys() -> Vec<(&'static str, Option<&'static str>)> {
    let rows = KEYS
        .lines()
        .filter_map(|line| line.trim().strip_prefix("key(\""));
    rows.map(|row| {
        let (path, rest) = row.split_once("\", ").expect("a path");
        let (shape, rest) = rest.split_once(", ").expect("a shape");
        let standing = rest.split(['(', ')']).next().unwrap_or_default();
        let status = match standing {
            "Enforced" if shape.starts_with("Section") => None,
            "Enforced" => Some("enforced"),
            "Refused" => Some("error"),
            "Stricter" => Some("warning"),
            "NoEffect" => Some("no effect"),
            "Part" => None,
            other => panic!("{path}: {other} is no standing that this test knows"),
        };
        (path, status)
    })
    .collect()
}

/// The keys that the reference's tables tell of, each with its status.
fn told() -> Vec<(String, &'static str)> {
    let mut told = Vec::new();
    let (mut heading, mut of_keys) = ("", false);
    for line in REFERENCE.lines() {
        if let Some(text) = line.strip_prefix("## ") {
            heading = text;
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, first, _, status, ..] = cells[..] else {
            of_keys = false;
            continue;
        };
        of_keys |= first == "key";
        if of_keys && first.contains('`') {
            let within = match heading {
                "The rest" | "strict" => String::new(),
                section => format!("{section}."),
            };
            let keys = names(first).into_iter().map(|name| within.clone() + &name);
            told.extend(keys.map(|key| (key, status)));
        }
    }
    told
}

/// The names in a table's first column: `a`, `b` or `a` {`b`}, which is a.b, or those of both kinds of credentials.
fn names(cell: &str) -> Vec<String> {
    let names: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
    if cell.contains(" of either") {
        let both = |name| [format!("files[].{name}"), format!("envVars[].{name}")];
        names.into_iter().flat_map(both).collect()
    } else if cell.contains('{') {
        let below = names[1..].iter().map(|name| format!("{}.{name}", names[0]));
        [names[0].to_owned()].into_iter().chain(below).collect()
    } else {
        names.into_iter().map(str::to_owned).collect()
    }
}

#[test]
fn every_key_stands_in_the_reference_with_its_status() {
    let (keys, told) = (keys(), told());
    assert!(keys.len() > 80, "{} rows were read", keys.len());
    for (path, status) in &told {
        let key = keys.iter().find(|(key, _)| key == path);
        let (_, expected) = key.unwrap_or_else(|| panic!("{path} is told of, and is no key"));
        assert!(
            expected.is_none_or(|expected| status.starts_with(expected)),
            "{path} is told to be {status:?}, and is {expected:?}"
        );
    }
    for (path, _) in &keys {
        // A section stands in it by what is in it.
        let below = |key: &str| {
            key.strip_prefix(path)
                .is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        assert!(
            told.iter().any(|(key, _)| key == path || below(key)),
            "{path} does not stand in docs/POLICY.md"
        );
    }
}

/// The rows of the tables that tell grammar, default, example and limits, below the headings of these sections.
fn explained() -> Vec<(String, Vec<&'static str>)> {
    let (mut heading, mut within) = ("", false);
    let mut rows = Vec::new();
    for line in REFERENCE.lines() {
        if let Some(text) = line.strip_prefix("## ") {
            heading = text;
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, first, .., _] = cells[..] else {
            within = false;
            continue;
        };
        within |= first == "name";
        if within && first.contains('`') {
            rows.push((format!("{heading}.{}", first.trim_matches('`')), cells));
        }
    }
    rows
}

#[test]
fn every_enforced_network_key_is_explained_with_an_example_that_compiles() {
    let explained = explained();
    let enforced = keys().into_iter().filter(|(path, status)| {
        *status == Some("enforced") && (path.starts_with("network.") || path.starts_with("tls."))
    });
    let mut count = 0;
    for (path, _) in enforced {
        count += 1;
        let (_, cells) = explained
            .iter()
            .find(|(key, _)| key == path)
            .unwrap_or_else(|| panic!("{path} has no row with its grammar"));
        let [_, _, grammar, default, example, _, _] = cells[..] else {
            panic!("{path} has a row of {} cells", cells.len());
        };
        assert!(!grammar.is_empty() && !default.is_empty(), "{path}");
        let (section, below) = path.split_once('.').expect("a section");
        let example = example.trim_matches('`');
        let name = below.rsplit('.').next().unwrap_or_default();
        assert!(
            example.contains(&format!("{name:?}: ")),
            "{path}: {example}"
        );
        let document = format!("{{{section:?}: {{{example}}}}}");
        if let Err(invalid) = try_compile(&document) {
            panic!("{path}: {document}: {invalid}");
        }
    }
    assert_eq!(count, explained.len(), "a row is about no such key");
}

#[test]
fn the_examples_are_documents() {
    let examples: Vec<_> = REFERENCE
        .split("```json\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(example, _)| example)
        .collect();
    assert!(examples.len() >= 5, "{} examples", examples.len());
    for example in examples {
        match try_compile(example) {
            Ok(compiled) => assert!(compiled.warnings.is_empty(), "{example}"),
            Err(invalid) => panic!("{example}: {invalid}"),
        }
    }
}
