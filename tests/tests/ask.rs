//! Ask mode: an unknown host's connection is held until a person answers, nothing passes before the answer is in force,
//! and what a grant let pass ends with it.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use srt_tests::{SOON, Shell, Web, World, replace, until};

struct Asking {
    world: World,
    one: Web,
    two: Web,
}

/// A world with two hosts that no rule names, and settings that ask.
fn asking(seconds: u32) -> Asking {
    let world = World::with_network(&[("203.0.113.7", "one.test"), ("203.0.113.8", "two.test")]);
    let one = Web::in_world(&world, "203.0.113.7:7000", "--echo");
    let two = Web::in_world(&world, "203.0.113.8:7000", "--echo");
    world.policy(&ask(seconds, &[]));
    world.start_daemon();
    Asking { world, one, two }
}

fn ask(seconds: u32, denied: &[&str]) -> Value {
    json!({ "network": { "ask": true, "askTimeoutSeconds": seconds, "deniedDomains": denied } })
}

/// Those that wait, once there are so many.
#[track_caller]
fn waiting(world: &World, count: usize) -> Vec<Value> {
    until(&format!("{count} questions"), SOON, || {
        let list = world.json(&["approvals"]).as_array().unwrap().clone();
        (list.len() == count).then_some(list)
    })
}

fn id(question: &Value) -> String {
    question["id"].as_str().unwrap().to_owned()
}

/// The id of the only question.
#[track_caller]
fn only(world: &World) -> String {
    id(&waiting(world, 1)[0])
}

