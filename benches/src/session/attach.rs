//! From a host's start of its command to the answer to `initialize`, where the server runs already: `srt NAME` of a
//! server that `srtctl start` has launched, against a relay to a server that listens on a Unix socket.
//!
//! The relay is what is least between a host and a running process: a program that the host can start, one connection,
//! bytes both ways. It has no sandbox, no policy and no log.

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::peer::Peer;
use crate::Effort;
use crate::how::{How, Programs};
use crate::stats::{Samples, Table, ms};

const NAME: &str = "warm";
const READY: Duration = Duration::from_secs(15);

pub(super) fn run(programs: &Programs, effort: Effort) -> anyhow::Result<()> {
    let listening = Listening::start(programs)?;
    register(programs)?;
    let mut samples = [Samples::default(), Samples::default()];
    for round in 0..effort.launches + 2 {
        let relay = once(listening.relay(programs))?;
        warm(programs)?;
        let srt = once(programs.shim(&["--name", NAME]))?;
        if round >= 2 {
            samples[0].time(relay);
            samples[1].time(srt);
        }
    }
    drop(listening);
    let mut table = Table::new(&["attach to a server that runs", "p50", "p90", "added p50"]);
    for (name, taken) in ["a bare relay", "srt"].iter().zip(&samples) {
        table.row([
            (*name).to_owned(),
            ms(taken.median()),
            ms(taken.percentile(90.0)),
            ms(taken.median() - samples[0].median()),
        ]);
    }
    table.print(&format!(
        "Session, attach: start of the host's command to the answer to initialize, {} each, interleaved (aim: at most 10 ms \
         more)",
        effort.launches
    ));
    Ok(())
}

/// The time from starting a command to its answer to `initialize`.
fn once(command: Command) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let peer = Peer::start(command)?;
    let taken = start.elapsed();
    peer.end()?;
    Ok(taken)
}

fn ctl(programs: &Programs, arguments: &[&str]) -> anyhow::Result<String> {
    let output = programs
        .command(&programs.srtctl())
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("srtctl {arguments:?}: {}: {said}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn register(programs: &Programs) -> anyhow::Result<()> {
    let helper = programs.helper(How::Bare, None, &["mcp"]);
    let mut words = vec!["add", NAME, "--"];
    let command: Vec<_> = std::iter::once(helper.get_program())
        .chain(helper.get_args())
        .map(|word| word.to_str().context("a path that is UTF-8"))
        .collect::<Result<_, _>>()?;
    words.extend(command);
    ctl(programs, &words).map(drop)
}

/// Has the server launched, with nobody attached.
fn warm(programs: &Programs) -> anyhow::Result<()> {
    ctl(programs, &["start", NAME])?;
    let deadline = Instant::now() + READY;
    loop {
        let status = ctl(programs, &["status", NAME, "--json"])?;
        let status: serde_json::Value = serde_json::from_str(&status)?;
        let server = status.get(0).unwrap_or(&status);
        if server["state"] == "running" {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{NAME} does not run after {READY:?}: {status}");
        }
        sleep(Duration::from_millis(5));
    }
}

/// The server of the comparison; killed when dropped.
struct Listening(Child);

impl Listening {
    fn socket(programs: &Programs) -> std::path::PathBuf {
        programs.home().join("listening.sock")
    }

    fn start(programs: &Programs) -> anyhow::Result<Self> {
        let socket = Self::socket(programs);
        let text = socket.to_str().context("a path that is UTF-8")?;
        let child = programs
            .helper(How::Bare, None, &["mcp-listen", text])
            .spawn()?;
        let listening = Self(child);
        let deadline = Instant::now() + READY;
        while !socket.exists() {
            if Instant::now() > deadline {
                bail!("the server of the comparison does not listen after {READY:?}");
            }
            sleep(Duration::from_millis(5));
        }
        Ok(listening)
    }

    fn relay(&self, programs: &Programs) -> Command {
        let socket = Self::socket(programs);
        programs.helper(How::Bare, None, &["relay", &socket.to_string_lossy()])
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
