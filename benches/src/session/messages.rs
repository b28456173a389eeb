//! Calls and notifications on one session.

use std::time::Instant;

use super::peer::Peer;
use crate::Effort;
use crate::how::{How, Programs};
use crate::stats::{Samples, Table, rate, times, us};

const CALLS: usize = 10_000;
const WARM_UP: usize = 500;
/// Calls of one kind before the other has its turn.
const BLOCK: usize = 250;
/// Bytes of a call, and of its answer but a few.
const CALL: usize = 1024;
/// Notifications one way, at a time.
const ONE_WAY: usize = 100_000;
const SIZES: [usize; 2] = [1024, 200];

pub(super) fn run(programs: &Programs, effort: Effort) -> anyhow::Result<()> {
    let ways = programs.possible(&[How::Bare, How::Srt]);
    let mut peers = Vec::new();
    for how in &ways {
        let mut peer = Peer::start(programs.helper(*how, None, &["mcp"]))?;
        for _ in 0..effort.scaled(WARM_UP) {
            peer.echo(CALL)?;
        }
        peers.push(peer);
    }
    let calls = effort.scaled(CALLS);
    let mut trips = vec![Samples::default(); ways.len()];
    for _ in 0..calls.div_ceil(BLOCK) {
        for (peer, samples) in peers.iter_mut().zip(&mut trips) {
            for _ in 0..BLOCK.min(calls) {
                let start = Instant::now();
                peer.echo(CALL)?;
                samples.time(start.elapsed());
            }
        }
    }
    // Rates by way, size and direction: to the server, from it.
    let count = effort.scaled(ONE_WAY);
    let mut rates =
        vec![[[Samples::default(), Samples::default()], Default::default()]; ways.len()];
    for _ in 0..effort.rounds {
        for (peer, rates) in peers.iter_mut().zip(&mut rates) {
            for (size, [to, from]) in SIZES.iter().zip(rates) {
                let start = Instant::now();
                peer.tell(count as u64, *size)?;
                to.push(count as f64 / start.elapsed().as_secs_f64());
                let start = Instant::now();
                peer.flood(count as u64, *size)?;
                from.push(count as f64 / start.elapsed().as_secs_f64());
            }
        }
    }
    for peer in peers {
        peer.end()?;
    }

    let mut table = Table::new(&["1 KiB calls", "p50", "p99", "added p50", "p50 of bare"]);
    for (how, trip) in ways.iter().zip(&trips) {
        table.row([
            how.name().to_owned(),
            us(trip.median()),
            us(trip.percentile(99.0)),
            us(trip.median() - trips[0].median()),
            times(trip.median() / trips[0].median()),
        ]);
    }
    table.print(&format!(
        "Session, calls: {calls} tools/call and their answers, interleaved (aim: added p50 at most 100 µs)"
    ));
    let mut table = Table::new(&[
        "one way",
        "bytes",
        "to server",
        "of bare",
        "from server",
        "of bare",
    ]);
    for (how, of_way) in ways.iter().zip(&rates) {
        for (index, size) in SIZES.iter().enumerate() {
            let [to, from] = &of_way[index];
            let [bare_to, bare_from] = &rates[0][index];
            table.row([
                how.name().to_owned(),
                size.to_string(),
                rate(to.median()),
                times(to.median() / bare_to.median()),
                rate(from.median()),
                times(from.median() / bare_from.median()),
            ]);
        }
    }
    table.print(&format!(
        "Session, notifications: {count} of each, a write each, {} rounds, interleaved (aim: 25,000 a second)",
        effort.rounds
    ));
    Ok(())
}
