//! Opening: permissions, existing files, files that cannot be used.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use sqlx::Connection as _;

use super::*;

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn nobody_else_can_read_the_database() {
    let fixture = Fixture::new().await;
    fixture.store.record(entry(1, "x")).await.unwrap();
    all(fixture.store.audit(AuditQuery::default())).await;
    let folder = fixture.folder.path().join("state");
    assert_eq!(mode(&folder), 0o700);
    for name in [
        "srt.db",
        "srt.db-wal",
        "srt.db-shm",
        "srt.db.anchor",
        "audit.key",
    ] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    fixture.store.close().await.unwrap();
    let mut left: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|found| found.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(
        left,
        ["audit.key", "srt.db", "srt.db.anchor"],
        "close moves the WAL into the database"
    );
}

#[tokio::test]
async fn a_folder_and_a_file_that_others_can_read_are_tightened() {
    let fixture = Fixture::new().await;
    fixture.store.close().await.unwrap();
    let folder = fixture.folder.path().join("state");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o775)).unwrap();
    fs::set_permissions(fixture.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let store = Store::open(&fixture.path()).await.unwrap();
    assert_eq!((mode(&folder), mode(&fixture.path())), (0o700, 0o600));
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_made_private_is_refused_with_the_reason() {
    let top = tempfile::tempdir().unwrap();
    let check = async |path: PathBuf, expected: &str| {
        let error = Store::open(&path).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(&top.path().display().to_string()), "{error}");
    };
    let shared = top.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    check(shared.join("srt.db"), "is everybody's (mode 1777)\nhint: ").await;
    assert_eq!(mode(&shared), 0o1777, "left as it was");

    let own = top.path().join("own");
    fs::create_dir(&own).unwrap();
    symlink(&own, top.path().join("link")).unwrap();
    check(top.path().join("link/srt.db"), "is not a folder\nhint: ").await;

    symlink(top.path().join("elsewhere"), own.join("srt.db")).unwrap();
    check(own.join("srt.db"), "cannot make the database").await;
    assert!(!top.path().join("elsewhere").exists());

    fs::write(top.path().join("file"), "").unwrap();
    check(top.path().join("file/srt.db"), "is not a folder").await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_with_the_remedy() {
    let top = tempfile::tempdir().unwrap();
    let path = top.path().join("state/srt.db");
    fs::create_dir(top.path().join("state")).unwrap();
    fs::write(
        &path,
        "this is not a database, but it is long enough to be asked".repeat(20),
    )
    .unwrap();
    let error = Store::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
    let shown = error.to_string();
    assert!(shown.contains(" is damaged: restart the daemon"), "{shown}");
}

#[tokio::test]
async fn an_existing_database_keeps_its_rows_and_runs_no_migration_twice() {
    let fixture = Fixture::new().await;
    fixture.store.record(entry(1, "old")).await.unwrap();
    let fixture = fixture.reopen().await;
    let mut raw = fixture.raw().await;
    let applied: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM _sqlx_migrations")
        .fetch_one(&mut raw)
        .await
        .unwrap();
    assert_eq!(
        applied as usize,
        sqlx::migrate!("../migrations").iter().count()
    );
    assert_eq!(
        subjects(&all(fixture.store.audit(AuditQuery::default())).await),
        ["old"]
    );
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let fixture = Fixture::new().await;
    fixture.store.close().await.unwrap();
    let mut raw = fixture.raw().await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'from the future', 1, x'00', 0)",
    )
    .execute(&mut raw)
    .await
    .unwrap();
    raw.close().await.unwrap();
    let error = Store::open(&fixture.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::Migrate { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("\nhint: a newer srtd made this database"),
        "{error}"
    );
}

#[tokio::test]
async fn the_writer_waits_for_the_disk_and_readers_cannot_write() {
    let fixture = Fixture::new().await;
    let mut writer = writing(&fixture.path()).connect().await.unwrap();
    let mut setting = async |query: &'static str| -> String {
        sqlx::query_scalar::<_, String>(query)
            .fetch_one(&mut writer)
            .await
            .unwrap()
    };
    let settings = [
        setting("SELECT journal_mode FROM pragma_journal_mode").await,
        setting("SELECT CAST(synchronous AS TEXT) FROM pragma_synchronous").await,
        setting("SELECT CAST(foreign_keys AS TEXT) FROM pragma_foreign_keys").await,
    ];
    // 2 is FULL.
    assert_eq!(settings, ["wal", "2", "1"]);
    let written = sqlx::query("DELETE FROM audit")
        .execute(&fixture.store.reader.pool)
        .await;
    assert!(written.unwrap_err().to_string().contains("readonly"));
}

/// A journal that is still to be rolled back, as a kill leaves it before the write-ahead log is begun: who only reads
/// cannot do that, and is not told to change permissions.
#[tokio::test]
async fn what_a_kill_left_half_done_is_told_with_who_undoes_it() {
    let fixture = Fixture::new().await;
    fixture.store.close().await.unwrap();
    let folder = fixture.folder.path().join("state");
    let mut connection = SqliteConnectOptions::new()
        .filename(folder.join("srt.db"))
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Delete)
        // So few pages that changes are written before they are committed.
        .pragma("cache_size", "5")
        .connect()
        .await
        .unwrap();
    let change = "BEGIN IMMEDIATE; CREATE TABLE half (a);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
        INSERT INTO half SELECT hex(randomblob(200)) FROM n;";
    sqlx::raw_sql(change)
        .execute(&mut connection)
        .await
        .unwrap();
    let killed = fixture.folder.path().join("killed");
    fs::create_dir(&killed).unwrap();
    for name in ["srt.db", "srt.db-journal", "srt.db.anchor", "audit.key"] {
        fs::copy(folder.join(name), killed.join(name)).unwrap();
    }
    connection.close().await.unwrap();
    let path = killed.join("srt.db");
    let error = verify(&path, &Against::default()).await.unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("hint: a daemon was killed while it wrote there"),
        "{said}"
    );
    // And so it is.
    let store = Store::open(&path).await.unwrap();
    store.close().await.unwrap();
    assert!(verify(&path, &Against::default()).await.unwrap().is_ok());
}
