//! What a person does to servers beside starting and stopping them: signals, start with the daemon, a look at what they
//! use.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use srt_tests::{SOON, Talk, World, process, until};

fn add(world: &World, name: &str, command: &[&str]) {
    let work = world.work().to_string_lossy().into_owned();
    let mut arguments = vec!["add", name, "--cwd", &work, "--"];
    arguments.extend(command);
    world.ctl(&arguments);
}

fn pid(status: &Value) -> u32 {
    u32::try_from(status["pid"].as_u64().unwrap()).unwrap()
}

#[track_caller]
fn fails(world: &World, arguments: &[&str], code: i32) -> String {
    let output = world.srtctl(arguments);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_signal_reaches_every_launch_and_is_recorded() {
    let world = World::start();
    // Says each signal that it gets, and goes on.
    let script =
        "trap 'echo hup' HUP; trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done";
    let mut hosts: Vec<Talk> = (0..2)
        .map(|_| {
            let mut talk =
                Talk::start(&mut world.srt(&["--name", "both", "--", "sh", "-c", script]));
            assert_eq!(talk.line(SOON).unwrap(), b"up\n");
            talk
        })
        .collect();
    let said = world.ctl(&["kill", "-s", "HUP", "both"]);
    assert!(said.starts_with("both: SIGHUP to pid "), "{said}");
    assert_eq!(said.matches(", ").count(), 1, "two launches: {said}");
    for host in &mut hosts {
        assert_eq!(host.line(SOON).unwrap(), b"hup\n");
    }
    // By number, which is another's name for it.
    let number = rustix::process::Signal::USR1.as_raw().to_string();
    world.ctl(&["kill", "-s", &number, "both"]);
    for host in &mut hosts {
        assert_eq!(host.line(SOON).unwrap(), b"usr1\n");
    }
    let entry = world.until_audited("signal", "SIGUSR1");
    assert_eq!(entry.server, "both");
    assert_eq!(entry.json["detail"]["pids"].as_array().unwrap().len(), 2);
    // It was only told; what it did with it was its own affair.
    assert_eq!(world.status("both").unwrap()["sessions"], 2);
    world.ctl(&["kill", "-s", "KILL", "both"]);
    for host in &mut hosts {
        assert_eq!(host.wait(SOON).code(), Some(128 + 9));
    }

    world.until_state("both", "stopped");
    let said = fails(&world, &["kill", "both"], 3);
    assert!(said.contains("both is not running"), "{said}");
    assert!(said.contains("hint: srtctl status both"), "{said}");
    let said = fails(&world, &["kill", "nobody"], 4);
    assert!(said.contains("nobody"), "{said}");
    let said = fails(&world, &["kill", "-s", "HANGUP", "both"], 2);
    assert!(said.contains("there are HUP INT QUIT"), "{said}");
}

#[test]
fn an_enabled_server_starts_with_the_daemon_and_a_disabled_one_no_longer() {
    let world = World::start();
    add(&world, "cat", &["cat"]);
    add(&world, "dog", &["cat"]);
    assert_eq!(world.status("cat").unwrap()["enabled"], false);
    let said = world.ctl(&["enable", "cat"]);
    assert_eq!(said, "", "silent on success");
    let status = world.status("cat").unwrap();
    assert_eq!(
        (&status["enabled"], &status["state"]),
        (&json!(true), &json!("stopped")),
        "nothing starts now"
    );
    let listed = world.ctl(&["list"]);
    let enabled = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(2).unwrap().to_owned()
    };
    assert_eq!(enabled(&listed, "cat"), "yes");
    assert_eq!(enabled(&listed, "dog"), "no");
    // Once more changes nothing, and is no entry.
    world.ctl(&["enable", "cat"]);
    world.until_audited("enable", "cat");

    world.stop_daemon();
    world.start_daemon();
    world.until_state("cat", "running");
    assert_eq!(world.status("dog").unwrap()["state"], "stopped");
    let entries = world.audit();
    let of = |kind: &str| entries.iter().filter(|entry| entry.kind == kind).count();
    assert_eq!(of("enable"), 1);

    let running = pid(&world.status("cat").unwrap());
    world.ctl(&["disable", "cat"]);
    assert!(process::lives(running), "nothing stops now");
    world.until_audited("disable", "cat");
    world.ctl(&["enable", "--now", "dog"]);
    world.until_state("dog", "running");
    world.ctl(&["disable", "--now", "dog"]);
    world.until_state("dog", "stopped");
    world.stop_daemon();
    world.start_daemon();
    assert_eq!(world.status("cat").unwrap()["state"], "stopped");
    assert_eq!(world.status("dog").unwrap()["state"], "stopped");
}

