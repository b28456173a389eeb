//! Every way to falsify a small log is tried on a real file, and each is found and called by its name.

use std::fs;
use std::path::Path;

use sqlx::Connection as _;

use super::*;
use crate::audit::chain::{Flaw, NOTICED};
use crate::store::chain::{Limits, anchor_path, key_path};

/// The length of the log that is falsified.
const LENGTH: u64 = 9;

/// A closed log: its files, to be copied for each trial.
pub(super) struct Original {
    pub(super) folder: TempDir,
}

impl Original {
    async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub(super) async fn with(segments: Limits) -> Self {
        Self::of(segments, LENGTH).await
    }

    pub(super) async fn of(segments: Limits, length: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tuning = Tuning {
            segments,
            ..Tuning::default()
        };
        let path = folder.path().join("srt.db");
        let store = Store::open_as(
            &path,
            Opening {
                tuning,
                ..Opening::default()
            },
        )
        .await
        .unwrap();
        let mut number = 0;
        // Seals come between.
        while *store.audit_tail().borrow() < length {
            number += 1;
            let mut entry = entry(
                i64::try_from(number).unwrap(),
                &format!("host-{number}:443"),
            );
            if number % 2 == 0 {
                entry = entry.launch(Uuid::from_u128(number)).with("rule", "x");
            } else {
                entry.server = None;
            }
            store.record(entry).await.unwrap();
        }
        store.close().await.unwrap();
        Self { folder }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("srt.db")
    }

    fn copy(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for found in fs::read_dir(self.folder.path()).unwrap() {
            let found = found.unwrap();
            if !found.path().is_file() {
                continue;
            }
            fs::copy(found.path(), folder.path().join(found.file_name())).unwrap();
        }
        Self { folder }
    }

    /// What a verification of a copy says after these statements.
    pub(super) async fn after(&self, statements: &[String]) -> Vec<(Flaw, Option<u64>)> {
        let copy = self.copy();
        run(&copy.path(), statements).await;
        copy.found().await
    }

    pub(super) async fn found(&self) -> Vec<(Flaw, Option<u64>)> {
        let report = verify(&self.path(), &online()).await.unwrap();
        report
            .findings
            .iter()
            .map(|finding| (finding.flaw, finding.seq))
            .collect()
    }
}

pub(super) fn online() -> Against {
    Against {
        anchored: true,
        ..Against::default()
    }
}

pub(super) async fn run(path: &Path, statements: &[String]) {
    let mut raw = raw(path).await;
    for statement in statements {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.as_str()))
            .execute(&mut raw)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    raw.close().await.unwrap();
}

#[tokio::test]
async fn a_log_that_nobody_touched_is_well() {
    let log = Original::new().await;
    assert_eq!(log.found().await, []);
    let report = verify(&log.path(), &online()).await.unwrap();
    let verdict = &report.verdict;
    assert_eq!(
        (verdict.first, verdict.last, verdict.rows),
        (1, LENGTH, LENGTH)
    );
    assert_eq!(report.anchored, Some(LENGTH));
    assert!(report.is_ok());
    // Without a word about it nothing is checked of the end, and nothing is missed: the copy has no anchor.
    let copy = log.copy();
    fs::remove_file(anchor_path(&copy.path())).unwrap();
    let offline = verify(&copy.path(), &Against::default()).await.unwrap();
    assert!(offline.is_ok() && offline.anchored.is_none());
}

#[tokio::test]
async fn every_edit_of_every_column_of_every_entry_is_found() {
    let log = Original::new().await;
    let edits = [
        "at = at + 1",
        "kind = 'allow'",
        "server = COALESCE(server || 'x', 'x')",
        "server = CASE WHEN server IS NULL THEN '' END",
        "launch = COALESCE(launch || 'x', 'x')",
        "subject = subject || ' '",
        "subject = CAST(x'ff' AS TEXT)",
        "detail = '{\"rule\":\"y\"}'",
        "mac = zeroblob(32)",
        "prev = randomblob(32)",
        "mac = x'00'",
        "prev = NULL",
        "mac = NULL",
    ];
    for edit in edits {
        for seq in 1..=LENGTH {
            let statement = format!("UPDATE audit SET {edit} WHERE seq = {seq}");
            let found = log.after(std::slice::from_ref(&statement)).await;
            let expected = match edit {
                "prev = NULL" | "mac = NULL" | "mac = x'00'" => Flaw::Inserted,
                _ => Flaw::Edited,
            };
            assert_eq!(
                found.first(),
                Some(&(expected, Some(seq))),
                "{statement}: {found:?}"
            );
        }
    }
}

