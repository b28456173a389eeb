//! What the audit log is asked: the answers, against the same question asked of every entry one by one; and that each is
//! found by its index.

use super::*;
use crate::audit::{Called, Denial, Flow};
use crate::store::pages::Paged;
use crate::store::questions::AuditQuery;
use serde_json::json;
use sqlx::QueryBuilder;

const SERVERS: [&str; 3] = ["git", "web", "db"];

/// Numbers without a pattern, the same ones each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// Some days of entries, whose times are almost in order, and once not at all.
fn made_up(count: i64) -> Vec<Entry> {
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let launch = |server: &str| Uuid::from_u128(server.len() as u128 * 7);
    (0..count)
        .map(|number| {
            let back = if number == count / 2 {
                7200
            } else {
                dice.below(5) as i64
            };
            let at = at(1_000_000 + number * 300 - back);
            let server = dice.of(&SERVERS);
            let id = launch(server);
            let host = dice.of(&["api.x.example", "X.example.", "[2001:db8::1]", "192.0.2.1"]);
            let peer = format!("{host}:{}", dice.of(&["443", "80"]));
            let file = dice.of(&[
                "/h/.aws/credentials",
                "/h/.aws",
                "/h/.aws-old/x",
                "/h/.ssh/id",
                "/h/%_/x",
            ]);
            match dice.below(7) {
                0 => flow(1).entry(Kind::Allow, at, server, id, &peer),
                1 => denial("http").entry(at, server, id, &peer),
                2 => denial("dns").entry(at, server, id, host),
                3 => denial("file").entry(at, server, id, file),
                4 => denial("mcp").entry(at, server, id, "tool"),
                5 => flow(dice.below(400_000)).entry(Kind::Allow, at, server, id, &peer),
                _ => called(dice.below(200_000)).entry(at, server, id),
            }
        })
        .collect()
}

fn flow(duration_ms: u64) -> Flow<'static> {
    Flow {
        generation: None,
        front_end: "http",
        reason: None,
        address: None,
        bytes_out: 1,
        bytes_in: 2,
        duration_ms,
        rule: None,
        remedy: None,
    }
}

fn denial(front_end: &str) -> Denial<'_> {
    Denial {
        generation: None,
        front_end,
        reason: "no rule allows it",
        rule: None,
        remedy: None,
    }
}

fn called(duration_ms: u64) -> Called<'static> {
    Called {
        generation: None,
        method: "tools/call",
        tool: Some("add"),
        asked_by: None,
        id: "1",
        outcome: "done",
        code: None,
        duration_ms,
        bytes_asked: 1,
        bytes_answered: 1,
        params: None,
        answer: None,
    }
}

async fn seqs(store: &Store, query: AuditQuery) -> Vec<u64> {
    let records = all(store.audit(query)).await;
    records.iter().map(|record| record.seq).collect()
}

/// The same question of one entry, in other words.
fn matches(query: &AuditQuery, entry: &Entry) -> bool {
    let front_end = entry
        .detail
        .get("front_end")
        .and_then(|value| value.as_str());
    let is_host = matches!(front_end, Some("http" | "dns"));
    let host = entry.subject.to_lowercase();
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap(),
        None => host.split(':').next().unwrap().trim_end_matches('.'),
    };
    let begun = || {
        let lasted = entry
            .detail
            .get("duration_ms")
            .and_then(|value| value.as_i64());
        entry.at - jiff::SignedDuration::from_millis(lasted.unwrap_or(0))
    };
    query
        .server
        .as_ref()
        .is_none_or(|server| entry.server.as_ref() == Some(server))
        && query.kind.is_none_or(|kind| entry.kind == kind)
        && query.since.is_none_or(|since| entry.at >= since)
        && query.until.is_none_or(|until| entry.at <= until)
        && query
            .host
            .as_ref()
            .is_none_or(|wanted| is_host && host == wanted)
        && query
            .port
            .is_none_or(|port| entry.subject.ends_with(&format!(":{port}")))
        && query.path.as_ref().is_none_or(|path| {
            entry.subject == *path || entry.subject.starts_with(&format!("{path}/"))
        })
        && query
            .during
            .is_none_or(|(since, until)| entry.at >= since && begun() <= until)
}

