//! What the proxies cost: a client inside a sandbox against the same client outside, direct, and against the same client
//! in sandbox-runtime's sandbox.
//!
//! Client, proxy and responder share one machine, so the figures compare; they say little about a network.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::Effort;
use crate::daemon::PrivateDaemon;
use crate::helper::{Job, Outcome, Task, Way};
use crate::how::{How, Programs};
use crate::responder::Responder;
use crate::stats::{Samples, Table, mib, rate, throughput, times, us};

/// Flows that are open at once while the daemon's memory is looked at.
const HELD: usize = 1000;

/// What is measured: its name, the way in a sandbox, the task, connections at once, and how much.
struct Figure {
    name: &'static str,
    way: Way,
    task: Task,
    connections: usize,
    amount: usize,
}

fn figures(effort: Effort) -> Vec<Figure> {
    let figure = |name, way, task, connections, amount| Figure {
        name,
        way,
        task,
        connections,
        amount,
    };
    let requests = |count| effort.scaled(count);
    use Task::{Denied, Download, KeepAlive, SetUp};
    use Way::{Connect, Direct, Http, Socks};
    vec![
        figure(
            "keep-alive, 1 connection",
            Http,
            KeepAlive,
            1,
            requests(10_000),
        ),
        figure(
            "keep-alive, 16 connections",
            Http,
            KeepAlive,
            16,
            requests(40_000),
        ),
        figure(
            "CONNECT and GET, 1 at a time",
            Connect,
            SetUp,
            1,
            requests(2000),
        ),
        figure(
            "CONNECT and GET, 16 at a time",
            Connect,
            SetUp,
            16,
            requests(8000),
        ),
        figure(
            "SOCKS5 and GET, 1 at a time",
            Socks,
            SetUp,
            1,
            requests(2000),
        ),
        figure(
            "SOCKS5 and GET, 16 at a time",
            Socks,
            SetUp,
            16,
            requests(8000),
        ),
        figure(
            "captured and GET, 1 at a time",
            Direct,
            SetUp,
            1,
            requests(2000),
        ),
        figure(
            "captured and GET, 16 at a time",
            Direct,
            SetUp,
            16,
            requests(8000),
        ),
        figure(
            "download, absolute form",
            Http,
            Download,
            1,
            effort.download,
        ),
        figure("download, CONNECT", Connect, Download, 1, effort.download),
        figure("download, SOCKS5", Socks, Download, 1, effort.download),
        figure("download, captured", Direct, Download, 1, effort.download),
        figure(
            "refused (403), 16 connections",
            Http,
            Denied,
            16,
            requests(40_000),
        ),
    ]
}

/// What was measured of one figure in one way.
#[derive(Clone, Default)]
struct Seen {
    rate: Samples,
    p50: Samples,
    p99: Samples,
}

impl Seen {
    fn push(&mut self, outcome: Outcome) {
        self.rate.push(outcome.rate);
        self.p50.push(outcome.p50);
        self.p99.push(outcome.p99);
    }
}

