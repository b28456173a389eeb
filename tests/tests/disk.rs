//! A disk that is full, read-only or broken: nothing begins that could not be recorded, what runs goes on, nothing is lost
//! in silence, and the daemon says what is wrong.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::process::Output;

use rustix::process::Signal;
use serde_json::{Value, json};
use srt_tests::{SOON, Shell, Talk, World, process, until};

/// A proxied request to a host that no rule allows: an entry that nobody waits for.
#[track_caller]
fn is_denied(shell: &mut Shell, host: &str) {
    let answer = shell.ask(&format!("http {host} 80"));
    assert!(answer.contains("403"), "{answer}");
}

fn launch(world: &World, name: &str) -> Output {
    world
        .srt(&["--name", name, "--", "true"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap()
}

/// A launch must be refused, and its host be told this.
#[track_caller]
fn is_refused(world: &World, name: &str, why: &str) {
    let output = launch(world, name);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let begun = "cannot record the launch, so it was not begun: cannot write to the database ";
    assert!(said.contains(begun) && said.contains(why), "{said}");
    assert!(said.contains("hint: "), "{said}");
}

fn troubles(world: &World) -> Vec<String> {
    let status = world.json(&["daemon", "status"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    status["troubles"]
        .as_array()
        .unwrap()
        .iter()
        .map(text)
        .collect()
}

#[track_caller]
fn until_well(world: &World) {
    until("the daemon to be well again", SOON, || {
        troubles(world).is_empty().then_some(())
    });
}

#[track_caller]
fn until_gone(talk: &mut Talk) {
    talk.close();
    talk.wait(SOON);
}

/// What happened while nothing could be written is in the log, once, in order; what was refused did not begin.
#[track_caller]
fn all_is_told(world: &World, host: &str) {
    world.until_audited("deny", host);
    world.until_audited("refused", "cannot record the launch");
    world.until_audited("exit", "ends-meanwhile");
    let audit = world.audit();
    let started: Vec<_> = audit
        .iter()
        .filter(|entry| entry.kind == "start")
        .map(|entry| entry.server.as_str())
        .collect();
    assert_eq!(started, ["stays", "ends-meanwhile", "after"]);
    let denied = audit
        .iter()
        .filter(|entry| entry.kind == "deny" && entry.subject.starts_with(host));
    assert_eq!(denied.count(), 1);
    let exit = audit.iter().find(|entry| entry.kind == "exit").unwrap();
    assert!(exit.json["detail"].get("lost").is_none(), "{}", exit.json);
}

/// One story for every way in which writing can fail.
#[track_caller]
fn a_failing_disk_stops_launches_and_nothing_else(
    world: &World,
    why: &str,
    fail: impl Fn(),
    mend: impl Fn(),
) {
    world.policy(&json!({
        "network": { "ask": false, "allowedDomains": [], "deniedDomains": [] },
    }));
    world.start_daemon();
    let mut stays = Shell::start(world, "stays");
    let mut ends = Shell::start(world, "ends-meanwhile");
    assert_eq!(troubles(world), Vec::<String>::new());

    fail();
    is_refused(world, "refused", why);
    assert_eq!(stays.ask("complain meanwhile"), "done", "what runs goes on");
    is_denied(&mut stays, "meanwhile.test");
    until_gone(&mut ends.0);
    let troubles = troubles(world);
    assert!(
        troubles[0].contains(why) && troubles[0].contains("\nhint: "),
        "{troubles:?}"
    );
    let waiting = troubles.get(1).map(String::as_str).unwrap_or_default();
    assert!(
        waiting.ends_with(" wait in memory until it can be written"),
        "{troubles:?}"
    );
    let shown = world.ctl(&["daemon", "status"]);
    assert!(
        shown.contains("trouble        cannot write to the database"),
        "{shown}"
    );
    // What a person wants to be remembered is refused as well.
    let added = world.srtctl(&["add", "new", "--", "cat"]);
    assert_eq!(added.status.code(), Some(1), "{added:?}");

    mend();
    until_well(world);
    let output = launch(world, "after");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    all_is_told(world, "meanwhile.test");
    assert_eq!(stays.ask("complain afterwards"), "done");
    let checked = world
        .bare(world.program("srtctl"))
        .args(["store", "check"])
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
    world.stop_daemon();
}

#[test]
fn a_full_disk_stops_launches_and_nothing_else() {
    let world = World::with_disk(&[], 8);
    a_failing_disk_stops_launches_and_nothing_else(
        &world,
        "the disk is full: free some space",
        || world.fill_disk(),
        || world.free_disk(),
    );
}

/// A world whose disk answers as it is told.
fn faulty() -> World {
    let mut world = World::new();
    world.with_faults();
    world
}

#[test]
fn a_disk_that_cannot_be_written_stops_launches_and_nothing_else() {
    let world = faulty();
    a_failing_disk_stops_launches_and_nothing_else(
        &world,
        "the disk reports an error: look at the kernel's log",
        || world.fault(Some("write 5")),
        || world.fault(None),
    );
}

#[test]
fn a_disk_that_does_not_keep_what_was_written_stops_launches_and_nothing_else() {
    let world = faulty();
    a_failing_disk_stops_launches_and_nothing_else(
        &world,
        "the disk reports an error: look at the kernel's log",
        || world.fault(Some("sync 5")),
        || world.fault(None),
    );
}

/// As the kernel does with a file system that has errors (ext4's errors=remount-ro), under the daemon's open files.
#[test]
fn a_disk_that_became_read_only_stops_launches_and_nothing_else() {
    let world = faulty();
    a_failing_disk_stops_launches_and_nothing_else(
        &world,
        "the database",
        || world.fault(Some("write 30")),
        || world.fault(None),
    );
}

#[test]
fn an_approval_that_cannot_be_recorded_lets_nothing_pass() {
    let world = World::with_disk(&[("203.0.113.7", "one.test")], 8);
    let one = srt_tests::Web::in_world(&world, "203.0.113.7:7000", "--echo");
    world.policy(&json!({ "network": { "ask": true, "askTimeoutSeconds": 300 } }));
    world.start_daemon();
    let mut shell = Shell::start(&world, "s");
    shell.0.send("later one.test 7000 hello");
    let question = until("the question", SOON, || {
        world
            .json(&["approvals"])
            .as_array()
            .unwrap()
            .first()
            .cloned()
    });
    let id = question["id"].as_str().unwrap();
    world.until_audited("ask", "one.test");

    world.fill_disk();
    for scope in [&["approve", id][..], &["approve", id, "--for", "always"]] {
        let output = world.srtctl(scope);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("the disk is full"), "{said}");
    }
    assert_eq!(one.connections(), 0, "nothing passes");
    assert_eq!(world.json(&["grants"]), json!([]));

    world.free_disk();
    until_well(&world);
    world.ctl(&["approve", id]);
    assert_eq!(shell.next(SOON), "hello: got hello");
    assert_eq!(
        world
            .audit()
            .iter()
            .filter(|entry| entry.kind == "approve")
            .count(),
        1
    );
}

#[test]
fn a_daemon_that_ends_with_a_full_disk_says_what_is_lost() {
    let world = World::with_disk(&[], 8);
    world.start_daemon();
    let mut shell = Shell::start(&world, "s");
    world.fill_disk();
    is_denied(&mut shell, "meanwhile.test");
    let pid = world.daemon_pid();
    process::signal(pid, Signal::TERM);
    until("the daemon to end", SOON, || {
        (!process::lives(pid)).then_some(())
    });
    world.kill_daemon();
    let log = world.log();
    let last = log
        .lines()
        .rev()
        .find(|line| line.starts_with("error: "))
        .unwrap();
    assert!(
        last.contains(" entries were not written to the database "),
        "{log}"
    );
    assert!(log.contains("hint: the disk is full"), "{log}");
    drop(shell);

    // Nor does one begin that could not record what it does; the host is told why.
    let output = world
        .bare(world.program("srt"))
        .args(["--name", "x", "--", "true"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(
        said.contains("No space left on device") || said.contains("disk is full"),
        "{said}"
    );

    world.free_disk();
    world.start_daemon();
    let entry = world.until_audited("exit", "\"s\"");
    assert_eq!(entry.json["detail"]["lost"], true, "{}", entry.json);
}

#[test]
fn a_read_only_disk_is_named_at_the_start() {
    let world = World::with_disk(&[], 8);
    world.start_daemon();
    world.stop_daemon();
    world.seal_disk();
    let output = world.bare(world.program("srtd")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("Read-only file system") && said.contains(".local/state/srt"),
        "{said}"
    );
}

#[test]
fn a_damaged_database_is_named_and_the_daemon_starts() {
    let world = World::start();
    world.ctl(&["add", "kept", "--", "cat"]);
    world.stop_daemon();
    let database = world.state().join("srt.db");
    std::fs::write(&database, "no database".repeat(1000)).unwrap();
    world.start_daemon();
    let status = world.json(&["daemon", "status"]);
    let folder = status["damaged"][0].as_str().unwrap().to_owned();
    let kept = std::fs::read(std::path::Path::new(&folder).join("srt.db")).unwrap();
    assert_eq!(kept, b"no database".repeat(1000));
    let first = &world.audit()[0];
    assert_eq!(
        (first.kind.as_str(), first.subject.as_str()),
        ("daemon", "quarantined")
    );
    assert_eq!(first.json["detail"]["moved_to"], folder);
    assert!(world.log().contains(&folder));
    let output = launch(&world, "goes-on");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