#[tokio::test]
async fn every_question_is_answered_as_if_each_entry_were_looked_at() {
    let fixture = Fixture::new().await;
    let entries = made_up(3000);
    for entry in &entries {
        fixture.store.submit(entry.clone()).await.unwrap();
    }
    fixture.store.answers().await;
    let middle = 1_000_000 + 1500 * 300;
    let some = |text: &str| Some(text.to_owned());
    let base = AuditQuery::default;
    let questions = [
        base(),
        AuditQuery {
            server: some("git"),
            ..base()
        },
        AuditQuery {
            kind: Some(Kind::Deny),
            ..base()
        },
        AuditQuery {
            server: some("git"),
            kind: Some(Kind::Deny),
            since: Some(at(middle)),
            ..base()
        },
        AuditQuery {
            since: Some(at(middle - 7200)),
            until: Some(at(middle)),
            ..base()
        },
        AuditQuery {
            until: Some(at(middle)),
            kind: Some(Kind::Call),
            ..base()
        },
        AuditQuery {
            since: Some(at(9_999_999)),
            ..base()
        },
        AuditQuery {
            until: Some(at(1)),
            ..base()
        },
        AuditQuery {
            host: some("api.x.example"),
            ..base()
        },
        AuditQuery {
            host: some("x.example"),
            port: Some(443),
            ..base()
        },
        AuditQuery {
            host: some("2001:db8::1"),
            server: some("web"),
            ..base()
        },
        AuditQuery {
            host: some("192.0.2.1"),
            kind: Some(Kind::Allow),
            since: Some(at(middle)),
            ..base()
        },
        AuditQuery {
            host: some("tool"),
            ..base()
        },
        AuditQuery {
            path: some("/h/.aws"),
            ..base()
        },
        AuditQuery {
            path: some("/h"),
            server: some("db"),
            until: Some(at(middle)),
            ..base()
        },
        AuditQuery {
            path: some("/h/%_"),
            ..base()
        },
        AuditQuery {
            server: some("git"),
            during: Some((at(middle), at(middle + 6000))),
            ..base()
        },
        AuditQuery {
            server: some("web"),
            during: Some((at(middle), at(middle + 6000))),
            kind: Some(Kind::Call),
            ..base()
        },
    ];
    for query in questions {
        let expected: Vec<u64> = (1..)
            .zip(&entries)
            .filter(|(_, entry)| matches(&query, entry))
            .map(|(seq, _)| seq)
            .collect();
        let mut found = seqs(&fixture.store, query.clone()).await;
        if query.during.is_some() {
            // Of what may have begun in time, who asks leaves out what has not.
            let may = |seq: &u64| matches(&query, &entries[*seq as usize - 1]);
            assert!(found.len() < 100, "{}", found.len());
            found.retain(may);
        }
        assert_eq!(found, expected, "{query:?}");
        let something = query.since == Some(at(9_999_999))
            || query.until == Some(at(1))
            || query.host.as_deref() == Some("tool");
        assert_eq!(expected.is_empty(), something, "{query:?}");
        // The newest, the oldest, and page by page in both directions.
        let limit = AuditQuery {
            limit: Some(7),
            ..query.clone()
        };
        if query.during.is_none() {
            let newest = &expected[expected.len().saturating_sub(7)..];
            assert_eq!(
                seqs(&fixture.store, limit.clone()).await,
                newest,
                "{query:?}"
            );
            let oldest = AuditQuery {
                oldest: true,
                ..limit.clone()
            };
            let first = &expected[..expected.len().min(7)];
            assert_eq!(seqs(&fixture.store, oldest).await, first, "{query:?}");
            let (mut back, mut before) = (Vec::new(), None);
            for _ in 0..4 {
                let page = AuditQuery {
                    before_seq: before,
                    ..limit.clone()
                };
                let page = seqs(&fixture.store, page).await;
                before = page.first().copied().or(Some(1));
                back.splice(0..0, page);
            }
            assert_eq!(
                back,
                expected[expected.len().saturating_sub(28)..],
                "{query:?}"
            );
        }
        // And as counts.
        if query.during.is_none() {
            let touches = fixture.store.touches(&query).await.unwrap();
            let sum: u64 = touches.iter().map(|touch| touch.count).sum();
            assert_eq!(sum, expected.len() as u64, "{query:?}");
        }
    }
}

#[tokio::test]
async fn touches_say_how_often_first_and_last() {
    let fixture = Fixture::new().await;
    let id = Uuid::nil();
    for second in [10, 20, 30] {
        let entry = denial("http").entry(at(second), "git", id, "x.example:443");
        fixture.store.record(entry).await.unwrap();
    }
    let entry = flow(1).entry(Kind::Allow, at(40), "web", id, "x.example:443");
    fixture.store.record(entry).await.unwrap();
    let query = AuditQuery {
        host: Some("x.example".into()),
        ..AuditQuery::default()
    };
    let touch = |server: &str, kind, count, first, last| Touch {
        server: Some(server.into()),
        kind,
        count,
        first: at(first),
        last: at(last),
    };
    assert_eq!(
        fixture.store.touches(&query).await.unwrap(),
        [
            touch("git", Kind::Deny, 3, 10, 30),
            touch("web", Kind::Allow, 1, 40, 40)
        ]
    );
}