#[tokio::test]
async fn every_deletion_is_found() {
    let log = Original::new().await;
    for first in 1..=LENGTH {
        for last in first..=LENGTH {
            let gone = format!("DELETE FROM audit WHERE seq BETWEEN {first} AND {last}");
            let found = log.after(std::slice::from_ref(&gone)).await;
            let expected = match last {
                LENGTH => Flaw::Truncated,
                _ => Flaw::Deleted,
            };
            assert_eq!(found, [(expected, Some(first))], "{gone}");

            // What follows moves up.
            let count = last + 1 - first;
            let up = [
                gone,
                format!("UPDATE audit SET seq = -(seq - {count}) WHERE seq > {last}"),
                "UPDATE audit SET seq = -seq WHERE seq < 0".to_owned(),
            ];
            let found = log.after(&up).await;
            assert_eq!(
                found.first(),
                Some(&(expected, Some(first))),
                "{up:?}: {found:?}"
            );
        }
    }
}

#[tokio::test]
async fn every_swap_is_found() {
    let log = Original::new().await;
    for one in 1..LENGTH {
        for other in one + 1..=LENGTH {
            let swap = [
                format!("UPDATE audit SET seq = -1 WHERE seq = {one}"),
                format!("UPDATE audit SET seq = {one} WHERE seq = {other}"),
                format!("UPDATE audit SET seq = {other} WHERE seq = -1"),
            ];
            let found = log.after(&swap).await;
            assert_eq!(
                found.first(),
                Some(&(Flaw::Reordered, Some(one))),
                "{one} {other}: {found:?}"
            );
        }
        // One that is put at the end.
        let away = format!("UPDATE audit SET seq = 100 WHERE seq = {one}");
        let found = log.after(&[away]).await;
        assert_eq!(
            found.first(),
            Some(&(Flaw::Reordered, Some(one))),
            "{one}: {found:?}"
        );
    }
}

const ALL: &str = "seq, at, kind, server, launch, subject, detail, prev, mac";
const COPY: &str = "at, kind, server, launch, subject, detail, prev, mac FROM audit";

#[tokio::test]
async fn every_duplicate_is_found_wherever_it_is_put() {
    let log = Original::new().await;
    for seq in 1..=LENGTH {
        for place in 1..=LENGTH {
            if seq == place {
                continue;
            }
            let over = [
                format!("DELETE FROM audit WHERE seq = {place}"),
                format!("INSERT INTO audit ({ALL}) SELECT {place}, {COPY} WHERE seq = {seq}"),
            ];
            let found = log.after(&over).await;
            assert_eq!(
                found.first(),
                Some(&(Flaw::Duplicated, Some(place))),
                "{seq} over {place}: {found:?}"
            );

            // What follows moves down.
            let between = [
                format!("CREATE TEMP TABLE kept AS SELECT {COPY} WHERE seq = {seq}"),
                format!("UPDATE audit SET seq = -(seq + 1) WHERE seq >= {place}"),
                "UPDATE audit SET seq = -seq WHERE seq < 0".to_owned(),
                format!(
                    "INSERT INTO audit ({ALL}) SELECT {place}, {}",
                    COPY.replace("audit", "kept")
                ),
            ];
            let found = log.after(&between).await;
            // A copy before its original pushes that one away: then it looks moved.
            let expected = match seq < place {
                true => Flaw::Duplicated,
                false => Flaw::Reordered,
            };
            assert_eq!(
                found.first(),
                Some(&(expected, Some(place))),
                "{seq} at {place}: {found:?}"
            );
        }
        let end = LENGTH + 1;
        let after = format!("INSERT INTO audit ({ALL}) SELECT {end}, {COPY} WHERE seq = {seq}");
        let found = log.after(&[after]).await;
        assert_eq!(
            found.first(),
            Some(&(Flaw::Duplicated, Some(end))),
            "{seq} at the end: {found:?}"
        );
    }
}

#[tokio::test]
async fn an_entry_that_is_put_in_is_found() {
    let log = Original::new().await;
    let end = LENGTH + 1;
    let bare = format!(
        "INSERT INTO audit (seq, at, kind, subject, detail) VALUES ({end}, 1, 'allow', 'x', '{{}}')"
    );
    assert_eq!(log.after(&[bare]).await, [(Flaw::Inserted, Some(end))]);
    let forged = format!(
        "INSERT INTO audit ({ALL}) SELECT {end}, 1, 'allow', NULL, NULL, 'x', '{{}}', mac, zeroblob(32) FROM audit WHERE seq = {LENGTH}"
    );
    assert_eq!(log.after(&[forged]).await, [(Flaw::Edited, Some(end))]);
}

