//! When nothing can be written: who is told, what is kept, how it goes on.

use std::time::Duration;

use sqlx::Connection as _;

use super::*;

/// Makes every write of an audit entry fail, as a full disk would.
async fn block(fixture: &Fixture) {
    let mut raw = fixture.raw().await;
    sqlx::query(
        "CREATE TRIGGER block BEFORE INSERT ON audit BEGIN SELECT RAISE(ROLLBACK, 'blocked'); END",
    )
    .execute(&mut raw)
    .await
    .unwrap();
    raw.close().await.unwrap();
}

async fn unblock(fixture: &Fixture) {
    let mut raw = fixture.raw().await;
    sqlx::query("DROP TRIGGER block")
        .execute(&mut raw)
        .await
        .unwrap();
    raw.close().await.unwrap();
}

#[tokio::test]
async fn who_waits_is_told_and_what_was_submitted_is_kept() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    store.record(entry(1, "before")).await.unwrap();
    block(&fixture).await;
    store.submit(entry(1, "kept")).await.unwrap();
    let error = store.record(entry(1, "refused")).await.unwrap_err();
    assert!(matches!(error, StoreError::Write { .. }), "{error:?}");
    let health = store.health();
    assert!(health.failures >= 1);
    assert!(health.trouble.unwrap().contains("blocked"));
    let launch = launch(1, "git", 1, 1);
    let refused = store.begin_launch(launch, entry(1, "refused too")).await;
    assert!(refused.is_err());

    unblock(&fixture).await;
    // Somebody waits: the writer tries at once, and first what it kept.
    assert_eq!(store.record(entry(1, "after")).await.unwrap(), 3);
    assert_eq!(store.health().trouble, None);
    let records = all(store.audit(AuditQuery::default())).await;
    assert_eq!(subjects(&records), ["before", "kept", "after"]);
}

#[tokio::test]
async fn submitters_wait_for_room_while_nothing_can_be_written() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    block(&fixture).await;
    // Each takes an eighth of the queue.
    let big = || entry(1, &"x".repeat(2 * 1024 * 1024 - 512));
    for _ in 0..8 {
        store.submit(big()).await.unwrap();
    }
    let waiting = tokio::spawn({
        let (store, entry) = (store.clone(), big());
        async move { store.submit(entry).await }
    });
    // The writer has tried and failed, twice: there is still no room, and those who wait for an answer get one.
    for _ in 0..2 {
        assert!(store.record(entry(1, "refused")).await.is_err());
    }
    assert!(!waiting.is_finished());
    unblock(&fixture).await;
    store.record(entry(1, "goes through")).await.unwrap();
    waiting.await.unwrap().unwrap();
    fixture.store.close().await.unwrap();
    let store = Store::open(&fixture.path()).await.unwrap();
    assert_eq!(*store.audit_tail().borrow(), 10);
}

