//! Many sessions at once, each with a call now and then.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::peer::Peer;
use crate::Effort;
use crate::how::{How, Programs};
use crate::stats::{Samples, Table, ms, times};

const SESSIONS: usize = 200;
/// From one call of a session to its next.
const PACE: Duration = Duration::from_millis(500);
const CALLS: usize = 20;
const CALL: usize = 1024;

pub(super) fn run(programs: &Programs, effort: Effort) -> anyhow::Result<()> {
    let sessions = effort.scaled(SESSIONS).max(4);
    let calls = effort.scaled(CALLS).max(2);
    let mut table = Table::new(&[
        "sessions at once",
        "p50",
        "p90",
        "p99",
        "longest",
        "p99 of bare",
    ]);
    let mut bare = f64::NAN;
    for how in programs.possible(&[How::Bare, How::Srt]) {
        let taken = crowd(programs, how, sessions, calls)?;
        if how == How::Bare {
            bare = taken.percentile(99.0);
        }
        table.row([
            how.name().to_owned(),
            ms(taken.median()),
            ms(taken.percentile(90.0)),
            ms(taken.percentile(99.0)),
            ms(taken.percentile(100.0)),
            times(taken.percentile(99.0) / bare),
        ]);
    }
    let each = PACE.as_millis();
    table.print(&format!(
        "Session, {sessions} at once: a 1 KiB call of each every {each} ms, {calls} each (aim: p99 under 20 ms)"
    ));
    Ok(())
}

/// How long the calls took.
fn crowd(programs: &Programs, how: How, sessions: usize, calls: usize) -> anyhow::Result<Samples> {
    let mut peers = Vec::new();
    for _ in 0..sessions {
        peers.push(Peer::start(programs.helper(how, None, &["mcp"]))?);
    }
    let together = Barrier::new(sessions);
    let mut all = Samples::default();
    let taken = std::thread::scope(|scope| {
        let threads: Vec<_> = peers
            .iter_mut()
            .enumerate()
            .map(|(number, peer)| {
                let together = &together;
                scope.spawn(move || -> anyhow::Result<Vec<Duration>> {
                    together.wait();
                    // Spread over the pace, so that the load is even.
                    let first = Instant::now() + PACE * number as u32 / sessions as u32;
                    let mut taken = Vec::new();
                    for call in 0..calls + 1 {
                        let due = first + PACE * call as u32;
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                        let start = Instant::now();
                        peer.echo(CALL)?;
                        // The first warms up.
                        if call > 0 {
                            taken.push(start.elapsed());
                        }
                    }
                    Ok(taken)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("a session's thread panicked")))
            })
            .collect::<anyhow::Result<Vec<_>>>()
    })?;
    taken.iter().flatten().for_each(|taken| all.time(*taken));
    for peer in peers {
        peer.end()?;
    }
    Ok(all)
}
