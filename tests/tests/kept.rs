//! A launch that is kept ready for the next host for a while: one whose host left before it said a word, and a fresh one
//! where hosts come back after a probe. Only for the very same, and only once it is known for a server of MCP.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use srt_tests::mcp::{INITIALIZED, initialize, legacy};
use srt_tests::{SOON, Talk, World, process, servers, until};

/// A session of server-everything in a folder; which launch serves it is told on standard error.
fn attach_in(world: &World, folder: &Path) -> (Talk, String) {
    let program = servers().join("node/node_modules/.bin/mcp-server-everything");
    let mut command = world.srt(&["--debug", "--name", "s", "--"]);
    let talk = Talk::start(command.arg(program).arg("stdio").current_dir(folder));
    let launch = until("the session to be open", SOON, || {
        let said = talk.stderr();
        let (_, rest) = said.split_once("opened, launch ")?;
        let (line, _) = rest.split_once('\n')?;
        Some(line.to_owned())
    });
    (talk, launch)
}

fn attach(world: &World) -> (Talk, String) {
    attach_in(world, &world.work())
}

/// What a host does to see whether a server is there.
fn probe(world: &World) {
    let (mut talk, _) = attach(world);
    talk.ask(&initialize(&json!(0)), SOON);
    end(world, talk);
}

/// Ends a session as its host does; no launch serves it any more.
fn end(world: &World, mut talk: Talk) {
    talk.close();
    talk.wait(SOON);
    world.until_state("s", "stopped");
}

fn starts(world: &World) -> usize {
    let entries = world.audit().into_iter();
    entries.filter(|entry| entry.kind == "start").count()
}

/// The launch that is kept ready, and how many of them there were.
fn kept(world: &World) -> Option<(String, usize)> {
    let entries: Vec<_> = (world.audit().into_iter())
        .filter(|entry| {
            entry
                .json
                .to_string()
                .contains("is kept ready for the next host")
        })
        .collect();
    let newest = entries
        .iter()
        .max_by_key(|entry| entry.json["seq"].as_u64())?;
    Some((newest.json["launch"].as_str()?.to_owned(), entries.len()))
}

fn warm(world: &World) -> bool {
    world.status("s").is_some_and(|status| status["warm"] == 1)
}

/// Does this until a launch is kept ready after it. On a busy machine a probe may take too long to be one.
#[track_caller]
fn until_kept(world: &World, what: impl Fn()) -> String {
    let before = kept(world).map_or(0, |(_, count)| count);
    until("a launch to be kept ready", 4 * SOON, || {
        what();
        // Either it comes, or this try was none.
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(2) {
            let news = kept(world).filter(|(_, count)| *count > before);
            if let Some((launch, _)) = news {
                return Some(launch);
            }
        }
        None
    })
}

/// Attaches until it is served by a launch that was kept: on a busy machine one may be gone before.
#[track_caller]
fn served_by_a_kept_one(world: &World, keep: impl Fn()) -> (Talk, usize) {
    until(
        "a host to be served by a launch that was kept",
        8 * SOON,
        || {
            let ready = until_kept(world, &keep);
            let before = starts(world);
            let (talk, launch) = attach(world);
            (launch == ready).then_some((talk, before))
        },
    )
}

#[track_caller]
fn works(talk: &mut Talk) {
    talk.ask(&initialize(&json!(0)), SOON);
    talk.send(INITIALIZED);
    let call = json!({ "name": "echo", "arguments": { "message": "hi" } });
    let echoed = talk.ask(&legacy(&json!(1), "tools/call", call), SOON);
    assert!(echoed.contains("Echo: hi"), "{echoed}");
}

/// A host that goes away before it has said anything.
fn leave(world: &World) {
    let (talk, _) = attach(world);
    process::signal(talk.pid(), Signal::TERM);
    let mut talk = talk;
    assert_eq!(talk.wait(SOON).code(), Some(128 + 15));
}

