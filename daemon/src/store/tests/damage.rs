//! Damaged databases: never the end of the daemon, and never deleted.

use std::fs;
use std::path::Path;

use sqlx::Connection as _;

use super::*;

/// What a killed daemon leaves: a database that had been moved out of its log once, and a log with more.
struct Left {
    folder: TempDir,
}

impl Left {
    async fn new() -> Self {
        let fixture = Fixture::new().await;
        let store = &fixture.store;
        let registered = Entry::new(at(1), Kind::Register, "npx");
        for name in ["git", "files"] {
            let server = Server {
                enabled: true,
                ..server(name)
            };
            store
                .register_server(server, registered.clone())
                .await
                .unwrap();
        }
        let said = Said {
            digest: "ab".into(),
            text: Some("{}".into()),
            at: at(1),
        };
        let tool = Tool {
            server: "git".into(),
            name: "commit".into(),
            accepted: Some(said.clone()),
            said,
        };
        store.put_tools(vec![tool], None).await.unwrap();
        store
            .add_grant(grant(1), entry(1, "granted"))
            .await
            .unwrap();
        store.generation_of(policy("a")).await.unwrap();
        let first = launch(1, "git", 1, 1);
        store.begin_launch(first, entry(1, "begins")).await.unwrap();
        for number in 0..300 {
            store
                .submit(entry(number, "a denial with some text in it"))
                .await
                .unwrap();
        }
        let mut fixture = fixture.reopen().await;
        fixture.store.record(entry(1, "in the log")).await.unwrap();
        // As they are while the daemon runs: nothing is tidied up.
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("state")).unwrap();
        for name in STATE {
            let from = fixture.folder.path().join("state").join(name);
            fs::copy(from, folder.path().join("state").join(name)).unwrap();
        }
        fixture = fixture.reopen().await;
        fixture.store.close().await.unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("state/srt.db")
    }

    /// Changes the bytes of the database.
    fn damage(&self, damage: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path()).unwrap();
        damage(&mut bytes);
        fs::write(self.path(), bytes).unwrap();
    }
}

/// A grant that holds.
pub(super) fn grant(id: u64) -> Grant {
    Grant {
        id,
        server: "git".into(),
        host: "x.example".into(),
        port: 443,
        scope: Scope::Always,
        launch: None,
        uid: 1,
        user: None,
        created_at: at(1),
        expires_at: None,
        last_used_at: None,
        ended: None,
    }
}

async fn first_entry(store: &Store) -> Record {
    all(store.audit(AuditQuery::default())).await.remove(0)
}

/// The page at which a table begins, from 1. Who may not write does not tidy up either.
async fn root(path: &Path, table: &str) -> usize {
    let mut raw = reading(path).connect().await.unwrap();
    let root: i64 = sqlx::query_scalar("SELECT rootpage FROM sqlite_master WHERE name = ?")
        .bind(table)
        .fetch_one(&mut raw)
        .await
        .unwrap();
    raw.close().await.unwrap();
    root as usize
}

const PAGE: usize = 4096;

/// What is in the folder while the daemon runs.
const STATE: [&str; 4] = ["srt.db", "srt.db-wal", "srt.db.anchor", "audit.key"];

#[tokio::test]
async fn what_is_no_database_is_moved_aside_as_it_is() {
    let left = Left::new().await;
    let garbage = b"no database at all, but long enough to be taken for one".repeat(99);
    left.damage(|bytes| *bytes = garbage.clone());
    assert!(Store::open(&left.path()).await.is_err(), "it is damaged");
    let (store, quarantined) = Store::open_or_quarantine(&left.path(), Prefer::File)
        .await
        .unwrap();
    let [quarantined] = &quarantined[..] else {
        panic!("{quarantined:?}")
    };
    assert_eq!(
        fs::read(quarantined.folder.join("srt.db")).unwrap(),
        garbage
    );
    assert!(quarantined.folder.join("srt.db-wal").exists());
    assert_eq!(store.damaged(), std::slice::from_ref(&quarantined.folder));
    let told = quarantined.told();
    assert!(
        told.contains("file is not a database") && told.contains("/state/damaged/2"),
        "{told}"
    );
    let first = first_entry(&store).await.entry;
    assert_eq!(
        (first.kind, first.subject.as_str()),
        (Kind::Daemon, "quarantined")
    );
    assert_eq!(
        first.detail["moved_to"],
        quarantined.folder.display().to_string()
    );
    store.close().await.unwrap();
    let (store, again) = Store::open_or_quarantine(&left.path(), Prefer::File)
        .await
        .unwrap();
    assert!(again.is_empty(), "{again:?}");
    store.close().await.unwrap();
}

