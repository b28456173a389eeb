//! `policy fmt`: one form, the same meaning, every comment.

use jsonc_parser::tokens::Token;
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, parse_to_ast};
use srt_policy::{Source, format};

use crate::support::{SETTINGS, try_compile};

fn formatted(text: &str) -> String {
    let source = Source {
        path: SETTINGS.into(),
        text: text.to_owned(),
    };
    format(&source).unwrap_or_else(|invalid| panic!("{invalid}: {text}"))
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(formatted(text), expected, "{text}");
    assert_eq!(formatted(expected), expected, "once more");
}

#[test]
fn what_fits_on_a_line_stays_there_and_what_does_not_is_broken() {
    check("{}", "{}\n");
    check("\u{feff} { } \r\n", "{}\n");
    check("{\"a\":1}", "{ \"a\": 1 }\n");
    check(
        "{\n\"network\":{\"allowedDomains\":[\"a.com\" , \"b.com\",],},}",
        "{\n  \"network\": { \"allowedDomains\": [\"a.com\", \"b.com\"] }\n}\n",
    );
    check(
        "{ \"a\": [\n1,2], \"b\": {}, \"c\": [\n\n] }",
        "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {},\n  \"c\": []\n}\n",
    );
    let entry = format!("\"{}\"", "x".repeat(60));
    check(
        &format!("{{\"a\": [{entry}, {entry}]}}"),
        &format!("{{\n  \"a\": [\n    {entry},\n    {entry}\n  ]\n}}\n"),
    );
}

#[test]
fn comments_stay_with_what_they_are_about() {
    check(
        "// top\n\n/* more */ {\n  // a\n  \"a\": 1, // behind a\n\n\n  /* b */ \"b\": 2 /* behind b */,\n  \"c\" /* x */ : // y\n  [1, // one\n 2]\n  // rest\n}\n// end",
        "// top\n\n/* more */\n{\n  // a\n  \"a\": 1, // behind a\n\n  /* b */\n  \"b\": 2, /* behind b */\n  /* x */\n  // y\n  \"c\": [\n    1, // one\n    2\n  ]\n  // rest\n}\n// end\n",
    );
    check("{ // why\n}", "{\n  // why\n}\n");
    check(
        "{\"a\": 1 // x\n, // y\n\"b\": 2}",
        "{\n  \"a\": 1, // x\n  // y\n  \"b\": 2\n}\n",
    );
    check(
        "{\"a\": 1\n// between\n, \"b\": 2}",
        "{\n  \"a\": 1,\n  // between\n  \"b\": 2\n}\n",
    );
    check(
        "{\n  /* of\n     two lines */\n  \"a\": 1\n}",
        "{\n  /* of\n     two lines */\n  \"a\": 1\n}\n",
    );
}

#[test]
fn what_is_not_json_stays_as_it_is() {
    for text in ["", "[]", "{\"a\"}", "{'a': 1}"] {
        let source = Source {
            path: SETTINGS.into(),
            text: text.to_owned(),
        };
        let invalid = format(&source).expect_err(text);
        let own = try_compile(text).expect_err(text);
        assert_eq!(invalid.diagnostics, own.diagnostics, "{text}");
    }
}

/// Tokens and comments apart from each other, as written; commas are no matter.
fn parts(text: &str) -> (Vec<String>, Vec<String>) {
    let collect = CollectOptions {
        comments: CommentCollectionStrategy::AsTokens,
        tokens: true,
    };
    let parsed = parse_to_ast(text, &collect, &Default::default()).expect("JSON");
    let (mut tokens, mut comments) = (Vec::new(), Vec::new());
    for token in parsed.tokens.expect("tokens") {
        let written = text[token.range.start..token.range.end].to_owned();
        match token.token {
            Token::CommentLine(_) | Token::CommentBlock(_) => {
                comments.push(written.trim_end().to_owned());
            }
            Token::Comma => {}
            _ => tokens.push(written),
        }
    }
    (tokens, comments)
}

/// Documents drawn at random, with blanks, empty lines and comments wherever they may stand.
#[test]
fn nothing_is_lost_or_changed_and_once_is_enough() {
    // A linear congruential generator (Knuth's constants): the same documents in every run.
    let mut seed = 11_u64;
    let mut draw = move |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("31 bits") % below
    };
    let mut commented = 0;
    for _ in 0..3000 {
        let mut words: Vec<String> = Vec::new();
        value(&mut words, 0, true, &mut draw);
        let mut text = String::new();
        for word in &words {
            gap(&mut text, &mut draw);
            text.push_str(word);
        }
        gap(&mut text, &mut draw);
        let once = formatted(&text);
        assert_eq!(formatted(&once), once, "a second time changes it: {text}");
        assert_eq!(parts(&once), parts(&text), "{text}");
        assert!(
            once.lines()
                .all(|line| line.trim_end() == line || text.contains("*\n")),
            "{once}"
        );
        commented += usize::from(!parts(&text).1.is_empty());
    }
    assert!(commented > 1000, "{commented} had comments");
}

fn gap(text: &mut String, draw: &mut impl FnMut(usize) -> usize) {
    for _ in 0..draw(3) {
        text.push_str(
            [
                " ",
                "\n",
                "\n\n\n",
                "\t",
                "\r\n",
                "// note\n",
                "/* block */",
                "/* two\n lines */",
                "//\n",
            ][draw(9)],
        );
    }
}

fn value(
    words: &mut Vec<String>,
    depth: usize,
    object: bool,
    draw: &mut impl FnMut(usize) -> usize,
) {
    let kind = if object { 0 } else { draw(6) };
    if depth > 4 || kind > 1 {
        let scalars = [
            "1",
            "true",
            "null",
            "\"a b\"",
            "\"// no comment\"",
            "\"\\u00e9, ]\"",
            "-1.5e3",
        ];
        words.push(scalars[draw(scalars.len())].to_owned());
        return;
    }
    let (open, close) = [("{", "}"), ("[", "]")][kind];
    words.push(open.to_owned());
    let members = draw(4);
    for member in 0..members {
        if kind == 0 {
            words.push(format!("\"name {member}\""));
            words.push(":".to_owned());
        }
        value(words, depth + 1, false, draw);
        if member + 1 < members || draw(3) == 0 {
            words.push(",".to_owned());
        }
    }
    words.push(close.to_owned());
}

/// What a formatted document means is what it meant.
#[test]
fn the_policy_is_the_same_before_and_after() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/settings");
    for entry in std::fs::read_dir(folder).expect("fixtures") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|end| end != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a fixture");
        let lines = |text: &str| -> Vec<_> {
            let policy = try_compile(text).expect("it compiles").policy;
            let lines = policy.lines().into_iter();
            lines.map(|line| (line.key, line.value)).collect()
        };
        assert_eq!(lines(&formatted(&text)), lines(&text), "{}", path.display());
    }
}
