//! Servers, generations, launches, sessions.

use sqlx::Connection as _;

use super::*;

fn registers(name: &str) -> Entry {
    Entry::new(at(1), Kind::Register, name).server(name)
}

fn starts(name: &str) -> Entry {
    Entry::new(at(1), Kind::Start, "npx -y").server(name)
}

#[tokio::test]
async fn a_registered_server_reads_back_and_its_name_is_taken() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    store
        .register_server(server("git"), registers("git"))
        .await
        .unwrap();
    let error = store
        .register_server(server("git"), registers("git"))
        .await
        .unwrap_err();
    assert!(matches!(&error, StoreError::ServerExists { name } if name == "git"));
    assert!(
        error
            .to_string()
            .ends_with("hint: remove it first: srtctl remove git")
    );
    let fixture = fixture.reopen().await;
    assert_eq!(
        fixture.store.server("git").await.unwrap(),
        Some(server("git"))
    );
    assert_eq!(fixture.store.server("none").await.unwrap(), None);
    // The refused registration left no entry.
    assert_eq!(*fixture.store.audit_tail().borrow(), 1);
}

#[tokio::test]
async fn a_server_that_was_seen_never_replaces_a_registered_one() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let seen = |command: &str| Server {
        command: vec![command.into()],
        registered: false,
        ..server("git")
    };
    store.note_server(seen("one")).await.unwrap();
    store.note_server(seen("two")).await.unwrap();
    assert_eq!(store.servers().await.unwrap(), [seen("two")]);
    store
        .register_server(server("git"), registers("git"))
        .await
        .unwrap();
    store.note_server(seen("three")).await.unwrap();
    store
        .note_server(Server {
            name: "a".into(),
            ..seen("four")
        })
        .await
        .unwrap();
    let names: Vec<_> = store.servers().await.unwrap();
    assert_eq!(names[1], server("git"));
    assert_eq!((names.len(), names[0].name.as_str()), (2, "a"));
}

#[tokio::test]
async fn removing_takes_the_log_lines_and_leaves_the_audit_log() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    store
        .register_server(server("git"), registers("git"))
        .await
        .unwrap();
    store.log_line(line("git", 1, "text")).await.unwrap();
    let removal = || Entry::new(at(3), Kind::Remove, "git").server("git");
    assert!(store.remove_server("git", removal()).await.unwrap());
    assert!(!store.remove_server("git", removal()).await.unwrap());
    let lines = store.logs(LogQuery {
        server: "git".into(),
        ..LogQuery::default()
    });
    assert!(all_lines(lines).await.is_empty());
    let kinds: Vec<_> = all(store.audit(AuditQuery::default()))
        .await
        .iter()
        .map(|record| record.entry.kind)
        .collect();
    assert_eq!(kinds, [Kind::Register, Kind::Remove]);
}

#[tokio::test]
async fn a_text_keeps_its_generation() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    assert_eq!(store.generation_of(policy("a")).await.unwrap(), (1, true));
    assert_eq!(store.generation_of(policy("b")).await.unwrap(), (2, true));
    assert_eq!(store.generation_of(policy("a")).await.unwrap(), (1, false));
    let other = Policy {
        source: "/s.json".into(),
        ..policy("a")
    };
    assert_eq!(store.generation_of(other.clone()).await.unwrap(), (3, true));
    let kept = store.generation(3).await.unwrap();
    assert_eq!(
        kept,
        Some(Generation {
            id: 3,
            policy: other
        })
    );
    assert_eq!(store.generation(4).await.unwrap(), None);
}

#[tokio::test]
async fn a_launch_and_its_entry_are_written_together_or_not_at_all() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    // Its generation does not exist.
    let error = store
        .begin_launch(launch(1, "git", 7, 3), starts("git"))
        .await;
    assert!(matches!(error, Err(StoreError::Write { .. })), "{error:?}");
    assert_eq!(*store.audit_tail().borrow(), 0);
    let (generation, _) = store.generation_of(policy("a")).await.unwrap();
    let seq = store
        .begin_launch(launch(1, "git", generation, 3), starts("git"))
        .await;
    assert_eq!(seq.unwrap(), 1);
}

