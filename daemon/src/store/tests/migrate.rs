//! A database of every earlier schema, with rows in each of its tables, opens with all of them.

use std::collections::BTreeMap;

use sqlx::migrate::{Migrate as _, Migration};
use sqlx::{Connection as _, Row as _, ValueRef as _};

use super::*;

/// Rows as the version wrote them that came with a migration, by its number. A migration that adds a table or a column has a
/// line here.
const ROWS: &[(i64, &str)] = &[
    (
        1,
        "INSERT INTO servers (name, command, cwd, settings, env, registered, created_at) VALUES \
           ('git', '[\"npx\",\"-y\"]', '/w', '/s.json', '[{\"name\":\"TOKEN\",\"value\":\"x\"}]', 1, 1000000), \
           ('seen', '[\"cat\"]', NULL, NULL, '[]', 0, 1000000); \
         INSERT INTO policy_generations (source, digest, text, compiled_at) VALUES \
           ('built-in', 'ab', '{}', 1000000), ('/s.json', 'cd', '{}', 2000000); \
         INSERT INTO launches (id, server, generation, restart, temp_dir, started_at, pid, pid_start, init_pid, boot_id, \
           ended_at, exit_code, exit_signal, exit_reason) VALUES \
           ('00000000-0000-0000-0000-000000000001', 'git', 1, 0, '/t', 2000000, 7, 8, 9, 'b', 3000000, 1, NULL, 'exited'), \
           ('00000000-0000-0000-0000-000000000002', 'git', 2, 1, NULL, 3000000, 17, 18, NULL, 'b', NULL, NULL, NULL, NULL); \
         INSERT INTO sessions (id, launch, server, client_pid, opened_at, closed_at) VALUES \
           ('00000000-0000-0000-0000-000000000003', '00000000-0000-0000-0000-000000000001', 'git', 5, 2000000, 3000000); \
         INSERT INTO audit (seq, at, kind, server, launch, subject, detail) VALUES \
           (1, 2000000, 'start', 'git', '00000000-0000-0000-0000-000000000001', 'npx -y', '{\"cwd\":\"/w\"}'), \
           (2, 2500000, 'deny', 'git', NULL, 'x.example:443', '{\"reason\":\"no rule\"}'), \
           (3, 3000000, 'exit', 'git', '00000000-0000-0000-0000-000000000001', 'exited', '{}'); \
         INSERT INTO logs (at, server, stream, launch, line) VALUES (2000000, 'git', 'stderr', NULL, 'hello')",
    ),
    (
        2,
        "INSERT INTO grants (id, server, host, port, scope, launch, uid, user, created_at, expires_at, last_used_at, \
           ended_at, end_reason) VALUES \
           (1, 'git', 'x.example', 443, 'always', NULL, 1000, 'u', 2000000, NULL, 2500000, NULL, NULL), \
           (2, 'git', 'y.example', 443, 'time', NULL, 1000, NULL, 2000000, 3000000, NULL, 3000000, 'expired')",
    ),
    (
        3,
        "INSERT INTO sessions (id, launch, server, client_pid, opened_at, token_hash) VALUES \
           ('00000000-0000-0000-0000-000000000004', '00000000-0000-0000-0000-000000000002', 'git', 6, 3000000, 'ef'); \
         UPDATE launches SET exit_kind = 'exited' WHERE ended_at IS NOT NULL",
    ),
    (
        4,
        "INSERT INTO tools (server, name, said_digest, said_text, said_at, accepted_digest, accepted_text, accepted_at) \
           VALUES ('git', 'commit', 'ab', '{}', 2000000, 'cd', NULL, 1000000)",
    ),
    (5, "UPDATE servers SET enabled = 1 WHERE name = 'git'"),
    (
        6,
        "UPDATE launches SET init_start = 10 WHERE init_pid IS NOT NULL",
    ),
    (
        9,
        "INSERT INTO audit (seq, at, kind, server, launch, subject, detail) VALUES \
           (4, 4000000, 'start', 'git', NULL, 'npx', '{\"variables\":[\"TOKEN\"]}')",
    ),
    (
        13,
        "INSERT INTO audit (seq, at, kind, server, launch, subject, detail) VALUES \
           (5, 5000000, 'start', 'git', NULL, 'npx', '{\"variables\":[\"TOKEN\"]}')",
    ),
];

/// A database as the daemon left it that knew this migration and none after it.
async fn made_by(version: i64, path: &std::path::Path) -> Dump {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut connection = writing(path)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    connection
        .ensure_migrations_table("_sqlx_migrations")
        .await
        .unwrap();
    let known = sqlx::migrate!("../migrations");
    let known: Vec<&Migration> = known.iter().filter(|one| one.version <= version).collect();
    for migration in known {
        connection
            .apply("_sqlx_migrations", migration)
            .await
            .unwrap();
        let rows = ROWS.iter().find(|(number, _)| *number == migration.version);
        if let Some((_, rows)) = rows {
            sqlx::raw_sql(*rows).execute(&mut connection).await.unwrap();
        }
    }
    let dump = dump(&mut connection, None).await;
    connection.close().await.unwrap();
    dump
}

/// The rows of each table, each value as text; of the columns of `like` only, where it is given.
type Dump = BTreeMap<String, (Vec<String>, Vec<Vec<String>>)>;

