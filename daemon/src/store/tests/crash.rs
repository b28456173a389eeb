//! `kill -9` at any point loses nothing that was acknowledged.
//!
//! The child is this test binary again, running one of the ignored functions alone: it writes from several tasks and prints
//! each thing once it is acknowledged. The parent kills it at a random point, opens the file it left and looks for every
//! one; the next round goes on with the same file. Nor does a kill break the log's chain, or leave an anchor that does not fit.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;

const DATABASE: &str = "SRT_TEST_CRASH_DATABASE";
/// All rounds together; `SRT_TEST_KILLS` changes it.
const KILLS: usize = 200;
/// After so many rounds another database begins, so that its making is hit, too, and none grows large.
const ROUNDS: usize = 25;

#[test]
fn a_killed_writer_keeps_everything_that_it_acknowledged() {
    let runtime = runtime();
    let kills = std::env::var("SRT_TEST_KILLS").ok();
    let kills = kills.and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let (mut acknowledged, mut hit) = (0, 0);
    let mut database = Database::new();
    for round in 0..kills {
        if round % ROUNDS == 0 {
            database = Database::new();
        }
        let news = kill(&mut database);
        acknowledged += news;
        hit += usize::from(news > 0);
        runtime.block_on(database.check(round));
    }
    println!(
        "{kills} kills, {hit} of them under load, {acknowledged} acknowledged writes, all there"
    );
    assert!(
        hit > kills / 3,
        "only {hit} of {kills} kills hit a writer that wrote"
    );
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// A database and what is known to be in it.
struct Database {
    folder: TempDir,
    entries: BTreeMap<u64, String>,
    grants: BTreeSet<u64>,
    ended: BTreeSet<Uuid>,
    /// The newest entry that was looked at.
    seen: u64,
    starts: usize,
}

impl Database {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            entries: BTreeMap::new(),
            grants: BTreeSet::new(),
            ended: BTreeSet::new(),
            seen: 0,
            starts: 0,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("state/srt.db")
    }

    fn acknowledged(&mut self, line: &str) -> bool {
        // A last line may be torn.
        let Some(rest) = line.strip_suffix(" .") else {
            return false;
        };
        let words: Vec<&str> = rest.split(' ').collect();
        match words[..] {
            ["entry", seq, subject] => {
                let previous = self
                    .entries
                    .insert(seq.parse().unwrap(), subject.to_owned());
                assert_eq!(previous, None, "number {seq} was given out twice");
            }
            ["grant", id] => assert!(self.grants.insert(id.parse().unwrap())),
            ["ended", id] => assert!(self.ended.insert(id.parse().unwrap())),
            _ => return false,
        }
        true
    }

    async fn verify(&self) -> Result<Report, VerifyError> {
        let against = Against {
            anchored: true,
            ..Against::default()
        };
        verify(&self.path(), &against).await
    }

    async fn check(&mut self, round: usize) {
        // Killed before anything was there.
        if !self.path().exists() {
            return;
        }
        // Whatever the kill fell between: the chain fits, and the anchor is not ahead of it. Nor does the next daemon miss
        // anything, which it would say in the log.
        match self.verify().await {
            Ok(report) => assert!(report.is_ok(), "round {round}: {:?}", report.findings),
            // Killed while the first schema was written: there is no chain yet, or a journal that who only reads cannot roll back.
            Err(error) => assert!(self.entries.is_empty(), "round {round}: {error}"),
        }
        let (store, quarantined) = Store::open_or_quarantine(&self.path(), Prefer::File)
            .await
            .unwrap();
        assert!(quarantined.is_empty(), "round {round}: {quarantined:?}");
        let query = AuditQuery {
            after_seq: self.seen,
            ..AuditQuery::default()
        };
        let records = all(store.audit(query)).await;
        let numbers = records.iter().map(|record| record.seq);
        let expected = self.seen + 1..=self.seen + records.len() as u64;
        assert!(numbers.eq(expected), "round {round}: the numbers have gaps");
        for (seq, subject) in self.entries.range(self.seen + 1..) {
            let found = records
                .get((*seq - self.seen) as usize - 1)
                .map(|record| record.entry.subject.as_str());
            let lost = format!("round {round}: acknowledged entry {seq}");
            assert_eq!(found, Some(subject.as_str()), "{lost}");
        }
        self.seen += records.len() as u64;
        let of = |kind: Kind| {
            records
                .iter()
                .filter(move |record| record.entry.kind == kind)
        };
        // A change is there exactly when its entry is: launches, their ends, grants.
        self.starts += of(Kind::Start).count();
        self.starts -= of(Kind::Exit).count();
        let unfinished = store.unfinished_launches().await.unwrap();
        assert_eq!(unfinished.len(), self.starts, "round {round}: launches");
        let resurrected = unfinished
            .iter()
            .find(|one| self.ended.contains(&one.launch.id));
        assert_eq!(resurrected, None, "round {round}");
        let grants: BTreeSet<u64> = store
            .grants()
            .await
            .unwrap()
            .iter()
            .map(|one| one.id)
            .collect();
        let lost: Vec<_> = self.grants.difference(&grants).collect();
        assert!(lost.is_empty(), "round {round}: approvals {lost:?}");
        store.close().await.unwrap();
        let report = self.verify().await.unwrap();
        assert!(report.is_ok(), "round {round}: {:?}", report.findings);
        // Every page, which costs as much as the rest.
        if !round.is_multiple_of(5) {
            return;
        }
        let findings = Store::examine(&self.path()).await.unwrap();
        let problems: Vec<_> = findings.iter().flat_map(|one| &one.problems).collect();
        assert!(problems.is_empty(), "round {round}: {problems:?}");
    }
}

