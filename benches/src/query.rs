//! How long the audit log's questions take among a million entries, and what it costs to keep secrets out of it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use srtd::audit::{Called, Denial, Entry, Flow, Kind, Redacted};
use srtd::store::{AuditQuery, Store};
use uuid::Uuid;

use crate::Effort;
use crate::stats::{Samples, Table, ms, rate};

/// Over which the entries are spread.
const DAYS: i64 = 30;
const SERVERS: [&str; 6] = ["github", "files", "web", "db", "slack", "browser"];
/// Each launch has as many entries.
const LAUNCH: usize = 5_000;

pub(crate) fn run(temp: &Path, effort: Effort) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(temp, effort))
}

async fn measure(temp: &Path, effort: Effort) -> anyhow::Result<()> {
    let count = effort.scaled(1_000_000);
    let rounds = effort.rounds;
    let store = Store::open(&temp.join("query/srt.db")).await?;
    // In days to come: what the log writes of itself meanwhile (that it begins, its seals) has the time of now, and is none of
    // these. Among them it would be what a clock that was set back leaves: entries whose numbers say nothing of their time.
    let begin = Timestamp::now() + SignedDuration::from_hours(2);
    let end = begin + SignedDuration::from_hours(24 * DAYS);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let start = Instant::now();
    for number in 0..count {
        store
            .submit(made_up(&mut dice, begin, number, count))
            .await?;
    }
    store.answers().await;
    let filled = count as f64 / start.elapsed().as_secs_f64();

    let some = |text: &str| Some(text.to_owned());
    let ago = |hours| Some(end - SignedDuration::from_hours(hours));
    let base = AuditQuery::default;
    let page = || AuditQuery {
        limit: Some(100),
        ..base()
    };
    let launch = launch(count / 2);
    let middle = begin + SignedDuration::from_hours(12 * DAYS);
    let questions = [
        (
            "--server github -n 100",
            AuditQuery {
                server: some("github"),
                ..page()
            },
        ),
        (
            "--kind denied -n 100",
            AuditQuery {
                kind: Some(Kind::Deny),
                ..page()
            },
        ),
        (
            "--server github --since 2h --kind denied",
            AuditQuery {
                server: some("github"),
                kind: Some(Kind::Deny),
                since: ago(2),
                ..base()
            },
        ),
        (
            "--server github --since 15d --kind denied -n 100",
            AuditQuery {
                server: some("github"),
                kind: Some(Kind::Deny),
                since: ago(360),
                ..page()
            },
        ),
        (
            "--host of a few entries",
            AuditQuery {
                host: some("host4321.example.com"),
                ..base()
            },
        ),
        (
            "--host of a tenth of all entries, -n 100",
            AuditQuery {
                host: some("host0.example.com"),
                ..page()
            },
        ),
        (
            "--path ~/.aws (a fiftieth of all), -n 100",
            AuditQuery {
                path: some("/home/u/.aws"),
                ..page()
            },
        ),
        (
            "--path ~ (all there are), -n 100",
            AuditQuery {
                path: some("/home/u"),
                ..page()
            },
        ),
        (
            "--before SEQ -n 100 (a page in the middle)",
            AuditQuery {
                before_seq: Some(count as u64 / 2),
                ..page()
            },
        ),
        (
            "--call SEQ",
            AuditQuery {
                server: some(SERVERS[0]),
                launch: Some(launch),
                during: Some((middle, middle + SignedDuration::from_secs(5))),
                ..base()
            },
        ),
    ];
    let mut table = Table::new(&["question", "entries", "median", "slowest"]);
    for (name, query) in questions {
        let mut samples = Samples::default();
        let mut found = 0;
        for _ in 0..rounds {
            let start = Instant::now();
            found = store.audit(query.clone()).next().await?.len();
            samples.time(start.elapsed());
        }
        table.row([
            name.to_owned(),
            found.to_string(),
            ms(samples.median()),
            ms(samples.percentile(100.0)),
        ]);
    }
    let touched = [
        (
            "who-touched host4321.example.com",
            AuditQuery {
                host: some("host4321.example.com"),
                ..base()
            },
        ),
        (
            "who-touched host0.example.com (a tenth of all)",
            AuditQuery {
                host: some("host0.example.com"),
                ..base()
            },
        ),
        (
            "who-touched ~/.aws/credentials",
            AuditQuery {
                path: some("/home/u/.aws/credentials"),
                ..base()
            },
        ),
        (
            "who-touched GITHUB_TOKEN",
            AuditQuery {
                variable: some("GITHUB_TOKEN"),
                ..base()
            },
        ),
    ];
    for (name, query) in touched {
        let mut samples = Samples::default();
        let mut found = 0;
        for _ in 0..rounds {
            let start = Instant::now();
            found = store
                .touches(&query)
                .await?
                .iter()
                .map(|touch| touch.count)
                .sum();
            samples.time(start.elapsed());
        }
        table.row([
            name.to_owned(),
            found.to_string(),
            ms(samples.median()),
            ms(samples.percentile(100.0)),
        ]);
    }
    table.print(&format!(
        "Query: {count} entries of {DAYS} days, {rounds} rounds each (aim: each under 50 ms)"
    ));

    let mut costs = Table::new(&["cost", "a second"]);
    costs.row([
        "entries written by one task, indexes and all".into(),
        rate(filled),
    ]);
    costs.row([
        "entries looked through for secrets, on one core".into(),
        rate(redacted(&mut dice, begin, effort)),
    ]);
    costs.print("Query: what it costs");
    store.close().await.context("the log's last entries")?;
    Ok(())
}

