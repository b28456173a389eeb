//! Fifty hosts at once: all are answered, and afterwards the daemon holds what it held before.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

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

    // Nobody runs, and the daemon's descriptors stay as they are. A host that comes back soon has a launch kept ready for
    // the next one for a while, and that one may begin after the last of the others is gone. Descriptors are counted
    // without asking the daemon, which would be one more.
    let settled = || {
        let mut last = (None, Instant::now());
        until("the launches to be over", 2 * SOON, || {
            let now = only_daemon().then(|| {
                let mut files: Vec<_> = process::open_files(daemon).collect();
                files.sort();
                files
            });
            if now != last.0 {
                last = (now, Instant::now());
                return None;
            }
            now.filter(|_| last.1.elapsed() > Duration::from_secs(1))
        })
    };
    crowd(&world);
    let before = settled();
    let memory = process::memory(daemon, "VmRSS").unwrap();

    crowd(&world);
    let after = settled();
    // One that each session left would be fifty. The database may have opened a connection more meanwhile.
    assert!(
        after.len() < before.len() + SHIMS / 5,
        "{after:#?}, and before {before:#?}"
    );
    let now = process::memory(daemon, "VmRSS").unwrap();
    assert!(
        now < memory + KEPT,
        "the daemon's memory grew from {memory} to {now}"
    );
}
