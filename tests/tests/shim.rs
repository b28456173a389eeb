//! The shim: bytes, ends and signals pass as if it were not there, and where no daemon can be had it says so.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use srt_tests::mcp::initialize;
use srt_tests::{Random, SOON, Talk, World, process, until};

const MIB: usize = 1024 * 1024;

fn shell(script: &str) -> [&str; 6] {
    ["--name", "sh", "--", "sh", "-c", script]
}

#[test]
fn the_exit_status_is_the_servers() {
    let world = World::start();
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -TERM $$", 128 + 15),
        ("kill -KILL $$", 128 + 9),
    ] {
        let output = world
            .srt(&shell(script))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{script}: {output:?}");
    }
}

/// As a host may be started: by nohup(1), by a shell's `&`, by a program that does not wait for its children.
#[test]
fn signals_that_a_host_ignores_are_neither_the_servers_nor_the_daemons() {
    const IGNORE_ALL: &str = "import os, signal, sys\nfor number in range(1, 65):\n  try: signal.signal(number, signal.SIG_IGN)\n  \
                              except (OSError, ValueError): pass\nos.execv(sys.argv[1], sys.argv[1:])";
    // The daemon inherits them, too.
    let world = World::new();
    let ignoring = |program: &str, arguments: &[&str]| {
        let mut command = world.command("python3");
        command.args(["-c", IGNORE_ALL]).arg(world.program(program));
        command.args(arguments).stdin(Stdio::null());
        command.output().unwrap()
    };
    let bare = world
        .command("python3")
        .args(["-c", IGNORE_ALL, "/bin/grep", "SigIgn", "/proc/self/status"])
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&bare.stdout).contains("00000000\n"));

    let script = "grep SigIgn /proc/self/status; (exit 3) & wait $!; echo $?; exit 5";
    for mode in ["--no-direct", "--direct"] {
        let output = ignoring("srt", &[mode, "--name", "s", "--", "sh", "-c", script]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            (text.as_ref(), output.status.code()),
            ("SigIgn:\t0000000000000000\n3\n", Some(5)),
            "{mode}: {output:?}"
        );
        world.until_audited("exit", "exited with status 5");
    }
    let doctor = ignoring("srtctl", &["doctor"]);
    assert!(
        String::from_utf8_lossy(&doctor.stdout).contains("bubblewrap"),
        "{doctor:?}"
    );
}

