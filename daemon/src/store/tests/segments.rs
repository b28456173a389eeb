//! Segments, their seals, and what retention removes.

use std::time::Duration;

use sqlx::Connection as _;
use srt_policy::Retain;

use super::tamper::{Original, online, run};
use super::*;
use crate::audit::chain::Flaw;
use crate::store::chain::{self, Limits};

fn small() -> Limits {
    Limits {
        entries: 4,
        ..Limits::default()
    }
}

fn tuned(segments: Limits) -> Tuning {
    Tuning {
        segments,
        ..Tuning::default()
    }
}

#[tokio::test]
async fn a_segment_is_closed_by_number_size_and_age_and_an_entry_tells_of_it() {
    #[track_caller]
    fn sealed(records: &[Record]) -> Vec<(u64, u64, u64)> {
        let seals = records
            .iter()
            .filter(|record| record.entry.kind == Kind::Seal);
        let number = |record: &Record, name: &str| record.entry.detail[name].as_u64().unwrap();
        seals
            .map(|record| {
                assert_eq!(
                    record.seq,
                    number(record, "last") + 1,
                    "it is the first of the next"
                );
                (
                    number(record, "segment"),
                    number(record, "first"),
                    number(record, "last"),
                )
            })
            .collect()
    }
    let none = Limits {
        entries: u64::MAX,
        bytes: u64::MAX,
        age: i64::MAX,
    };
    for limits in [
        Limits { entries: 4, ..none },
        Limits { bytes: 8, ..none },
        Limits { age: 0, ..none },
    ] {
        let fixture = Fixture::tuned(tuned(limits)).await;
        for number in 0..7 {
            fixture.store.record(entry(number, "xx")).await.unwrap();
        }
        let fixture = fixture.reopen().await;
        let records = all(fixture.store.audit(AuditQuery::default())).await;
        let seals = sealed(&records);
        assert!(seals.len() >= 2, "{limits:?}: {seals:?}");
        if limits.entries == 4 {
            assert_eq!(seals, [(1, 1, 4), (2, 5, 8)]);
        }
        let report = verify(&fixture.path(), &online()).await.unwrap();
        assert!(report.is_ok(), "{limits:?}: {:?}", report.findings);
        assert_eq!(report.segments, seals.len() as u64);
    }
}

#[tokio::test]
async fn whatever_is_done_to_a_seal_is_found() {
    let log = Original::with(small()).await;
    assert_eq!(log.found().await, []);
    let count = 2;
    for segment in 1..=count {
        for edit in [
            "first = first + 1",
            "last = last - 1",
            "\"before\" = randomblob(32)",
            "\"end\" = randomblob(32)",
            "at = at + 1",
            "mac = randomblob(32)",
            "segment = 9",
        ] {
            let found = log
                .after(&[format!(
                    "UPDATE audit_segments SET {edit} WHERE segment = {segment}"
                )])
                .await;
            let seal = found.iter().any(|(flaw, _)| *flaw == Flaw::Seal);
            assert!(seal, "{edit} of {segment}: {found:?}");
        }
        let found = log
            .after(&[format!(
                "DELETE FROM audit_segments WHERE segment = {segment}"
            )])
            .await;
        let seal = found.iter().any(|(flaw, _)| *flaw == Flaw::Seal);
        assert!(seal, "{segment} deleted: {found:?}");
    }
    let swapped = [
        "UPDATE audit_segments SET segment = -1 WHERE segment = 1".to_owned(),
        "UPDATE audit_segments SET segment = 1 WHERE segment = 2".to_owned(),
        "UPDATE audit_segments SET segment = 2 WHERE segment = -1".to_owned(),
    ];
    let found = log.after(&swapped).await;
    assert!(
        found.iter().any(|(flaw, _)| *flaw == Flaw::Seal),
        "{found:?}"
    );
    // A seal that no entry tells of.
    let more = "INSERT INTO audit_segments SELECT 3, first, last, \"before\", \"end\", at, mac, NULL FROM audit_segments WHERE segment = 2";
    let found = log.after(&[more.to_owned()]).await;
    assert!(
        found.iter().any(|(flaw, _)| *flaw == Flaw::Seal),
        "{found:?}"
    );

    // The entries of two segments in each other's place, with their seals.
    let mut exchanged = vec![
        "UPDATE audit SET seq = seq + 1000 WHERE seq BETWEEN 1 AND 4".to_owned(),
        "UPDATE audit SET seq = seq - 4 WHERE seq BETWEEN 5 AND 8".to_owned(),
        "UPDATE audit SET seq = seq - 996 WHERE seq > 1000".to_owned(),
    ];
    assert_eq!(
        log.after(&exchanged).await.first(),
        Some(&(Flaw::Reordered, Some(1)))
    );
    exchanged.extend(swapped);
    assert_eq!(
        log.after(&exchanged).await.first(),
        Some(&(Flaw::Reordered, Some(1)))
    );
    // A whole segment is gone, and nothing says that it was pruned.
    for (first, last) in [(1, 4), (5, 8)] {
        let gone = format!("DELETE FROM audit WHERE seq BETWEEN {first} AND {last}");
        assert_eq!(log.after(&[gone]).await, [(Flaw::Deleted, Some(first))]);
    }
    // Nor is it enough to mark it.
    let marked = "UPDATE audit_segments SET pruned_at = 1 WHERE segment = 1; DELETE FROM audit WHERE seq <= 4";
    assert_eq!(
        log.after(&[marked.to_owned()]).await,
        [(Flaw::Deleted, Some(1))]
    );
}

