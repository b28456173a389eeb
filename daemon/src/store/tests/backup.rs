//! Backups and the check, beside a store that writes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use sqlx::Connection as _;

use super::*;

#[tokio::test]
async fn a_backup_is_whole_while_the_store_goes_on_writing() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let registered = Entry::new(at(1), Kind::Register, "npx");
    store
        .register_server(server("git"), registered)
        .await
        .unwrap();
    store.record(entry(1, "acknowledged")).await.unwrap();
    let goes_on = tokio::spawn({
        let store = store.clone();
        async move {
            while store.record(entry(2, "meanwhile")).await.is_ok() {
                tokio::task::yield_now().await;
            }
        }
    });
    let to = fixture.folder.path().join("backup.db");
    let made = Store::backup(&fixture.path(), &to).await.unwrap();
    store.close().await.unwrap();
    goes_on.await.unwrap();
    let tail = *store.audit_tail().borrow();
    assert_eq!(
        fs::metadata(&to).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(made.bytes, fs::metadata(&to).unwrap().len());
    assert!(made.newest >= 2 && made.newest <= tail, "{made:?}, {tail}");
    // Put in the place of the database, it is one.
    let put = fixture.folder.path().join("other/srt.db");
    fs::create_dir(put.parent().unwrap()).unwrap();
    fs::copy(&to, &put).unwrap();
    for name in ["audit.key", "srt.db.anchor"] {
        fs::copy(
            fixture.path().with_file_name(name),
            put.with_file_name(name),
        )
        .unwrap();
    }
    let store = Store::open(&put).await.unwrap();
    let records = all(store.audit(AuditQuery::default())).await;
    assert_eq!(
        (records.len() as u64, made.entries),
        (made.newest, made.newest)
    );
    assert_eq!(records[1].entry.subject, "acknowledged");
    assert_eq!(store.servers().await.unwrap(), [server("git")]);
    // What was written since is missed, and its numbers are not given out again.
    let cut = tail > made.newest;
    let next = store.record(entry(3, "goes on")).await.unwrap();
    assert_eq!(next, tail + 1 + u64::from(cut));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_backup_replaces_nothing_and_leaves_nothing_behind() {
    let fixture = Fixture::new().await;
    fixture.store.record(entry(1, "x")).await.unwrap();
    let folder = fixture.folder.path().join("backups");
    fs::create_dir(&folder).unwrap();
    let check = async |path: PathBuf, to: &str, expected: &str| {
        let error = Store::backup(&path, &folder.join(to)).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    fs::write(folder.join("taken"), "precious").unwrap();
    std::os::unix::fs::symlink("nowhere", folder.join("link")).unwrap();
    check(fixture.path(), "taken", "\nhint: a backup replaces nothing").await;
    check(fixture.path(), "link", "\nhint: a backup replaces nothing").await;
    check(fixture.path(), "no/x", "\nhint: its folder must exist").await;
    check(folder.join("none"), "x", "there is no database at ").await;
    fs::write(folder.join("garbage"), "no database ".repeat(1000)).unwrap();
    check(folder.join("garbage"), "x", "is not a database").await;
    assert_eq!(fs::read(folder.join("taken")).unwrap(), b"precious");
    let mut left: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|found| found.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["garbage", "link", "taken"]);
}

/// The problems that are found after `change`, as `what: problem`.
async fn problems(change: &'static str) -> Vec<String> {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    store.generation_of(policy("a")).await.unwrap();
    let first = launch(1, "git", 1, 1);
    store.begin_launch(first, entry(1, "begins")).await.unwrap();
    for _ in 0..3 {
        store.record(entry(1, "x")).await.unwrap();
    }
    let mut raw = fixture.raw().await;
    sqlx::query("PRAGMA foreign_keys = OFF")
        .execute(&mut raw)
        .await
        .unwrap();
    sqlx::raw_sql(change).execute(&mut raw).await.unwrap();
    raw.close().await.unwrap();
    let findings = Store::examine(&fixture.path()).await.unwrap();
    let of = |one: Finding| {
        let what = one.what;
        one.problems
            .into_iter()
            .map(move |problem| format!("{what}: {problem}"))
    };
    findings.into_iter().flat_map(of).collect()
}

#[tokio::test]
async fn the_check_finds_what_was_changed() {
    let check = async |change: &'static str, expected: &[&str]| {
        let mut found = problems(change).await;
        let missed = found.iter().any(|problem| problem.starts_with("log: "));
        assert_eq!(
            missed,
            change.starts_with("DELETE FROM audit "),
            "{change}: {found:?}"
        );
        found.retain(|problem| !problem.starts_with("log: "));
        assert_eq!(found, expected, "{change}");
    };
    check("", &[]).await;
    check(
        "DELETE FROM audit WHERE seq = 2",
        &["numbers: 1 entries between 1 and 4 are missing"],
    )
    .await;
    check(
        "DELETE FROM audit WHERE seq = 4",
        &["numbers: the newest entry is 3, and 4 was given out"],
    )
    .await;
    check(
        "DELETE FROM policy_generations",
        &["references: row 1 of launches refers to a row of policy_generations that is not there"],
    )
    .await;
    check(
        "CREATE TRIGGER quiet AFTER INSERT ON audit BEGIN DELETE FROM audit WHERE seq = new.seq; END",
        &["schema: trigger quiet is not the daemon's"],
    )
    .await;
    check(
        "DROP INDEX grants_that_hold",
        &["schema: index grants_that_hold is missing"],
    )
    .await;
    check(
        "ALTER TABLE servers ADD COLUMN more TEXT",
        &["schema: table servers was changed"],
    )
    .await;
    check(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'from the future', 1, x'00', 0)",
        &["schema: migration 9999 is of a newer srtd than this one"],
    )
    .await;
    // Of the whole file: an index that does not know a row.
    check(
        "PRAGMA writable_schema = ON; \
         UPDATE sqlite_master SET sql = 'CREATE INDEX logs_by_server ON logs (line)' WHERE name = 'logs_by_server'; \
         INSERT INTO logs (at, server, stream, line) VALUES (1, 'git', 'stderr', 'x')",
        &["whole: row 1 missing from index logs_by_server"],
    )
    .await;
}

#[tokio::test]
async fn the_check_finds_damage_and_has_the_daemon_look() {
    let fixture = Fixture::new().await;
    for number in 0..200 {
        fixture
            .store
            .submit(entry(number, "some text"))
            .await
            .unwrap();
    }
    fixture.store.close().await.unwrap();
    let path = fixture.path();
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 4096;
    bytes[last..].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let findings = Store::examine(&path).await.unwrap();
    let whole = findings.iter().find(|one| one.what == "whole").unwrap();
    assert!(!whole.problems.is_empty());
    // It was closed in order and would not be looked through otherwise.
    let (store, quarantined) = Store::open_or_quarantine(&path, Prefer::File)
        .await
        .unwrap();
    assert_eq!(quarantined.len(), 1);
    store.close().await.unwrap();
}

#[tokio::test]
async fn the_check_finds_files_that_others_can_read() {
    let fixture = Fixture::new().await;
    fs::set_permissions(fixture.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let findings = Store::examine(&fixture.path()).await.unwrap();
    assert!(
        findings[0].problems[0].ends_with("srt.db has mode 0644"),
        "{findings:?}"
    );
}
