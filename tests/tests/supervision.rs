//! What keeps servers running, and what it costs: waits, giving up, kinds of ends, settings that change, and that nothing
//! waits for a server that hangs.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use srt_tests::mcp::{initialize, legacy, modern};
use srt_tests::{SOON, Talk, World, process, until};

fn add(world: &World, name: &str, script: &str) {
    let work = world.work().to_string_lossy().into_owned();
    world.ctl(&["add", name, "--cwd", &work, "--", "sh", "-c", script]);
}

fn pid(status: &Value) -> u32 {
    u32::try_from(status["pid"].as_u64().unwrap()).unwrap()
}

/// How many launches of a server the audit log has.
fn launches(world: &World, name: &str) -> usize {
    let entries = world.audit().into_iter();
    entries
        .filter(|entry| entry.kind == "start" && entry.json["server"] == name)
        .count()
}

/// Time on a CPU that a process has had, in clock ticks: the 14th and 15th field of proc_pid_stat(5).
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_crash_loop_is_given_up_and_costs_nothing() {
    let world = World::start();
    add(&world, "loop", "echo why >&2; exit 3");
    let daemon = world.daemon_pid();
    let (began, before) = (Instant::now(), ticks(daemon));
    world.ctl(&["start", "loop"]);
    let waits = until("a wait with its end", SOON, || {
        let status = world.status("loop")?;
        status["next_retry"].as_str().map(|_| status.clone())
    });
    assert_eq!(waits["state"], "backoff", "{waits}");
    assert_eq!(waits["last_exit"]["kind"], "exited");
    assert_eq!(waits["last_exit"]["code"], 3);
    assert_eq!(waits["restart"], "on-failure");
    let failed = until("it to be given up", 2 * SOON, || {
        let status = world.status("loop")?;
        (status["state"] == "failed").then_some(status)
    });
    let took = began.elapsed();
    let reason = failed["reason"].as_str().unwrap();
    assert!(
        reason.contains("too many starts") && reason.contains("exited with status 3"),
        "{reason}"
    );
    assert_eq!(failed["next_retry"], Value::Null);
    // 1, 2, 4 and 8 s, each shortened by a quarter at most.
    assert!(took >= Duration::from_secs(11), "{took:?}");
    assert_eq!(launches(&world, "loop"), 5);
    assert_eq!(failed["restarts"], 4);
    // What a person asks meanwhile included; the machine's tick is a hundredth of a second.
    let spent = ticks(daemon) - before;
    assert!(spent < 500, "{spent} ticks in {took:?}");
    let lines = world.ctl(&["logs", "loop"]).lines().count();
    assert!(lines <= 5 * 4, "{lines} lines for five launches");

    // It stays so; and begins anew for who wants it to.
    let quiet = Instant::now();
    until("three quiet seconds", SOON, || {
        (quiet.elapsed() > Duration::from_secs(3)).then_some(())
    });
    assert_eq!(launches(&world, "loop"), 5);
    world.srtctl(&["start", "loop"]);
    until("it to be tried anew", SOON, || {
        (launches(&world, "loop") > 5).then_some(())
    });
    world.ctl(&["stop", "loop"]);
    assert_eq!(world.status("loop").unwrap()["state"], "stopped");
}

