//! Limits on a launch, as a person writes them: what holds on this machine holds, and what cannot is refused with the
//! remedy, never left out in silence.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use srt_tests::{SOON, Talk, World, until};

/// Runs a command under a policy until it ends; its standard output, the talk and the world.
fn run(document: &Value, command: &[&str]) -> (World, Vec<String>, Talk) {
    let world = World::start();
    world.policy(document);
    let mut arguments = vec!["--name", "limited", "--"];
    arguments.extend(command);
    let mut talk = Talk::start(&mut world.srt(&arguments));
    talk.close();
    let mut lines = Vec::new();
    while let Some(line) = talk.line(SOON) {
        lines.push(String::from_utf8(line).unwrap().trim_end().to_owned());
    }
    talk.wait(SOON);
    (world, lines, talk)
}

#[test]
fn processes_and_files_are_limited() {
    let bombs = r#"
import os, signal, time
started = 0
try:
    while started < 40:
        if os.fork() == 0:
            time.sleep(5)
            os._exit(0)
        started += 1
except OSError:
    pass
print(started, flush=True)
path = os.environ["TMPDIR"] + "/big"
try:
    open(path, "wb", buffering=0).write(bytes(90000))
    open(path, "ab", buffering=0).write(bytes(1))
except OSError as error:
    print(error.strerror)
print(os.path.getsize(path), flush=True)
"#;
    let command = ["/usr/bin/python3", "-c", bombs];
    let (_world, bare, _) = run(&json!({}), &command);
    assert_eq!(bare, ["40", "90001"], "without limits");
    let document = json!({ "runtime": { "maxProcesses": 12, "maxFileSize": "64K" } });
    let (_world, lines, talk) = run(&document, &command);
    assert_eq!(
        lines,
        ["11", "File too large", "65536"],
        "{}",
        talk.stderr()
    );
}

#[test]
fn what_no_cgroup_can_hold_is_refused_with_the_remedy_or_told() {
    let document = json!({ "runtime": { "memoryMax": "512M", "cpuQuota": "50%" } });
    let (world, lines, mut talk) = run(&document, &["echo", "ran"]);
    let doctor = world.doctor();
    if !doctor.contains("runtime.memoryMax and runtime.cpuQuota are refused") {
        assert_eq!(lines, ["ran"], "this machine can limit memory: {doctor}");
        return;
    }
    assert_eq!(lines, [] as [&str; 0], "it ran without its limits");
    assert_eq!(talk.wait(SOON).code(), Some(7), "{}", talk.stderr());
    for part in [
        "runtime.memoryMax cannot be enforced",
        "hint: ",
        "systemctl --user enable --now srtd",
        "best-effort",
    ] {
        assert!(talk.stderr().contains(part), "{part}: {}", talk.stderr());
    }
    world.until_audited("refused", "limited");

    let document = json!({
        "runtime": { "memoryMax": "512M", "cpuQuota": "50%" },
        "limits": "best-effort",
    });
    let (world, lines, talk) = run(&document, &["echo", "ran"]);
    assert_eq!(lines, ["ran"], "{}", talk.stderr());
    let log = until("the note in the log", SOON, || {
        Some(world.ctl(&["logs", "limited"])).filter(|log| log.contains("cpuQuota"))
    });
    for key in [
        "runtime.memoryMax is not enforced: ",
        "runtime.cpuQuota is not enforced: ",
    ] {
        assert!(log.contains(key), "{log}");
    }
}

#[test]
fn a_server_that_never_answers_is_ended() {
    let world = World::start();
    world.policy(&json!({ "runtime": { "timeoutSeconds": 1 } }));
    let start = Instant::now();
    let mut talk = Talk::start(&mut world.srt(&[
        "--name",
        "mute",
        "--",
        "sh",
        "-c",
        "while read -r line; do :; done",
    ]));
    talk.send("{}");
    assert!(talk.line(SOON).is_none(), "it says nothing");
    talk.wait(SOON);
    assert!(
        start.elapsed() > Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    let reason = until("its end to be known", SOON, || {
        let status = world.status("mute")?;
        Some(status["last_exit"]["reason"].as_str()?.to_owned())
    });
    assert!(
        reason.contains("wrote no line within 1 s") && reason.contains("runtime.timeoutSeconds"),
        "{reason}"
    );

    // One that has answered may take its time.
    let mut talk = Talk::start(&mut world.srt(&[
        "--name",
        "slow",
        "--",
        "sh",
        "-c",
        "read -r a; echo $a; read -r b; sleep 2; echo $b",
    ]));
    for word in ["one", "two"] {
        talk.send(word);
        let line = talk.line(SOON).unwrap();
        assert_eq!(String::from_utf8(line).unwrap().trim_end(), word);
    }
    talk.close();
    assert!(talk.wait(SOON).success(), "{}", talk.stderr());
}
