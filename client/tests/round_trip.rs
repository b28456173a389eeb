//! What the shim adds to a message's round trip and to a start, measured on request:
//! `cargo test --release -p srt-client --test round_trip -- --ignored --nocapture`.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read as _, Write as _};
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Home, ended, piped};

const ROUNDS: usize = 5000;

fn round_trips(command: &mut Command) -> Vec<Duration> {
    let mut child = piped(command);
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut line = [b'x'; 1024];
    line[1023] = b'\n';
    let times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            stdin.write_all(&line).unwrap();
            stdout.read_exact(&mut line).unwrap();
            start.elapsed()
        })
        .skip(200)
        .collect();
    drop(stdin);
    ended(&mut child);
    sorted(times)
}

fn starts(mut command: impl FnMut() -> Command) -> Vec<Duration> {
    let times: Vec<_> = (0..200)
        .map(|_| {
            let start = Instant::now();
            assert!(
                command()
                    .stdin(std::process::Stdio::null())
                    .output()
                    .is_ok()
            );
            start.elapsed()
        })
        .collect();
    sorted(times)
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort();
    times
}

fn show(what: &str, times: &[Duration]) {
    println!(
        "{what:<34} p50 {:>9.1?}  p95 {:>9.1?}",
        times[times.len() / 2],
        times[times.len() * 95 / 100]
    );
}

#[test]
#[ignore = "a measurement, not a check"]
fn measure() {
    let home = Home::listening();
    for _ in 0..3 {
        show(
            "1 KiB round trip, cat",
            &round_trips(&mut Command::new("cat")),
        );
        show(
            "1 KiB round trip, srt + mock",
            &round_trips(&mut home.srt(&["echo"])),
        );
    }
    show("start to end, true", &starts(|| Command::new("true")));
    show(
        "start to end, srt --version",
        &starts(|| home.srt(&["--version"])),
    );
    show(
        "start to end, srt + mock",
        &starts(|| home.srt(&["exit", "0"])),
    );
    let stops: Vec<_> = (0..50)
        .map(|_| {
            let mut child = piped(&mut home.srt(&["fill"]));
            child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            let pid = child.id().to_string();
            let start = Instant::now();
            assert!(
                Command::new("kill")
                    .args(["-INT", &pid])
                    .status()
                    .unwrap()
                    .success()
            );
            child.wait().unwrap();
            start.elapsed()
        })
        .collect();
    show("SIGINT to gone, stdout full", &sorted(stops));
    let line = vec![b'x'; 256 * 1024 * 1024];
    let start = Instant::now();
    let output = support::run_with(&mut home.srt(&["echo"]), &line);
    let rate = output.stdout.len() as f64 / start.elapsed().as_secs_f64() / 1024.0 / 1024.0;
    println!(
        "{:<34} {rate:.0} MiB/s each way",
        "256 MiB echoed, srt + mock"
    );
}