#[tokio::test]
async fn a_variable_is_found_by_its_name_alone_until_its_entry_goes() {
    let fixture = Fixture::new().await;
    let start = Entry::new(at(1), Kind::Start, "npx").server("git");
    let start = start.with("variables", json!(["API_TOKEN", "OTHER"]));
    let seq = fixture.store.record(start).await.unwrap();
    fixture.store.record(entry(2, "x")).await.unwrap();
    let query = |name: &str| AuditQuery {
        variable: Some(name.into()),
        ..AuditQuery::default()
    };
    assert_eq!(seqs(&fixture.store, query("API_TOKEN")).await, [seq]);
    let touch = |server: &str, count, first, last| Touch {
        server: Some(server.into()),
        kind: Kind::Start,
        count,
        first: at(first),
        last: at(last),
    };
    let touches = async |query| fixture.store.touches(&query).await.unwrap();
    assert_eq!(touches(query("OTHER")).await, [touch("git", 1, 1, 1)]);
    // Counted without a look at the entries, and with one, it is the same.
    for (second, server) in [(3, "git"), (4, "web")] {
        let start = Entry::new(at(second), Kind::Start, "npx").server(server);
        let start = start
            .launch(Uuid::nil())
            .with("variables", json!(["LATER"]));
        fixture.store.record(start).await.unwrap();
    }
    let later = [touch("git", 1, 3, 3), touch("web", 1, 4, 4)];
    assert_eq!(touches(query("LATER")).await, later);
    let of_launch = AuditQuery {
        launch: Some(Uuid::nil()),
        ..query("LATER")
    };
    assert_eq!(touches(of_launch).await, later);
    let since = AuditQuery {
        since: Some(at(4)),
        ..query("LATER")
    };
    assert_eq!(touches(since).await, later[1..]);
    let of_web = AuditQuery {
        server: Some("web".into()),
        kind: Some(Kind::Start),
        ..query("LATER")
    };
    assert_eq!(touches(of_web).await, later[1..]);
    let denied = AuditQuery {
        kind: Some(Kind::Deny),
        ..query("LATER")
    };
    assert_eq!(touches(denied).await, []);
    assert_eq!(seqs(&fixture.store, query("API")).await, [0; 0]);
    let mut raw = fixture.raw().await;
    let left = async |raw: &mut SqliteConnection| {
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM audit_variables");
        let count: i64 = count.fetch_one(raw).await.unwrap();
        count
    };
    assert_eq!(left(&mut raw).await, 4);
    sqlx::query("DELETE FROM audit WHERE seq = 1")
        .execute(&mut raw)
        .await
        .unwrap();
    assert_eq!(left(&mut raw).await, 2);
}

/// Without statistics, which is how the store runs, SQLite must take the index that is meant: a million entries say
/// nothing here, the plan says all.
#[tokio::test]
async fn every_question_has_its_index() {
    let fixture = Fixture::new().await;
    let some = |text: &str| Some(text.to_owned());
    let base = AuditQuery::default;
    let questions = [
        (
            AuditQuery {
                server: some("a"),
                ..base()
            },
            "audit_by_server (server=? AND rowid>? AND rowid<?)",
        ),
        (
            AuditQuery {
                kind: Some(Kind::Deny),
                ..base()
            },
            "audit_by_kind (kind=? AND rowid>? AND rowid<?)",
        ),
        (
            AuditQuery {
                server: some("a"),
                kind: Some(Kind::Deny),
                since: Some(at(1)),
                ..base()
            },
            "audit_by_server_kind (server=? AND kind=? AND rowid>? AND rowid<?)",
        ),
        (
            AuditQuery {
                host: some("a"),
                ..base()
            },
            "audit_by_host (host=?)",
        ),
        (
            AuditQuery {
                host: some("a"),
                server: some("b"),
                ..base()
            },
            "audit_by_host (host=? AND server=?)",
        ),
        (
            AuditQuery {
                path: some("/a"),
                server: some("b"),
                ..base()
            },
            "audit_by_path (path>? AND path<?)",
        ),
        (
            AuditQuery {
                variable: some("A"),
                ..base()
            },
            "audit_variables USING COVERING INDEX",
        ),
        (
            AuditQuery {
                server: some("a"),
                during: Some((at(1), at(2))),
                ..base()
            },
            "audit_by_server_time (server=? AND at>? AND at<?)",
        ),
        (
            AuditQuery {
                server: some("a"),
                during: Some((at(1), at(2))),
                ..base()
            },
            "audit_by_begin (server=? AND begun>? AND begun<?)",
        ),
    ];
    let mut raw = fixture.raw().await;
    for (query, expected) in questions {
        let sign = if query.scattered() { "+" } else { "" };
        let mut explain = QueryBuilder::new(format!(
            "EXPLAIN QUERY PLAN SELECT * FROM audit {} WHERE {sign}seq > 0 AND {sign}seq <= 9",
            query.index()
        ));
        query.conditions(&mut explain);
        explain.push(format!(" ORDER BY {sign}seq LIMIT 9"));
        let rows = explain.build().fetch_all(&mut raw).await.unwrap();
        let plan: Vec<String> = rows
            .iter()
            .map(|row| sqlx::Row::get(row, "detail"))
            .collect();
        assert!(
            plan.iter().any(|line| line.contains(expected)),
            "{query:?}: {plan:?}"
        );
    }
}
