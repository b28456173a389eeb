//! What looking at the messages costs: a record of each call, rules on tools, and what was accepted of them.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::peer::Peer;
use crate::Effort;
use crate::how::{How, Programs};
use crate::stats::{Samples, Table, rate, times, us};

const CALLS: usize = 5_000;
const BLOCK: usize = 250;
const CALL: usize = 1024;
const ONE_WAY: usize = 50_000;

/// Settings by name: the first are what the others are compared with.
fn settings() -> [(&'static str, Value); 5] {
    let of = |more: Value| {
        let mut document = json!({
            "filesystem": { "denyRead": [], "allowWrite": [], "denyWrite": [] },
            "network": { "allowedDomains": [], "deniedDomains": [] },
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            document[key] = value.clone();
        }
        document
    };
    let rules = json!({ "allow": ["echo", "told", "flo*"], "deny": ["delete-*", "*-all"] });
    [
        ("audit.mcp off", of(json!({ "audit": { "mcp": "off" } }))),
        ("calls (default)", of(json!({}))),
        ("full", of(json!({ "audit": { "mcp": "full" } }))),
        (
            "off, mcp.tools",
            of(json!({ "audit": { "mcp": "off" }, "mcp": { "tools": rules } })),
        ),
        (
            "calls, mcp.tools, pinTools",
            of(json!({ "mcp": { "tools": rules, "pinTools": true } })),
        ),
    ]
}

fn written(programs: &Programs, number: usize, document: &Value) -> anyhow::Result<PathBuf> {
    let path = programs.home().join(format!("rules-{number}.json"));
    std::fs::write(&path, document.to_string())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

pub(super) fn run(programs: &Programs, effort: Effort) -> anyhow::Result<()> {
    let settings = settings();
    let mut peers = Vec::new();
    for (number, (_, document)) in settings.iter().enumerate() {
        let path = written(programs, number, document)?;
        let mut peer = Peer::start(programs.helper(How::Srt, Some(&path), &["mcp"]))?;
        // With pins nothing may be called that was not listed and so accepted.
        peer.list()?;
        for _ in 0..effort.scaled(BLOCK) {
            peer.echo(CALL)?;
        }
        peers.push((peer, Samples::default(), Samples::default()));
    }
    let calls = effort.scaled(CALLS);
    for _ in 0..calls.div_ceil(BLOCK) {
        for (peer, trips, _) in &mut peers {
            for _ in 0..BLOCK.min(calls) {
                let start = Instant::now();
                peer.echo(CALL)?;
                trips.time(start.elapsed());
            }
        }
    }
    let count = effort.scaled(ONE_WAY);
    for _ in 0..effort.rounds {
        for (peer, _, rates) in &mut peers {
            let start = Instant::now();
            peer.flood(count as u64, CALL)?;
            rates.push(count as f64 / start.elapsed().as_secs_f64());
        }
    }
    let mut table = Table::new(&[
        "settings",
        "call p50",
        "p99",
        "of off",
        "from server",
        "of off",
    ]);
    let (off, off_rate) = (peers[0].1.median(), peers[0].2.median());
    for ((name, _), (_, trips, rates)) in settings.iter().zip(&peers) {
        table.row([
            (*name).to_owned(),
            us(trips.median()),
            us(trips.percentile(99.0)),
            times(trips.median() / off),
            rate(rates.median()),
            times(rates.median() / off_rate),
        ]);
    }
    table.print(&format!(
        "Session, rules: {calls} calls of 1 KiB and {count} notifications of 1 KiB, by what the settings say, interleaved"
    ));
    for (peer, ..) in peers {
        peer.end()?;
    }
    Ok(())
}
