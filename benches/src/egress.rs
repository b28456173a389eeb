//! What the proxy costs: a client inside a sandbox against the same client outside, direct.
//!
//! Client, proxy and responder share one machine, so the figures compare; they say little about a network.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::Effort;
use crate::helper::{Job, Outcome, Task};
use crate::how::{How, Programs};
use crate::responder::Responder;
use crate::stats::{Samples, Table, rate, throughput, times};

pub(crate) fn run(programs: &Programs, effort: Effort) -> anyhow::Result<()> {
    let rounds = effort.rounds;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let responder = runtime.block_on(Responder::start())?;
    let port = responder.port;
    let settings = programs.home().join("bench-settings.json");
    let text = serde_json::json!({
        "network": { "allowedDomains": [format!("127.0.0.1:{port}")], "deniedDomains": [] },
        "filesystem": { "denyRead": [], "allowWrite": [], "denyWrite": [] },
    });
    std::fs::write(&settings, text.to_string())
        .with_context(|| format!("cannot write {}", settings.display()))?;

    let figures = [
        (
            "keep-alive, 1 connection",
            Task::KeepAlive,
            1,
            effort.scaled(10_000),
        ),
        (
            "keep-alive, 16 connections",
            Task::KeepAlive,
            16,
            effort.scaled(40_000),
        ),
        (
            "connect and GET, 1 at a time",
            Task::Connect,
            1,
            effort.scaled(2000),
        ),
        (
            "connect and GET, 16 at a time",
            Task::Connect,
            16,
            effort.scaled(8000),
        ),
        (
            "download, absolute form",
            Task::Download,
            1,
            effort.download,
        ),
        ("download, CONNECT", Task::Tunnel, 1, effort.download),
        (
            "refused (403), 16 connections",
            Task::Denied,
            16,
            effort.scaled(40_000),
        ),
    ];
    let ways = programs.possible(&[How::Bare, How::Srt]);
    let mut table = Table::new(&["egress", "direct", "through srt", "of direct"]);
    for (name, task, connections, amount) in figures {
        let mut samples = [Samples::default(), Samples::default()];
        for _ in 0..rounds {
            for how in &ways {
                let proxied = *how == How::Srt;
                // Outside nobody refuses.
                if task == Task::Denied && !proxied {
                    continue;
                }
                let job = Job {
                    proxied,
                    task,
                    port,
                    connections,
                    amount,
                };
                let outcome = once(programs, *how, &settings, job)
                    .with_context(|| format!("{name}, {}", how.name()))?;
                samples[usize::from(proxied)].push(outcome.rate);
            }
        }
        let [direct, sandboxed] = samples.map(|samples| samples.median());
        let shown = match task {
            Task::Download | Task::Tunnel => throughput,
            _ => rate,
        };
        table.row([
            name.to_owned(),
            shown(direct),
            shown(sandboxed),
            times(sandboxed / direct),
        ]);
    }
    table.print(&format!(
        "Egress: {rounds} rounds each, interleaved, downloads of {} MiB (aim: at least 0.5 × direct)",
        effort.download / (1024 * 1024)
    ));
    Ok(())
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
