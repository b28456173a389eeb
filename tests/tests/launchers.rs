//! What fetches a server and runs it, from a warm cache. The first line of the README is
//! `srt npx -y @modelcontextprotocol/server-filesystem DIR` under the default policy, which gives npx neither a network nor
//! a place to write. It runs all the same, and the person's cache stays as it was.

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

/// A world whose network leads nowhere, with a warm cache in its home.
fn world(warm: &str, cache: &str) -> World {
    let world = World::with_network(&[]);
    copy(&servers().join(warm), &world.path(cache));
    world.write("work/notes.txt", "buy milk\n");
    world
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let copied = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(copied.unwrap().success());
}

fn warm_npm() -> World {
    world("npm-cache", "home/.npm")
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
        let world = warm_npm();
        let mut bare = world.bare("npx");
        bare.args(["--offline", "-y", &spec]).arg(world.work());
        reads_the_note(&world, Talk::start(&mut bare));
    }
}

#[test]
fn npx_runs_from_a_warm_cache_under_the_default_policy() {
    for spec in specs() {
        let world = warm_npm();
        world.start_daemon();
        let cache = world.path("home/.npm");
        let before = listing(&cache);
        assert!(before.len() > 100, "a warm cache has files");
        for launcher in [&["npx", "-y"][..], &["npm", "exec", "-y", "--"]] {
            let mut boxed = world.srt(&["--name", "server-filesystem", "--"]);
            boxed.args(launcher).arg(&spec).arg(world.work());
            reads_the_note(&world, Talk::start(&mut boxed));
        }
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

/// uv as its own installer puts it there: two programs in `~/.local/bin`, of which uvx runs the other.
#[test]
fn uvx_runs_from_a_warm_cache_under_the_default_policy() {
    let mut world = world("uv/cache", "home/.cache/uv");
    for program in ["uv", "uvx"] {
        let installed = servers().join("uv/venv/bin").join(program);
        copy(&installed, &world.path("home/.local/bin").join(program));
    }
    let path = std::env::var("PATH").unwrap();
    let bin = world.path("home/.local/bin").display().to_string();
    world.set("PATH", &format!("{bin}:{path}"));
    // Debian's, as when the cache was filled: another one may be in a home that this user cannot enter.
    world.set("UV_PYTHON", "/usr/bin/python3");
    let knows_the_time = |mut talk: Talk| {
        let answer = talk.ask(&initialize(&json!(1)), PATIENCE);
        assert!(answer.contains("mcp-time"), "{answer}; {}", talk.stderr());
        talk.send(INITIALIZED);
        let call = json!({ "name": "get_current_time", "arguments": { "timezone": "UTC" } });
        let answer = talk.ask(&legacy(&json!(2), "tools/call", call), SOON);
        assert!(answer.contains("day_of_week"), "{answer}");
        talk.close();
        assert!(talk.wait(SOON).success(), "{}", talk.stderr());
    };
    let mut bare = world.bare("uvx");
    bare.args(["--offline", "mcp-server-time"]);
    knows_the_time(Talk::start(&mut bare));

    world.start_daemon();
    let cache = world.path("home/.cache/uv");
    let before = listing(&cache);
    assert!(before.len() > 100, "a warm cache has files");
    knows_the_time(Talk::start(&mut world.srt(&["uvx", "mcp-server-time"])));
    let status = world.status("mcp-server-time").unwrap();
    assert_eq!(status["policy"]["source"], "built-in", "{status}");
    assert!(before == listing(&cache), "the person's cache was written");
}