#[tokio::test]
async fn truncation_at_every_length_is_found_also_after_the_daemon_went_on() {
    let log = Original::new().await;
    for length in 0..LENGTH {
        let cut = format!(
            "DELETE FROM audit WHERE seq > {length}; UPDATE sqlite_sequence SET seq = {length} WHERE name = 'audit'"
        );
        assert_eq!(
            log.after(std::slice::from_ref(&cut)).await,
            [(Flaw::Truncated, Some(length + 1))]
        );

        // The daemon says so, gives no number out twice, and the gap stays.
        let copy = log.copy();
        run(&copy.path(), &[cut]).await;
        let store = Store::open(&copy.path()).await.unwrap();
        let next = store.record(entry(1, "goes on")).await.unwrap();
        assert_eq!(next, LENGTH + 2);
        let records = all(store.audit(AuditQuery {
            after_seq: length,
            ..AuditQuery::default()
        }))
        .await;
        let told = &records[0];
        assert_eq!(
            (told.seq, told.entry.subject.as_str()),
            (LENGTH + 1, NOTICED)
        );
        assert_eq!(told.entry.detail["flaw"], "truncated");
        assert_eq!(told.entry.detail["seq"], length + 1);
        store.close().await.unwrap();
        let found = copy.found().await;
        assert!(
            found.contains(&(Flaw::Truncated, Some(length + 1))),
            "{found:?}"
        );
        assert!(
            found.contains(&(Flaw::Deleted, Some(length + 1))),
            "{found:?}"
        );
        // It is said once.
        let store = Store::open(&copy.path()).await.unwrap();
        store.record(entry(1, "again")).await.unwrap();
        let records = all(store.audit(AuditQuery::default())).await;
        let count = records
            .iter()
            .filter(|record| record.entry.subject == NOTICED)
            .count();
        assert_eq!(count, 1);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn another_key_is_called_by_its_name_and_no_daemon_starts_on_it() {
    let (log, other) = (Original::new().await, Original::new().await);
    let copy = log.copy();
    fs::copy(key_path(&other.path()), key_path(&copy.path())).unwrap();
    assert_eq!(copy.found().await, [(Flaw::OtherKey, None)]);
    let error = Store::open(&copy.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::Key { .. }), "{error:?}");
    assert!(
        error.to_string().contains("was made with the key"),
        "{error}"
    );

    // Everything another daemon's: no entry fits.
    run(
        &copy.path(),
        &["UPDATE audit_chain SET key = (SELECT key FROM other.audit_chain)"]
            .map(|statement| format!("ATTACH '{}' AS other; {statement}", other.path().display())),
    )
    .await;
    let found = copy.found().await;
    assert!(found.contains(&(Flaw::Edited, Some(1))), "{found:?}");
    assert!(found.contains(&(Flaw::OtherKey, None)), "{found:?}");
}

#[tokio::test]
async fn a_key_that_is_gone_or_damaged_is_an_error_and_never_a_second_key() {
    let log = Original::new().await;
    let check = async |copy: &Original, expected: &str| {
        let error = Store::open(&copy.path()).await.unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.contains("\nhint: "),
            "{error}"
        );
        let error = verify(&copy.path(), &online())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(expected) && error.contains("\nhint: "),
            "{error}"
        );
    };
    let copy = log.copy();
    let file = key_path(&copy.path());
    let text = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    check(&copy, "audit.key is not there").await;
    assert!(!file.exists(), "none is made");
    for (instead, expected) in [
        (String::new(), "cannot be understood"),
        (
            text.replace("\"key\": \"", "\"key\": \"0"),
            "does not hold the key",
        ),
        (
            text.replace("\"version\": 1", "\"version\": 2"),
            "is of version 2",
        ),
    ] {
        fs::write(&file, instead).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        check(&copy, expected).await;
    }
    fs::write(&file, &text).unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    check(&copy, "is open to others").await;
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(copy.found().await, []);
}

