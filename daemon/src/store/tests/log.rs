//! The audit log and the servers' logs: order, group commit, queries, followers, retention.

use std::time::Duration;

use futures_util::future::join_all;

use super::*;

#[tokio::test]
async fn an_entry_reads_back_as_it_was_written() {
    let fixture = Fixture::new().await;
    let written = entry(5, "api.example.com:443")
        .launch(Uuid::from_u128(9))
        .with("rule", "*.example.com")
        .with("bytes_in", 12_u64);
    assert_eq!(fixture.store.record(written.clone()).await.unwrap(), 1);
    let bare = Entry::new(at(6), Kind::Daemon, "started");
    assert_eq!(fixture.store.record(bare.clone()).await.unwrap(), 2);
    let fixture = fixture.reopen().await;
    let records = all(fixture.store.audit(AuditQuery::default())).await;
    let expected = [(1, written), (2, bare)].map(|(seq, entry)| Record { seq, entry });
    assert_eq!(records, expected);
    assert_eq!(fixture.store.record(entry(7, "next")).await.unwrap(), 3);
}

/// Who asks for a reading may still wait for what is on its way (`api::paged::settled`).
#[tokio::test]
async fn a_reading_begins_with_its_first_page() {
    let fixture = Fixture::new().await;
    let mut pages = fixture.store.audit(AuditQuery::default());
    let mut lines = fixture.store.logs(LogQuery {
        server: "s".into(),
        ..LogQuery::default()
    });
    fixture.store.submit(entry(1, "late")).await.unwrap();
    fixture.store.log_line(line("s", 1, "late")).await.unwrap();
    fixture.store.answers().await;
    assert_eq!(pages.next().await.unwrap().len(), 1);
    assert_eq!(lines.next().await.unwrap().len(), 1);
    // It ends there.
    fixture.store.record(entry(2, "later")).await.unwrap();
    assert_eq!(pages.next().await.unwrap(), []);
}