/// Waits until the oldest entry has this number at least.
async fn first_is_past(store: &Store, seq: u64) -> u64 {
    let look = async {
        loop {
            let first = all(store.audit(AuditQuery::default())).await[0].seq;
            if first >= seq {
                return first;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), look)
        .await
        .unwrap()
}

#[tokio::test]
async fn what_is_not_kept_goes_in_whole_segments_and_an_entry_says_so_first() {
    let fixture = Fixture::tuned(tuned(small())).await;
    let store = &fixture.store;
    for number in 0..30 {
        store.record(entry(number, "x")).await.unwrap();
    }
    assert_eq!(
        all(store.audit(AuditQuery::default())).await[0].seq,
        1,
        "nothing was asked to go"
    );
    store.retain(Some(Retain::Hours(1)));
    store
        .record(entry(30, "all of it is younger"))
        .await
        .unwrap();
    store.retain(Some(Retain::Entries(10)));
    let first = first_is_past(store, 2).await;
    let records = all(store.audit(AuditQuery::default())).await;
    let told: Vec<_> = records
        .iter()
        .filter(|record| record.entry.kind == Kind::Prune)
        .collect();
    assert_eq!(told[0].entry.detail["through"], first - 1);
    assert_eq!(told[0].entry.detail["retain"], "10");
    assert!(records.len() >= 10, "at least so many are kept");
    assert_eq!((first - 1) % 4, 0, "whole segments");
    store.close().await.unwrap();
    let report = verify(&fixture.path(), &online()).await.unwrap();
    assert!(report.is_ok(), "{:?}", report.findings);
    assert_eq!(
        (report.verdict.pruned, report.verdict.first),
        (first - 1, first)
    );

    // One more than was said, and a seal of what is gone.
    let log = Original {
        folder: fixture.folder,
    };
    let path = log.path();
    let state = log.folder.path().join("state");
    for found in std::fs::read_dir(&state).unwrap() {
        let found = found.unwrap();
        std::fs::copy(found.path(), path.with_file_name(found.file_name())).unwrap();
    }
    std::fs::remove_dir_all(state).unwrap();
    let more = format!("DELETE FROM audit WHERE seq = {first}");
    assert_eq!(log.after(&[more]).await, [(Flaw::Deleted, Some(first))]);
    let found = log
        .after(&["DELETE FROM audit_segments WHERE segment = 1".to_owned()])
        .await;
    assert!(
        found.iter().any(|(flaw, _)| *flaw == Flaw::Seal),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_daemon_that_dies_while_entries_go_leaves_a_log_that_is_well_and_the_next_goes_on() {
    let fixture = Fixture::tuned(tuned(small())).await;
    for number in 0..30 {
        fixture.store.record(entry(number, "x")).await.unwrap();
    }
    fixture.store.close().await.unwrap();
    let path = fixture.path();
    // What the writer does up to the moment at which it is killed: said, and not done.
    let mut connection = writing(&path).connect().await.unwrap();
    let mut begun = chain::begin(&mut connection, &path, &Opening::default())
        .await
        .unwrap();
    let keep = Some(Retain::Entries(10));
    let written = chain::maintain(
        &mut connection,
        &begun.chain,
        &mut begun.numbers,
        &small(),
        keep,
    )
    .await
    .unwrap();
    assert!(written);
    let through: i64 =
        sqlx::query_scalar("SELECT MAX(last) FROM audit_segments WHERE pruned_at IS NOT NULL")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    connection.close().await.unwrap();
    for gone in [0, 1, 2, through] {
        run(&path, &[format!("DELETE FROM audit WHERE seq <= {gone}")]).await;
        let report = verify(&path, &online()).await.unwrap();
        assert!(report.is_ok(), "{gone}: {:?}", report.findings);
        assert_eq!(report.verdict.first, gone.cast_unsigned() + 1);
    }
    let store = Store::open(&path).await.unwrap();
    assert_eq!(first_is_past(&store, 2).await, through.cast_unsigned() + 1);
    store.close().await.unwrap();
    let report = verify(&path, &online()).await.unwrap();
    assert!(report.is_ok(), "{:?}", report.findings);
}

/// A generator of which a failure names the seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // Xorshift (Marsaglia, 2003).
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[tokio::test]
async fn whatever_is_done_to_a_larger_log_is_found_no_later_than_where_it_was_done() {
    for seed in [Uuid::new_v4().as_u64_pair().0 | 1, 0x5eed] {
        let mut random = Random(seed);
        let limits = Limits {
            entries: 20 + random.below(60),
            ..Limits::default()
        };
        let log = Original::of(limits, 300 + random.below(300)).await;
        let report = verify(&log.path(), &online()).await.unwrap();
        assert!(report.is_ok(), "seed {seed}: {:?}", report.findings);
        let last = report.verdict.last;
        for _ in 0..60 {
            let one = 1 + random.below(last);
            let other = 1 + (one + random.below(last - 1)) % last;
            let first = one.min(other);
            let statement = match random.below(8) {
                0 => format!("UPDATE audit SET subject = subject || 'x' WHERE seq = {first}"),
                1 => format!("UPDATE audit SET at = at + {other} WHERE seq = {first}"),
                2 => format!("DELETE FROM audit WHERE seq = {first}"),
                3 => format!(
                    "DELETE FROM audit WHERE seq BETWEEN {first} AND {}",
                    one.max(other)
                ),
                4 => format!("DELETE FROM audit WHERE seq >= {first}"),
                5 => format!(
                    "UPDATE audit SET seq = -1 WHERE seq = {one}; UPDATE audit SET seq = {one} WHERE seq = {other}; \
                     UPDATE audit SET seq = {other} WHERE seq = -1"
                ),
                6 => format!(
                    "UPDATE audit SET (at, kind, server, launch, subject, detail, prev, mac) = \
                     (SELECT at, kind, server, launch, subject, detail, prev, mac FROM audit WHERE seq = {}) WHERE seq = {first}",
                    one.max(other)
                ),
                _ => format!(
                    "UPDATE audit SET mac = (SELECT mac FROM audit WHERE seq = {}) WHERE seq = {first}",
                    one.max(other)
                ),
            };
            let found = log.after(std::slice::from_ref(&statement)).await;
            let (_, seq) = found
                .first()
                .unwrap_or_else(|| panic!("seed {seed}: {statement}"));
            assert!(
                seq.is_some_and(|seq| seq <= first),
                "seed {seed}: {statement}: {found:?}"
            );
        }
    }
}
