//! Tests of the store, on real files.

mod backup;
mod crash;
mod damage;
mod log;
mod migrate;
mod open;
mod questions;
mod renew;
mod segments;
mod tables;
mod tamper;
mod trouble;

use std::path::PathBuf;

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::audit::{Kind, Record};

/// A store in a folder of its own.
struct Fixture {
    folder: TempDir,
    store: Store,
}

impl Fixture {
    async fn new() -> Self {
        Self::tuned(Tuning::default()).await
    }

    async fn tuned(tuning: Tuning) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_as(
            &folder.path().join("state/srt.db"),
            Opening {
                tuning,
                ..Opening::default()
            },
        )
        .await
        .unwrap();
        Self { folder, store }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("state/srt.db")
    }

    async fn reopen(self) -> Self {
        self.store.close().await.unwrap();
        let store = Store::open(&self.path()).await.unwrap();
        Self {
            folder: self.folder,
            store,
        }
    }

    /// A connection behind the store's back.
    async fn raw(&self) -> SqliteConnection {
        raw(&self.path()).await
    }
}

async fn raw(path: &std::path::Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .connect()
        .await
        .unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn entry(second: i64, subject: &str) -> Entry {
    Entry::new(at(second), Kind::Deny, subject).server("git")
}

fn line(server: &str, second: i64, text: &str) -> LogLine {
    LogLine {
        at: at(second),
        server: server.into(),
        stream: Stream::Stderr,
        launch: None,
        line: text.into(),
    }
}

fn server(name: &str) -> Server {
    Server {
        name: name.into(),
        command: vec!["npx".into(), "-y".into()],
        cwd: None,
        settings: Some("/s.json".into()),
        profile: Some("dev".into()),
        env: vec![EnvVar {
            name: "TOKEN".into(),
            value: Some("hunter2".into()),
        }],
        registered: true,
        enabled: false,
        created_at: at(1),
    }
}

fn policy(text: &str) -> Policy {
    Policy {
        source: "built-in".into(),
        digest: format!("digest of {text}"),
        text: text.into(),
        documents: Vec::new(),
        compiled_at: at(2),
    }
}

fn launch(id: u128, server: &str, generation: u64, second: i64) -> Launch {
    Launch {
        id: Uuid::from_u128(id),
        server: server.into(),
        generation,
        restart: false,
        temp_dir: Some("/tmp/x".into()),
        started_at: at(second),
    }
}

fn exit(second: i64, code: i32) -> Exit {
    Exit {
        at: at(second),
        code: Some(code),
        signal: None,
        reason: format!("exited with status {code}"),
        kind: Some(EndKind::Exited),
    }
}

/// Reads to the end.
async fn all(mut pages: Pages<AuditQuery>) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let page = pages.next().await.unwrap();
        if page.is_empty() {
            return records;
        }
        records.extend(page);
    }
}

async fn all_lines(mut pages: Pages<LogQuery>) -> Vec<LogRecord> {
    let mut records = Vec::new();
    loop {
        let page = pages.next().await.unwrap();
        if page.is_empty() {
            return records;
        }
        records.extend(page);
    }
}

fn subjects(records: &[Record]) -> Vec<&str> {
    records
        .iter()
        .map(|record| record.entry.subject.as_str())
        .collect()
}
