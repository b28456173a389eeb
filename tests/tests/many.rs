//! Fifty hosts at once: all are answered, and afterwards the daemon holds what it held before.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::json;
use srt_tests::{SOON, Talk, World, process, until};

const SHIMS: usize = 50;
/// Allocators keep some of what was freed.
const KEPT: u64 = 24 * 1024 * 1024;

fn crowd(world: &World) {
    let patience = Duration::from_secs(120);
    let mut talks: Vec<_> = (0..SHIMS).map(|_| Talk::start(&mut world.demo())).collect();
    for (number, talk) in talks.iter_mut().enumerate() {
        let request = srt_tests::mcp::modern(&json!(format!("n{number}")), "tools/list", json!({}));
        let answer = talk.ask(&request, patience);
        assert!(answer.contains("read_file"), "shim {number}: {answer}");
    }
    let status = world.status("demo").unwrap();
    assert_eq!(status["sessions"], SHIMS, "all at the same time: {status}");
    for talk in &mut talks {
        talk.close();
    }
    for talk in &mut talks {
        assert_eq!(talk.wait(patience).code(), Some(0), "{}", talk.stderr());
    }
}

#[test]
fn fifty_shims_are_answered_and_the_daemon_is_as_before() {
    let world = World::start();
    let daemon = world.daemon_pid();
    // The first launch opens what stays open: a database connection more, a cached page.
    let mut first = Talk::start(&mut world.demo());
    first.tool("list_environment", json!({}));
    first.close();
    assert_eq!(first.wait(SOON).code(), Some(0));
    let only_daemon = || world.of_launches().is_empty();
    until("the first launch to be over", SOON, || {
        only_daemon().then_some(())
    });

    crowd(&world);
    until("the launches to be over", SOON, || {
        only_daemon().then_some(())
    });
    let settled = |what: &str| {
        // Descriptors of the client that asks for the count are gone with it: the count itself asks nobody.
        let mut last = (process::descriptors(daemon), std::time::Instant::now());
        until(what, SOON, || {
            let now = process::descriptors(daemon);
            if now != last.0 {
                last = (now, std::time::Instant::now());
            }
            (last.1.elapsed() > Duration::from_millis(300)).then_some(now?)
        })
    };
    let descriptors = settled("the descriptors to settle after the first crowd");
    let memory = process::memory(daemon, "VmRSS").unwrap();

    crowd(&world);
    until("the launches to be over", SOON, || {
        only_daemon().then_some(())
    });
    until("the descriptors to return", SOON, || {
        (process::descriptors(daemon)? == descriptors).then_some(())
    });
    let now = process::memory(daemon, "VmRSS").unwrap();
    assert!(
        now < memory + KEPT,
        "the daemon's memory grew from {memory} to {now}"
    );
}
