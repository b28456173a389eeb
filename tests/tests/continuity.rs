//! A conversation outlives its server and its daemon: real ones are killed in the middle of calls, and the host sees an
//! error that explains itself, and then a server that works, over the same shim.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};
use srt_tests::mcp::{INITIALIZED, initialize, legacy, modern};
use srt_tests::{SOON, Talk, World, process, servers, until};

/// A world whose servers may write in the project.
fn world() -> World {
    let world = World::start();
    policy(&world, json!({}));
    world.write("work/tools", "echo hang ask");
    world
}

fn policy(world: &World, filesystem: Value) {
    let mut files = json!({ "denyRead": [], "allowWrite": ["."], "denyWrite": [] });
    for (key, value) in filesystem.as_object().unwrap() {
        files[key] = value.clone();
    }
    world.policy(&json!({
        "filesystem": files,
        "network": { "allowedDomains": [], "deniedDomains": [] },
    }));
}

/// The scripted server under the name `s`.
fn scripted(world: &World) -> Talk {
    scripted_with(world, &[])
}

/// The same, with these options of the shim.
fn scripted_with(world: &World, options: &[&str]) -> Talk {
    world.write("work/server.py", include_str!("../continuity/server.py"));
    let mut command = world.srt(options);
    command.args(["--name", "s", "--", "/usr/bin/python3", "server.py"]);
    Talk::start(command.arg(world.work()))
}

/// What the server's launches read: a list of lines for each.
fn seen(world: &World) -> Vec<Vec<Value>> {
    let text = fs::read_to_string(world.path("work/seen")).unwrap_or_default();
    let launches = text.split("launch\n").skip(1);
    let read = |launch: &str| {
        let lines = launch
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    launches.map(read).collect()
}

fn methods(launch: &[Value]) -> Vec<&str> {
    launch
        .iter()
        .filter_map(|line| line["method"].as_str())
        .collect()
}

/// Waits until the last of so many launches has read something of this kind.
#[track_caller]
fn until_read(world: &World, launches: usize, method: &str) {
    until(&format!("launch {launches} to read {method}"), SOON, || {
        let seen = seen(world);
        (seen.len() == launches && methods(&seen[launches - 1]).contains(&method)).then_some(())
    });
}

fn kill_server(world: &World, name: &str) {
    let pid = world.until_state(name, "running")["pid"].as_u64().unwrap();
    process::signal(u32::try_from(pid).unwrap(), Signal::KILL);
}

/// What is killed, and how an error calls it.
#[derive(Clone, Copy)]
enum Victim {
    Server,
    /// The shim starts another one.
    Daemon,
}

impl Victim {
    fn die(self, world: &World) -> &'static str {
        match self {
            Self::Server => {
                kill_server(world, "s");
                "killed by SIGKILL"
            }
            Self::Daemon => {
                world.kill_daemon();
                "the daemon srtd, which ran the MCP server \"s\", was lost"
            }
        }
    }
}

/// The next line is an error for this id; its message.
#[track_caller]
fn error(talk: &mut Talk, id: &Value) -> String {
    let line = message(talk);
    assert_eq!(line["id"], *id, "{line}");
    assert_eq!(line["error"]["code"], -32000, "{line}");
    line["error"]["message"].as_str().unwrap().to_owned()
}

#[track_caller]
fn message(talk: &mut Talk) -> Value {
    let line = talk.line(SOON);
    let line = line.unwrap_or_else(|| panic!("it ended: {}", talk.stderr()));
    serde_json::from_slice(&line).unwrap()
}

fn call(tool: &str, word: &str) -> Value {
    json!({ "name": tool, "arguments": { "word": word } })
}

/// A session of the scripted server with a call of this tool, as request 1.
fn under_way(tool: &str) -> (World, Talk) {
    let world = world();
    let mut talk = scripted(&world);
    talk.ask(&initialize(&json!(0)), SOON);
    talk.send(INITIALIZED);
    talk.send(&legacy(&json!(1), "tools/call", call(tool, "one")));
    (world, talk)
}

