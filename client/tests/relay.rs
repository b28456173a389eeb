//! The shim as a host sees it: the real `srt`, against the mock daemon of `support`.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{Home, ended, eventually, piped, run_with, text};

#[test]
fn a_line_of_64_mib_comes_back_as_it_went() {
    let home = Home::listening();
    let mut line: Vec<u8> = (0..64u32 * 1024 * 1024 / 4)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .map(|byte| if byte == b'\n' { 0 } else { byte })
        .collect();
    line.push(b'\n');
    let output = run_with(&mut home.srt(&["echo"]), &line);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        output.stdout == line,
        "{} of {} bytes",
        output.stdout.len(),
        line.len()
    );
    assert_eq!(text(&output.stderr), "");
    assert_eq!(home.mock.seen.lock().unwrap().stdin_ends, 1);
}

#[test]
fn big_and_small_chunks_keep_their_order() {
    let home = Home::listening();
    let output = run_with(&mut home.srt(&["mixed"]), b"");
    let words = output
        .stdout
        .chunks(4)
        .map(|word| u32::from_le_bytes(word.try_into().unwrap()));
    assert!(words.clone().eq(0..u32::try_from(words.len()).unwrap()));
    assert_eq!(
        output.stdout.len(),
        4 * 40 * (1 + 70 + 64 + 3 * 16_384 + 3 + 1 + 1)
    );
}

#[test]
fn small_messages_do_not_wait_for_more() {
    let home = Home::listening();
    let mut child = piped(&mut home.srt(&["echo"]));
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for n in 0..200 {
        let line = format!("{{\"id\":{n}}}\n");
        stdin.write_all(line.as_bytes()).unwrap();
        let mut back = vec![0; line.len()];
        stdout.read_exact(&mut back).unwrap();
        assert_eq!(text(&back), line);
    }
    drop(stdin);
    assert_eq!(ended(&mut child).code(), Some(0));
}

#[test]
fn the_exit_status_is_the_servers_after_all_its_output() {
    let home = Home::listening();
    for code in [0, 3, 137] {
        let output = run_with(&mut home.srt(&["exit", &code.to_string()]), b"");
        assert_eq!(output.status.code(), Some(code));
        assert_eq!(text(&output.stdout), "out\n");
        assert_eq!(text(&output.stderr), "err\n");
    }
}

#[test]
fn debug_shows_the_notices() {
    let home = Home::listening();
    let output = run_with(&mut home.srt(&["--debug", "exit", "0"]), b"");
    let said = text(&output.stderr);
    assert!(
        said.contains("srt: a step\n") && said.contains("launch mock-launch"),
        "{said}"
    );
    assert_eq!(text(&output.stdout), "out\n");
}

#[test]
fn the_session_is_opened_with_what_the_command_line_says() {
    let home = Home::listening();
    let mut command = home.srt(&[
        "--env",
        "TOKEN",
        "--settings",
        "s.json",
        "--",
        "exit",
        "0",
        "--name",
        "x",
    ]);
    command.env("TOKEN", "secret");
    assert!(
        command
            .stdin(Stdio::null())
            .output()
            .unwrap()
            .status
            .success()
    );
    let mut command = home.srt(&["--name", "files", "--cwd", "/"]);
    assert!(
        command
            .stdin(Stdio::null())
            .output()
            .unwrap()
            .status
            .success()
    );
    let seen = home.mock.seen.lock().unwrap();
    let open = &seen.opens[0];
    let here = std::fs::canonicalize(home.path()).unwrap();
    assert_eq!((open.name.as_str(), open.name_given), ("exit", false));
    assert_eq!(open.command, ["exit", "0", "--name", "x"]);
    assert_eq!(open.env_names, ["TOKEN"]);
    assert_eq!(open.environment["TOKEN"], "secret");
    assert_eq!(open.cwd, here.display().to_string());
    assert_eq!(open.settings, here.join("s.json").display().to_string());
    let open = &seen.opens[1];
    assert_eq!(
        (open.name.as_str(), open.name_given, open.cwd.as_str()),
        ("files", true, "/")
    );
    assert!(open.command.is_empty() && open.settings.is_empty());
}

/// Whether the signal reaches the daemon. The shim gives the delivery 60 ms and ends whatever comes of it, so that on
/// a busy machine it may once be too late; what is stuck never gets through.
#[track_caller]
fn check_delivered(signal: i32, scenario: impl Fn() -> Home) {
    let delivered = (0..5).any(|_| {
        let home = scenario();
        let signals = home.mock.seen.lock().unwrap().signals.clone();
        assert!(signals.is_empty() || signals == [("mock-attachment".to_owned(), signal)]);
        !signals.is_empty()
    });
    assert!(delivered, "signal {signal} never reached the daemon");
}

#[test]
fn a_host_that_stops_reading_holds_the_server_back_not_our_memory() {
    check_delivered(15, stop_reading);
}

fn stop_reading() -> Home {
    let home = Home::listening();
    let mut child = piped(&mut home.srt(&["fill"]));
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 1];
    stdout.read_exact(&mut first).unwrap();
    let filled = || home.mock.seen.lock().unwrap().filled;
    let chunks = support::settled("the server is held back", filled);
    assert!(chunks < 64, "{chunks} chunks are under way");
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kilobytes < 32 * 1024, "{kilobytes} kB");
    }
    // While stdout is full: the thread that writes is stuck, the process must go all the same.
    kill(&child, "TERM");
    assert_eq!(ended(&mut child).code(), Some(143));
    eventually("the daemon sees the stream go", || {
        home.mock.seen.lock().unwrap().lost == 1
    });
    home
}