pub(crate) fn run(
    programs: &Programs,
    daemon: Option<&PrivateDaemon>,
    effort: Effort,
) -> anyhow::Result<()> {
    let rounds = effort.rounds;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let responder = runtime.block_on(Responder::start())?;
    let settings = settings(programs, responder.port)?;
    let ways = programs.possible(&[How::Bare, How::Srt, How::Peer]);

    let mut rates = Table::new(&[
        "egress",
        "direct",
        "srt",
        "of direct",
        "sandbox-runtime",
        "srt to it",
    ]);
    let mut delays = Table::new(&[
        "a request took",
        "direct p50",
        "p99",
        "srt p50",
        "p99",
        "p99 to direct",
        "sandbox-runtime p50",
        "p99",
    ]);
    for figure in figures(effort) {
        let mut seen = [Seen::default(), Seen::default(), Seen::default()];
        for _ in 0..rounds {
            for how in &ways {
                // Outside nobody refuses, and sandbox-runtime captures nothing.
                let possible = match how {
                    How::Bare => figure.task != Task::Denied,
                    How::Peer => figure.way != Way::Direct,
                    _ => true,
                };
                if !possible {
                    continue;
                }
                let job = Job {
                    way: match how {
                        How::Bare => Way::Direct,
                        _ => figure.way,
                    },
                    task: figure.task,
                    port: responder.port,
                    connections: figure.connections,
                    amount: match how {
                        // So that a run takes seconds: its rates are a tenth.
                        How::Peer if figure.task != Task::Download => figure.amount.div_ceil(8),
                        _ => figure.amount,
                    },
                };
                let outcome = once(programs, *how, &settings, job)
                    .with_context(|| format!("{}, {}", figure.name, how.name()))?;
                let index = match how {
                    How::Bare | How::Bwrap => 0,
                    How::Srt | How::Direct => 1,
                    How::Peer => 2,
                };
                seen[index].push(outcome);
            }
        }
        let [direct, srt, peer] = seen.each_ref().map(|seen| seen.rate.median());
        let shown = match figure.task {
            Task::Download => throughput,
            _ => rate,
        };
        rates.row([
            figure.name.to_owned(),
            shown(direct),
            shown(srt),
            times(srt / direct),
            shown(peer),
            times(srt / peer),
        ]);
        if figure.task != Task::Download {
            let [half, most] = [50, 99].map(|which| {
                seen.each_ref().map(|seen| match which {
                    50 => seen.p50.median(),
                    _ => seen.p99.median(),
                })
            });
            delays.row([
                figure.name.to_owned(),
                us(half[0]),
                us(most[0]),
                us(half[1]),
                us(most[1]),
                times(most[1] / most[0]),
                us(half[2]),
                us(most[2]),
            ]);
        }
    }
    rates.print(&format!(
        "Egress: {rounds} rounds each, interleaved, downloads of {} MiB (aims: downloads 0.9 of direct, keep-alive 0.5 \
         of direct and 8 × sandbox-runtime, set-ups 10 × sandbox-runtime)",
        effort.download / (1024 * 1024)
    ));
    delays.print("Egress: how long a request took, its connection's set-up included where each has its own (aim: p99 under 3 × direct)");
    if let Some(daemon) = daemon {
        memory(programs, daemon, &settings, responder.port)?;
    }
    Ok(())
}

fn settings(programs: &Programs, port: u16) -> anyhow::Result<PathBuf> {
    let path = programs.home().join("bench-settings.json");
    let text = serde_json::json!({
        "network": { "allowedDomains": [format!("127.0.0.1:{port}")], "deniedDomains": [] },
        "filesystem": { "denyRead": [], "allowWrite": [], "denyWrite": [] },
    });
    std::fs::write(&path, text.to_string())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn once(programs: &Programs, how: How, settings: &Path, job: Job) -> anyhow::Result<Outcome> {
    let mut child = programs
        .helper(how, Some(settings), &["client", &job.to_argument()])
        .spawn()?;
    let mut said = String::new();
    let mut stdout = child.stdout.take().context("stdout is not piped")?;
    stdout.read_to_string(&mut said)?;
    let status = child.wait()?;
    if !status.success() {
        bail!("the client ended with {status}");
    }
    Outcome::parse(&said)
}

/// What open flows cost the daemon.
fn memory(
    programs: &Programs,
    daemon: &PrivateDaemon,
    settings: &Path,
    port: u16,
) -> anyhow::Result<()> {
    let mut table = Table::new(&["the daemon's resident memory", "idle", "with them", "more"]);
    for (name, way) in [
        ("1,000 CONNECT tunnels", Way::Connect),
        ("1,000 captured connections", Way::Direct),
    ] {
        let job = Job {
            way,
            task: Task::Hold,
            port,
            connections: HELD,
            amount: HELD,
        };
        let idle = daemon.memory()?;
        let mut child = programs
            .helper(How::Srt, Some(settings), &["client", &job.to_argument()])
            .spawn()?;
        let mut said = String::new();
        let stdout = child.stdout.take().context("stdout is not piped")?;
        BufReader::new(stdout).read_line(&mut said)?;
        if said.trim() != "held" {
            bail!("{name}: the client said {said:?}");
        }
        let held = daemon.memory()?;
        drop(child.stdin.take());
        child.wait()?;
        table.row([
            name.to_owned(),
            mib(idle as f64),
            mib(held as f64),
            mib(held.saturating_sub(idle) as f64),
        ]);
    }
    table.print("Memory of open flows (aim: under 40 MiB more)");
    Ok(())
}