fn a_legacy_session_survives(victim: Victim) {
    let world = world();
    let mut talk = scripted(&world);
    talk.ask(&initialize(&json!(0)), SOON);
    talk.send(INITIALIZED);
    talk.ask(&legacy(&json!(1), "tools/list", json!({})), SOON);
    talk.ask(
        &legacy(&json!(2), "logging/setLevel", json!({ "level": "error" })),
        SOON,
    );
    talk.ask(
        &legacy(&json!(3), "resources/subscribe", json!({ "uri": "a:b" })),
        SOON,
    );
    talk.send(&legacy(&json!("c"), "tools/call", call("hang", "one")));
    until_read(&world, 1, "tools/call");
    world.write("work/tools", "echo other");
    let reason = victim.die(&world);

    let said = error(&mut talk, &json!("c"));
    for part in ["\"hang\"", reason, "may have had effects", "not retried"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // Sent while there is no server yet.
    talk.send(&legacy(&json!(4), "tools/call", call("echo", "two")));
    let mut lines = [message(&mut talk), message(&mut talk)];
    lines.sort_by_key(|line| line.get("method").is_some());
    assert_eq!(lines[0]["id"], 4);
    assert!(
        lines[0]["result"].to_string().contains("two"),
        "{}",
        lines[0]
    );
    // The new launch has other tools, which is said once and never again.
    assert_eq!(
        lines[1],
        json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" })
    );
    let listed = talk.ask(&legacy(&json!(5), "tools/list", json!({})), SOON);
    assert!(listed.contains("other"), "{listed}");

    let seen = seen(&world);
    assert_eq!(seen.len(), 2);
    assert_eq!(
        methods(&seen[1])[..4],
        [
            "initialize",
            "notifications/initialized",
            "logging/setLevel",
            "resources/subscribe"
        ]
    );
    assert_eq!(seen[1][0]["params"], seen[0][0]["params"]);
    assert_ne!(seen[1][0]["id"], seen[0][0]["id"]);
    let calls = seen[1].iter().filter(|line| line["method"] == "tools/call");
    assert_eq!(calls.count(), 1, "a call is never retried");
    talk.close();
    assert!(talk.wait(SOON).success());
    assert_eq!(talk.waiting(), 0);
}

#[test]
fn a_legacy_session_survives_its_server() {
    a_legacy_session_survives(Victim::Server);
}

#[test]
fn a_legacy_session_survives_its_daemon() {
    a_legacy_session_survives(Victim::Daemon);
}

fn a_modern_session_survives(victim: Victim) {
    let world = world();
    let mut talk = scripted(&world);
    talk.ask(&modern(&json!("d"), "server/discover", json!({})), SOON);
    talk.ask(&modern(&json!(1), "tools/list", json!({})), SOON);
    let listens = json!({ "notifications": { "toolsListChanged": true } });
    talk.send(&modern(&json!("l"), "subscriptions/listen", listens));
    assert_eq!(
        message(&mut talk)["method"],
        "notifications/subscriptions/acknowledged"
    );
    talk.send(&modern(&json!("c"), "tools/call", call("hang", "one")));
    until_read(&world, 1, "tools/call");
    world.write("work/tools", "echo other");
    let reason = victim.die(&world);

    let said = error(&mut talk, &json!("c"));
    assert!(
        said.contains(reason) && said.contains("may have had effects"),
        "{said}"
    );
    // No second acknowledgement; and the changed list belongs to the listen that the host has open.
    let told = message(&mut talk);
    assert_eq!(told["method"], "notifications/tools/list_changed", "{told}");
    assert_eq!(
        told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        "l"
    );
    let answer = talk.ask(&modern(&json!(2), "tools/call", call("echo", "two")), SOON);
    assert!(answer.contains("two"), "{answer}");
    let seen = seen(&world);
    let again = seen[1]
        .iter()
        .find(|line| line["method"] == "subscriptions/listen")
        .unwrap();
    assert_eq!(again["id"], "l");
    talk.close();
    talk.wait(SOON);
    // The listen is over with the session, and that is said.
    assert_eq!(seen.len(), 2);
}

#[test]
fn a_modern_session_survives_its_server() {
    a_modern_session_survives(Victim::Server);
}

#[test]
fn a_modern_session_survives_its_daemon() {
    a_modern_session_survives(Victim::Daemon);
}

#[test]
fn an_answer_to_a_dead_server_never_reaches_the_next() {
    let (world, mut talk) = under_way("ask");
    assert_eq!(
        message(&mut talk),
        json!({ "jsonrpc": "2.0", "id": 0, "method": "roots/list" })
    );
    kill_server(&world, "s");
    error(&mut talk, &json!(1));
    let cancelled = message(&mut talk);
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], 0);
    // The next launch asks under the same id.
    talk.send(&legacy(&json!(2), "tools/call", call("ask", "two")));
    let asked = message(&mut talk);
    assert_eq!(asked["method"], "roots/list");
    assert_ne!(asked["id"], 0);
    talk.send(&json!({ "jsonrpc": "2.0", "id": 0, "result": { "late": true } }).to_string());
    talk.send(
        &json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "right": true } }).to_string(),
    );
    let answer = message(&mut talk);
    assert_eq!(answer["id"], 2);
    assert!(answer.to_string().contains("right"), "{answer}");
    let seen = seen(&world);
    let answers: Vec<_> = seen[1]
        .iter()
        .filter(|line| line.get("result").is_some())
        .collect();
    assert_eq!(
        answers,
        [&json!({ "jsonrpc": "2.0", "id": 0, "result": { "right": true } })]
    );
}