fn start(test: &str, path: &Path) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--ignored", "--nocapture"])
        .env(DATABASE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines.map_while(Result::ok))
}

/// Kills a writer: in the middle of its start, or after a random number of acknowledged writes. How many there were.
fn kill(database: &mut Database) -> usize {
    let (mut child, mut lines) = start("store::tests::crash::child", &database.path());
    let random = Uuid::new_v4().as_u128() as usize;
    let enough = 1 + (random >> 8) % 60;
    let mut seen = 0;
    if random.is_multiple_of(4) {
        std::thread::sleep(Duration::from_micros((random as u64 >> 8) % 60_000));
        child.kill().unwrap();
    }
    // Reading on to the end: what was printed before the kill was acknowledged too.
    for line in lines.by_ref() {
        seen += usize::from(database.acknowledged(&line));
        if seen == enough {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(
        !status.success(),
        "the child ended by itself after {seen} writes"
    );
    seen
}

#[test]
#[ignore = "the child of a_killed_writer_keeps_everything_that_it_acknowledged"]
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
        let store = Store::open(Path::new(&path)).await.unwrap();
        store.generation_of(policy("a")).await.unwrap();
        let tasks = (0..4).map(|task| tokio::spawn(write_for_ever(store.clone(), task)));
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
}

/// One write, so that a kill tears at most the last line.
fn say(line: &str) {
    let line = format!("{line} .\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

async fn write_for_ever(store: Store, task: u32) {
    let run = Uuid::new_v4();
    let mut runs = None;
    for number in 0_u64.. {
        let subject = format!("{run}/{task}/{number}");
        store.submit(entry(1, "not acknowledged")).await.unwrap();
        store.log_line(line("git", 1, "a line")).await.unwrap();
        match number % 5 {
            0 => {
                let launch = launch(Uuid::new_v4().as_u128(), "git", 1, 1);
                runs = Some(launch.id);
                let start = Entry::new(at(1), Kind::Start, &subject);
                let seq = store.begin_launch(launch, start).await.unwrap();
                say(&format!("entry {seq} {subject}"));
            }
            1 => {
                let id = Uuid::new_v4().as_u64_pair().0 >> 1;
                let grant = super::damage::grant(id);
                let approved = Entry::new(at(1), Kind::Approve, &subject);
                store.add_grant(grant, approved).await.unwrap();
                say(&format!("grant {id}"));
            }
            2 if task.is_multiple_of(2) => {
                let id = runs.take().unwrap();
                let ended = Entry::new(at(1), Kind::Exit, &subject);
                store.end_launch(id, exit(2, 0), ended).await.unwrap();
                say(&format!("ended {id}"));
            }
            _ => {
                let seq = store.record(entry(1, &subject)).await.unwrap();
                say(&format!("entry {seq} {subject}"));
            }
        }
    }
}

/// What flows and denials may take to be durable.
const SOON: Duration = Duration::from_millis(100);

/// A machine that is busy with something else can be slower than the promise in any one round, but never faster.
#[test]
fn what_nobody_waits_for_is_durable_within_100_ms() {
    let runtime = runtime();
    let (mut held, rounds) = (0, 12);
    for round in 0..rounds {
        let database = Database::new();
        let (mut child, lines) = start("store::tests::crash::submits", &database.path());
        let mut sent = Vec::new();
        let mut first = None;
        let mut killed = None;
        for line in lines {
            let Some(subject) = line
                .strip_prefix("sent ")
                .and_then(|rest| rest.strip_suffix(" ."))
            else {
                continue;
            };
            let now = Instant::now();
            sent.push((now, subject.to_owned()));
            let since = *first.get_or_insert(now);
            if killed.is_none() && now.duration_since(since) > 2 * SOON {
                killed = Some(now);
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let killed = killed.unwrap();
        sent.retain(|(at, _)| *at + SOON <= killed);
        assert!(!sent.is_empty());
        let store = runtime.block_on(Store::open(&database.path())).unwrap();
        let records = runtime.block_on(all(store.audit(AuditQuery::default())));
        let there: BTreeSet<&str> = subjects(&records).into_iter().collect();
        let lost = sent
            .iter()
            .filter(|(_, subject)| !there.contains(subject.as_str()));
        let lost = lost.count();
        println!(
            "round {round}: {} sent more than 100 ms before the kill, {lost} lost",
            sent.len()
        );
        held += usize::from(lost == 0);
        runtime.block_on(store.close()).unwrap();
    }
    assert!(held >= rounds / 4, "held in {held} of {rounds} rounds");
}

#[test]
#[ignore = "the child of what_nobody_waits_for_is_durable_within_100_ms"]
fn submits() {
    let Some(path) = std::env::var_os(DATABASE) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Store::open(Path::new(&path)).await.unwrap();
        for number in 0_u64.. {
            let kind = if number.is_multiple_of(2) {
                Kind::Deny
            } else {
                Kind::Allow
            };
            let subject = format!("host{number}.example:443");
            let entry = Entry::new(at(1), kind, &subject).server("git");
            store.submit(entry).await.unwrap();
            say(&format!("sent {subject}"));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}