#[test]
fn a_host_that_probes_and_comes_back_finds_a_launch_ready_the_next_time() {
    let world = World::start();
    // Once is no habit: nothing is begun that nobody asked for.
    probe(&world);
    assert_eq!((starts(&world), kept(&world)), (1, None));
    let (mut talk, before) = served_by_a_kept_one(&world, || probe(&world));
    works(&mut talk);
    assert_eq!(starts(&world), before, "it cost no start");
    // Events tell what became of it.
    let events = world.ctl(&["events"]);
    for part in ["kept ready for the next host", "a host took it over"] {
        assert!(events.contains(part), "{part}: {events}");
    }
    talk.close();
    talk.wait(SOON);
}

#[test]
fn what_is_kept_in_vain_ends_and_is_not_begun_again() {
    let world = World::start();
    let launch = until_kept(&world, || probe(&world));
    let status = world.status("s").unwrap();
    assert_eq!(
        (&status["state"], &status["sessions"]),
        (&json!("stopped"), &json!(0))
    );
    let exit = until("its end", SOON, || {
        let entries = world.audit().into_iter();
        let mut exits = entries.filter(|it| it.kind == "exit" && it.json["launch"] == launch);
        exits.next()
    });
    let reason = exit.json["detail"]["reason"].to_string();
    assert!(
        reason.contains("no host came for it within 10 s"),
        "{reason}"
    );
    let count = kept(&world).map(|(_, count)| count);
    probe(&world);
    assert_eq!(
        kept(&world).map(|(_, count)| count),
        count,
        "the habit is forgotten"
    );
}

#[test]
fn a_launch_whose_host_left_without_a_word_is_the_next_ones() {
    let world = World::start();
    // Before it is known for a server of MCP, a signal is the program's.
    leave(&world);
    let first = world.until_audited("exit", "s");
    assert!(kept(&world).is_none(), "{:?}", first.json);
    probe(&world);
    let (mut talk, before) = served_by_a_kept_one(&world, || leave(&world));
    works(&mut talk);
    assert_eq!(starts(&world), before);
    // What was said cannot be unsaid: it ends with this host.
    let (served, _) = kept(&world).unwrap();
    process::signal(talk.pid(), Signal::TERM);
    assert_eq!(talk.wait(SOON).code(), Some(128 + 15));
    until("its end", SOON, || {
        let entries = world.audit().into_iter();
        let mut exits = entries.filter(|it| it.kind == "exit" && it.json["launch"] == served);
        exits.next()
    });
}

#[test]
fn what_is_kept_is_nobodys_who_asks_for_anything_else() {
    let world = World::new();
    world.policy(&json!({}));
    world.start_daemon();
    probe(&world);
    // Another folder.
    let ready = until_kept(&world, || leave(&world));
    let other = world.path("home/other");
    std::fs::create_dir(&other).unwrap();
    let (talk, launch) = attach_in(&world, &other);
    assert_ne!(launch, ready);
    drop(talk);
    until("it to be gone", SOON, || (!warm(&world)).then_some(()));
    // Other settings, even those that a launch takes over while it runs, however soon after they were written: before the
    // daemon has seen that, and while it reads them (it waits until nothing has happened for 100 ms).
    for pause in [0, 60, 75, 90] {
        probe(&world);
        let ready = until_kept(&world, || leave(&world));
        let domain = format!("after-{pause}.example");
        world.policy(&json!({ "network": { "allowedDomains": [domain] } }));
        std::thread::sleep(Duration::from_millis(pause));
        let (mut talk, launch) = attach(&world);
        assert_ne!(launch, ready, "after {pause} ms");
        works(&mut talk);
        end(&world, talk);
    }
}

#[test]
fn what_is_not_to_be_begun_again_is_not_begun_for_the_next_host_either() {
    let world = World::new();
    world.policy(&json!({ "runtime": { "restart": "never" } }));
    world.start_daemon();
    for _ in 0..3 {
        probe(&world);
    }
    assert_eq!((starts(&world), kept(&world)), (3, None));
    // One that is there already is no start. A stop takes it along.
    until_kept(&world, || leave(&world));
    world.ctl(&["stop", "s"]);
    assert!(!warm(&world));
}
