//! `kill -9` of the shim, the server and the daemon at random points. Afterwards nothing is left: no process, no
//! temporary folder, no mount, no socket; and the database opens with every entry that was acknowledged.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use serde_json::json;
use srt_tests::{Random, SOON, Talk, World, process, tree, until};

/// All rounds together; `SRT_TEST_ROUNDS` changes it.
const ROUNDS: u64 = 100;

#[derive(Clone, Copy, Debug)]
enum Victim {
    Shim,
    Server,
    Daemon,
}

/// Starts a server of its own name, kills `victim` at a random point, and says whether the server had answered:
/// by then its start was acknowledged, so its entry must be durable.
fn round(world: &World, random: &mut Random, name: &str, victim: Victim) -> bool {
    // Its mark stands in its arguments, so that it is found wherever the sandbox hides its environment.
    let mark = world.mark().display().to_string();
    let mut talk = Talk::start(&mut world.srt(&[
        "--name",
        name,
        "--",
        "sh",
        "-c",
        "while read -r line; do echo \"$line\"; done",
        &mark,
    ]));
    // In the middle of the launch, at the first sight of its sandbox, or in the middle of a conversation.
    let answered = match random.below(3) {
        0 => {
            let point = Duration::from_micros(random.below(60_000));
            let start = Instant::now();
            until("a random point", SOON, || {
                (start.elapsed() >= point).then_some(())
            });
            false
        }
        1 => {
            until("the sandbox to be seen", SOON, || {
                let processes = world.processes();
                processes
                    .iter()
                    .any(|process| process.exe.ends_with("bwrap"))
                    .then_some(())
            });
            false
        }
        _ => {
            talk.send("hello");
            let answer = talk.line(SOON);
            let stderr = talk.stderr();
            assert_eq!(answer.as_deref(), Some(&b"hello\n"[..]), "{stderr}");
            talk.send("again");
            true
        }
    };
    match victim {
        Victim::Shim => process::signal(talk.pid(), Signal::KILL),
        Victim::Daemon => {
            for daemon in world.running("srtd") {
                process::signal(daemon.pid, Signal::KILL);
            }
            world.kill_daemon();
        }
        Victim::Server => {
            // Every process of the sandbox that is there yet: the shim, srtctl and the daemon are not.
            let ours = ["srtd", "srt", "srtctl"].map(|program| world.program(program));
            for process in world.processes() {
                if !ours.contains(&process.exe) {
                    process::signal(process.pid, Signal::KILL);
                }
            }
        }
    }
    talk.close();
    println!("{name}: killed the {victim:?}, answered: {answered}");
    let start = Instant::now();
    until("the shim to end", SOON, || {
        let ended = talk.ended();
        assert!(
            ended.is_some() || start.elapsed() < SOON / 2,
            "{name}: the shim is still there after the {victim:?} was killed: {:#?}",
            world.processes()
        );
        ended
    });
    if matches!(victim, Victim::Daemon) {
        // A shim that had not reached the daemon yet has started one of its own, as it should: that one dies, too.
        until("no daemon to be left", SOON, || {
            let daemons = world.running("srtd");
            for daemon in &daemons {
                process::signal(daemon.pid, Signal::KILL);
            }
            daemons.is_empty().then_some(())
        });
        // Where its first thread has ended before the others, nothing tells that it is there but its lock.
        let lock = fs::File::open(world.socket().with_extension("lock")).unwrap();
        until("its lock to be let go", SOON, || {
            flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()
        });
        drop(lock);
        world.start_daemon();
        // Every page is sound, and the audit log's chain holds.
        world.ctl(&["store", "check"]);
    }
    answered
}

