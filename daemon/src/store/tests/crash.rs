//! `kill -9` at any point loses nothing that was acknowledged.
//!
//! The child is this test binary again, running [`child`] alone: it writes from several tasks and prints each
//! number once it is acknowledged. The parent kills it after a random number of them, opens the file it left and
//! looks for every one; the next round goes on with the same file.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use sqlx::Connection as _;

use super::*;

const DATABASE: &str = "SRT_TEST_CRASH_DATABASE";
const ROUNDS: usize = 12;

#[test]
fn a_killed_writer_keeps_every_acknowledged_entry() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/srt.db");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        let enough = 1 + (Uuid::new_v4().as_u128() % 300) as usize;
        let before = acknowledged.len();
        kill_after(&path, enough, &mut acknowledged);
        let count = acknowledged.len() - before;
        assert!(
            count >= enough,
            "round {round}: the child ended by itself after {count} entries"
        );
        runtime.block_on(check(&path, &acknowledged, round));
    }
}

fn kill_after(path: &std::path::Path, enough: usize, acknowledged: &mut BTreeMap<u64, String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "store::tests::crash::child",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(DATABASE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = 0;
    // Reading on to the end: what was printed before the kill was acknowledged too. A last line may be torn.
    while let Some(Ok(line)) = lines.next() {
        let Some(rest) = line
            .strip_prefix("ack ")
            .and_then(|rest| rest.strip_suffix(" ."))
        else {
            continue;
        };
        let (seq, subject) = rest.split_once(' ').unwrap();
        let previous = acknowledged.insert(seq.parse().unwrap(), subject.to_owned());
        assert_eq!(previous, None, "number {seq} was given out twice");
        seen += 1;
        if seen == enough {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
}

async fn check(path: &std::path::Path, acknowledged: &BTreeMap<u64, String>, round: usize) {
    let store = Store::open(path).await.unwrap();
    let records = all(store.audit(AuditQuery::default())).await;
    assert!(
        records
            .iter()
            .map(|record| record.seq)
            .eq(1..=records.len() as u64),
        "round {round}: the numbers have gaps"
    );
    for (seq, subject) in acknowledged {
        let found = records
            .get(*seq as usize - 1)
            .map(|record| record.entry.subject.as_str());
        assert_eq!(
            found,
            Some(subject.as_str()),
            "round {round}: acknowledged entry {seq}"
        );
    }
    // A launch is there exactly when its entry is.
    let starts = records
        .iter()
        .filter(|record| record.entry.kind == Kind::Start)
        .count();
    assert_eq!(
        store.unfinished_launches().await.unwrap().len(),
        starts,
        "round {round}"
    );
    store.close().await.unwrap();
    let mut raw = raw(path).await;
    let verdict: String = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_one(&mut raw)
        .await
        .unwrap();
    assert_eq!(verdict, "ok", "round {round}");
    raw.close().await.unwrap();
}

#[test]
#[ignore = "the child of a_killed_writer_keeps_every_acknowledged_entry"]
fn child() {
    let Some(path) = std::env::var_os(DATABASE) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Store::open(std::path::Path::new(&path)).await.unwrap();
        store.generation_of(policy("a")).await.unwrap();
        let tasks = (0..4).map(|task| tokio::spawn(write_for_ever(store.clone(), task)));
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
}

async fn write_for_ever(store: Store, task: u32) {
    let run = Uuid::new_v4();
    for number in 0_u64.. {
        let subject = format!("{run}/{task}/{number}");
        store.submit(entry(1, "not acknowledged")).await.unwrap();
        let seq = if number % 5 == 0 {
            let launch = launch(Uuid::new_v4().as_u128(), "git", 1, 1);
            let start = Entry::new(at(1), Kind::Start, &subject);
            store.begin_launch(launch, start).await.unwrap()
        } else {
            store.record(entry(1, &subject)).await.unwrap()
        };
        // One write, so that a kill tears at most the last line.
        let line = format!("ack {seq} {subject} .\n");
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    }
}