#[test]
fn requests_wait_for_a_daemon_and_a_signal_does_not() {
    let world = world();
    let mut talk = scripted_with(&world, &["--debug"]);
    let mut other = scripted_with(&world, &["--debug"]);
    for talk in [&mut talk, &mut other] {
        talk.ask(&initialize(&json!(0)), SOON);
        talk.send(INITIALIZED);
    }
    // The next daemon is one that never answers, as long as this stands in its place.
    let daemon = world.program("srtd");
    fs::rename(&daemon, world.path("srtd.real")).unwrap();
    world.script("bin/srtd", "echo begun >> \"$HOME/begun\"; exec sleep 60");
    world.kill_daemon();
    for talk in [&mut talk, &mut other] {
        // What is sent before it knows may have been read by a server.
        until("a shim to miss its daemon", SOON, || {
            talk.stderr()
                .contains("opening the session again")
                .then_some(())
        });
        talk.send(&legacy(&json!(1), "tools/call", call("echo", "meanwhile")));
    }
    until("a shim to look for another daemon", SOON, || {
        world.path("home/begun").exists().then_some(())
    });
    let start = Instant::now();
    process::signal(other.pid(), Signal::TERM);
    assert_eq!(other.wait(SOON).code(), Some(128 + 15));
    println!("the shim was gone {:?} after SIGTERM", start.elapsed());
    fs::remove_file(&daemon).unwrap();
    fs::rename(world.path("srtd.real"), &daemon).unwrap();
    world.start_daemon();
    let answer = message(&mut talk);
    assert_eq!(answer["id"], 1);
    assert!(answer.to_string().contains("meanwhile"), "{answer}");
    for sleeper in world.processes() {
        if sleeper.exe.ends_with("sleep") {
            process::signal(sleeper.pid, Signal::KILL);
        }
    }
}

#[test]
fn settings_that_need_another_launch_get_one_when_nothing_is_under_way() {
    let (world, mut talk) = under_way("ask");
    let asked = message(&mut talk);
    policy(&world, json!({ "denyRead": ["~/secret"] }));
    talk.send(&json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "a": 1 } }).to_string());
    assert_eq!(
        message(&mut talk)["id"],
        1,
        "what was under way is answered first"
    );
    until("another launch", SOON, || {
        (seen(&world).len() == 2).then_some(())
    });
    let answer = talk.ask(&legacy(&json!(2), "tools/call", call("echo", "two")), SOON);
    assert!(answer.contains("two"), "{answer}");
    assert_eq!(talk.waiting(), 0, "the host noticed nothing");
}