/// What a command that must fail says.
#[track_caller]
fn fails(world: &World, arguments: &[&str]) -> String {
    let output = world.srtctl(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn kinds(world: &World) -> Vec<String> {
    let entries = world.audit().into_iter();
    let mut kinds: Vec<_> = entries.map(|entry| entry.kind).collect();
    kinds.retain(|kind| ["ask", "approve", "reject", "expire", "revoke"].contains(&kind.as_str()));
    kinds
}

#[test]
fn once_lets_pass_what_waits_and_nothing_else() {
    let Asking { world, one, .. } = asking(60);
    let mut shell = Shell::start(&world, "s");
    for word in ["first", "second"] {
        shell.0.send(&format!("later one.test 7000 {word}"));
    }
    let question = until("both to share a question", SOON, || {
        let list = world.json(&["approvals"]).as_array().unwrap().clone();
        assert!(list.len() < 2, "{list:?}");
        list.into_iter()
            .find(|question| question["connections"] == 2)
    });
    assert_eq!(question["server"], "s");
    assert_eq!(question["target"], "one.test:7000");
    assert_eq!(one.connections(), 0, "nothing passes before the answer");
    let said = world.ctl(&["approve", &id(&question)]);
    assert_eq!(said, "s may connect to one.test:7000 once\n");
    let mut answers = [shell.next(SOON), shell.next(SOON)];
    answers.sort();
    assert_eq!(answers, ["first: got first", "second: got second"]);
    assert_eq!(one.connections(), 2);

    // The next one is asked about again.
    shell.0.send("later one.test 7000 third");
    let again = only(&world);
    assert_ne!(again, id(&question));
    world.ctl(&["deny", &again]);
    assert_eq!(shell.next(SOON), "third: closed");
    assert_eq!(one.connections(), 2);
    assert_eq!(world.json(&["grants"]), json!([]));
    until("all of it in the audit log", SOON, || {
        (kinds(&world) == ["ask", "approve", "ask", "reject"]).then_some(())
    });
    let approved = world.until_audited("approve", "one.test:7000");
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(approved.json["detail"]["uid"], uid);
    assert_eq!(approved.json["detail"]["scope"], "once");
    // The host was told what waits, and how to answer.
    let stderr = shell.0.stderr();
    assert!(
        stderr.contains(&format!("srtctl approve {again} (or srtctl deny {again})")),
        "{stderr}"
    );
}

#[test]
fn a_session_s_approval_ends_with_it() {
    let Asking { world, one, .. } = asking(60);
    let mut shell = Shell::start(&world, "s");
    shell.0.send("later one.test 7000 a");
    let said = world.ctl(&["approve", &only(&world), "--for", "session"]);
    assert!(
        said.contains("until the server ends (take it back: srtctl grants revoke g1)"),
        "{said}"
    );
    assert_eq!(shell.next(SOON), "a: got a");
    assert!(shell.reaches("one.test", 7000), "without a question");
    assert!(world.json(&["approvals"]).as_array().unwrap().is_empty());
    let grants = world.json(&["grants", "s"]);
    assert_eq!(grants[0]["scope"], "session");
    assert_eq!(grants[0]["target"], "one.test:7000");
    assert_eq!(grants[0]["ended"], Value::Null);
    // Another session of the same server is asked about.
    let mut other = Shell::start(&world, "s");
    other.0.send("later one.test 7000 b");
    world.ctl(&["deny", &only(&world)]);
    assert_eq!(other.next(SOON), "b: closed");
    drop(shell);
    until("the grant to end", SOON, || {
        world
            .json(&["grants"])
            .as_array()
            .unwrap()
            .is_empty()
            .then_some(())
    });
    let all = world.json(&["grants", "--all"]);
    assert_eq!(all[0]["end_reason"], "its session ended");
    assert_eq!(one.connections(), 2);
}

#[test]
fn always_outlives_the_daemon_and_ends_when_it_is_revoked() {
    let Asking { world, one, two } = asking(60);
    let mut shell = Shell::start(&world, "s");
    shell.0.send("later one.test 7000 a");
    let approved = world.json(&["approve", &only(&world), "--for", "always"]);
    assert_eq!(approved["grant"], "g1");
    assert_eq!(shell.next(SOON), "a: got a");
    // Another server's connection to the same host is its own question.
    let mut other = Shell::start(&world, "other");
    other.0.send("later one.test 7000 b");
    let question = &waiting(&world, 1)[0];
    assert_eq!(question["server"], "other");
    world.ctl(&["deny", &id(question)]);
    assert_eq!(other.next(SOON), "b: closed");
    drop((shell, other));
    world.stop_daemon();
    world.start_daemon();

    let mut shell = Shell::start(&world, "s");
    assert!(shell.reaches("one.test", 7000), "without a question");
    let flows = world.json(&["flows", "s"]);
    assert_eq!(flows[0]["rule"], "grant g1: one.test:7000", "{flows}");
    until("the use to be noted when it is over", SOON, || {
        shell.ask("open one.test 7000");
        world.json(&["grants"])[0]["last_used"]
            .is_string()
            .then_some(())
    });
    assert_eq!(shell.ask("say c"), "got c");
    let before = one.connections();
    let began = Instant::now();
    world.ctl(&["grants", "revoke", "g1"]);
    assert_eq!(shell.ask("wait"), "closed");
    println!(
        "closed {:?} after the revocation was asked for",
        began.elapsed()
    );
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    shell.0.send("later one.test 7000 d");
    world.ctl(&["deny", &only(&world)]);
    assert_eq!(shell.next(SOON), "d: closed");
    assert_eq!((one.connections(), two.connections()), (before, 0));
    world.until_audited("revoke", "one.test:7000");
    world.until_audited("close", "one.test:7000");
    let error = fails(&world, &["grants", "revoke", "g1"]);
    assert!(error.contains("g1 holds no more: revoked by"), "{error}");
    let error = fails(&world, &["grants", "revoke", "g9"]);
    assert!(error.contains("no grant has the id \"g9\""), "{error}");
}

#[test]
fn a_time_that_is_over_closes_what_it_let_pass() {
    let Asking { world, one, .. } = asking(60);
    let mut shell = Shell::start(&world, "s");
    shell.0.send("open one.test 7000");
    // What knows of no proxy is accepted first and held then.
    assert_eq!(shell.next(SOON), "open");
    shell.0.send("say hello");
    let began = Instant::now();
    world.ctl(&["approve", &only(&world), "--for", "3s"]);
    assert_eq!(shell.next(SOON), "got hello");
    assert_eq!(shell.ask("wait"), "closed");
    let took = began.elapsed();
    assert!(
        took > Duration::from_secs(2) && took < Duration::from_secs(7),
        "{took:?}"
    );
    shell.0.send("later one.test 7000 a");
    waiting(&world, 1);
    assert_eq!(one.connections(), 1);
    world.until_audited("expire", "its time is over");
}

#[test]
fn no_answer_is_a_denial_and_so_is_a_no() {
    let Asking { world, one, .. } = asking(1);
    let mut shell = Shell::start(&world, "s");
    let said = shell.ask("http one.test 7000");
    assert!(said.contains("403"), "{said}");
    assert!(said.contains("nobody answered within 1 s"), "{said}");
    assert!(said.contains("srtctl approvals"), "{said}");
    world.until_audited("reject", "nobody answered within 1 s");
    world.until_audited("deny", "nobody answered within 1 s");

    world.policy(&ask(60, &[]));
    until("the longer time", SOON, || {
        let status = world.status("s").unwrap();
        (status["policy"]["generation"].as_u64() > Some(1)).then_some(())
    });
    shell.0.send("http one.test 7000");
    let question = only(&world);
    world.ctl(&["deny", &question]);
    let said = shell.next(SOON);
    assert!(said.contains("403") && said.contains("denied by"), "{said}");
    // A program that tries again at once does not pester.
    let said = shell.ask("http one.test 7000");
    assert!(said.contains("denied by"), "{said}");
    assert!(world.json(&["approvals"]).as_array().unwrap().is_empty());
    assert_eq!(one.connections(), 0);
    for arguments in [&["approve", &question][..], &["deny", &question]] {
        let error = fails(&world, arguments);
        assert!(error.contains("is settled: denied by"), "{error}");
        assert!(error.contains("hint: \"srtctl approvals\""), "{error}");
    }
    let error = fails(&world, &["approve", "nope"]);
    assert!(
        error.contains("no connection waits under the id \"nope\""),
        "{error}"
    );
}

#[test]
fn a_change_of_the_settings_answers_what_it_settles() {
    let Asking { world, one, two } = asking(60);
    let mut shell = Shell::start(&world, "s");
    shell.0.send("later one.test 7000 one");
    shell.0.send("later two.test 7000 two");
    waiting(&world, 2);
    let file = world.path("home/.srt-settings.json");
    replace(
        &file,
        &json!({ "network": {
            "ask": true, "allowedDomains": ["one.test"], "deniedDomains": ["two.test"],
        } })
        .to_string(),
    );
    let mut answers = [shell.next(SOON), shell.next(SOON)];
    answers.sort();
    assert_eq!(answers, ["one: got one", "two: closed"]);
    assert_eq!((one.connections(), two.connections()), (1, 0));
    waiting(&world, 0);
    // What is denied stays so, whatever was approved.
    replace(&file, &ask(60, &[]).to_string());
    let asks = |host: &str| {
        let why = world.srtctl(&["policy", "why", "s", "connect", host, "--json"]);
        assert_eq!(why.status.code(), Some(7));
        let why: Value = serde_json::from_slice(&why.stdout).unwrap();
        why["decision"] == "ask"
    };
    until("it to be asked again", SOON, || {
        asks("two.test:7000").then_some(())
    });
    shell.0.send("later two.test 7000 two");
    world.ctl(&["approve", &only(&world), "--for", "always"]);
    assert_eq!(shell.next(SOON), "two: got two");
    replace(&file, &ask(60, &["two.test"]).to_string());
    until("it to be denied", SOON, || {
        (!shell.reaches("two.test", 7000)).then_some(())
    });
}

#[test]
fn a_daemon_that_dies_while_a_question_waits_has_granted_nothing() {
    let Asking { world, one, .. } = asking(60);
    let mut shell = Shell::start(&world, "s");
    shell.0.send("later one.test 7000 a");
    let question = only(&world);
    world.kill_daemon();
    world.start_daemon();
    assert!(world.json(&["approvals"]).as_array().unwrap().is_empty());
    let error = fails(&world, &["approve", &question, "--for", "always"]);
    assert!(error.contains("no connection waits"), "{error}");
    assert_eq!(world.json(&["grants", "--all"]), json!([]));
    let mut next = Shell::start(&world, "s");
    next.0.send("later one.test 7000 b");
    world.ctl(&["deny", &only(&world)]);
    assert_eq!(next.next(SOON), "b: closed");
    assert_eq!(one.connections(), 0);
}

#[test]
fn a_question_goes_with_its_server_and_stays_without_its_connection() {
    let Asking { world, one, .. } = asking(60);
    let mut shell = Shell::start(&world, "s");
    shell.0.send("later one.test 7000 a");
    let question = only(&world);
    shell.0.close();
    shell.0.wait(SOON);
    waiting(&world, 0);
    let error = fails(&world, &["approve", &question]);
    assert!(error.contains("is settled: the server ended"), "{error}");
    // A follower is told of each that comes.
    let mut follower = srt_tests::Talk::start(
        world
            .command(world.program("srtctl"))
            .args(["approvals", "-f"]),
    );
    let mut shell = Shell::start(&world, "s");
    shell.0.send("later one.test 7000 a");
    let line = String::from_utf8(follower.line(SOON).unwrap()).unwrap();
    let question = only(&world);
    assert!(
        line.starts_with(&format!(
            "{question} s wants to connect to one.test:7000 (tcp)"
        )),
        "{line}"
    );
    assert_eq!(one.connections(), 0);
}

#[test]
fn an_answer_that_comes_late_serves_the_next_connection_and_is_not_for_once() {
    let Asking { world, one, .. } = asking(60);
    let mut shell = Shell::start(&world, "s");
    assert_eq!(shell.ask("open one.test 7000"), "open");
    let question = only(&world);
    // It gives up: what it opens next takes the place of the first.
    assert_eq!(shell.ask("open two.test 7000"), "open");
    until("nobody to wait", SOON, || {
        let list = world.json(&["approvals"]);
        let mut list = list.as_array().unwrap().iter();
        list.any(|asked| id(asked) == question && asked["connections"] == 0)
            .then_some(())
    });
    let error = fails(&world, &["approve", &question]);
    assert!(error.contains("given up before it was answered"), "{error}");
    assert!(
        error.contains("--for session lets the next one pass"),
        "{error}"
    );
    world.ctl(&["approve", &question, "--for", "session"]);
    assert!(shell.reaches("one.test", 7000));
    assert_eq!(one.connections(), 1);
}