// On one thread all callers have queued before the writer runs, so what they share is no matter of luck.
#[tokio::test(flavor = "current_thread")]
async fn many_callers_share_a_commit_and_keep_their_order() {
    let fixture = Fixture::new().await;
    let subjects: Vec<_> = (0..2000).map(|number| number.to_string()).collect();
    let seqs = join_all(
        subjects
            .iter()
            .map(|subject| fixture.store.record(entry(1, subject))),
    )
    .await;
    let seqs: Vec<u64> = seqs.into_iter().map(Result::unwrap).collect();
    assert_eq!(seqs, (1..=2000).collect::<Vec<u64>>());
    let commits = fixture.store.health().commits;
    assert!(commits <= 3, "2000 entries took {commits} commits");
    let records = all(fixture.store.audit(AuditQuery::default())).await;
    let read: Vec<_> = records
        .iter()
        .map(|record| record.entry.subject.clone())
        .collect();
    assert_eq!(read, subjects);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_submitted_denials_are_all_there() {
    let fixture = Fixture::new().await;
    let senders = (0..10).map(|task| {
        let store = fixture.store.clone();
        tokio::spawn(async move {
            for number in 0..1000 {
                let subject = format!("{task}/{number}");
                store.submit(entry(1, &subject)).await.unwrap();
            }
        })
    });
    for sender in join_all(senders).await {
        sender.unwrap();
    }
    // Asked for later, written later: everything before it is durable when it is.
    let last = fixture.store.record(entry(2, "last")).await.unwrap();
    assert_eq!(last, 10_001);
    let records = all(fixture.store.audit(AuditQuery::default())).await;
    assert!(records.iter().map(|record| record.seq).eq(1..=10_001));
    for task in 0..10 {
        let prefix = format!("{task}/");
        let own = records
            .iter()
            .filter_map(|record| record.entry.subject.strip_prefix(&prefix));
        assert!(own.eq((0..1000).map(|number| number.to_string())));
    }
}

#[tokio::test]
async fn close_writes_what_was_submitted() {
    let fixture = Fixture::tuned(Tuning {
        linger: Duration::from_secs(3600),
        ..Tuning::default()
    })
    .await;
    fixture.store.submit(entry(1, "a")).await.unwrap();
    fixture.store.log_line(line("git", 1, "b")).await.unwrap();
    let fixture = fixture.reopen().await;
    assert_eq!(
        subjects(&all(fixture.store.audit(AuditQuery::default())).await),
        ["a"]
    );
    assert_eq!(*fixture.store.log_tail().borrow(), 1);
    let old = fixture.store.clone();
    fixture.store.close().await.unwrap();
    assert!(matches!(
        old.submit(entry(1, "late")).await,
        Err(StoreError::Closed)
    ));
    assert!(matches!(
        old.record(entry(1, "late")).await,
        Err(StoreError::Closed)
    ));
    old.close().await.unwrap();
}

#[tokio::test]
async fn who_waits_takes_along_what_gathered_and_so_does_a_full_batch() {
    let fixture = Fixture::tuned(Tuning {
        linger: Duration::from_secs(3600),
        batch: 100,
        ..Tuning::default()
    })
    .await;
    let store = &fixture.store;
    store.record(entry(1, "the log begins")).await.unwrap();
    let before = store.health().commits;

    for number in 0..50 {
        store.submit(entry(1, &number.to_string())).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(store.health().commits, before, "nobody waits for these");
    let last = store.record(entry(2, "waited for")).await.unwrap();
    assert_eq!(*store.audit_tail().borrow(), last);
    assert_eq!(store.health().commits, before + 1);

    for number in 0..100 {
        store.submit(entry(3, &number.to_string())).await.unwrap();
    }
    let mut tail = store.audit_tail();
    tail.wait_for(|seq| *seq == last + 100).await.unwrap();
    assert_eq!(store.health().commits, before + 2);
}

#[tokio::test]
async fn queries_filter_and_the_newest_come_in_ascending_order() {
    let fixture = Fixture::new().await;
    let rows = [
        (10, Kind::Start, "git"),
        (20, Kind::Deny, "git"),
        (30, Kind::Deny, "fs"),
        // Recorded late: the order is that of recording, the time need not rise.
        (15, Kind::Deny, "git"),
        (40, Kind::Exit, "git"),
    ];
    for (second, kind, server) in rows {
        let entry = Entry::new(at(second), kind, "x").server(server);
        fixture.store.record(entry).await.unwrap();
    }
    let check = async |query: AuditQuery, expected: &[u64]| {
        let records = all(fixture.store.audit(query.clone())).await;
        let seqs: Vec<u64> = records.iter().map(|record| record.seq).collect();
        assert_eq!(seqs, expected, "{query:?}");
    };
    let any = AuditQuery::default;
    let git = Some("git".to_owned());
    let deny = Some(Kind::Deny);
    check(any(), &[1, 2, 3, 4, 5]).await;
    check(
        AuditQuery {
            server: git.clone(),
            ..any()
        },
        &[1, 2, 4, 5],
    )
    .await;
    check(
        AuditQuery {
            kind: deny,
            ..any()
        },
        &[2, 3, 4],
    )
    .await;
    check(
        AuditQuery {
            since: Some(at(20)),
            ..any()
        },
        &[2, 3, 5],
    )
    .await;
    check(
        AuditQuery {
            since: Some(at(41)),
            ..any()
        },
        &[],
    )
    .await;
    check(
        AuditQuery {
            after_seq: 3,
            ..any()
        },
        &[4, 5],
    )
    .await;
    check(
        AuditQuery {
            limit: Some(2),
            ..any()
        },
        &[4, 5],
    )
    .await;
    check(
        AuditQuery {
            limit: Some(0),
            ..any()
        },
        &[],
    )
    .await;
    check(
        AuditQuery {
            limit: Some(99),
            ..any()
        },
        &[1, 2, 3, 4, 5],
    )
    .await;
    check(
        AuditQuery {
            server: git.clone(),
            kind: deny,
            limit: Some(1),
            ..any()
        },
        &[4],
    )
    .await;
    check(
        AuditQuery {
            server: git.clone(),
            since: Some(at(16)),
            limit: Some(2),
            ..any()
        },
        &[2, 5],
    )
    .await;
    check(
        AuditQuery {
            server: git,
            after_seq: 4,
            limit: Some(3),
            ..any()
        },
        &[5],
    )
    .await;
    check(
        AuditQuery {
            server: Some("none".into()),
            ..any()
        },
        &[],
    )
    .await;
}

#[tokio::test]
async fn a_long_reading_comes_in_pages_and_ends_where_it_began() {
    let fixture = Fixture::new().await;
    for number in 0..2500 {
        fixture.store.submit(entry(number, "x")).await.unwrap();
    }
    fixture.store.record(entry(0, "last")).await.unwrap();
    let mut pages = fixture.store.audit(AuditQuery {
        limit: Some(2001),
        ..AuditQuery::default()
    });
    let first = pages.next().await.unwrap();
    assert_eq!((first.len(), first[0].seq), (1000, 501));
    // Newer than the reading: not shown until it is asked to follow.
    fixture.store.record(entry(0, "newer")).await.unwrap();
    assert_eq!(pages.next().await.unwrap().len(), 1000);
    assert_eq!(subjects(&pages.next().await.unwrap()), ["last"]);
    assert!(pages.next().await.unwrap().is_empty());
    assert!(pages.more().await);
    assert_eq!(subjects(&pages.next().await.unwrap()), ["newer"]);
}

#[tokio::test]
async fn a_follower_wakes_for_what_comes_and_ends_with_the_store() {
    let fixture = Fixture::new().await;
    let mut pages = fixture.store.audit(AuditQuery {
        server: Some("git".into()),
        ..AuditQuery::default()
    });
    let (both, saw_both) = tokio::sync::oneshot::channel();
    let follower = tokio::spawn(async move {
        let mut seen = Vec::new();
        loop {
            let page = pages.next().await.unwrap();
            seen.extend(page.into_iter().map(|record| record.entry.subject));
            if seen.len() == 2 {
                break;
            }
            assert!(pages.more().await);
        }
        both.send(seen).unwrap();
        while pages.more().await {}
    });
    fixture.store.submit(entry(1, "one")).await.unwrap();
    let other = entry(1, "not asked for").server("fs");
    fixture.store.record(other).await.unwrap();
    fixture.store.record(entry(1, "two")).await.unwrap();
    assert_eq!(saw_both.await.unwrap(), ["one", "two"]);
    let mut reading = fixture.store.audit(AuditQuery::default());
    fixture.store.close().await.unwrap();
    follower.await.unwrap();
    assert!(matches!(reading.next().await, Err(StoreError::Closed)));
}

#[tokio::test]
async fn log_lines_filter_and_keep_to_the_newest() {
    let fixture = Fixture::tuned(Tuning {
        keep_lines: 50,
        batch: 7,
        ..Tuning::default()
    })
    .await;
    fixture
        .store
        .log_line(line("quiet", 1, "stays"))
        .await
        .unwrap();
    for number in 0..1000 {
        let text = number.to_string();
        fixture
            .store
            .log_line(line("loud", number, &text))
            .await
            .unwrap();
    }
    let mut other = line("loud", 2000, "denied");
    other.stream = Stream::Egress;
    other.launch = Some(Uuid::from_u128(3));
    fixture.store.log_line(other.clone()).await.unwrap();
    let mut tail = fixture.store.log_tail();
    tail.wait_for(|id| *id == 1002).await.unwrap();

    let query = |server: &str| LogQuery {
        server: server.into(),
        ..LogQuery::default()
    };
    assert_eq!(all_lines(fixture.store.logs(query("quiet"))).await.len(), 1);
    let loud = all_lines(fixture.store.logs(query("loud"))).await;
    // Fifty, a tenth more between two prunings, and what one batch adds.
    assert!((50..=62).contains(&loud.len()), "{} lines kept", loud.len());
    assert_eq!(loud.last().unwrap().line, other);
    let shown = |records: Vec<LogRecord>| -> Vec<String> {
        records.into_iter().map(|record| record.line.line).collect()
    };
    let newest = LogQuery {
        limit: Some(2),
        ..query("loud")
    };
    assert_eq!(
        shown(all_lines(fixture.store.logs(newest)).await),
        ["999", "denied"]
    );
    let stream = LogQuery {
        stream: Some(Stream::Egress),
        ..query("loud")
    };
    assert_eq!(
        shown(all_lines(fixture.store.logs(stream)).await),
        ["denied"]
    );
    let since = LogQuery {
        since: Some(at(998)),
        ..query("loud")
    };
    assert_eq!(
        shown(all_lines(fixture.store.logs(since)).await),
        ["998", "999", "denied"]
    );
    let after = LogQuery {
        after_id: 1001,
        ..query("loud")
    };
    assert_eq!(
        shown(all_lines(fixture.store.logs(after)).await),
        ["denied"]
    );
}