/// Entries a second; made before the clock runs.
fn redacted(dice: &mut Dice, begin: Timestamp, effort: Effort) -> f64 {
    let count = effort.scaled(200_000);
    let entries: Vec<Entry> = (0..count)
        .map(|number| made_up(dice, begin, number, count))
        .collect();
    let start = Instant::now();
    let mut kept = 0;
    for entry in entries {
        kept += Redacted::of(entry).subject.len();
    }
    let took = start.elapsed().max(Duration::from_micros(1));
    std::hint::black_box(kept);
    count as f64 / took.as_secs_f64()
}

/// Numbers without a pattern, the same ones each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }

    /// Few of many: the lower a number, the more often.
    fn seldom(&mut self, most: usize) -> usize {
        let one = self.below(most);
        match self.below(10) {
            0 | 1 => 0,
            2..=5 => one % 50,
            _ => one,
        }
    }
}

fn launch(number: usize) -> Uuid {
    Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_0000 + (number / LAUNCH) as u128)
}

/// What daemons write: half of it connections, a quarter refusals, a fifth calls, and launches.
fn made_up(dice: &mut Dice, begin: Timestamp, number: usize, count: usize) -> Entry {
    let micros = 24 * DAYS * 3_600_000_000 / count as i64 * number as i64;
    let at = begin + SignedDuration::from_micros(micros);
    let server = SERVERS[dice.seldom(SERVERS.len()) % SERVERS.len()];
    let id = launch(number);
    let host = |dice: &mut Dice| format!("host{}.example.com:443", dice.seldom(5_000));
    match dice.below(100) {
        0..50 => Flow {
            front_end: "connect",
            generation: Some(3),
            reason: None,
            address: Some("192.0.2.1:443".into()),
            bytes_out: 1234,
            bytes_in: 56789,
            duration_ms: if dice.below(1000) == 0 { 90_000 } else { 120 },
            rule: Some("network.allowedDomains: *.example.com (/home/u/.srt-settings.json:3)"),
            remedy: None,
        }
        .entry(Kind::Allow, at, server, id, &host(dice)),
        50..70 => denial("connect").entry(at, server, id, &host(dice)),
        70..80 => {
            let path = match dice.below(10) {
                0 => "/home/u/.aws/credentials".to_owned(),
                1 => "/home/u/.aws/config".to_owned(),
                2 => "/etc/shadow".to_owned(),
                _ => format!("/home/u/project/src/file{}.rs", dice.below(50_000)),
            };
            denial("file")
                .entry(at, server, id, &path)
                .with("operation", "read")
        }
        80..99 => Called {
            method: "tools/call",
            generation: Some(3),
            tool: Some("search_repositories"),
            asked_by: None,
            id: "17",
            outcome: "done",
            code: None,
            duration_ms: 340,
            bytes_asked: 200,
            bytes_answered: 4000,
            params: None,
            answer: None,
        }
        .entry(at, server, id),
        _ => Entry::new(
            at,
            Kind::Start,
            "npx -y @modelcontextprotocol/server-github",
        )
        .server(server)
        .launch(id)
        .with(
            "command",
            json!(["npx", "-y", "@modelcontextprotocol/server-github"]),
        )
        .with("variables", json!(["GITHUB_TOKEN"])),
    }
}

fn denial(front_end: &str) -> Denial<'_> {
    Denial {
        generation: Some(3),
        front_end,
        reason: "no rule allows it",
        rule: None,
        remedy: Some("\"allowedDomains\": [\"api.example.com\"]"),
    }
}
