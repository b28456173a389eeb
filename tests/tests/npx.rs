//! The first line of the README: `srt npx -y @modelcontextprotocol/server-filesystem DIR` under the default policy,
//! which gives npx neither a network nor a place to write. From a warm cache it runs all the same, and the person's
//! cache stays as it was.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use srt_tests::mcp::{INITIALIZED, initialize, legacy};
use srt_tests::{SOON, Talk, World, servers};

const PACKAGE: &str = "@modelcontextprotocol/server-filesystem";
/// npx looks at every package of the tree before it runs one.
const PATIENCE: Duration = Duration::from_secs(60);

/// The package as a person names it, and as the tests pin it.
fn specs() -> [String; 2] {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/node/package.json");
    let manifest: Value = serde_json::from_str(&fs::read_to_string(manifest).unwrap()).unwrap();
    let version = manifest["dependencies"][PACKAGE].as_str().unwrap();
    [PACKAGE.to_owned(), format!("{PACKAGE}@{version}")]
}

/// A world whose network leads nowhere, with a warm npm cache in its home.
fn world() -> World {
    let world = World::with_network(&[]);
    let copied = Command::new("cp")
        .arg("-r")
        .arg(servers().join("npm-cache"))
        .arg(world.path("home/.npm"))
        .status()
        .unwrap();
    assert!(copied.success());
    world.write("work/notes.txt", "buy milk\n");
    world
}

/// Every file below a folder, with its size and when it was last changed.
fn listing(folder: &Path) -> BTreeMap<PathBuf, (u64, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(listing(&entry.path()));
        } else {
            let meta = entry.metadata().unwrap();
            found.insert(entry.path(), (meta.len(), meta.modified().unwrap()));
        }
    }
    found
}

/// Asks a running server-filesystem for the note.
#[track_caller]
fn reads_the_note(world: &World, mut talk: Talk) {
    let answer = talk.ask(&initialize(&json!(1)), PATIENCE);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        answer["result"]["serverInfo"]["name"],
        "secure-filesystem-server",
        "{answer}; stderr: {}",
        talk.stderr()
    );
    talk.send(INITIALIZED);
    let call = json!({
        "name": "read_text_file",
        "arguments": { "path": world.path("work/notes.txt") },
    });
    let answer = talk.ask(&legacy(&json!(2), "tools/call", call), SOON);
    assert!(answer.contains("buy milk"), "{answer}");
    talk.close();
    assert!(talk.wait(SOON).success(), "{}", talk.stderr());
}

#[test]
fn the_cache_is_warm_without_a_sandbox_and_without_a_network() {
    for spec in specs() {
        let world = world();
        let mut bare = world.bare("npx");
        bare.args(["--offline", "-y", &spec]).arg(world.work());
        reads_the_note(&world, Talk::start(&mut bare));
    }
}

#[test]
fn npx_runs_from_a_warm_cache_under_the_default_policy() {
    for spec in specs() {
        let world = world();
        world.start_daemon();
        let cache = world.path("home/.npm");
        let before = listing(&cache);
        assert!(before.len() > 100, "a warm cache has files");
        let mut boxed = world.srt(&["npx", "-y", &spec]);
        boxed.arg(world.work());
        reads_the_note(&world, Talk::start(&mut boxed));
        let status = world.status("server-filesystem").unwrap();
        assert_eq!(status["policy"]["source"], "built-in", "{status}");
        assert_eq!(status["last_exit"]["code"], 0, "{status}");
        assert!(before == listing(&cache), "the person's cache was written");
    }
}

#[test]
fn npx_says_soon_that_its_cache_is_cold() {
    let world = World::with_network(&[]);
    world.start_daemon();
    let mut boxed = world.srt(&["npx", "-y", PACKAGE]);
    boxed.arg(world.work());
    let mut talk = Talk::start(&mut boxed);
    talk.close();
    let ended = talk.wait(PATIENCE);
    assert!(!ended.success(), "{}", talk.stderr());
    assert!(talk.stderr().contains("npm"), "{}", talk.stderr());
}