#[tokio::test]
async fn another_database_and_an_older_one_are_found() {
    let log = Original::new().await;
    // Made with the same key, by a daemon that found no database.
    let copy = log.copy();
    fs::remove_file(copy.path()).unwrap();
    let store = Store::open(&copy.path()).await.unwrap();
    store.record(entry(1, "new")).await.unwrap();
    let first = &all(store.audit(AuditQuery::default())).await[0];
    assert_eq!(first.entry.subject, NOTICED);
    assert_eq!(first.entry.detail["flaw"], "other-database");
    store.close().await.unwrap();
    assert_eq!(copy.found().await, [(Flaw::OtherDatabase, None)]);

    // The old anchor beside the new database, and the other way round.
    fs::copy(anchor_path(&log.path()), anchor_path(&copy.path())).unwrap();
    let found = copy.found().await;
    assert!(found.contains(&(Flaw::OtherDatabase, None)), "{found:?}");
    let swapped = log.copy();
    fs::copy(copy.path(), swapped.path()).unwrap();
    let store = Store::open(&swapped.path()).await.unwrap();
    store.record(entry(1, "goes on")).await.unwrap();
    store.close().await.unwrap();
    let told = swapped.found().await;
    assert!(
        told.iter()
            .filter(|found| found.0 == Flaw::OtherDatabase)
            .count()
            >= 2,
        "{told:?}"
    );

    // A row of the other one in the place of ours.
    let splice = format!(
        "ATTACH '{}' AS other; DELETE FROM audit WHERE seq = 2; INSERT INTO audit ({ALL}) SELECT 2, {} WHERE seq = 2",
        copy.path().display(),
        COPY.replace("audit", "other.audit")
    );
    assert_eq!(log.after(&[splice]).await, [(Flaw::Edited, Some(2))]);

    // An older copy of the same.
    let older = log.copy();
    let store = Store::open(&log.path()).await.unwrap();
    store.record(entry(1, "newer")).await.unwrap();
    store.close().await.unwrap();
    fs::copy(older.path(), log.path()).unwrap();
    assert_eq!(log.found().await, [(Flaw::Truncated, Some(LENGTH + 1))]);

    // A copy that went its own way, in the place of ours: as long, and every entry with a MAC that fits.
    let fork = older.copy();
    let store = Store::open(&fork.path()).await.unwrap();
    store.record(entry(1, "another history")).await.unwrap();
    store.close().await.unwrap();
    fs::copy(fork.path(), log.path()).unwrap();
    assert_eq!(log.found().await, [(Flaw::Spliced, Some(LENGTH + 1))]);
}

#[tokio::test]
async fn what_is_done_to_the_anchor_and_to_the_chain_s_own_row_is_found() {
    let log = Original::new().await;
    let copy = log.copy();
    let anchor = anchor_path(&copy.path());
    let content = fs::read(&anchor).unwrap();
    fs::remove_file(&anchor).unwrap();
    assert_eq!(copy.found().await, [(Flaw::Anchor, None)]);
    for instead in [Vec::new(), vec![b' '; content.len()]] {
        fs::write(&anchor, instead).unwrap();
        assert_eq!(copy.found().await, [(Flaw::Anchor, None)]);
    }
    // The newer of its two places: the older one knows less, and so would who cut the end off.
    let newest = content.len() / 2;
    let line = String::from_utf8_lossy(&content[newest..]).into_owned();
    let place = match line.contains(&format!("seq={LENGTH} ")) {
        true => newest,
        false => 0,
    };
    let mut torn = content.clone();
    torn[place] = b'?';
    fs::write(&anchor, torn).unwrap();
    assert_eq!(
        copy.found().await,
        [],
        "a power cut does that while an entry is written: the log is ahead"
    );
    run(
        &copy.path(),
        &[format!("DELETE FROM audit WHERE seq = {LENGTH}")],
    )
    .await;
    assert_eq!(copy.found().await, [(Flaw::Anchor, Some(LENGTH))]);
    // The daemon says so, too.
    let store = Store::open(&copy.path()).await.unwrap();
    store.record(entry(1, "x")).await.unwrap();
    let records = all(store.audit(AuditQuery::default())).await;
    let told = records
        .iter()
        .find(|record| record.entry.subject == NOTICED)
        .unwrap();
    assert_eq!(told.entry.detail["flaw"], "anchor");
    store.close().await.unwrap();

    for change in ["adopted = 100", "begun_at = 0", "mac = zeroblob(32)"] {
        let found = log
            .after(&[format!("UPDATE audit_chain SET {change}")])
            .await;
        assert_eq!(found, [(Flaw::OtherDatabase, None)], "{change}");
    }
    let other = "UPDATE audit_chain SET database = '00000000-0000-0000-0000-000000000001'";
    let found = log.after(&[other.to_owned()]).await;
    assert!(found.contains(&(Flaw::OtherDatabase, None)), "{found:?}");
    // Without its row nothing could tell what the entries are chained with: no daemon goes on.
    let copy = log.copy();
    run(&copy.path(), &["DELETE FROM audit_chain".to_owned()]).await;
    let error = Store::open(&copy.path()).await.unwrap_err().to_string();
    assert!(error.contains("the row was removed"), "{error}");
}