#[test]
fn only_what_is_registered_can_be_enabled() {
    let world = World::start();
    let mut talk = Talk::start(&mut world.srt(&["--name", "seen", "--", "cat"]));
    talk.send("x");
    talk.line(SOON).unwrap();
    let said = fails(&world, &["enable", "seen"], 1);
    assert!(said.contains("seen is not registered"), "{said}");
    assert!(said.contains("hint: srtctl add seen"), "{said}");
    fails(&world, &["enable", "nobody"], 4);
    assert_eq!(world.status("seen").unwrap()["enabled"], false);
}

#[test]
fn an_enabled_server_that_cannot_start_keeps_nobody_else_from_it() {
    let world = World::start();
    add(&world, "broken", &["no-such-program"]);
    add(&world, "fine", &["cat"]);
    world.ctl(&["enable", "broken", "fine"]);
    world.stop_daemon();
    world.start_daemon();
    world.until_state("fine", "running");
    let status = world.until_state("broken", "failed");
    let reason = status["reason"].as_str().unwrap();
    assert!(reason.contains("no-such-program"), "{reason}");
    until("the daemon's log to say so", SOON, || {
        world
            .log()
            .contains("enabled, and cannot be started")
            .then_some(())
    });
}

#[test]
fn top_shows_who_works() {
    let world = World::start();
    assert_eq!(
        world.ctl(&["top"]),
        "no server is known: srtctl add registers one\n"
    );
    add(&world, "busy", &["sh", "-c", "while :; do :; done"]);
    add(&world, "idle", &["cat"]);
    world.ctl(&["start", "busy", "idle"]);
    let rows = until("the busy one to be seen", SOON, || {
        let rows = world.json(&["top"]);
        (rows[0]["cpu_percent"].as_f64() > Some(5.0)).then_some(rows)
    });
    assert_eq!(rows[0]["name"], "busy", "the busiest first: {rows}");
    assert_eq!(rows[0]["processes"], 1, "{rows}");
    assert!(rows[0]["memory_bytes"].as_u64() > Some(0), "{rows}");
    assert_eq!(rows[1]["name"], "idle");
    assert!(rows[1]["cpu_percent"].as_f64() < Some(5.0), "{rows}");
    let text = world.ctl(&["top", "idle"]);
    assert_eq!(text.lines().count(), 2, "once, without a terminal: {text}");
    assert!(text.contains("idle  running  "), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
    fails(&world, &["top", "nobody"], 4);
}

#[test]
fn events_are_told_as_they_come_and_kept_for_who_comes_later() {
    let world = World::start();
    assert!(world.ctl(&["events"]).starts_with("nothing has happened"));
    assert_eq!(world.json(&["events"]), json!([]));
    add(&world, "cat", &["cat"]);
    add(&world, "dog", &["cat"]);
    let mut command = world.command(world.program("srtctl"));
    let mut follower = Talk::start(command.args(["events", "cat", "-f", "--json"]));
    world.ctl(&["start", "dog"]);
    world.ctl(&["start", "cat"]);
    world.ctl(&["stop", "cat"]);
    let mut changes = Vec::new();
    let mut number = 0;
    while changes.last().is_none_or(|last| last != "stopped") {
        let event: Value = serde_json::from_slice(&follower.line(SOON).unwrap()).unwrap();
        assert_eq!(event["server"], "cat", "{event}");
        let next = event["number"].as_u64().unwrap();
        assert!(next > number, "in order: {event}");
        number = next;
        changes.push(event["to"].as_str().unwrap().to_owned());
    }
    assert_eq!(changes, ["starting", "running", "stopping", "stopped"]);
    let kept = world.json(&["events", "cat"]);
    let to: Vec<_> = kept
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["to"])
        .collect();
    assert_eq!(to, ["starting", "running", "stopping", "stopped"]);
    assert_eq!(
        world.json(&["events", "-n", "1", "cat"])[0]["to"],
        "stopped"
    );
    let text = world.ctl(&["events"]);
    assert!(text.starts_with("TIME  "), "{text}");
    assert!(text.contains("dog           stopped → starting"), "{text}");
    fails(&world, &["events", "nobody"], 4);
}