async fn dump(connection: &mut SqliteConnection, like: Option<&Dump>) -> Dump {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> '_sqlx_migrations' \
         AND name NOT LIKE 'sqlite%'",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let mut dump = Dump::new();
    for table in tables {
        let columns = match like {
            // What chains an entry is made at the first start.
            None => sqlx::query_scalar("SELECT name FROM pragma_table_info(?1) WHERE NOT (?1 = 'audit' AND name IN ('prev', 'mac'))")
                .bind(&table)
                .fetch_all(&mut *connection)
                .await
                .unwrap(),
            Some(like) => match like.get(&table) {
                Some((columns, _)) => columns.clone(),
                None => continue,
            },
        };
        let quoted: Vec<String> = columns
            .iter()
            .map(|name| format!("quote(\"{name}\")"))
            .collect();
        let query = format!(
            "SELECT {} FROM \"{table}\" ORDER BY rowid",
            quoted.join(", ")
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(query))
            .fetch_all(&mut *connection)
            .await
            .unwrap();
        let texts = |row: &sqlx::sqlite::SqliteRow| {
            (0..columns.len())
                .map(|column| {
                    assert!(!row.try_get_raw(column).unwrap().is_null());
                    row.get::<String, _>(column)
                })
                .collect()
        };
        let rows = rows.iter().map(texts).collect();
        dump.insert(table, (columns, rows));
    }
    dump
}

#[tokio::test]
async fn every_earlier_schema_is_brought_up_to_date_with_all_its_rows() {
    let known = sqlx::migrate!("../migrations");
    let versions: Vec<i64> = known.iter().map(|one| one.version).collect();
    assert!(versions.len() >= 6, "{versions:?}");
    for version in versions {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/srt.db");
        let before = made_by(version, &path).await;
        let filled = before.iter().filter(|(_, (_, rows))| !rows.is_empty());
        // Six tables in the first schema, then grants and tools.
        let expected = match version {
            1 => 6,
            2 | 3 => 7,
            _ => 8,
        };
        assert!(filled.count() >= expected, "version {version}: {before:?}");

        let store = Store::open(&path).await.unwrap();
        let mut raw = raw(&path).await;
        let after = dump(&mut raw, Some(&before)).await;
        raw.close().await.unwrap();
        for (table, (_, rows)) in &before {
            let (_, found) = after
                .get(table)
                .unwrap_or_else(|| panic!("version {version}: {table} is gone"));
            // Entries may be added: that the log is brought up to date can be one.
            assert_eq!(&found[..rows.len()], rows, "version {version}: {table}");
        }
        reads_and_writes(&store, version).await;
        store.close().await.unwrap();
        // Entries from before the chain are in it, and an entry says so.
        let against = Against {
            anchored: true,
            ..Against::default()
        };
        let report = verify(&path, &against).await.unwrap();
        assert!(report.is_ok(), "version {version}: {:?}", report.findings);
        assert!(report.adopted >= 3 && report.verdict.first == 1);
        let findings = Store::examine(&path).await.unwrap();
        let problems: Vec<_> = findings.iter().flat_map(|one| &one.problems).collect();
        assert!(problems.is_empty(), "version {version}: {problems:?}");
    }
}

/// What was there is understood, and there is room for more.
async fn reads_and_writes(store: &Store, version: i64) {
    let servers = store.servers().await.unwrap();
    assert_eq!(servers.len(), 2);
    assert_eq!(servers[0].command, ["npx", "-y"]);
    assert_eq!(servers[0].enabled, version >= 5);
    let unfinished = store.unfinished_launches().await.unwrap();
    assert_eq!(unfinished.len(), 1);
    let history = store.history("git").await.unwrap();
    assert_eq!((history.launches, history.restarts), (2, 1));
    assert_eq!(history.last_exit.unwrap().code, Some(1));
    assert!(store.generation(2).await.unwrap().is_some());
    let records = all(store.audit(AuditQuery::default())).await;
    assert_eq!(records[1].entry.subject, "x.example:443");
    let chained = records.last().unwrap();
    assert_eq!(chained.entry.subject, "audit log chained");
    assert_eq!(chained.entry.detail["through"], chained.seq - 1);
    // What was computed of an entry before a later schema computes it in another way.
    let about = |query: AuditQuery| async move { store.touches(&query).await.unwrap() };
    let host = AuditQuery {
        host: Some("x.example".into()),
        ..AuditQuery::default()
    };
    assert_eq!(about(host).await.len(), 1);
    let token = AuditQuery {
        variable: Some("TOKEN".into()),
        ..AuditQuery::default()
    };
    let given = about(token).await;
    let expected = match version {
        ..9 => None,
        9..13 => Some(1),
        _ => Some(2),
    };
    assert_eq!(given.first().map(|touch| touch.count), expected);
    if let Some(touch) = given.first() {
        assert_eq!(touch.server.as_deref(), Some("git"));
    }
    let grants = store.grants().await.unwrap();
    assert_eq!(grants.len(), if version >= 2 { 2 } else { 0 });
    let open = store.open_sessions().await.unwrap();
    assert_eq!(open.len(), usize::from(version >= 3));
    let tools = store.tools("git").await.unwrap();
    assert_eq!(tools.len(), usize::from(version >= 4));

    let newest = records.last().unwrap().seq;
    assert_eq!(store.record(entry(9, "new")).await.unwrap(), newest + 1);
    let settled = store.settle(&unfinished[0].launch, at(9), "lost").await;
    assert_eq!(settled.unwrap(), newest + 2);
    let (generation, new) = store.generation_of(policy("new")).await.unwrap();
    assert_eq!((generation, new), (3, true));
}
