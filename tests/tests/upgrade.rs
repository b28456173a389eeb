//! `srtctl daemon upgrade`: another program in the place of the one that runs. The process, the socket and the locks stay;
//! whoever connects meanwhile waits; a program that cannot take over changes nothing.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FlockOperation, flock};
use srt_tests::{SOON, Talk, World, mcp, until};

/// A second installation of the daemon.
fn installed(world: &World, folder: &str) -> PathBuf {
    let place = world.path(folder);
    std::fs::create_dir(&place).unwrap();
    for program in ["srtd", "srt-jail"] {
        std::fs::copy(world.program(program), place.join(program)).unwrap();
    }
    place.join("srtd")
}

fn executable(pid: u32) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/exe")).unwrap()
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

#[track_caller]
fn refused(world: &World, program: &std::path::Path, why: &str) {
    let (pid, before) = (world.daemon_pid(), world.json(&["daemon", "status"]));
    let output = world.srtctl(&["daemon", "upgrade", "--program", text(program)]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(why), "{said}");
    let after = world.json(&["daemon", "status"]);
    assert_eq!(
        (world.daemon_pid(), &after["upgrades"]),
        (pid, &before["upgrades"])
    );
}

#[test]
fn nobody_is_refused_while_another_program_takes_the_daemons_place() {
    let world = World::start();
    world.ctl(&["add", "warm", "--", "cat"]);
    world.ctl(&["start", "warm"]);
    world.until_state("warm", "running");
    let pid = world.daemon_pid();
    let next = installed(&world, "next");
    let socket = world.socket().metadata().unwrap().ino();
    // What a host or another daemon would see if there were a gap.
    let over = Arc::new(AtomicBool::new(false));
    let (path, done) = (world.socket(), over.clone());
    let knocks = std::thread::spawn(move || {
        let mut count = 0;
        while !done.load(Ordering::Relaxed) {
            UnixStream::connect(&path).unwrap();
            count += 1;
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        count
    });
    let locks = [
        world.socket().with_extension("lock"),
        world.path("home/.local/state/srt/srtd.lock"),
    ];
    let done = over.clone();
    let watched = std::thread::spawn(move || {
        let files = locks.map(|path| std::fs::File::open(path).unwrap());
        while !done.load(Ordering::Relaxed) {
            for file in &files {
                assert!(flock(file, FlockOperation::NonBlockingLockShared).is_err());
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    });
    let said = world.ctl(&["daemon", "upgrade", "--program", text(&next)]);
    over.store(true, Ordering::Relaxed);
    assert!(said.starts_with("upgraded from "), "{said}");
    assert!(knocks.join().unwrap() > 1);
    watched.join().unwrap();
    let status = world.json(&["daemon", "status"]);
    assert_eq!(
        (status["pid"].as_u64(), world.daemon_pid()),
        (Some(pid.into()), pid)
    );
    assert_eq!(executable(pid), next);
    assert_eq!(status["upgrades"], 1);
    assert_eq!(world.socket().metadata().unwrap().ino(), socket);
    // It was told, and the launch ended in order.
    let entry = world.until_audited("daemon", "upgraded_from");
    assert!(entry.json.to_string().contains("upgraded_from"));
    world.until_audited("daemon", text(&next));
    let exit = world.until_audited("exit", "warm");
    assert!(!exit.json.to_string().contains("lost"), "{}", exit.json);
    // It works, with its own helper, and is as good a beginning for the next one.
    let mut talk = Talk::start(&mut world.srt(&["--name", "cat", "--", "cat"]));
    talk.send("x");
    assert_eq!(talk.line(SOON).unwrap(), b"x\n");
    talk.close();
    assert_eq!(talk.wait(SOON).code(), Some(0));
    world.ctl(&[
        "daemon",
        "upgrade",
        "--program",
        text(&world.program("srtd")),
    ]);
    assert_eq!(executable(pid), world.program("srtd"));
    until("no helper of another program to be left", SOON, || {
        world.of_launches().is_empty().then_some(())
    });
    world.stop_daemon();
    assert_eq!(world.sockets(), Vec::<String>::new());
}

#[test]
fn by_default_it_is_the_file_that_the_daemon_was_started_from_as_it_is_now() {
    let world = World::start();
    let pid = world.daemon_pid();
    let place = world.program("srtd");
    let before = std::fs::metadata(&place).unwrap().ino();
    // As an installation does it: the old file goes, a new one has its name.
    let next = installed(&world, "next");
    std::fs::rename(&next, &place).unwrap();
    world.ctl(&["daemon", "upgrade"]);
    assert_eq!(world.daemon_pid(), pid);
    let now = std::fs::metadata(format!("/proc/{pid}/exe")).unwrap().ino();
    assert_ne!(now, before);
    assert_eq!(now, std::fs::metadata(&place).unwrap().ino());
}

#[test]
fn a_program_that_cannot_take_over_changes_nothing() {
    let world = World::start();
    let mut talk = Talk::start(&mut world.srt(&["--name", "cat", "--", "cat"]));
    talk.send("x");
    assert_eq!(talk.line(SOON).unwrap(), b"x\n");
    refused(&world, &world.path("nowhere"), "No such file");
    refused(&world, &world.write("plain", "text"), "ermission denied");
    refused(&world, &world.program("srtctl"), "is not srtd");
    let mute = world.script("mute", "exit 1");
    refused(&world, &mute, "is not srtd");
    // Of a version that knows nothing of taking over.
    let old = world.script("old", "[ \"$1\" = --version ] && echo srtd 0.0.1");
    refused(&world, &old, "version 0.0.1) cannot take over");
    // Half an installation.
    let next = installed(&world, "next");
    std::fs::remove_file(next.with_file_name("srt-jail")).unwrap();
    refused(&world, &next, "srt-jail");
    talk.send("still here");
    assert_eq!(talk.line(SOON).unwrap(), b"still here\n");
}

#[test]
fn where_the_new_program_cannot_be_executed_after_all_the_old_one_begins_again_and_says_why() {
    let world = World::start();
    let pid = world.daemon_pid();
    let before = executable(pid);
    // It passes, and is gone when its time comes.
    let fleeting = world.script(
        "fleeting",
        "case $1 in --version) echo srtd 9.9.9 ;; preflight) rm -- \"$0\" ;; esac",
    );
    let output = world.srtctl(&["daemon", "upgrade", "--program", text(&fleeting)]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("not upgraded") && said.contains("fleeting"),
        "{said}"
    );
    assert_eq!(world.daemon_pid(), pid);
    assert_eq!(executable(pid), before);
    world.until_audited("daemon", "upgrade_failed");
    let mut talk = Talk::start(&mut world.srt(&["--name", "cat", "--", "cat"]));
    talk.send("x");
    assert_eq!(talk.line(SOON).unwrap(), b"x\n");
}

#[test]
fn a_full_disk_is_found_out_before_anything_ends() {
    let world = World::with_disk(&[], 8);
    world.start_daemon();
    let mut talk = Talk::start(&mut world.srt(&["--name", "cat", "--", "cat"]));
    talk.send("x");
    assert_eq!(talk.line(SOON).unwrap(), b"x\n");
    let next = installed(&world, "next");
    world.fill_disk();
    refused(&world, &next, "make room on that disk");
    talk.send("still here");
    assert_eq!(talk.line(SOON).unwrap(), b"still here\n");
    talk.close();
    assert_eq!(talk.wait(SOON).code(), Some(0));
    world.free_disk();
    world.ctl(&["daemon", "upgrade", "--program", text(&next)]);
    assert_eq!(executable(world.daemon_pid()), next);
}

/// A server that counts its launches in the project, so that a test sees which one answers.
const COUNTING: &str = r#"
import json, os, sys
def launches():
    path = os.environ["PWD"] + "/launches"
    count = int(open(path).read()) if os.path.exists(path) else 0
    open(path, "w").write(str(count + 1))
    return count + 1
number = launches()
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "initialize":
        result = {"protocolVersion": message["params"]["protocolVersion"],
                  "capabilities": {"tools": {}},
                  "serverInfo": {"name": "counting", "version": "1"}}
    elif "id" in message:
        result = {"content": [{"type": "text", "text": f"launch {number}"}]}
    else:
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"#;

/// A host of it, whose conversation has begun.
fn counting(world: &World) -> Talk {
    world.policy(&serde_json::json!({
        "filesystem": { "denyRead": [], "allowWrite": ["."], "denyWrite": [] },
        "network": { "allowedDomains": [], "deniedDomains": [] },
    }));
    let script = world.write("work/counting.py", COUNTING);
    let mut talk = Talk::start(&mut world.srt(&[
        "--name",
        "counting",
        "--env",
        "PWD",
        "--",
        "/usr/bin/env",
        &format!("PWD={}", world.work().display()),
        "/usr/bin/python3",
        text(&script),
    ]));
    talk.ask(&mcp::initialize(&1.into()), SOON);
    talk
}

/// Which launch answers.
#[track_caller]
fn which(talk: &mut Talk, id: u32) -> String {
    let call = mcp::legacy(
        &id.into(),
        "tools/call",
        serde_json::json!({ "name": "which" }),
    );
    let answer: serde_json::Value = serde_json::from_str(&talk.ask(&call, SOON)).unwrap();
    let said = &answer["result"]["content"][0]["text"];
    said.as_str()
        .unwrap_or_else(|| panic!("{answer}"))
        .to_owned()
}

#[test]
fn a_host_keeps_its_connection_while_the_program_changes() {
    let world = World::start();
    let mut talk = counting(&world);
    assert_eq!(which(&mut talk, 2), "launch 1");
    let pid = world.daemon_pid();
    let next = installed(&world, "next");
    world.ctl(&["daemon", "upgrade", "--program", text(&next)]);
    assert_eq!((world.daemon_pid(), executable(pid)), (pid, next));
    // The same connection, another launch, by another program.
    assert_eq!(which(&mut talk, 3), "launch 2");
    talk.close();
    assert_eq!(talk.wait(SOON).code(), Some(0));
}

#[test]
fn where_the_new_program_begins_and_fails_a_shim_starts_one_that_works() {
    let world = World::start();
    let mut talk = counting(&world);
    assert_eq!(which(&mut talk, 2), "launch 1");
    let pid = world.daemon_pid();
    // It shows all that is asked of it, and ends as soon as it has taken over.
    let begins = world.script(
        "begins",
        "case $1 in --version) echo srtd 9.9.9 ;; preflight) ;; *) echo begun >> \"$HOME/begun\"; exit 7 ;; esac",
    );
    let output = world.srtctl(&["daemon", "upgrade", "--program", text(&begins)]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("hint: "), "{said}");
    assert!(world.path("home/begun").exists(), "{said}");
    // The host waits for a daemon, and goes on with it.
    assert_eq!(which(&mut talk, 3), "launch 2");
    assert_ne!(world.daemon_pid(), pid);
    assert_eq!(executable(world.daemon_pid()), world.program("srtd"));
    talk.close();
    assert_eq!(talk.wait(SOON).code(), Some(0));
}