#[tokio::test]
async fn unfinished_launches_are_found_and_settled_once() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    store.generation_of(policy("a")).await.unwrap();
    let (first, second) = (launch(1, "git", 1, 3), launch(2, "git", 1, 4));
    store
        .begin_launch(first.clone(), starts("git"))
        .await
        .unwrap();
    store
        .begin_launch(second.clone(), starts("git"))
        .await
        .unwrap();
    store
        .begin_launch(launch(3, "git", 1, 5), starts("git"))
        .await
        .unwrap();
    let processes = Processes {
        pid: 4_000_000,
        pid_start: u64::MAX,
        init_pid: Some(4),
        boot_id: Some("boot".into()),
    };
    store
        .launch_runs(second.id, processes.clone())
        .await
        .unwrap();
    let ended = Uuid::from_u128(3);
    store
        .end_launch(ended, exit(6, 0), starts("git"))
        .await
        .unwrap();
    let session = Session {
        id: Uuid::from_u128(10),
        launch: second.id,
        server: "git".into(),
        client_pid: Some(77),
        opened_at: at(4),
    };
    store.open_session(session.clone()).await.unwrap();

    let fixture = fixture.reopen().await;
    let store = &fixture.store;
    let expected = [
        Unfinished {
            launch: first.clone(),
            processes: None,
        },
        Unfinished {
            launch: second.clone(),
            processes: Some(processes.clone()),
        },
    ];
    assert_eq!(store.unfinished_launches().await.unwrap(), expected);
    store
        .settle(&first, at(9), "the daemon was killed")
        .await
        .unwrap();
    store
        .settle(&second, at(9), "the daemon was killed")
        .await
        .unwrap();
    assert!(store.unfinished_launches().await.unwrap().is_empty());
    let again = store.settle(&first, at(9), "again").await;
    assert!(matches!(again, Err(StoreError::NoSuchLaunch { id }) if id == first.id));
    let late = store.launch_runs(first.id, processes).await;
    assert!(matches!(late, Err(StoreError::NoSuchLaunch { .. })));
    let last = all(store.audit(AuditQuery {
        limit: Some(1),
        ..AuditQuery::default()
    }))
    .await;
    assert_eq!(last[0].entry.kind, Kind::Exit);
    assert_eq!(last[0].entry.detail["lost"], true);

    let open = async || -> i64 {
        let mut raw = fixture.raw().await;
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM sessions WHERE closed_at IS NULL")
            .fetch_one(&mut raw)
            .await
            .unwrap();
        raw.close().await.unwrap();
        count
    };
    assert_eq!(open().await, 1);
    store.move_session(session.id, first.id).await.unwrap();
    assert!(
        store
            .move_session(session.id, Uuid::from_u128(99))
            .await
            .is_err()
    );
    store.close_all_sessions(at(9)).await.unwrap();
    assert_eq!(open().await, 0);
    store.close_session(session.id, at(10)).await.unwrap();
}

#[tokio::test]
async fn history_counts_what_came_since_the_registration() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    store.generation_of(policy("a")).await.unwrap();
    assert_eq!(store.history("git").await.unwrap(), History::default());
    for (id, second, restart) in [(1, 10, false), (2, 20, true), (3, 30, true)] {
        let launch = Launch {
            restart,
            ..launch(id, "git", 1, second)
        };
        store.begin_launch(launch, starts("git")).await.unwrap();
    }
    store
        .end_launch(Uuid::from_u128(2), exit(25, 3), starts("git"))
        .await
        .unwrap();
    store
        .end_launch(Uuid::from_u128(1), exit(19, 4), starts("git"))
        .await
        .unwrap();
    let history = store.history("git").await.unwrap();
    assert_eq!((history.launches, history.restarts), (3, 2));
    assert_eq!(history.last_exit, Some(exit(25, 3)));
    let anew = Server {
        created_at: at(30),
        ..server("git")
    };
    store.register_server(anew, registers("git")).await.unwrap();
    let history = store.history("git").await.unwrap();
    assert_eq!((history.launches, history.restarts), (1, 1));
    assert_eq!(history.last_exit, None);
}

#[test]
fn debug_output_hides_the_values_of_variables() {
    let shown = format!("{:?}", server("git"));
    assert!(
        shown.contains("TOKEN=…") && !shown.contains("hunter2"),
        "{shown}"
    );
    let change = Write::Change(Box::new(Change::Register(server("git"))), None);
    assert!(!format!("{change:?}").contains("hunter2"));
}