#[tokio::test]
async fn a_retry_needs_no_caller() {
    let fixture = Fixture::new().await;
    block(&fixture).await;
    fixture.store.submit(entry(1, "kept")).await.unwrap();
    let mut health = fixture.store.health.clone();
    health.wait_for(|health| health.failures > 0).await.unwrap();
    unblock(&fixture).await;
    let mut tail = fixture.store.audit_tail();
    let written = tail.wait_for(|seq| *seq == 1);
    tokio::time::timeout(Duration::from_secs(60), written)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn closing_with_unwritable_entries_ends_and_says_how_many() {
    let fixture = Fixture::new().await;
    block(&fixture).await;
    for _ in 0..3 {
        fixture.store.submit(entry(1, "lost")).await.unwrap();
    }
    let error = fixture.store.close().await.unwrap_err();
    assert!(
        matches!(error, StoreError::Unwritten { count: 3, .. }),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .starts_with("3 entries were not written to the database /")
    );
}

#[tokio::test]
async fn a_number_taken_behind_the_writer_s_back_is_not_taken_twice() {
    let fixture = Fixture::new().await;
    fixture.store.record(entry(1, "one")).await.unwrap();
    let mut raw = fixture.raw().await;
    sqlx::query(
        "INSERT INTO audit (at, kind, subject, detail) VALUES (1, 'deny', 'foreign', '{}')",
    )
    .execute(&mut raw)
    .await
    .unwrap();
    assert!(fixture.store.record(entry(1, "told")).await.is_err());
    assert_eq!(fixture.store.record(entry(1, "three")).await.unwrap(), 3);
}

#[tokio::test]
async fn a_full_disk_is_called_by_its_name() {
    let fixture = Fixture::new().await;
    let mut raw = fixture.raw().await;
    sqlx::query("PRAGMA max_page_count = 1")
        .execute(&mut raw)
        .await
        .unwrap();
    let full =
        sqlx::query("INSERT INTO servers (name, command, cwd, settings, env, registered, created_at, enabled) VALUES ('x', zeroblob(100000), NULL, NULL, '', 0, 0, 0)")
            .execute(&mut raw)
            .await;
    let full = match full {
        Err(error) if error.to_string().contains("full") => error,
        other => {
            let text = "x".repeat(100_000);
            assert!(other.is_err(), "a blob is no text");
            sqlx::query("INSERT INTO servers (name, command, cwd, settings, env, registered, created_at, enabled) VALUES ('x', ?, NULL, NULL, '', 0, 0, 0)")
                .bind(text)
                .execute(&mut raw)
                .await
                .unwrap_err()
        }
    };
    let error = StoreError::Write {
        path: fixture.path(),
        source: Arc::new(full),
    };
    assert!(
        error
            .to_string()
            .contains("\nhint: the disk is full: free some space"),
        "{error}"
    );
}

#[tokio::test]
async fn an_end_that_cannot_be_written_is_written_later() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    store.generation_of(policy("a")).await.unwrap();
    let launch = launch(1, "git", 1, 1);
    let id = launch.id;
    store
        .begin_launch(launch, entry(1, "begins"))
        .await
        .unwrap();
    block(&fixture).await;
    let later = store.end_launch(id, exit(2, 0), entry(2, "ends")).await;
    assert!(matches!(later, Err(StoreError::Later(_))), "{later:?}");
    let refused = store.record(entry(2, "refused")).await;
    assert!(
        matches!(refused, Err(StoreError::Write { .. })),
        "{refused:?}"
    );
    unblock(&fixture).await;
    let mut tail = store.audit_tail();
    let written = tail.wait_for(|seq| *seq == 2);
    tokio::time::timeout(Duration::from_secs(60), written)
        .await
        .unwrap()
        .unwrap();
    assert!(store.unfinished_launches().await.unwrap().is_empty());
    let records = all(store.audit(AuditQuery::default())).await;
    assert_eq!(subjects(&records), ["begins", "ends"]);
}

#[tokio::test]
async fn that_it_works_again_is_found_out_with_nothing_to_write() {
    let fixture = Fixture::new().await;
    fixture.store.record(entry(1, "before")).await.unwrap();
    block(&fixture).await;
    assert!(fixture.store.record(entry(1, "refused")).await.is_err());
    // Looking whether the writer is there says nothing of the disk.
    fixture.store.answers().await;
    let mut health = fixture.store.health.clone();
    let well = health.wait_for(|health| health.trouble.is_none());
    tokio::time::timeout(Duration::from_secs(60), well)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_server_that_writes_much_does_not_wait_for_the_disk_and_is_told_what_is_missing() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    block(&fixture).await;
    assert!(store.record(entry(1, "refused")).await.is_err());
    store.submit(entry(1, "kept")).await.unwrap();
    let mut health = store.health.clone();
    let failed = |health: &Health| health.failures > 1;
    health.wait_for(failed).await.unwrap();
    // More than the whole queue holds: whoever waited for room would wait for ever.
    let text = "x".repeat(16 * 1024);
    for _ in 0..1100 {
        store.log_line(line("git", 1, &text)).await.unwrap();
    }
    // There is room for entries all the same.
    store.submit(entry(1, "kept, too")).await.unwrap();
    unblock(&fixture).await;
    health
        .wait_for(|health| health.trouble.is_none())
        .await
        .unwrap();
    store.log_line(line("git", 2, "after")).await.unwrap();
    let fixture = fixture.reopen().await;
    let query = LogQuery {
        server: "git".into(),
        ..LogQuery::default()
    };
    let lines = all_lines(fixture.store.logs(query)).await;
    let kept = lines.iter().filter(|found| found.line.line == text).count();
    let told = format!(
        "{} lines are missing here: the database could not be written",
        1100 - kept
    );
    let last: Vec<&str> = lines[kept..]
        .iter()
        .map(|found| &*found.line.line)
        .collect();
    assert_eq!(last, [&*told, "after"]);
    let records = all(fixture.store.audit(AuditQuery::default())).await;
    assert_eq!(subjects(&records), ["kept", "kept, too"]);
}
