//! A host notices nothing but the policy: pinned real servers give real clients the same answers under `srt` as
//! they give bare, in the legacy and the modern era.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use srt_tests::mcp::{self, INITIALIZED, initialize, legacy, modern};
use srt_tests::{SOON, Talk, World, servers};

/// A real server: its command line and what it is asked.
struct Server {
    name: &'static str,
    command: Vec<String>,
    /// Requests of either era, in order: method and parameters.
    requests: Vec<(&'static str, Value)>,
    /// Tool calls for the clients.
    calls: Vec<(&'static str, Value)>,
}

fn text(path: PathBuf) -> String {
    path.to_string_lossy().into_owned()
}

fn call(name: &str, arguments: &Value) -> (&'static str, Value) {
    (
        "tools/call",
        json!({ "name": name, "arguments": arguments }),
    )
}

/// A world with a project to work on, whose policy lets the servers write there.
fn world() -> World {
    let world = World::start();
    world.policy(&json!({
        "filesystem": { "denyRead": [], "allowWrite": ["."], "denyWrite": [] },
        "network": { "allowedDomains": [], "deniedDomains": [] },
    }));
    world.write("work/a.txt", "first line\nsecond line\n");
    world.write("work/sub/b.txt", "grüße, 世界 \u{1f980}\n");
    world
}

fn filesystem(world: &World) -> Server {
    // There before either run, so that both see the same folder.
    world.write("work/new.txt", "old");
    let work = text(world.work());
    let calls = vec![
        (
            "read_text_file",
            json!({ "path": format!("{work}/sub/b.txt") }),
        ),
        ("list_directory", json!({ "path": work })),
        ("directory_tree", json!({ "path": work })),
        (
            "write_file",
            json!({ "path": format!("{work}/new.txt"), "content": "x".repeat(3000) }),
        ),
        (
            "edit_file",
            json!({ "path": format!("{work}/a.txt"), "edits": [{ "oldText": "first", "newText": "first" }] }),
        ),
        (
            "read_text_file",
            json!({ "path": format!("{work}/missing") }),
        ),
        ("list_allowed_directories", json!({})),
    ];
    Server {
        name: "server-filesystem",
        command: vec![
            text(servers().join("node/node_modules/.bin/mcp-server-filesystem")),
            work,
        ],
        requests: calls.iter().map(|(name, args)| call(name, args)).collect(),
        calls,
    }
}

fn everything() -> Server {
    let calls = vec![
        ("echo", json!({ "message": "grüße \u{1f980}" })),
        ("get-sum", json!({ "a": 2, "b": 40 })),
        ("echo", json!({ "message": "y".repeat(200_000) })),
        ("no-such-tool", json!({})),
    ];
    let mut requests: Vec<_> = calls.iter().map(|(name, args)| call(name, args)).collect();
    requests.push(("prompts/list", json!({})));
    requests.push(("resources/templates/list", json!({})));
    requests.push(("no/such/method", json!({})));
    Server {
        name: "server-everything",
        command: vec![
            text(servers().join("node/node_modules/.bin/mcp-server-everything")),
            "stdio".to_owned(),
        ],
        requests,
        calls,
    }
}

fn git(world: &World) -> Server {
    let git = |arguments: &[&str]| {
        let output = world
            .command("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
            .args(arguments)
            .output()
            .expect("git runs");
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "a.txt"]);
    git(&["commit", "-q", "-m", "first"]);
    world.write("work/a.txt", "first line, changed\nsecond line\n");
    let work = text(world.work());
    let calls = vec![
        ("git_status", json!({ "repo_path": work })),
        ("git_diff_unstaged", json!({ "repo_path": work })),
        ("git_log", json!({ "repo_path": work, "max_count": 1 })),
        ("git_show", json!({ "repo_path": work, "revision": "HEAD" })),
        (
            "git_log",
            json!({ "repo_path": "/nonexistent", "max_count": 1 }),
        ),
    ];
    Server {
        name: "mcp-server-git",
        command: vec![
            text(servers().join("python/bin/mcp-server-git")),
            "--repository".to_owned(),
            work,
        ],
        requests: calls.iter().map(|(name, args)| call(name, args)).collect(),
        calls,
    }
}

/// The server's command, bare or through the shim.
fn launch(world: &World, server: &Server, boxed: bool) -> Command {
    let mut command = if boxed {
        let mut shim = world.srt(&["--name", server.name, "--"]);
        shim.arg(&server.command[0]);
        shim
    } else {
        world.command(&server.command[0])
    };
    command.args(&server.command[1..]);
    command
}

/// The raw lines that answer a scripted conversation.
fn conversation(mut talk: Talk, server: &Server, is_modern: bool) -> Vec<String> {
    let mut answers = Vec::new();
    if is_modern {
        let hello = modern(&json!("d-0"), "server/discover", json!({}));
        answers.push(talk.ask(&hello, SOON));
    } else {
        answers.push(talk.ask(&initialize(&json!(0)), SOON));
        talk.send(INITIALIZED);
        answers.push(talk.ask(&legacy(&json!("ping"), "ping", json!({})), SOON));
    }
    let requests = [("tools/list", json!({}))]
        .into_iter()
        .chain(server.requests.iter().cloned());
    for (id, (method, params)) in (1..).zip(requests) {
        let request = if is_modern {
            modern(&json!(id), method, params)
        } else {
            legacy(&json!(id), method, params)
        };
        answers.push(talk.ask(&request, SOON));
    }
    talk.close();
    talk.wait(SOON);
    answers
}

#[track_caller]
fn same<T: PartialEq + std::fmt::Debug>(what: &str, bare: &[T], boxed: &[T]) {
    assert_eq!(bare.len(), boxed.len(), "{what}: as many answers");
    for (number, (bare, boxed)) in bare.iter().zip(boxed).enumerate() {
        assert!(
            bare == boxed,
            "{what}: answer {number} differs\nbare: {bare:?}\nsrt:  {boxed:?}"
        );
    }
}

/// Raw lines in both eras, then rmcp's client, then the inspector.
fn check(world: &World, server: &Server, modern_client: bool) {
    for is_modern in [false, true] {
        let era = if is_modern { "modern" } else { "legacy" };
        let [bare, boxed] = [false, true].map(|boxed| {
            let talk = Talk::start(&mut launch(world, server, boxed));
            conversation(talk, server, is_modern)
        });
        same(&format!("{} raw, {era}", server.name), &bare, &boxed);
    }

    let eras: &[bool] = if modern_client {
        &[false, true]
    } else {
        &[false]
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for &is_modern in eras {
        let [bare, boxed] = [false, true].map(|boxed| {
            let command = launch(world, server, boxed);
            runtime.block_on(mcp::answers(command, is_modern, &server.calls))
        });
        assert!(bare.len() == server.calls.len() + 2);
        same(
            &format!("{} by rmcp, modern {is_modern}", server.name),
            &bare,
            &boxed,
        );
    }

    let [bare, boxed] = [false, true].map(|boxed| inspect(world, server, boxed));
    same(&format!("{} by the inspector", server.name), &bare, &boxed);
}

/// The inspector's command line: the tools, then each call.
fn inspect(world: &World, server: &Server, boxed: bool) -> Vec<String> {
    // The inspector passes a server six variables and takes options for its own: a script stands between.
    let launched = launch(world, server, boxed);
    let words: Vec<_> = std::iter::once(launched.get_program())
        .chain(launched.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let script = world.script(
        &format!("{}-{boxed}.sh", server.name),
        &format!(
            "export SRT_SOCKET='{}'\ncd '{}'\nexec {}",
            world.socket().display(),
            world.work().display(),
            words.join(" ")
        ),
    );
    let inspector = servers().join("node/node_modules/.bin/mcp-inspector");
    let run = |arguments: &[String]| {
        let output = world
            .command(&inspector)
            .arg("--cli")
            .arg(&script)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("the inspector runs");
        // Nothing on stdout would be equal on both sides and say nothing.
        assert!(
            !output.stdout.is_empty() || !output.status.success(),
            "the inspector said nothing: {output:?}"
        );
        format!(
            "{} {}",
            output.status,
            String::from_utf8_lossy(&output.stdout)
        )
    };
    let mut seen = vec![run(&["--method".to_owned(), "tools/list".to_owned()])];
    assert!(
        seen[0].contains("inputSchema"),
        "the inspector lists the tools of {}: {}",
        server.name,
        seen[0]
    );
    for (name, arguments) in server.calls.iter().take(2) {
        let mut words = ["--method", "tools/call", "--tool-name", name]
            .map(str::to_owned)
            .to_vec();
        for (key, value) in arguments.as_object().unwrap() {
            words.push("--tool-arg".to_owned());
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            words.push(format!("{key}={value}"));
        }
        seen.push(run(&words));
    }
    seen
}

#[test]
fn server_filesystem_answers_the_same() {
    let world = world();
    let server = filesystem(&world);
    check(&world, &server, false);
    assert_eq!(fs::read(world.path("work/new.txt")).unwrap().len(), 3000);
}

#[test]
fn server_everything_answers_the_same() {
    let world = world();
    check(&world, &everything(), false);
}

#[test]
fn mcp_server_git_answers_the_same() {
    let world = world();
    let server = git(&world);
    check(&world, &server, true);
}

#[test]
fn the_demo_server_answers_the_same() {
    let world = world();
    let calls = vec![
        (
            "read_file",
            json!({ "path": text(world.path("work/a.txt")) }),
        ),
        ("read_file", json!({ "path": "/nonexistent" })),
        (
            "write_file",
            json!({ "path": text(world.path("work/c")), "content": "c" }),
        ),
    ];
    let server = Server {
        name: "demo",
        command: vec![text(world.program("demo-server"))],
        requests: calls.iter().map(|(name, args)| call(name, args)).collect(),
        calls,
    };
    check(&world, &server, true);
}