#[test]
fn reload_now_ends_what_is_under_way_and_says_so() {
    let (world, mut talk) = under_way("hang");
    until_read(&world, 1, "tools/call");
    policy(&world, json!({ "denyRead": ["~/secret"] }));
    // By itself it waits for the call.
    let told = world.ctl(&["reload", "s"]);
    assert!(
        told.contains("needs another launch: filesystem.denyRead"),
        "{told}"
    );
    assert_eq!(seen(&world).len(), 1);
    world.ctl(&["reload", "s", "--now"]);
    let said = error(&mut talk, &json!(1));
    for part in [
        "\"hang\"",
        "settings have changed: filesystem.denyRead",
        "may have had effects",
        "not retried",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let answer = talk.ask(&legacy(&json!(2), "tools/call", call("echo", "two")), SOON);
    assert!(answer.contains("two"), "{answer}");
    assert_eq!(seen(&world).len(), 2);
}

#[test]
fn a_server_that_can_do_less_than_before_ends_the_session_with_an_explanation() {
    let (world, mut talk) = under_way("hang");
    until_read(&world, 1, "tools/call");
    world.write("work/without", "logging");
    kill_server(&world, "s");
    let said = error(&mut talk, &json!(1));
    assert!(said.contains("may have had effects"), "{said}");
    // What comes while the next launch is looked at is answered, and nothing is left without an answer.
    talk.send(&legacy(&json!(2), "tools/call", call("echo", "two")));
    while let Some(line) = talk.line(SOON) {
        let line: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(
            (&line["id"], &line["error"]["code"]),
            (&json!(2), &json!(-32000)),
            "{line}"
        );
    }
    assert_eq!(talk.wait(SOON).code(), Some(1));
    let said = talk.stderr();
    for part in ["it no longer has the capability logging", "hint: "] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let seen = seen(&world);
    assert_eq!(seen.len(), 2);
    assert_eq!(methods(&seen[1]), ["initialize"], "no call reached it");
}

#[test]
fn a_server_that_hangs_while_nobody_asks_it_anything_is_replaced() {
    let world = World::new();
    world.policy(&json!({ "runtime": { "healthTimeout": 2 } }));
    world.start_daemon();
    let program = servers().join("node/node_modules/.bin/mcp-server-everything");
    let mut command = world.srt(&["--name", "s", "--"]);
    let mut talk = Talk::start(command.arg(program).arg("stdio"));
    talk.ask(&initialize(&json!(0)), SOON);
    talk.send(INITIALIZED);
    let before = talk.ask(&legacy(&json!(1), "tools/list", json!({})), SOON);
    let ready = || {
        until("it to be ready", SOON, || {
            let status = world.status("s").filter(|it| it["ready"] == true)?;
            status["pid"].as_u64()
        })
    };
    let pid = ready();
    process::signal(u32::try_from(pid).unwrap(), Signal::STOP);
    until("its end", 2 * SOON, || {
        let entries = world.audit().into_iter();
        let why = "no answer to ping within 2 s";
        let mut ends = entries.filter(|it| it.kind == "exit" && it.json.to_string().contains(why));
        ends.next()
    });
    // The host was told nothing, and finds one that works.
    let echo = json!({ "name": "echo", "arguments": { "message": "hi" } });
    let echoed = talk.ask(&legacy(&json!(2), "tools/call", echo), SOON);
    assert!(echoed.contains("Echo: hi"), "{echoed}");
    let after = talk.ask(&legacy(&json!(1), "tools/list", json!({})), SOON);
    assert_eq!(after, before);
    assert_ne!(ready(), pid);
    let end = &world.status("s").unwrap()["last_exit"];
    assert_eq!(end["kind"], "no-answer", "{end}");
}

#[test]
fn server_everything_is_carried_over_its_death() {
    let world = world();
    let program = servers().join("node/node_modules/.bin/mcp-server-everything");
    let mut command = world.srt(&["--name", "s", "--"]);
    let mut talk = Talk::start(command.arg(program).arg("stdio"));
    talk.ask(&initialize(&json!(0)), SOON);
    talk.send(INITIALIZED);
    let before = talk.ask(&legacy(&json!(1), "tools/list", json!({})), SOON);
    let long = json!({ "name": "trigger-long-running-operation", "arguments": { "duration": 60, "steps": 60 },
        "_meta": { "progressToken": "p" } });
    talk.send(&legacy(&json!(2), "tools/call", long));
    until("progress", SOON, || {
        let line = message(&mut talk);
        (line["method"] == "notifications/progress").then_some(())
    });
    for victim in [Victim::Server, Victim::Daemon] {
        let reason = victim.die(&world);
        if matches!(victim, Victim::Server) {
            let said = until("the error", SOON, || {
                let line = message(&mut talk);
                (line["id"] == 2).then(|| line["error"]["message"].to_string())
            });
            assert!(
                said.contains(reason) && said.contains("trigger-long-running-operation"),
                "{said}"
            );
        }
        // A call may still have reached the dead: then that is what it is told, and the next one is answered.
        until("a call to be answered", SOON, || {
            let echo = json!({ "name": "echo", "arguments": { "message": "hi" } });
            let echoed = talk.ask(&legacy(&json!(3), "tools/call", echo), SOON);
            let broken = echoed.contains("-32000") && echoed.contains("may have had effects");
            assert!(broken || echoed.contains("Echo: hi"), "{echoed}");
            (!broken).then_some(())
        });
        assert_eq!(
            talk.ask(&legacy(&json!(1), "tools/list", json!({})), SOON),
            before
        );
    }
}

#[test]
fn the_demo_server_is_carried_over_its_death_in_the_modern_era() {
    let world = world();
    let mut command = world.srt(&["--name", "s", "--"]);
    let mut talk = Talk::start(command.arg(world.program("demo-server")));
    talk.ask(&modern(&json!(0), "server/discover", json!({})), SOON);
    let path = world.work().join("tools").display().to_string();
    let mut number = 0;
    let mut read = || {
        number += 1;
        let params = json!({ "name": "read_file", "arguments": { "path": path } });
        talk.ask(&modern(&json!(number), "tools/call", params), SOON)
    };
    for victim in [Victim::Server, Victim::Daemon, Victim::Server] {
        assert!(read().contains("hang"));
        victim.die(&world);
        // A call may still have reached the dead: then that is what it is told, and the next one is answered.
        until("a call to be answered", SOON, || {
            let answer = read();
            let broken = answer.contains("-32000") && answer.contains("may have had effects");
            assert!(broken || answer.contains("hang"), "{answer}");
            (!broken).then_some(())
        });
    }
}
