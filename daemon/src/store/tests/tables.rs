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
        documents: vec![document("/s.json", "a")],
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
    let several = Policy {
        source: "/s.json".into(),
        documents: vec![document("@git", "x"), document("/s.json", "b")],
        ..policy("b")
    };
    store.generation_of(several.clone()).await.unwrap();
    let kept = store.generation(4).await.unwrap().unwrap();
    assert_eq!(kept.policy, several);
}

fn document(path: &str, text: &str) -> Document {
    Document {
        layer: "server".into(),
        path: path.into(),
        text: text.into(),
    }
}

#[tokio::test]
async fn what_was_in_force_is_kept_until_its_server_is_removed() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    for text in ["a", "b"] {
        store.generation_of(policy(text)).await.unwrap();
    }
    store
        .register_server(server("git"), starts("git"))
        .await
        .unwrap();
    let now = |cwd: &str, settings: Option<&str>, generation, reason: &str| InForce {
        server: "git".into(),
        cwd: cwd.into(),
        settings: settings.map(Into::into),
        generation,
        at: at(3),
        reason: reason.into(),
    };
    let (here, there) = (now("/w", None, 1, "first"), now("/x", None, 2, "changed"));
    for row in [&here, &there] {
        store.put_in_force(row.clone()).await.unwrap();
    }
    let last = async |cwd: &str, settings| store.last_in_force("git", cwd, settings).await.unwrap();
    assert_eq!(last("/w", None).await.as_ref(), Some(&here));
    assert_eq!(last("/x", None).await.as_ref(), Some(&there));
    assert_eq!(last("/y", None).await.as_ref(), Some(&there), "the newest");
    assert_eq!(last("/w", Some("/s.json")).await.as_ref(), Some(&there));
    assert_eq!(
        store.last_in_force("other", "/w", None).await.unwrap(),
        None
    );
    let history = store.policy_history("git").await.unwrap();
    let told: Vec<_> = history
        .iter()
        .map(|(row, generation)| (row.clone(), generation.policy.text.as_str()))
        .collect();
    assert_eq!(told, [(here, "a"), (there, "b")]);
    let unknown = store.put_in_force(now("/w", None, 9, "")).await;
    assert!(
        matches!(unknown, Err(StoreError::Write { .. })),
        "{unknown:?}"
    );
    store.remove_server("git", starts("git")).await.unwrap();
    assert_eq!(store.policy_history("git").await.unwrap(), []);
}

#[tokio::test]
async fn a_rule_is_found_wherever_it_was_written() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let used = async |second, server: &str, rule: &str| {
        let entry = Entry::new(at(second), Kind::Allow, "x").server(server);
        store.record(entry.with("rule", rule)).await.unwrap();
    };
    used(1, "git", "k: a.example (/s.json:1)").await;
    used(3, "git", "k: a.example (/s.json:2)").await;
    used(2, "git", "k: a.example (/other (1).json:2)").await;
    used(4, "git", "k: b").await;
    used(5, "git", "k: a.example.org (/s.json:1)").await;
    used(9, "other", "k: a.example (/s.json:1)").await;
    store.record(entry(9, "no rule")).await.unwrap();
    for (rule, expected) in [
        ("k: a.example", Some(3)),
        ("k: b", Some(4)),
        ("k: a", None),
        ("k: a.example.or", None),
        ("a.example", None),
        ("z", None),
    ] {
        let last = store.rule_last_used("git", rule).await.unwrap();
        assert_eq!(last, expected.map(at), "{rule}");
    }
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
        init_start: Some(3),
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
        token_hash: None,
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
    store
        .move_session(session.id, first.id, Some(8))
        .await
        .unwrap();
    assert!(
        store
            .move_session(session.id, Uuid::from_u128(99), None)
            .await
            .is_err()
    );
    let carried = Session {
        id: Uuid::from_u128(11),
        token_hash: Some("ab".into()),
        ..session.clone()
    };
    store.open_session(carried.clone()).await.unwrap();
    store.close_tokenless_sessions(at(9)).await.unwrap();
    let left = OpenSession {
        id: carried.id,
        server: "git".into(),
        token_hash: "ab".into(),
    };
    assert_eq!(store.open_sessions().await.unwrap(), [left]);
    for _ in 0..2 {
        store
            .give_session_up(carried.id, at(9), starts("given up"))
            .await
            .unwrap();
    }
    assert_eq!(open().await, 0);
    let told = all(store.audit(AuditQuery::default())).await;
    let told = told
        .iter()
        .filter(|told| told.entry.server.as_deref() == Some("given up"));
    assert_eq!(told.count(), 1, "one entry for one end");
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

#[tokio::test]
async fn only_a_registered_server_is_enabled_and_a_new_registration_is_not() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let enables = |kind| Entry::new(at(2), kind, "git").server("git");
    store.note_server(server("git")).await.unwrap();
    let enable = async || {
        store
            .enable_server("git", true, enables(Kind::Enable))
            .await
            .unwrap()
    };
    assert!(!enable().await, "it is only known");
    store
        .register_server(server("git"), registers("git"))
        .await
        .unwrap();
    assert!(enable().await);
    assert!(!enable().await, "it is already");
    assert!(store.server("git").await.unwrap().unwrap().enabled);
    // One entry for the registration, one for the change.
    assert_eq!(*store.audit_tail().borrow(), 2);
    let removes = Entry::new(at(3), Kind::Remove, "git").server("git");
    assert!(store.remove_server("git", removes).await.unwrap());
    store
        .register_server(server("git"), registers("git"))
        .await
        .unwrap();
    assert!(!store.server("git").await.unwrap().unwrap().enabled);
}