#[test]
fn a_full_stdin_does_not_delay_a_signal() {
    check_delivered(2, fill_stdin);
}

fn fill_stdin() -> Home {
    let home = Home::listening();
    let mut child = piped(&mut home.srt(&["fill"]));
    let mut stdin = child.stdin.take().unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    // `fill` never reads: this ends when the shim does.
    let writer = std::thread::spawn(move || {
        while stdin.write_all(&[b'x'; 65536]).is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let chunks = support::settled("stdin is full", || sent.load(Ordering::Relaxed));
    assert!(chunks < 64, "{chunks} chunks are under way");
    kill(&child, "INT");
    assert_eq!(ended(&mut child).code(), Some(130));
    writer.join().unwrap();
    home
}

#[test]
fn each_signal_ends_the_shim_with_its_own_status() {
    let home = Home::listening();
    for (index, (signal, code)) in [("HUP", 129), ("INT", 130), ("TERM", 143)]
        .into_iter()
        .enumerate()
    {
        let mut child = piped(&mut home.srt(&["--debug", "hang"]));
        // The notice of the open session: from then on there is somebody to signal.
        let mut said = String::new();
        let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
        while !said.contains("opened") {
            assert_ne!(
                std::io::BufRead::read_line(&mut stderr, &mut said).unwrap(),
                0,
                "{said}"
            );
        }
        kill(&child, signal);
        assert_eq!(ended(&mut child).code(), Some(code));
        eventually("the stream is lost", || {
            home.mock.seen.lock().unwrap().lost == index + 1
        });
    }
}

#[test]
fn a_host_that_closed_stdout_ends_the_shim() {
    let home = Home::listening();
    let mut child = piped(&mut home.srt(&["fill"]));
    let mut stdout = child.stdout.take().unwrap();
    let mut some = [0; 100_000];
    stdout.read_exact(&mut some).unwrap();
    drop(stdout);
    assert_eq!(ended(&mut child).code(), Some(141));
    eventually("the daemon sees the stream go", || {
        home.mock.seen.lock().unwrap().lost == 1
    });
}

#[test]
fn a_closed_stderr_does_not_matter() {
    let home = Home::listening();
    let mut child = piped(&mut home.srt(&["exit", "4"]));
    drop(child.stderr.take());
    assert_eq!(ended(&mut child).code(), Some(4));
}

#[test]
fn a_daemon_that_goes_away_is_told_on_stderr() {
    let home = Home::listening();
    let output = run_with(&mut home.srt(&["die"]), b"");
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(text(&output.stdout), "half");
    let said = text(&output.stderr);
    assert!(
        said.starts_with("srt: error: the daemon srtd went away"),
        "{said}"
    );
    assert!(said.contains("\nhint: "), "{said}");
}

#[test]
fn a_refusal_answers_the_hosts_first_request() {
    let home = Home::listening();
    let request =
        b"{\"jsonrpc\":\"2.0\",\"id\":\"a\\u0062\",\"method\":\"initialize\",\"params\":{}}\n";
    for code in ["4", "6", "7"] {
        let output = run_with(&mut home.srt(&["refuse", code]), request);
        assert_eq!(output.status.code(), code.parse().ok());
        assert_eq!(
            text(&output.stdout),
            "{\"jsonrpc\":\"2.0\",\"id\":\"a\\u0062\",\"error\":{\"code\":-32000,\"message\":\"srt did not start the \
             MCP server \\\"refuse\\\": no such thing. The server is not running and nothing was done; trying again \
             does not help until this is put right.\\nhint: do otherwise\"}}\n"
        );
        assert_eq!(
            text(&output.stderr),
            "srt: error: no such thing\nhint: do otherwise\n"
        );
    }
}

#[test]
fn a_probe_and_the_request_after_it_are_both_answered() {
    let home = Home::listening();
    let requests = b"{\"jsonrpc\":\"2.0\",\"id\":\"p\",\"method\":\"server/discover\"}\n\
        {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\"}\n{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"}\n";
    let output = run_with(&mut home.srt(&["refuse", "6"]), requests);
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains("\"id\":\"p\"") && lines[1].contains("\"id\":1"),
        "{lines:?}"
    );
}

#[test]
fn text_that_is_no_request_gets_no_answer() {
    let home = Home::listening();
    for input in ["hello\n", "", "{\"jsonrpc\":\"2.0\",\"method\":\"x\"}\n"] {
        let output = run_with(&mut home.srt(&["refuse", "7"]), input.as_bytes());
        assert_eq!(output.status.code(), Some(7));
        assert_eq!(text(&output.stdout), "");
        assert!(text(&output.stderr).contains("hint: do otherwise"));
    }
}

fn kill(child: &std::process::Child, signal: &str) {
    let pid = child.id().to_string();
    let status = std::process::Command::new("kill")
        .args([&format!("-{signal}"), &pid])
        .status();
    assert!(status.unwrap().success());
}