#[test]
fn a_command_that_is_not_there_is_said_to_be_missing() {
    let world = World::start();
    let output = world
        .srt(&["--name", "x", "--", "/nonexistent/server"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("/nonexistent/server"), "{output:?}");
}

#[test]
fn the_end_of_stdin_reaches_the_server_and_every_byte_before_it() {
    let world = World::start();
    let mut talk = Talk::start(&mut world.srt(&["--name", "cat", "--", "cat"]));
    talk.write(b"no line feed at the end, \xff\x00 and no UTF-8");
    talk.close();
    let line = talk.line(SOON).unwrap();
    assert_eq!(line, b"no line feed at the end, \xff\x00 and no UTF-8");
    assert_eq!(talk.line(SOON), None);
    assert_eq!(talk.wait(SOON).code(), Some(0));
}

#[test]
fn stderr_is_carried_apart_from_stdout() {
    let world = World::start();
    // Often, because a server that speaks and ends at once may do so before anybody listens.
    for _ in 0..40 {
        let output = world
            .srt(&shell("printf out; printf err >&2; printf '\\377' >&2"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"out");
        assert_eq!(output.stderr, b"err\xff");
    }
}

#[test]
fn the_output_before_an_end_is_never_lost() {
    let world = World::start();
    for _ in 0..5 {
        let output = world
            .srt(&shell("head -c 300000 /dev/zero; exit 3"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(output.stdout.len(), 300_000);
    }
}

#[test]
fn a_single_argument_with_blanks_is_a_shell_string() {
    let world = World::start();
    for arguments in [
        &["-c", "echo one two; exit 4"][..],
        &["echo one two; exit 4"],
    ] {
        let output = world.srt(arguments).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.stdout, b"one two\n", "{output:?}");
        assert_eq!(output.status.code(), Some(4));
    }
}

#[test]
fn a_line_of_64_mib_passes_byte_for_byte_in_bounded_memory() {
    let world = World::start();
    // Not compressible, and no line feed but the last.
    let mut random = Random::new(64);
    let mut line: Vec<u8> = (0..64 * MIB / 4)
        .flat_map(|_| (random.below(1 << 31) as u32 | 0x2020_2020).to_le_bytes())
        .collect();
    line.iter_mut().for_each(|byte| *byte &= 0x7f);
    line.push(b'\n');

    let daemon = world.daemon_pid();
    let before = process::memory(daemon, "VmHWM").unwrap();
    let mut shim = world
        .srt(&["--name", "cat", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = shim.id();
    let mut stdin = shim.stdin.take().unwrap();
    let mut stdout = shim.stdout.take().unwrap();
    let sent = line.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent).map(|()| stdin));
    let mut received = vec![0; line.len()];
    stdout.read_exact(&mut received).unwrap();
    assert!(received == line, "64 MiB came back changed");
    let grown = process::memory(daemon, "VmHWM").unwrap() - before;
    let shim_peak = process::memory(pid, "VmHWM").unwrap();
    assert!(
        grown < 24 * MIB as u64,
        "the daemon grew by {grown} bytes for one line"
    );
    assert!(
        shim_peak < 48 * MIB as u64,
        "the shim's peak was {shim_peak} bytes"
    );
    drop(writer.join().unwrap().unwrap());
    assert!(shim.wait().unwrap().success());
}

#[test]
fn a_host_that_stops_reading_stops_the_server_and_not_the_daemons_memory() {
    let world = World::start();
    let daemon = world.daemon_pid();
    let before = process::memory(daemon, "VmRSS").unwrap();
    let marker = format!("0123456789 {}", world.mark().display());
    let mut shim = world
        .srt(&["--name", "yes", "--", "yes", &marker])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let server = until("the server to run", SOON, || {
        world
            .processes()
            .into_iter()
            .find(|process| process.arguments.starts_with("yes "))
    });
    // It fills what lies between, then stands still: no byte more in half a second.
    let mut last = (process::written(server.pid), Instant::now());
    until("the server to stand still", SOON, || {
        let now = process::written(server.pid);
        assert!(
            now.unwrap_or(0) < 32 * MIB as u64,
            "{now:?} bytes went nowhere"
        );
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > Duration::from_millis(500) && now.is_some()).then_some(())
    });
    let grown = process::memory(daemon, "VmRSS")
        .unwrap()
        .saturating_sub(before);
    assert!(grown < 24 * MIB as u64, "the daemon grew by {grown} bytes");
    // The daemon answers others meanwhile, and the server goes on when the host reads.
    assert_eq!(world.status("yes").unwrap()["state"], "running");
    let mut first = vec![0; 8 * MIB];
    let mut stdout = shim.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    let line = format!("{marker}\n");
    assert!(
        first
            .chunks(line.len())
            .all(|chunk| line.as_bytes().starts_with(chunk))
    );
    drop(stdout);
    drop(shim.stdin.take());
    let _ = shim.kill();
    let _ = shim.wait();
    until("the server to go", SOON, || {
        (!process::lives(server.pid)).then_some(())
    });
}

#[test]
fn after_a_signal_the_shim_is_gone_at_once_and_the_launch_soon() {
    let world = World::start();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut times = Vec::new();
        for _ in 0..5 {
            // Deaf to every polite request, with a child that is, too.
            let mark = world.mark().display().to_string();
            let script = format!(
                "trap '' INT TERM HUP; sh -c 'trap \"\" INT TERM HUP; echo ready; while :; do sleep 1000; done' {mark} & wait; sleep 1000"
            );
            let mut talk = Talk::start(&mut world.srt(&shell(&script)));
            assert_eq!(talk.line(SOON).unwrap(), b"ready\n");
            let start = Instant::now();
            process::signal(talk.pid(), signal);
            talk.wait(SOON);
            times.push(start.elapsed());
        }
        times.sort();
        assert!(
            times[2] < Duration::from_millis(100),
            "{signal:?}: the shim took {times:?}"
        );
    }
    // 2 s after closed stdin, 2 s after SIGTERM, and what a busy machine needs.
    until("every process of the launches to go", SOON, || {
        world.of_launches().is_empty().then_some(())
    });
}

#[test]
fn a_signal_reaches_the_server() {
    let world = World::start();
    let script = "trap 'echo got it >&2; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut talk = Talk::start(&mut world.srt(&shell(script)));
    assert_eq!(talk.line(SOON).unwrap(), b"ready\n");
    process::signal(talk.pid(), Signal::TERM);
    talk.wait(SOON);
    until("the exit to be recorded", SOON, || {
        let status = world.status("sh")?;
        (status["last_exit"]["code"] == 9).then_some(())
    });
}

#[test]
fn twenty_shims_at_once_start_one_daemon() {
    let world = World::new();
    let mut talks: Vec<_> = (0..20)
        .map(|_| Talk::start(&mut world.srt(&["--name", "cat", "--", "cat"])))
        .collect();
    for (number, talk) in talks.iter_mut().enumerate() {
        talk.send(&number.to_string());
    }
    for (number, talk) in talks.iter_mut().enumerate() {
        assert_eq!(
            talk.line(SOON)
                .unwrap_or_else(|| panic!("shim {number} ended: {}", talk.stderr())),
            format!("{number}\n").into_bytes()
        );
    }
    let daemons = world.running("srtd");
    assert_eq!(daemons.len(), 1, "{daemons:?}");
    for talk in &mut talks {
        talk.close();
    }
    for talk in &mut talks {
        assert_eq!(talk.wait(SOON).code(), Some(0));
    }
    // A daemon that a shim started outlives the shim, and ends when it is asked to.
    assert_eq!(world.running("srtd").len(), 1);
    world.ctl(&["daemon", "stop"]);
    until("the daemon to end", SOON, || {
        world.running("srtd").is_empty().then_some(())
    });
}

#[test]
fn where_no_daemon_can_be_had_the_host_reads_why() {
    let world = World::new();
    fs::remove_file(world.program("srtd")).unwrap();
    let mut talk = Talk::start(&mut world.srt(&["--name", "cat", "--", "cat"]));
    let answer = talk.ask(&initialize(&json!("first")), SOON);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["jsonrpc"], "2.0");
    assert_eq!(answer["id"], "first");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("srtd"), "{message}");
    assert!(answer["error"]["code"].as_i64().is_some());
    talk.close();
    assert_eq!(talk.wait(SOON).code(), Some(5));
}