#[tokio::test]
async fn servers_and_pins_are_carried_over_and_grants_are_not() {
    let left = Left::new().await;
    let audit = root(&left.path(), "audit").await;
    left.damage(|bytes| bytes[(audit - 1) * PAGE..audit * PAGE].fill(0xa5));
    let (store, quarantined) = Store::open_or_quarantine(&left.path(), Prefer::File)
        .await
        .unwrap();
    let quarantined = quarantined.into_iter().next().unwrap();
    assert_eq!(quarantined.servers, ["files", "git"]);
    assert_eq!(quarantined.grants, Some(1));
    assert_eq!(quarantined.unfinished.len(), 1);
    let servers = store.servers().await.unwrap();
    let expected = ["files", "git"].map(|name| Server {
        enabled: false,
        ..server(name)
    });
    assert_eq!(servers, expected, "as they were, and none starts by itself");
    let tools = store.tools("git").await.unwrap();
    assert_eq!(tools[0].accepted.as_ref().unwrap().digest, "ab");
    assert_eq!(store.grants().await.unwrap(), []);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_move_that_was_cut_off_is_finished() {
    let left = Left::new().await;
    left.damage(|bytes| bytes[..16].fill(0));
    // Killed right after the database had been moved: the log is still where it was.
    super::quarantine::move_aside(&left.path(), "the first sixteen bytes").unwrap();
    let log = left.path().with_file_name("srt.db-wal");
    fs::write(&log, "what is left of the log").unwrap();
    let (store, quarantined) = Store::open_or_quarantine(&left.path(), Prefer::File)
        .await
        .unwrap();
    let why: Vec<&str> = quarantined.iter().map(|one| &*one.why).collect();
    assert_eq!(why.len(), 2);
    assert_eq!(why[0], "the first sixteen bytes");
    assert!(
        why[1].ends_with("srt.db is gone, its write-ahead log is not"),
        "{why:?}"
    );
    let kept = quarantined[1].folder.join("srt.db-wal");
    assert_eq!(fs::read(kept).unwrap(), b"what is left of the log");
    store.close().await.unwrap();
    let (store, again) = Store::open_or_quarantine(&left.path(), Prefer::File)
        .await
        .unwrap();
    assert!(again.is_empty(), "{again:?}");
    store.close().await.unwrap();
}

/// Whatever happens to the file, the store opens, can be written, and holds either everything or says what it lost.
#[tokio::test]
async fn no_damage_keeps_the_daemon_from_starting() {
    let whole = Left::new().await;
    let bytes = fs::read(whole.path()).unwrap();
    let log = fs::read(whole.path().with_file_name("srt.db-wal")).unwrap();
    let pages = bytes.len() / PAGE;
    let mut damages: Vec<(String, Vec<u8>)> = Vec::new();
    for page in 0..pages {
        let mut zeroed = bytes.clone();
        zeroed[page * PAGE..(page + 1) * PAGE].fill(0);
        damages.push((format!("page {page} is zeroed"), zeroed));
        let mut turned = bytes.clone();
        turned[page * PAGE..][..64]
            .iter_mut()
            .for_each(|byte| *byte ^= 0x55);
        damages.push((format!("the head of page {page} is turned"), turned));
        let cut = bytes[..page * PAGE + PAGE / 2].to_vec();
        damages.push((format!("cut in the middle of page {page}"), cut));
    }
    let mut found = 0;
    for (what, bytes) in &damages {
        let folder = tempfile::tempdir().unwrap();
        let left = Left { folder };
        fs::create_dir(left.folder.path().join("state")).unwrap();
        fs::write(left.path(), bytes).unwrap();
        fs::write(left.path().with_file_name("srt.db-wal"), &log).unwrap();
        for name in ["srt.db.anchor", "audit.key"] {
            let from = whole.path().with_file_name(name);
            fs::copy(from, left.path().with_file_name(name)).unwrap();
        }
        let (store, quarantined) = Store::open_or_quarantine(&left.path(), Prefer::File)
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let seq = store.record(entry(1, "goes on")).await;
        let seq = seq.unwrap_or_else(|error| panic!("{what}: {error}"));
        let records = all(store.audit(AuditQuery::default())).await;
        assert_eq!(records.len() as u64, seq, "{what}");
        if quarantined.is_empty() {
            assert!(seq > 300, "{what}: nothing was said of what is gone");
        } else {
            found += 1;
            assert_eq!(records[0].entry.subject, "quarantined", "{what}");
        }
        store.close().await.unwrap();
    }
    // Pages of the log hide some.
    assert!(found > damages.len() / 2, "{found} of {}", damages.len());
}

#[tokio::test]
async fn damage_that_shows_while_it_runs_is_found_at_the_next_start() {
    let fixture = Fixture::new().await;
    fixture.store.record(entry(1, "x")).await.unwrap();
    let fixture = fixture.reopen().await;
    assert!(!super::quarantine::is_suspect(&fixture.path()));
    let grants = root(&fixture.path(), "grants").await;
    let mut bytes = fs::read(fixture.path()).unwrap();
    bytes[(grants - 1) * PAGE..grants * PAGE].fill(0xa5);
    // In place: the writer has it open.
    let file = fs::OpenOptions::new()
        .write(true)
        .open(fixture.path())
        .unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
    // Closing that would drop the locks of the store's own descriptors.
    std::mem::forget(file);
    let mut shown = None;
    for _ in 0..3 {
        shown = fixture
            .store
            .add_grant(grant(1), entry(1, "refused"))
            .await
            .err();
        if shown.is_some() {
            break;
        }
    }
    let shown = shown.unwrap().to_string();
    assert!(
        shown.contains("is damaged: restart the daemon (srtctl daemon stop)"),
        "{shown}"
    );
    assert!(super::quarantine::is_suspect(&fixture.path()));
    let _ = fixture.store.close().await;
    let (store, quarantined) = Store::open_or_quarantine(&fixture.path(), Prefer::File)
        .await
        .unwrap();
    assert_eq!(quarantined.len(), 1);
    assert!(!super::quarantine::is_suspect(&fixture.path()));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_database_of_a_newer_version_stays_where_it_is() {
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
    assert!(
        Store::open_or_quarantine(&fixture.path(), Prefer::File)
            .await
            .is_err()
    );
    assert!(fixture.path().exists());
    assert!(!fixture.path().with_file_name("damaged").exists());
}