#[test]
fn a_hosts_attachment_forgets_a_failure() {
    let world = World::start();
    add(&world, "s", "exec cat");
    let bad = world.write("home/.srt-settings.json", r#"{ "netwrok": {} }"#);
    let refused = world.srtctl(&["start", "s"]);
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
    let failed = world.until_state("s", "failed");
    assert!(
        failed["reason"].as_str().unwrap().contains("netwrok"),
        "{failed}"
    );
    std::fs::remove_file(bad).unwrap();
    let mut talk = Talk::start(&mut world.srt(&["--name", "s"]));
    talk.send("x");
    assert_eq!(talk.line(SOON).unwrap(), b"x\n");
    talk.close();
    talk.wait(SOON);
    world.until_state("s", "stopped");
}

#[test]
fn what_follows_an_end_is_as_the_settings_say() {
    for (restart, code, again) in [
        ("never", 3, false),
        ("on-failure", 0, false),
        ("always", 0, true),
    ] {
        let world = World::new();
        world.policy(&json!({ "runtime": { "restart": restart } }));
        world.start_daemon();
        add(&world, "s", &format!("exit {code}"));
        world.ctl(&["start", "s"]);
        let expected = if again { "backoff" } else { "stopped" };
        let status = world.until_state("s", expected);
        assert_eq!(status["restart"], restart, "{status}");
        if !again {
            assert_eq!(launches(&world, "s"), 1, "{restart}");
        }
    }
}

#[test]
fn an_end_has_its_kind() {
    let world = World::start();
    add(&world, "s", "exec sleep 1000");
    world.ctl(&["start", "s"]);
    let running = world.until_state("s", "running");
    process::signal(pid(&running), Signal::KILL);
    let kind = |kind: &str| {
        until(&format!("an end of kind {kind}"), SOON, || {
            let status = world.status("s")?;
            (status["last_exit"]["kind"] == kind).then_some(status)
        })
    };
    assert_eq!(kind("signal")["last_exit"]["signal"], 9);
    // It is restarted; and stopped for good.
    world.until_state("s", "running");
    world.ctl(&["stop", "s"]);
    kind("stopped");
    assert_eq!(world.status("s").unwrap()["state"], "stopped");

    // Where memory can be limited here.
    let doctor = String::from_utf8(world.srtctl(&["doctor"]).stdout).unwrap();
    if doctor.contains("runtime.memoryMax and runtime.cpuQuota are refused") {
        println!("no cgroup is delegated here: out of memory is not tried");
        return;
    }
    world.policy(&json!({ "runtime": { "memoryMax": "64M", "restart": "never" } }));
    add(&world, "eats", "exec tail /dev/zero");
    world.ctl(&["start", "eats"]);
    until("an end for want of memory", SOON, || {
        let status = world.status("eats")?;
        (status["last_exit"]["kind"] == "out-of-memory").then_some(())
    });
}

#[test]
fn a_server_that_hangs_in_its_end_holds_up_nobody_else() {
    let world = World::start();
    // Neither the end of stdin nor SIGTERM ends it: its stop takes both graces.
    add(&world, "deaf", "trap '' TERM; while :; do sleep 1; done");
    add(&world, "other", "exec cat");
    let free = (0..3).any(|_| {
        world.ctl(&["start", "deaf", "other"]);
        world.until_state("deaf", "running");
        let mut stop = world
            .command(world.program("srtctl"))
            .args(["stop", "deaf"])
            .spawn()
            .unwrap();
        world.until_state("deaf", "stopping");
        assert_eq!(world.status("other").unwrap()["state"], "running");
        world.ctl(&["stop", "other"]);
        let mut talk = Talk::start(&mut world.srt(&["--name", "host", "--", "cat"]));
        talk.send("x");
        assert_eq!(talk.line(SOON).unwrap(), b"x\n");
        // On a machine that is slow enough it is over by then: another try.
        let free = stop.try_wait().unwrap().is_none();
        assert!(stop.wait().unwrap().success());
        free
    });
    assert!(free, "each time all else waited until it was gone");
}

/// A bubblewrap that hangs, as a mount of a dead network file system makes it.
#[test]
fn a_server_whose_sandbox_hangs_in_the_making_holds_up_nobody_else() {
    let mut world = World::new();
    let (flag, hangs) = (world.path("hang"), world.path("hangs"));
    let path = std::env::var("PATH").unwrap();
    let real = (std::env::split_paths(&path).map(|folder| folder.join("bwrap")))
        .find(|candidate| candidate.exists())
        .unwrap();
    let (flag_text, hangs_text, real) = (flag.display(), hangs.display(), real.display());
    world.script(
        "bin-of-test/bwrap",
        &format!("[ ! -e {flag_text} ] || {{ : > {hangs_text}; exec /bin/sleep 1000; }}\nexec {real} \"$@\""),
    );
    let first = world.path("bin-of-test").display().to_string();
    world.set("PATH", &format!("{first}:{path}"));
    world.start_daemon();
    add(&world, "stuck", "exec cat");
    add(&world, "other", "exec cat");
    world.ctl(&["start", "other"]);
    world.until_state("other", "running");
    std::fs::write(&flag, "").unwrap();
    let mut start = world
        .command(world.program("srtctl"))
        .args(["start", "stuck"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    until("it to hang", SOON, || hangs.exists().then_some(()));
    std::fs::remove_file(&flag).unwrap();
    // It is given 15 s. All else is done meanwhile.
    assert_eq!(world.status("other").unwrap()["state"], "running");
    world.ctl(&["stop", "other"]);
    let mut talk = Talk::start(&mut world.srt(&["--name", "host", "--", "cat"]));
    talk.send("x");
    assert_eq!(talk.line(SOON).unwrap(), b"x\n");
    assert_eq!(world.status("stuck").unwrap()["state"], "starting");
    assert!(
        start.try_wait().unwrap().is_none(),
        "all else waited for it"
    );
    let output = start.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(said.contains("was not ready after 15 s"), "{said}");
    talk.close();
    assert_eq!(talk.wait(SOON).code(), Some(0));
    until("nothing to be left", SOON, || {
        world.of_launches().is_empty().then_some(())
    });
}

#[test]
fn a_launch_without_a_host_is_replaced_when_its_settings_need_that() {
    let world = World::new();
    let file = world.policy(&json!({}));
    world.start_daemon();
    add(&world, "s", "exec sleep 1000");
    world.ctl(&["start", "s"]);
    let first = pid(&world.until_state("s", "running"));
    // What is live changes nothing of it.
    world.policy(&json!({ "network": { "allowedDomains": ["a.example"] }, "runtime": { "restart": "always" } }));
    until("the change to be taken over", SOON, || {
        let status = world.status("s")?;
        let logged = world
            .ctl(&["logs", "s"])
            .contains("network rules are in force");
        (logged && pid(&status) == first).then_some(())
    });
    world.policy(&json!({ "filesystem": { "allowWrite": ["."] } }));
    let second = until("another launch", SOON, || {
        let status = world.status("s")?;
        (status["state"] == "running" && pid(&status) != first).then(|| pid(&status))
    });
    assert_eq!(launches(&world, "s"), 2);
    let replaced = world.audit().into_iter().find(|entry| entry.kind == "exit");
    let reason = replaced.unwrap().json["detail"]["reason"].to_string();
    assert!(
        reason.contains("settings have changed: filesystem.allowWrite"),
        "{reason}"
    );

    // What cannot be used changes nothing, even where another launch is needed.
    std::fs::write(file, "{ \"runtime\": 1 }").unwrap();
    until("the trouble to be told", SOON, || {
        let status = world.status("s")?;
        status["policy_trouble"]
            .as_str()
            .filter(|trouble| !trouble.is_empty())
            .map(drop)
    });
    process::signal(second, Signal::KILL);
    let third = until("a third launch", SOON, || {
        let status = world.status("s")?;
        (status["state"] == "running" && pid(&status) != second).then_some(status)
    });
    assert!(
        third["policy_trouble"]
            .as_str()
            .unwrap()
            .contains("runtime"),
        "{third}"
    );
}

#[test]
fn a_server_that_says_something_and_never_answers_initialize_is_ended() {
    let world = World::new();
    world.policy(&json!({ "runtime": { "timeoutSeconds": 1 } }));
    world.start_daemon();
    let script = "echo Listening; while read -r line; do echo \"$line\" >&2; done";
    let mut talk = Talk::start(&mut world.srt(&["--name", "s", "--", "sh", "-c", script]));
    assert_eq!(talk.line(SOON).unwrap(), b"Listening\n");
    talk.send(&initialize(&json!("first")));
    // As the answer, which a host shows; on standard error; and in the log.
    let why = "it did not answer \"initialize\" within 1 s (runtime.timeoutSeconds)";
    let line = talk.line(SOON).unwrap();
    let answer: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(answer["id"], "first", "{answer}");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains(why), "{message}");
    assert!(talk.line(SOON).is_none(), "one answer is enough");
    talk.wait(SOON);
    assert!(talk.stderr().contains(why), "{}", talk.stderr());
    let status = until("its end to be known", SOON, || {
        let status = world.status("s")?;
        (status["last_exit"]["kind"] == "timed-out").then_some(status)
    });
    let reason = status["last_exit"]["reason"].as_str().unwrap();
    assert!(reason.contains(why), "{reason}");
    // It was never ready: the next try is the host's.
    assert_eq!(status["state"], "stopped", "{status}");

    // An error is an answer, after which it waits for its host; and one that is ready may take its time.
    world.policy(&json!({ "runtime": { "timeoutSeconds": 3 } }));
    let script = r#"
        answer() { read -r line; sleep "$3"; echo "{\"jsonrpc\":\"2.0\",\"id\":$1,$2}"; }
        answer 1 '"error":{"code":-32601,"message":"what?"}' 0
        answer 2 '"result":{}' 0
        answer 3 '"result":{}' 4
        cat"#;
    let mut talk = Talk::start(&mut world.srt(&["--name", "slow", "--", "sh", "-c", script]));
    let answer = talk.ask(&modern(&json!(1), "server/discover", json!({})), SOON);
    assert!(answer.contains("-32601"), "{answer}");
    let waited = Instant::now();
    until("a host that takes its time", SOON, || {
        (waited.elapsed() > Duration::from_secs(4)).then_some(())
    });
    talk.ask(&initialize(&json!(2)), SOON);
    talk.ask(&legacy(&json!(3), "tools/list", json!({})), SOON);
}

#[test]
fn reload_says_what_changes_and_what_is_wrong() {
    let world = World::new();
    let file = world.policy(&json!({}));
    world.start_daemon();
    let mut talk = Talk::start(&mut world.srt(&["--name", "s", "--", "cat"]));
    talk.send("x");
    talk.line(SOON).unwrap();
    let same = world.ctl(&["reload", "s"]);
    assert!(
        same.contains("nothing has changed since it was started"),
        "{same}"
    );
    world.policy(&json!({
        "network": { "allowedDomains": ["a.example"] },
        "filesystem": { "allowWrite": ["."] },
    }));
    let told = world.ctl(&["reload", "s"]);
    for line in [
        "in force now: network.allowedDomains\n",
        "needs another launch: filesystem.allowWrite",
        "1 session cannot: not ready yet, or no MCP",
    ] {
        assert!(told.contains(line), "{line:?} is not in:\n{told}");
    }
    let generation = world.json(&["reload", "s"])[0]["policy"]["generation"].clone();
    std::fs::write(&file, "{\n  \"netwrok\": {}\n}").unwrap();
    let wrong = world.srtctl(&["reload", "s"]);
    assert_eq!(wrong.status.code(), Some(6), "{wrong:?}");
    let told = String::from_utf8(wrong.stdout).unwrap();
    assert!(told.contains(".srt-settings.json:2:3: error: "), "{told}");
    assert!(
        told.contains(&format!("generation {generation} of "))
            && told.contains(" stays in force\n"),
        "{told}"
    );
    // The conversation has noticed nothing.
    talk.send("y");
    assert_eq!(talk.line(SOON).unwrap(), b"y\n");
    assert_eq!(world.srtctl(&["reload", "nobody"]).status.code(), Some(4));
}

#[test]
fn a_spare_launch_serves_the_next_host_and_is_replaced_when_its_settings_change() {
    let world = World::new();
    let warm = |extra: Value| {
        let mut document = json!({ "runtime": { "warm": 1 } });
        document
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        world.policy(&document);
    };
    warm(json!({}));
    world.start_daemon();
    // Each says which process it is.
    let script = "echo $$ > /dev/null; while read -r line; do echo \"$line\"; done";
    let attach = || {
        let mut talk = Talk::start(&mut world.srt(&["--name", "s", "--", "sh", "-c", script]));
        talk.send("x");
        assert_eq!(talk.line(SOON).unwrap(), b"x\n");
        let pid = pid(&world.status("s").unwrap());
        (talk, pid)
    };
    let spares = |count: u64| {
        until(&format!("{count} spares"), SOON, || {
            (world.status("s")?["warm"] == count).then_some(())
        });
    };
    let end = |mut talk: Talk| {
        talk.close();
        talk.wait(SOON);
    };
    let (first, _) = attach();
    spares(1);
    assert_eq!(launches(&world, "s"), 2);
    end(first);
    // The next host gets the one that is there: no launch but that of another spare.
    let (second, pid) = attach();
    spares(1);
    assert_eq!(launches(&world, "s"), 3);
    end(second);
    // One that was launched by other settings is of no use.
    warm(json!({ "filesystem": { "allowWrite": ["."] } }));
    until("the spare to be replaced", SOON, || {
        (launches(&world, "s") == 4).then_some(())
    });
    spares(1);
    // Nor is one for another command.
    let mut other = Talk::start(&mut world.srt(&["--name", "s", "--", "cat", "-u"]));
    other.send("y");
    assert_eq!(other.line(SOON).unwrap(), b"y\n");
    until("the other's spare", SOON, || {
        (launches(&world, "s") == 6).then_some(())
    });
    end(other);
    assert!(!process::lives(pid));
    // A stop takes them along.
    spares(1);
    world.ctl(&["stop", "s"]);
    spares(0);
    until("no server to be left", SOON, || {
        let left = world
            .processes()
            .into_iter()
            .filter(|it| it.exe.ends_with("cat") || it.exe.ends_with("sh"));
        (left.count() == 0).then_some(())
    });
}