#[test]
fn where_stdin_carries_no_json_the_reason_stands_on_stderr() {
    let world = World::new();
    fs::remove_file(world.program("srtd")).unwrap();
    let mut talk = Talk::start(&mut world.srt(&["--name", "cat", "--", "cat"]));
    talk.send("hello?");
    talk.close();
    assert_eq!(talk.wait(SOON).code(), Some(5));
    assert_eq!(talk.line(SOON), None, "nothing on stdout");
    assert!(talk.stderr().contains("srtd"), "{}", talk.stderr());
}

#[test]
fn a_socket_folder_that_others_may_enter_is_refused() {
    let world = World::new();
    fs::set_permissions(world.path("run"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut talk = Talk::start(&mut world.srt(&["--name", "cat", "--", "cat"]));
    talk.send("x");
    talk.close();
    assert_eq!(talk.wait(SOON).code(), Some(5));
    assert!(
        talk.stderr().contains("chmod 700"),
        "the remedy: {}",
        talk.stderr()
    );
}

#[test]
fn an_invalid_policy_is_refused_with_its_place() {
    let world = World::start();
    let settings = world.write(
        "work/bad.json",
        "{\n  \"network\": { \"allowedDomians\": [],\n    \"deniedDomans\": [] }\n}\n",
    );
    let settings = settings.to_string_lossy().into_owned();
    let mut talk = Talk::start(&mut world.srt(&["--settings", &settings, "--", "cat"]));
    let answer = talk.ask(&initialize(&json!(1)), SOON);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("bad.json:2"), "{message}");
    // Each finding with its remedy beneath it, to the host and to the person alike.
    talk.close();
    assert_eq!(talk.wait(SOON).code(), Some(6));
    for said in [message, &talk.stderr()] {
        let lines: Vec<_> = said.lines().collect();
        let at = |what: &str| {
            let found = lines.iter().position(|line| line.contains(what));
            found.unwrap_or_else(|| panic!("{what} is missing: {said}"))
        };
        for (place, right) in [
            ("bad.json:2:", "\"allowedDomains\""),
            ("bad.json:3:", "\"deniedDomains\""),
        ] {
            let place = at(place);
            assert!(lines[place].contains(": error: "), "{said}");
            assert!(lines[place + 1].starts_with("hint: "), "{said}");
            assert!(lines[place + 1].contains(right), "{said}");
        }
    }
}
