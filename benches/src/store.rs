//! Durable entries a second, by how many callers wait, against what the disk allows.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use srtd::audit::{Denial, Entry};
use srtd::store::{AuditQuery, Store};
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
    let mut waiting = [1, 16, 256, 4096].map(|callers| (callers, Samples::default()));
    let mut submitted = Samples::default();
    let mut written = 0;
    let (few, many) = waiting.split_at_mut(2);
    // What waits for the disk each time comes first: writing back what a bulk left behind would be counted to it.
    for _ in 0..rounds {
        syncs.push(syncs_a_second(&temp.join("plain"))?);
        for (callers, samples) in &mut *few {
            written += record(&store, *callers, effort.scaled(300), samples).await?;
        }
    }
    for _ in 0..rounds {
        for (callers, samples) in &mut *many {
            let each = effort.scaled(32_768 / *callers);
            written += record(&store, *callers, each, samples).await?;
        }
        submitted.push(submitted_by_tasks(&store, submissions).await?);
        written += submissions + 1;
    }
    let (entries, scan) = read_all(&store).await?;
    anyhow::ensure!(
        entries == written,
        "{written} entries written, {entries} read"
    );

    let base = syncs.median();
    let mut table = Table::new(&["durable entries", "a second", "of plain fdatasync"]);
    table.row([
        "write 4 KiB in place, fdatasync".into(),
        rate(base),
        times(1.0),
    ]);
    for (callers, samples) in &waiting {
        let name = match callers {
            1 => "record, 1 caller waits".to_owned(),
            callers => format!("record, {callers} callers wait"),
        };
        table.row([name, rate(samples.median()), times(samples.median() / base)]);
    }
    let rate_submitted = submitted.median();
    table.row([
        format!("submit, {submissions} by 10 tasks"),
        rate(rate_submitted),
        times(rate_submitted / base),
    ]);
    table.print(&format!(
        "Store: {rounds} rounds each (aim: keeps up with 10,000 denials a second)"
    ));

    let mut reads = Table::new(&["read", "result"]);
    reads.row([format!("all {entries} entries, in pages"), rate(scan)]);
    reads.row([
        "newest 100 of one server".into(),
        ms(newest(&store, rounds).await?),
    ]);
    reads.print("Store: queries");
    store.close().await?;
    Ok(())
}

fn denial(launch: Uuid, number: usize) -> Entry {
    Denial {
        front_end: "http",
        reason: "no rule allows it",
        rule: None,
        remedy: Some("\"allowedDomains\": [\"api.example.com\"]"),
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
    samples: &mut Samples,
) -> anyhow::Result<usize> {
    let launch = Uuid::new_v4();
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
    samples.push(count as f64 / start.elapsed().as_secs_f64());
    Ok(count)
}

/// Until the last of them is durable; `count` is a multiple of ten.
async fn submitted_by_tasks(store: &Store, count: usize) -> anyhow::Result<f64> {
    const TASKS: usize = 10;
    let launch = Uuid::new_v4();
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
    Ok(count as f64 / start.elapsed().as_secs_f64())
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
        count += page.len();
    }
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
