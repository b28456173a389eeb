//! The way on after a lost key, with segments that were closed and some that were removed.

use std::fs;

use srt_policy::Retain;

use super::tamper::{Original, run};
use super::*;
use crate::audit::chain::Flaw;
use crate::store::chain::{self, Limits, Reason, key_path};

const WHY: Reason<'static> = Reason {
    uid: 7,
    because: "it is gone",
};

fn small() -> Tuning {
    Tuning {
        segments: Limits {
            entries: 4,
            ..Limits::default()
        },
        ..Tuning::default()
    }
}

async fn open(log: &Original) -> Store {
    let opening = Opening {
        tuning: small(),
        ..Opening::default()
    };
    Store::open_as(&log.path(), opening).await.unwrap()
}

async fn renew(log: &Original) -> chain::Renewed {
    fs::remove_file(key_path(&log.path())).unwrap();
    chain::renew(&log.path(), Prefer::File, &WHY).await.unwrap()
}

/// Lets the log grow, and removes what is beyond so many entries.
async fn go_on(log: &Original, retain: Option<u64>) {
    let store = open(log).await;
    store.retain(retain.map(Retain::Entries));
    for number in 0..10 {
        store.record(entry(number, "later")).await.unwrap();
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_log_with_segments_goes_on_and_names_what_its_lost_key_was_for() {
    let log = Original::of(small().segments, 14).await;
    let renewed = renew(&log).await;
    let lost = [(Flaw::KeyLost, Some(1))];
    assert_eq!((renewed.through, renewed.kept), (14, "file"));
    assert_eq!(log.found().await, lost);
    go_on(&log, None).await;
    assert_eq!(log.found().await, lost);
    // The seals of before are held by the new key, too.
    for statement in [
        "UPDATE audit_segments SET last = last - 1 WHERE segment = 1",
        "DELETE FROM audit_segments WHERE segment = 2",
    ] {
        let found = log.after(&[statement.to_owned()]).await;
        let seal = found.iter().any(|(flaw, _)| *flaw == Flaw::Seal);
        assert!(seal, "{statement}: {found:?}");
    }
    // A second one is told beside the first.
    renew(&log).await;
    assert_eq!(log.found().await, [lost[0], lost[0]]);
}

#[tokio::test]
async fn what_was_removed_before_stays_removed_and_what_cannot_be_verified_may_go_too() {
    let log = Original::of(small().segments, 30).await;
    go_on(&log, Some(16)).await;
    assert_eq!(log.found().await, [], "before the key is lost");
    let report = verify(&log.path(), &super::tamper::online()).await.unwrap();
    let (first, last) = (report.verdict.first, report.verdict.last);
    assert!(first > 1, "some were removed");
    let renewed = renew(&log).await;
    assert_eq!(renewed.through, last);
    assert_eq!(log.found().await, [(Flaw::KeyLost, Some(first))]);
    // Until the last of them has gone, and the entry that tells of them with it.
    for _ in 0..6 {
        go_on(&log, Some(16)).await;
    }
    assert_eq!(log.found().await, []);
}

#[tokio::test]
async fn holes_in_what_the_lost_key_was_for_do_not_keep_the_log_from_going_on() {
    let log = Original::of(small().segments, 14).await;
    run(
        &log.path(),
        &["DELETE FROM audit WHERE seq IN (1, 4, 5, 9, 14)".to_owned()],
    )
    .await;
    renew(&log).await;
    go_on(&log, None).await;
    let found = log.found().await;
    let lost = found
        .iter()
        .filter(|(flaw, _)| *flaw == Flaw::KeyLost)
        .count();
    assert_eq!(lost, 1, "{found:?}");
    // Nothing is held against what was written with the new key.
    let later = found
        .iter()
        .filter(|(_, seq)| seq.is_some_and(|seq| seq > 15));
    assert_eq!(later.count(), 0, "{found:?}");
}