#[test]
fn nothing_is_left_after_a_hundred_kills() {
    let world = World::start();
    // Rules about what is there and what is not, by each kind of name. Nothing is put on the disk to hold them.
    world.policy(&json!({
        "filesystem": {
            "denyRead": [".env", "secrets", "later/deep/key.pem", "**/*.token", "link"],
            "allowWrite": ["."],
            "denyWrite": ["src/locked.rs", "docs/later.md"],
        },
        "network": { "allowedDomains": [], "deniedDomains": [] },
    }));
    for file in ["src/locked.rs", "secrets/key", "docs/index.md", "a.token"] {
        world.write(&format!("work/{file}"), file);
    }
    fs::hard_link(world.path("work/secrets/key"), world.path("work/src/key")).unwrap();
    symlink("secrets/key", world.path("work/link")).unwrap();
    symlink("nowhere", world.path("work/dangling")).unwrap();
    let before = tree(&world.work());
    // What is looked for at the end can be found at all.
    let mut talk = Talk::start(&mut world.srt(&["--name", "cat", "--", "cat"]));
    talk.send("x");
    talk.line(SOON).unwrap();
    assert_eq!(world.launches().len(), 1);
    assert!(world.launches()[0].join("tmp").is_dir());
    assert!(!process::mounts(world.mark()).is_empty());
    assert!(!world.sockets().is_empty());
    assert_eq!(tree(&world.work()), before);
    drop(talk);

    let mut random = Random::from_environment();
    let rounds = std::env::var("SRT_TEST_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(ROUNDS);
    let mut acknowledged = BTreeSet::new();
    for number in 0..rounds {
        let victim = match random.below(3) {
            0 => Victim::Shim,
            1 => Victim::Server,
            _ => Victim::Daemon,
        };
        let name = format!("r{number}");
        if round(&world, &mut random, &name, victim) {
            acknowledged.insert(name);
        }
    }
    assert!(!acknowledged.is_empty());

    assert_eq!(world.running("srtd").len(), 1);
    let start = Instant::now();
    until("every process but the daemon to go", SOON, || {
        let left = world.of_launches();
        assert!(
            start.elapsed() < SOON / 2,
            "more than the daemon is left: {left:#?}"
        );
        left.is_empty().then_some(())
    });
    let start = Instant::now();
    until("the folders and mounts to go", SOON, || {
        let left = world.traces();
        assert!(start.elapsed() < SOON / 2, "left: {left:#?}");
        left.is_empty().then_some(())
    });
    // Nor did anything come and go: that would have changed its folder's time.
    assert_eq!(tree(&world.work()), before);
    let started: BTreeSet<_> = world
        .audit()
        .into_iter()
        .filter(|entry| entry.kind == "start")
        .map(|entry| entry.server)
        .collect();
    let lost: Vec<_> = acknowledged.difference(&started).collect();
    assert!(
        lost.is_empty(),
        "acknowledged, and not in the log: {lost:?}"
    );

    world.stop_daemon();
    assert_eq!(world.traces(), Vec::<String>::new());
    assert_eq!(world.sockets(), Vec::<String>::new());
    let left = world.processes();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_killed_server_is_reported_as_killed() {
    let world = World::start();
    let mark = world.mark().display().to_string();
    let mut talk =
        Talk::start(&mut world.srt(&["--name", "cat", "--", "sh", "-c", "echo up; cat", &mark]));
    assert_eq!(talk.line(SOON).unwrap(), b"up\n");
    let pid = world.until_state("cat", "running")["pid"].as_u64().unwrap();
    process::signal(u32::try_from(pid).unwrap(), Signal::KILL);
    assert_eq!(talk.wait(SOON).code(), Some(128 + 9), "{}", talk.stderr());
    let entry = world.until_audited("exit", "cat");
    assert!(entry.json.to_string().contains("KILL"), "{}", entry.json);
}

#[test]
fn a_daemon_that_was_killed_leaves_a_log_that_says_so() {
    let world = World::start();
    let mut talk = Talk::start(&mut world.srt(&["--name", "cat", "--", "cat"]));
    talk.send("x");
    talk.line(SOON).unwrap();
    world.kill_daemon();
    assert_ne!(talk.wait(SOON).code(), Some(0));
    until("the launch to go with the daemon", SOON, || {
        world.processes().is_empty().then_some(())
    });
    world.start_daemon();
    // The launch that nobody saw end has an end in the log all the same.
    world.until_audited("exit", "cat");
}
