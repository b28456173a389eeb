//! A message to the server and back, and messages one way, against the same pipes without anything between.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::Effort;
use crate::how::{How, Programs};
use crate::stats::{Samples, Table, rate, times, us};

/// Bytes of a message, its line end included.
pub(crate) const LINE: usize = 1024;
const ROUND_TRIPS: usize = 10_000;
const WARM_UP: usize = 500;
/// Round trips of one kind before the other has its turn.
const BLOCK: usize = 250;
const ONE_WAY: usize = 100_000;

pub(crate) fn run(programs: &Programs, effort: Effort) -> anyhow::Result<()> {
    let round_trips = effort.scaled(ROUND_TRIPS);
    let one_way_lines = effort.scaled(ONE_WAY);
    let ways = programs.possible(&[How::Bare, How::Srt, How::Direct]);
    let mut echoes = Vec::new();
    for how in &ways {
        let mut peer = Peer::start(programs, *how, &["echo"])?;
        peer.ping(WARM_UP, &mut Samples::default())?;
        echoes.push((peer, Samples::default()));
    }
    for _ in 0..round_trips.div_ceil(BLOCK) {
        for (peer, samples) in &mut echoes {
            peer.ping(BLOCK, samples)?;
        }
    }
    let mut trips = Vec::new();
    for (peer, samples) in echoes {
        peer.end()?;
        trips.push(samples);
    }
    let mut one_way = vec![(Samples::default(), Samples::default()); ways.len()];
    for _ in 0..effort.rounds {
        for (how, (to, from)) in ways.iter().zip(&mut one_way) {
            to.push(one_way_lines as f64 / to_server(programs, *how, one_way_lines)?.as_secs_f64());
            from.push(
                one_way_lines as f64 / from_server(programs, *how, one_way_lines)?.as_secs_f64(),
            );
        }
    }

    let mut table = Table::new(&[
        "1 KiB lines",
        "round trip p50",
        "p99",
        "added p50",
        "to server",
        "of bare",
        "from server",
        "of bare",
    ]);
    for ((how, trip), (to, from)) in ways.iter().zip(&trips).zip(&one_way) {
        table.row([
            how.name().to_owned(),
            us(trip.median()),
            us(trip.percentile(99.0)),
            us(trip.median() - trips[0].median()),
            rate(to.median()),
            times(to.median() / one_way[0].0.median()),
            rate(from.median()),
            times(from.median() / one_way[0].1.median()),
        ]);
    }
    table.print(&format!(
        "Messages: {round_trips} round trips, {one_way_lines} one way, interleaved (aim: added p50 under 150 µs, in direct mode none)"
    ));
    Ok(())
}

/// A helper with its pipes.
struct Peer {
    how: How,
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
}

impl Peer {
    fn start(programs: &Programs, how: How, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut child = programs
            .helper(how, None, arguments)
            .spawn()
            .with_context(|| format!("starting {arguments:?} {}", how.name()))?;
        Ok(Self {
            how,
            stdin: child.stdin.take().context("stdin is not piped")?,
            stdout: child.stdout.take().context("stdout is not piped")?,
            child,
        })
    }

    fn ping(&mut self, count: usize, samples: &mut Samples) -> anyhow::Result<()> {
        let sent = line();
        let mut received = vec![0; LINE];
        for _ in 0..count {
            let start = Instant::now();
            self.stdin.write_all(&sent)?;
            self.stdout
                .read_exact(&mut received)
                .with_context(|| format!("no answer from the echo {}", self.how.name()))?;
            samples.time(start.elapsed());
            if received != sent {
                bail!("the echo {} answered something else", self.how.name());
            }
        }
        Ok(())
    }

    fn wait_for(&mut self, word: &[u8; 6]) -> anyhow::Result<()> {
        let mut said = [0; 6];
        self.stdout
            .read_exact(&mut said)
            .with_context(|| format!("the helper {} said nothing", self.how.name()))?;
        if said != *word {
            bail!(
                "the helper {} said {:?}",
                self.how.name(),
                String::from_utf8_lossy(&said)
            );
        }
        Ok(())
    }

    fn end(self) -> anyhow::Result<()> {
        let Self {
            how,
            mut child,
            stdin,
            stdout,
        } = self;
        drop(stdin);
        drop(stdout);
        let status = child.wait()?;
        if !status.success() {
            bail!("the helper {} ended with {status}", how.name());
        }
        Ok(())
    }
}

fn line() -> Vec<u8> {
    let mut line = vec![b'x'; LINE];
    line[LINE - 1] = b'\n';
    line
}

/// From the first line written until the server says that it has read them all.
fn to_server(programs: &Programs, how: How, lines: usize) -> anyhow::Result<Duration> {
    let mut peer = Peer::start(programs, how, &["sink", &(lines * LINE).to_string()])?;
    let line = line();
    // The launch is not part of it.
    peer.wait_for(b"ready\n")?;
    let start = Instant::now();
    for _ in 0..lines {
        peer.stdin.write_all(&line)?;
    }
    peer.wait_for(b"done.\n")?;
    let elapsed = start.elapsed();
    peer.end()?;
    Ok(elapsed)
}

/// From the word to begin until the last byte of the last line.
fn from_server(programs: &Programs, how: How, lines: usize) -> anyhow::Result<Duration> {
    let mut peer = Peer::start(programs, how, &["source", &lines.to_string()])?;
    peer.wait_for(b"ready\n")?;
    let mut buffer = vec![0; 64 * 1024];
    let mut missing = lines * LINE;
    let start = Instant::now();
    peer.stdin.write_all(b"go\n")?;
    while missing > 0 {
        match peer.stdout.read(&mut buffer)? {
            0 => bail!("the source {} ended {missing} bytes early", how.name()),
            count => missing -= count.min(missing),
        }
    }
    let elapsed = start.elapsed();
    peer.end()?;
    Ok(elapsed)
}
