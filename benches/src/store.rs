//! Durable entries a second, by how many callers wait, against what the disk allows, and how many share a commit.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use srtd::audit::{Denial, Entry, Kind};
use srtd::store::{Against, AuditQuery, Store, verify};
use uuid::Uuid;

use crate::Effort;
use crate::stats::{Samples, Table, ms, rate, times};

pub(crate) fn run(temp: &Path, effort: Effort) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(temp, effort))
}

async fn measure(temp: &Path, effort: Effort) -> anyhow::Result<()> {
    let rounds = effort.rounds;
    let submissions = effort.scaled(100_000);
    let store = Store::open(&temp.join("store/srt.db")).await?;
    let mut syncs = Samples::default();
    let mut waiting = [1, 16, 256, 4096].map(|callers| (callers, Recorded::default()));
    let mut submitted = Recorded::default();
    let mut written = 0;
    let (few, many) = waiting.split_at_mut(2);
    // What waits for the disk each time comes first: writing back what a bulk left behind would be counted to it.
    for _ in 0..rounds {
        syncs.push(syncs_a_second(&temp.join("plain"))?);
        for (callers, recorded) in &mut *few {
            written += record(&store, *callers, effort.scaled(300), recorded).await?;
        }
    }
    for _ in 0..rounds {
        for (callers, recorded) in &mut *many {
            let each = effort.scaled(32_768 / *callers);
            written += record(&store, *callers, each, recorded).await?;
        }
        submitted_by_tasks(&store, submissions, &mut submitted).await?;
        written += submissions + 1;
    }
    let (entries, scan) = read_all(&store).await?;
    anyhow::ensure!(
        entries == written,
        "{written} entries written, {entries} read"
    );

    let base = syncs.median();
    let mut table = Table::new(&[
        "durable entries",
        "a second",
        "of plain fdatasync",
        "in a commit",
    ]);
    table.row([
        "write 4 KiB in place, fdatasync".into(),
        rate(base),
        times(1.0),
        "1".into(),
    ]);
    let mut row = |name: String, recorded: &Recorded| {
        let median = recorded.rates.median();
        table.row([
            name,
            rate(median),
            times(median / base),
            format!("{:.0}", recorded.in_a_commit.median()),
        ]);
    };
    for (callers, recorded) in &waiting {
        let name = match callers {
            1 => "record, 1 caller waits".to_owned(),
            callers => format!("record, {callers} callers wait"),
        };
        row(name, recorded);
    }
    row(format!("submit, {submissions} by 10 tasks"), &submitted);
    table.print(&format!(
        "Store: {rounds} rounds each (aim: 20,000 durable entries a second in group commit)"
    ));

    let mut reads = Table::new(&["read", "result"]);
    reads.row([format!("all {entries} entries, in pages"), rate(scan)]);
    let mut verifications = Samples::default();
    for _ in 0..rounds {
        verifications.push(verified(&store, entries).await?);
    }
    reads.row([
        format!("verify the chain of all {entries} entries (aim: 300,000)"),
        rate(verifications.median()),
    ]);
    reads.row([
        "newest 100 of one server".into(),
        ms(newest(&store, rounds).await?),
    ]);
    reads.print("Store: queries");
    store.close().await?;
    Ok(())
}

/// What rounds of one kind came to.
#[derive(Default)]
struct Recorded {
    /// Entries a second.
    rates: Samples,
    in_a_commit: Samples,
}

impl Recorded {
    fn push(&mut self, count: usize, start: Instant, commits: u64) {
        let count = count as f64;
        self.rates.push(count / start.elapsed().as_secs_f64());
        self.in_a_commit.push(count / commits.max(1) as f64);
    }
}

fn denial(launch: Uuid, number: usize) -> Entry {
    Denial {
        front_end: "http",
        reason: "no rule allows it",
        rule: None,
        remedy: Some("\"allowedDomains\": [\"api.example.com\"]"),
        generation: Some(1),
    }
    .entry(
        Timestamp::now(),
        "bench",
        launch,
        &format!("host-{number}.example.com:443"),
    )
}

/// What a disk allows to whoever waits for each write: in place, as SQLite writes a WAL that has its size, since a
/// file that grows makes the file system's journal wait too.
fn syncs_a_second(path: &Path) -> anyhow::Result<f64> {
    const COUNT: u64 = 200;
    let block = [b'x'; 4096];
    let context = || format!("cannot write {}", path.display());
    let file = File::create(path).with_context(context)?;
    file.write_all_at(&block.repeat(COUNT as usize), 0)
        .with_context(context)?;
    file.sync_all().with_context(context)?;
    let start = Instant::now();
    for number in 0..COUNT {
        file.write_all_at(&block, number * block.len() as u64)
            .with_context(context)?;
        file.sync_data().with_context(context)?;
    }
    Ok(COUNT as f64 / start.elapsed().as_secs_f64())
}

/// Records `each` entries for each caller; how many that were.
async fn record(
    store: &Store,
    callers: usize,
    each: usize,
    recorded: &mut Recorded,
) -> anyhow::Result<usize> {
    let launch = Uuid::new_v4();
    let before = store.health().commits;
    let start = Instant::now();
    try_join_all((0..callers).map(|caller| {
        let store = store.clone();
        async move {
            for number in 0..each {
                store.record(denial(launch, caller + number)).await?;
            }
            anyhow::Ok(())
        }
    }))
    .await?;
    let count = callers * each;
    recorded.push(count, start, store.health().commits - before);
    Ok(count)
}

/// Until the last of them is durable; `count` is a multiple of ten.
async fn submitted_by_tasks(
    store: &Store,
    count: usize,
    recorded: &mut Recorded,
) -> anyhow::Result<()> {
    const TASKS: usize = 10;
    let launch = Uuid::new_v4();
    let before = store.health().commits;
    let start = Instant::now();
    let tasks = (0..TASKS).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 0..count / TASKS {
                store.submit(denial(launch, task + number)).await?;
            }
            anyhow::Ok(())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    store.record(denial(launch, 0)).await?;
    recorded.push(count, start, store.health().commits - before);
    Ok(())
}

async fn read_all(store: &Store) -> anyhow::Result<(usize, f64)> {
    let start = Instant::now();
    let mut pages = store.audit(AuditQuery::default());
    let mut count = 0;
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            return Ok((count, count as f64 / start.elapsed().as_secs_f64()));
        }
        // The log's own entries come between.
        let ours = page.iter().filter(|one| one.entry.kind == Kind::Seal);
        count += page.len() - ours.count();
    }
}

/// Every MAC, link and seal, and the anchor; entries a second.
async fn verified(store: &Store, entries: usize) -> anyhow::Result<f64> {
    let against = Against {
        anchored: true,
        ..Against::default()
    };
    let start = Instant::now();
    let report = verify(store.path(), &against).await?;
    let took = start.elapsed();
    anyhow::ensure!(report.is_ok(), "{:?}", report.findings);
    let read = report.verdict.rows as usize;
    anyhow::ensure!(read >= entries, "{entries} entries, {read} verified");
    Ok(read as f64 / took.as_secs_f64())
}

async fn newest(store: &Store, rounds: usize) -> anyhow::Result<f64> {
    let mut samples = Samples::default();
    for _ in 0..rounds {
        let start = Instant::now();
        let query = AuditQuery {
            server: Some("bench".into()),
            limit: Some(100),
            ..AuditQuery::default()
        };
        let found = store.audit(query).next().await?.len();
        samples.time(start.elapsed());
        anyhow::ensure!(found == 100, "the newest 100 are {found}");
    }
    Ok(samples.median())
}
