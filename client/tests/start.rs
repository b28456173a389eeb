//! Starting the daemon: many shims at once start one, and a daemon that cannot start is explained.
//!
//! `srtd` here is a shell script beside a copy of `srt`, or this test's own mock which the script waits for.

#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::PathBuf;
use support::{Home, piped, run_with, text};

/// Puts srt and a script as srtd into the home's `bin`; returns srt's path.
fn install(home: &Home, script: &str) -> PathBuf {
    support::install(home, env!("CARGO_BIN_EXE_srt"), script)
}

const REQUEST: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"initialize\"}\n";

#[test]
fn twenty_shims_start_one_daemon() {
    let mut home = Home::empty();
    // Each start leaves a line. The mock listens some time after the first of them.
    let srt = install(&home, "echo \"$1\" >> \"$HOME/starts\"; exec sleep 8");
    let mut shims: Vec<_> = (0..20)
        .map(|_| piped(home.command(srt.to_str().unwrap()).args(["exit", "0"])))
        .collect();
    let starts = home.path().join("starts");
    support::eventually("a daemon is started", || starts.exists());
    // Gives the others time to come to the lock; the test holds without, but tries less.
    std::thread::sleep(std::time::Duration::from_millis(300));
    home.listen(|_| ());
    for shim in &mut shims {
        assert_eq!(support::ended(shim).code(), Some(0));
    }
    assert_eq!(std::fs::read_to_string(&starts).unwrap(), "--background\n");
    assert_eq!(home.mock.seen.lock().unwrap().opens.len(), 20);
    let folder = home.socket();
    let folder = folder.parent().unwrap();
    assert_eq!(std::fs::metadata(folder).unwrap().mode() & 0o7777, 0o700);
    let lock = folder.join(".start.lock");
    assert_eq!(std::fs::metadata(lock).unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn the_lock_is_not_held_by_the_daemon() {
    let mut home = Home::empty();
    let srt = install(&home, "echo >> \"$HOME/starts\"; exec sleep 5");
    let mut shim = piped(home.command(srt.to_str().unwrap()).args(["exit", "0"]));
    let starts = home.path().join("starts");
    support::eventually("a daemon is started", || starts.exists());
    home.listen(|_| ());
    assert_eq!(support::ended(&mut shim).code(), Some(0));
    let lock = std::fs::File::open(home.path().join("run/.start.lock")).unwrap();
    lock.try_lock().unwrap();
}

#[test]
fn a_daemon_that_ends_at_once_is_quoted() {
    let home = Home::empty();
    let srt = install(
        &home,
        "echo 'an older line' >&2; echo 'cannot open the database' >&2; exit 1",
    );
    let output = run_with(home.command(srt.to_str().unwrap()).arg("cat"), REQUEST);
    assert_eq!(output.status.code(), Some(5));
    let log = home.path().join(".local/state/srt/srtd.log");
    assert_eq!(std::fs::metadata(&log).unwrap().mode() & 0o7777, 0o600);
    let said = text(&output.stderr);
    assert!(
        said.contains("ended at once, exit status: 1: cannot open the database"),
        "{said}"
    );
    assert!(
        said.contains(&format!("hint: see {}", log.display())),
        "{said}"
    );
    let answer = text(&output.stdout);
    assert!(
        answer.starts_with("{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{\"code\":-32000,"),
        "{answer}"
    );
    assert!(
        answer.contains("cannot open the database") && answer.ends_with("}}\n"),
        "{answer}"
    );
}

#[test]
fn a_daemon_that_knows_the_remedy_is_quoted_with_it() {
    let home = Home::empty();
    let srt = install(
        &home,
        "echo 'error: the key is gone' >&2; echo 'hint: put it back' >&2; exit 1",
    );
    let output = run_with(home.command(srt.to_str().unwrap()).arg("cat"), REQUEST);
    let said = text(&output.stderr);
    assert!(
        said.ends_with("exit status: 1: the key is gone\nhint: put it back\n"),
        "{said}"
    );
}

#[test]
fn a_missing_daemon_is_explained() {
    let home = Home::empty();
    let srt = install(&home, "");
    std::fs::remove_file(home.path().join("bin/srtd")).unwrap();
    let output = run_with(home.command(srt.to_str().unwrap()).arg("cat"), REQUEST);
    assert_eq!(output.status.code(), Some(5));
    assert!(text(&output.stdout).contains("\"id\":7"));
    assert!(
        text(&output.stderr).contains("hint: install srtd"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn the_daemon_is_given_no_secrets() {
    let home = Home::empty();
    let srt = install(&home, "env > \"$HOME/env\"; pwd >> \"$HOME/env\"; exit 1");
    let mut command = home.command(srt.to_str().unwrap());
    command
        .arg("cat")
        .env("GITHUB_TOKEN", "hunter2")
        .env("SRT_SOCKET", "run/srtd.sock");
    run_with(&mut command, b"");
    let env = std::fs::read_to_string(home.path().join("env")).unwrap();
    assert!(!env.contains("hunter2"), "{env}");
    let here = std::fs::canonicalize(home.path()).unwrap();
    assert!(
        env.contains(&format!("SRT_SOCKET={}/run/srtd.sock\n", here.display())),
        "{env}"
    );
    assert!(env.ends_with("\n/\n"), "{env}");
}

#[test]
fn a_folder_that_others_may_enter_is_refused() {
    let home = Home::listening();
    let folder = home.path().join("run");
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
    let output = run_with(&mut home.srt(&["cat"]), REQUEST);
    assert_eq!(output.status.code(), Some(5));
    assert!(
        text(&output.stderr).contains("hint: chmod 700"),
        "{}",
        text(&output.stderr)
    );
    assert!(text(&output.stdout).contains("others may enter it"));
}

#[test]
fn a_socket_file_of_a_dead_daemon_is_nobody() {
    let home = Home::empty();
    let srt = install(&home, "echo started; exit 1");
    let folder = home.path().join("run");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
    drop(std::os::unix::net::UnixListener::bind(home.socket()).unwrap());
    let output = run_with(home.command(srt.to_str().unwrap()).arg("cat"), b"");
    assert!(
        text(&output.stderr).contains("ended at once"),
        "{}",
        text(&output.stderr)
    );
}