#[test]
fn a_server_that_failed_is_as_new_after_reset_failed() {
    let world = World::start();
    assert_eq!(world.ctl(&["reset-failed"]), "no server had failed\n");
    add(&world, "broken", &["no-such-program"]);
    fails(&world, &["start", "broken"], 3);
    world.until_state("broken", "failed");
    assert_eq!(world.ctl(&["reset-failed"]), "reset broken\n");
    world.until_state("broken", "stopped");
    assert_eq!(world.ctl(&["reset-failed", "broken"]), "");
    fails(&world, &["reset-failed", "nobody"], 4);
}

#[test]
fn status_of_a_named_server_tells_all_there_is_to_know() {
    let world = World::start();
    add(&world, "dies", &["sh", "-c", "read line; exit 3"]);
    let mut talk = Talk::start(&mut world.srt(&["--name", "dies"]));
    let status = until("the session", SOON, || {
        world
            .status("dies")
            .filter(|status| status["attached"][0]["mode"] == "relayed")
    });
    let session = &status["attached"][0];
    assert_eq!(session["client_pid"], talk.pid(), "{status}");
    assert!(session["session"].as_str().is_some_and(|id| id.len() == 36));
    assert_eq!(status["ready"], false, "it speaks no MCP: {status}");
    let text = world.ctl(&["status", "dies"]);
    for line in [
        "  state        running\n",
        "  sessions     1\n",
        "    SESSION   AGE",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    talk.send("x");
    assert_eq!(talk.wait(SOON).code(), Some(3));
    let status = world.until_state("dies", "stopped");
    assert_eq!(status["last_exit"]["kind"], "exited", "{status}");
    assert_eq!(status["attached"], json!([]), "{status}");

    // Started without a host it is tried again, and says when.
    add(&world, "again", &["sh", "-c", "exit 3"]);
    world.srtctl(&["start", "again"]);
    let status = until("a wait", SOON, || {
        world
            .status("again")
            .filter(|status| status["next_retry"].as_str().is_some())
    });
    assert_eq!(status["state"], "backoff", "{status}");
    assert_eq!(status["restart"], "on-failure", "{status}");
}

#[test]
fn top_at_a_terminal_is_live_sorts_by_keys_and_gives_the_terminal_back() {
    let world = World::start();
    add(&world, "cat", &["cat"]);
    world.ctl(&["start", "cat"]);
    // script(1) makes the terminal: what it reads is typed there.
    let mut command = world.command("script");
    command
        .env("TERM", "xterm")
        .args(["-qfec", "stty cols 80; srtctl top; stty -a", "/dev/null"])
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", world.path("bin").display()),
        );
    let mut talk = Talk::start(&mut command);
    let until_shown = |talk: &mut Talk, what: &str| -> String {
        let began = std::time::Instant::now();
        loop {
            let line = talk
                .line(SOON)
                .unwrap_or_else(|| panic!("it ended before {what}"));
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.contains(what) {
                return line;
            }
            assert!(began.elapsed() < SOON, "{what}: {line}");
        }
    };
    until_shown(&mut talk, "1 of 1 servers running");
    talk.send("m");
    let line = until_shown(&mut talk, "by memory");
    assert!(line.contains("\x1b[H"), "drawn over what was there: {line}");
    talk.send("q");
    // Echo and whole lines again, for what comes after.
    let modes = until_shown(&mut talk, "icanon");
    assert!(modes.contains("isig icanon iexten echo "), "{modes}");
    assert_eq!(talk.wait(SOON).code(), Some(0));
}
