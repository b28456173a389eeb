//! What the person's tool does with settings files and needs no daemon for: `srtctl policy check`, `schema`, `fmt`,
//! `migrate` and `templates`.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use srt_tests::{World, servers};

/// The checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Runs it with something on its stdin.
fn with_stdin(mut command: Command, text: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// What jsonschema says of each document of a list against the schema: whether it is valid.
fn validated(world: &World, schema: &str, documents: &[Value]) -> Vec<bool> {
    const SCRIPT: &str = "import json, sys
from jsonschema import Draft202012Validator
schema = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
print(json.dumps([validator.is_valid(document) for document in json.load(open(sys.argv[2]))]))";
    let schema = world.write("schema.json", schema);
    let documents = world.write("documents.json", &serde_json::to_string(documents).unwrap());
    let output = world
        .command(servers().join("python/bin/python"))
        .args(["-c", SCRIPT])
        .args([schema, documents])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Settings files that are part of the repository.
fn ours() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["tests/fixtures/settings", "packaging/templates", "examples"] {
        let Ok(entries) = fs::read_dir(root().join(folder)) else {
            continue;
        };
        let files = entries.flatten().map(|entry| entry.path());
        found.extend(files.filter(|path| path.extension().is_some_and(|end| end == "json")));
    }
    assert!(found.len() >= 3, "{found:?}");
    found
}

/// Without its comments and trailing commas.
fn plain(text: &str) -> Value {
    let parsed = jsonc_parser::parse_to_ast(text, &Default::default(), &Default::default());
    parsed.unwrap().value.unwrap().into()
}

#[test]
fn the_committed_schema_is_the_programs() {
    let world = World::new();
    let committed = fs::read_to_string(root().join("docs/settings.schema.json")).unwrap();
    let printed = world.ctl(&["policy", "schema"]);
    assert!(
        printed == committed,
        "docs/settings.schema.json is another one: srtctl policy schema >docs/settings.schema.json"
    );
}

#[test]
fn what_can_be_used_is_valid_and_what_has_a_slip_is_not() {
    let world = World::new();
    let schema = world.ctl(&["policy", "schema"]);
    let ours: Vec<Value> = ours()
        .iter()
        .map(|path| plain(&fs::read_to_string(path).unwrap()))
        .collect();
    for (document, valid) in ours.iter().zip(validated(&world, &schema, &ours)) {
        assert!(valid, "{document}");
    }
    // Each is as `policy check` judges it, whose judgement is looked at too.
    let cases = [
        (r#"{}"#, true),
        (r#"{ "$schema": "./x.json" }"#, true),
        (r#"{ "filesystem": { "mode": "minimal" } }"#, true),
        (r#"{ "filesystem": { "mode": "minmal" } }"#, false),
        (r#"{ "filesystem": { "denyread": [] } }"#, false),
        (
            r#"{ "filesystem": { "denyRead": ["~/.ssh", { "path": "a*", "literal": true }] } }"#,
            true,
        ),
        (
            r#"{ "filesystem": { "denyRead": [{ "path": "a", "glob": true }] } }"#,
            false,
        ),
        (
            r#"{ "filesystem": { "denyRead": [{ "literal": true }] } }"#,
            false,
        ),
        (r#"{ "filesystem": { "denyRead": "~/.ssh" } }"#, false),
        (
            r#"{ "network": { "allowedDomains": ["a.example.com:443"] } }"#,
            true,
        ),
        (
            r#"{ "network": { "allowedDomains": ["https://a.example.com"] } }"#,
            false,
        ),
        (r#"{ "network": { "mitmProxy": {} } }"#, true),
        (
            r#"{ "network": { "mitmProxy": { "socketPath": "/x" } } }"#,
            false,
        ),
        (r#"{ "network": { "askTimeoutSeconds": 601 } }"#, false),
        (r#"{ "network": { "httpProxyPort": 0 } }"#, false),
        (r#"{ "network": { "httpProxyPort": 65536 } }"#, false),
        (
            r#"{ "credentials": { "files": [{ "path": "/x", "mode": "deny" }] } }"#,
            true,
        ),
        (
            r#"{ "credentials": { "files": [{ "path": "/x", "mode": "mask" }] } }"#,
            false,
        ),
        (
            r#"{ "credentials": { "envVars": [{ "mode": "deny" }] } }"#,
            false,
        ),
        (r#"{ "credentials": { "awsPairs": [] } }"#, true),
        (r#"{ "credentials": { "awsPairs": [1] } }"#, false),
        (
            r#"{ "runtime": { "memoryMax": "512M", "cpuQuota": "50%", "warm": 2 } }"#,
            true,
        ),
        (r#"{ "runtime": { "memoryMax": 536870912 } }"#, true),
        (r#"{ "runtime": { "memoryMax": "512 M" } }"#, false),
        (r#"{ "runtime": { "memoryMax": 0 } }"#, false),
        (r#"{ "runtime": { "cpuQuota": "50" } }"#, false),
        (r#"{ "runtime": { "warm": 9 } }"#, false),
        (r#"{ "runtime": { "maxProcesses": 1.5 } }"#, false),
        (
            r#"{ "mcp": { "tools": { "allow": ["a"], "deny": [] }, "pinTools": true } }"#,
            true,
        ),
        (r#"{ "mcp": { "pinTools": "true" } }"#, false),
        (r#"{ "ignoreViolations": { "*": ["/usr"] } }"#, true),
        (r#"{ "ignoreViolations": { "*": "/usr" } }"#, false),
        (r#"{ "ripgrep": { "command": "rg" } }"#, true),
        (
            r#"{ "runtime": { "healthTimeout": 5 }, "limits": "best-effort" }"#,
            true,
        ),
        (
            r#"{ "version": 1, "runtime": { "healthTimeout": 5 } }"#,
            true,
        ),
        (
            r#"{ "version": 1, "runtime": { "healthTimeoutSeconds": 5 } }"#,
            false,
        ),
        (
            r#"{ "version": 2, "runtime": { "healthTimeoutSeconds": 5 } }"#,
            true,
        ),
        (
            r#"{ "version": 2, "runtime": { "healthTimeout": 5 } }"#,
            false,
        ),
        (r#"{ "version": 2, "limits": "best-effort" }"#, false),
        (r#"{ "version": 3 }"#, false),
        (r#"{ "netwrok": {} }"#, false),
        (r#"[]"#, false),
    ];
    let documents: Vec<Value> = cases.iter().map(|(text, _)| plain(text)).collect();
    let said = validated(&world, &schema, &documents);
    for ((text, expected), valid) in cases.iter().zip(said) {
        assert_eq!(valid, *expected, "jsonschema: {text}");
        let mut check = world.command(world.program("srtctl"));
        check.args(["policy", "check", "-"]);
        let checked = with_stdin(check, text);
        let code = if *expected { 0 } else { 6 };
        assert_eq!(checked.status.code(), Some(code), "{text}: {checked:?}");
    }
}

#[test]
fn a_check_says_where_and_what_would_be_right_for_people_and_for_programs() {
    let world = World::new();
    world.write("work/policies/good.json", "{}");
    world.write(
        "work/policies/below/bad.json",
        "{\n  // a slip\n  \"filesystem\": { \"mode\": \"minmal\" },\n}\n",
    );
    world.write("work/policies/notes.txt", "no settings");

    let text = world.srtctl(&["policy", "check", "policies"]);
    assert_eq!(text.status.code(), Some(6), "{text:?}");
    assert_eq!(
        stdout(&text),
        "policies/below/bad.json:3:27: error: \"minmal\" is no value of filesystem.mode\n\
         hint: did you mean \"minimal\"?\n"
    );
    let github = world.srtctl(&["policy", "check", "--format", "github", "**/bad.json"]);
    assert_eq!(github.status.code(), Some(6), "{github:?}");
    assert_eq!(
        stdout(&github),
        "::error file=policies/below/bad.json,line=3,col=27,title=srt policy::\"minmal\" is no value of filesystem.mode%0Ahint: did you mean \"minimal\"?\n"
    );
    let json = world.srtctl(&["policy", "check", "--json", "policies"]);
    assert_eq!(json.status.code(), Some(6), "{json:?}");
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    let files = report["files"].as_array().unwrap();
    let shown: Vec<_> = files
        .iter()
        .map(|file| (&file["path"], &file["ok"]))
        .collect();
    assert_eq!(shown.len(), 2, "{report}");
    assert_eq!(shown[0], (&"policies/below/bad.json".into(), &false.into()));
    assert_eq!(shown[1], (&"policies/good.json".into(), &true.into()));
    assert_eq!(files[0]["diagnostics"][0]["line"], 3);
    assert_eq!(
        files[0]["diagnostics"][0]["hint"],
        "did you mean \"minimal\"?"
    );

    // What is extended is read and checked, too, and a project's file is held to what it may only tighten.
    world.write(
        "work/team/base.json",
        "{ \"network\": { \"allowedDomains\": [\"a.example.com:443\"] } }",
    );
    world.write(
        "work/team/github.json",
        "{ \"extends\": [\"@github\", \"./base.json\"] }",
    );
    world.write(
        "work/team/broken.json",
        "{ \"extends\": [\"../policies/below/bad.json\"] }",
    );
    world.write(
        "work/project/.srt.json",
        "{ \"network\": { \"allowedDomains\": [\"b.example.com:443\"] } }",
    );
    assert_eq!(world.ctl(&["policy", "check", "team/github.json"]), "");
    let broken = world.srtctl(&["policy", "check", "team/broken.json"]);
    assert!(
        stdout(&broken).starts_with("policies/below/bad.json:3:27: error:"),
        "{broken:?}"
    );
    // All that is wrong is told at once, in the order of the file.
    world.write(
        "work/team/several.json",
        "{\n\"extends\": [\"@memmory\", \"./gone.json\", \"@git\"],\n\"network\": { \"allowedDomain\": [] } }",
    );
    let several = world.srtctl(&["policy", "check", "team/several.json"]);
    let several = stdout(&several);
    let places: Vec<_> = several
        .lines()
        .filter_map(|line| line.strip_prefix("team/several.json:")?.split_once(": "))
        .collect();
    let [(one, memory), (two, gone), (three, key)] = places[..] else {
        panic!("{several}");
    };
    assert_eq!((one, two, three), ("2:13", "2:25", "3:14"));
    assert!(memory.contains("@memmory") && gone.contains("gone.json"));
    assert!(key.contains("allowedDomain"), "{key}");

    let check = |against: &str| {
        let output = world.srtctl(&["policy", "check", "--against", against, "project/.srt.json"]);
        (output.status.code(), stdout(&output))
    };
    let (code, said) = check("team/github.json");
    assert_eq!(code, Some(6), "{said}");
    assert!(said.starts_with("project/.srt.json:1:35: error: \"b.example.com:443\" in network.allowedDomains is looser"), "{said}");
    world.write(
        "work/project/.srt.json",
        "{ \"network\": { \"allowedDomains\": [\"api.github.com:443\"] } }",
    );
    assert_eq!(check("team/github.json"), (Some(0), String::new()));
    assert_eq!(check("team/gone.json").0, Some(6));

    // Nothing to check is no success: a pipeline that looks in the wrong place must say so.
    for nothing in ["*.yaml", "gone.json", "empty"] {
        fs::create_dir_all(world.path("work/empty")).unwrap();
        let output = world.srtctl(&["policy", "check", nothing]);
        assert_eq!(output.status.code(), Some(6), "{nothing}: {output:?}");
    }
    assert_eq!(
        world
            .srtctl(&["policy", "check", "policies/good.json"])
            .status
            .code(),
        Some(0)
    );
}

#[test]
fn one_form_is_written_and_asked_for() {
    let world = World::new();
    let path = world.write("work/a.json", "// why\n{\"strict\":true, // really\n}");
    world.write("work/good.json", "{ \"strict\": true }\n");
    let text = || fs::read_to_string(&path).unwrap();
    let before = text();

    let check = world.srtctl(&["policy", "fmt", "--check", "a.json", "good.json"]);
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    let shown = stdout(&check);
    assert!(shown.starts_with("--- a/a.json\n+++ b/a.json\n"), "{shown}");
    assert!(!shown.contains("good.json"), "{shown}");
    assert_eq!(text(), before, "nothing was to be written");

    assert_eq!(world.ctl(&["policy", "fmt", "."]), "a.json\n");
    assert_eq!(text(), "// why\n{\n  \"strict\": true // really\n}\n");
    assert_eq!(world.ctl(&["policy", "fmt", "--check", "."]), "");

    world.write("work/bad.json", "{ \"strict\" }");
    let bad = world.srtctl(&["policy", "fmt", "."]);
    assert_eq!(bad.status.code(), Some(6), "{bad:?}");
    let said = String::from_utf8_lossy(&bad.stderr);
    assert!(said.starts_with("bad.json:1:"), "{said}");

    let mut from_stdin = world.command(world.program("srtctl"));
    from_stdin.args(["policy", "fmt", "-"]);
    assert_eq!(stdout(&with_stdin(from_stdin, &before)), text());
}

#[test]
fn an_old_file_is_shown_then_written_as_the_newest() {
    let world = World::new();
    let old = "{\n  // asked often\n  \"runtime\": { \"healthTimeout\": 5 }\n}\n";
    let path = world.write("work/old.json", old);
    let text = || fs::read_to_string(&path).unwrap();

    let check = world.srtctl(&["policy", "migrate", "--check", "old.json"]);
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    let shown = world.ctl(&["policy", "migrate", "old.json"]);
    assert!(
        shown.contains("old.json: runtime.healthTimeout is called runtime.healthTimeoutSeconds\n"),
        "{shown}"
    );
    assert!(shown.contains("\n+  \"version\": 2,\n"), "{shown}");
    assert_eq!(text(), old, "nothing was to be written");

    world.ctl(&["policy", "migrate", "--write", "old.json"]);
    assert_eq!(
        text(),
        "{\n  \"version\": 2,\n  // asked often\n  \"runtime\": { \"healthTimeoutSeconds\": 5 }\n}\n"
    );
    assert_eq!(world.ctl(&["policy", "migrate", "--check", "old.json"]), "");
    assert_eq!(
        world.srtctl(&["policy", "check", "old.json"]).status.code(),
        Some(0)
    );

    world.write("work/newer.json", "{ \"version\": 3 }");
    let newer = world.srtctl(&["policy", "migrate", "--write", "newer.json"]);
    assert_eq!(newer.status.code(), Some(6), "{newer:?}");
    let said = String::from_utf8_lossy(&newer.stderr);
    assert!(
        said.starts_with("newer.json:1:14: error: this file is of version 3"),
        "{said}"
    );
}

#[test]
fn templates_are_listed_and_printed_as_they_are() {
    let world = World::new();
    let listed = world.ctl(&["policy", "templates"]);
    let mut seen = 0;
    for path in ours() {
        if path.parent().unwrap().ends_with("templates") {
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(listed.contains(&format!("@{name} ")), "{listed}");
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(world.ctl(&["policy", "templates", name]), text);
            assert_eq!(
                world.ctl(&["policy", "templates", &format!("@{name}")]),
                text
            );
            seen += 1;
        }
    }
    assert_eq!(listed.lines().count(), seen + 1, "{listed}");
    let unknown = world.srtctl(&["policy", "templates", "nothing"]);
    assert_eq!(unknown.status.code(), Some(4), "{unknown:?}");
}
