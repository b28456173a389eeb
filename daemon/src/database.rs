//! `srtd store`: the database looked through and copied, for srtctl to show. Needs no running daemon, and disturbs none.

use std::path::Path;

use serde_json::{Value, json};

use crate::lock::Lock;
use crate::paths::Paths;
use crate::store::{self, Against, Prefer, Reason, Store, StoreError};

/// Looks through the database; whether all is well.
///
/// The answer is `{"database", "ok", "checks": [{"name", "ok", "found", "problems", "hint"}]}`, or `{"error"}`.
pub async fn check(database: &Path) -> (Value, bool) {
    let findings = match Store::examine(database).await {
        Ok(findings) => findings,
        Err(error) => return failed(&error),
    };
    let ok = findings.iter().all(|one| one.problems.is_empty());
    let checks: Vec<Value> = findings
        .into_iter()
        .map(|one| {
            let ok = one.problems.is_empty();
            json!({
                "name": one.what,
                "ok": ok,
                "found": ok.then_some(one.found),
                "problems": one.problems,
                "hint": (!ok).then_some(one.hint),
            })
        })
        .collect();
    let answer = json!({ "database": database.display().to_string(), "ok": ok, "checks": checks });
    (answer, ok)
}

/// Copies the database to a new file; whether that worked.
///
/// The answer is `{"database", "file", "bytes", "entries", "newest"}`, or `{"error"}`.
pub async fn backup(database: &Path, to: &Path) -> (Value, bool) {
    match Store::backup(database, to).await {
        Ok(made) => {
            let answer = json!({
                "database": database.display().to_string(),
                "file": made.file.display().to_string(),
                "bytes": made.bytes,
                "entries": made.entries,
                "newest": made.newest,
            });
            (answer, true)
        }
        Err(error) => failed(&error),
    }
}

/// Verifies the audit log; whether all is well with it.
///
/// The answer is `{"ok", "path", "database", "key", "entries", "first", "last", "bad", "missing", "adopted", "pruned",
/// "segments", "anchored", "findings": [{"kind", "seq", "message"}]}`, or `{"error"}` where nothing can be said of it.
pub async fn verify(database: &Path, against: &Against) -> (Value, bool) {
    match store::verify(database, against).await {
        Ok(report) => (report.json(), report.is_ok()),
        Err(error) => (json!({ "error": error.to_string() }), false),
    }
}

/// Says where the audit log's key is; whether the log can go on with it.
///
/// The answer is `{"ok", "file", "kept", "key", "made_with", "trouble"}`, or `{"error"}`.
pub async fn key(database: &Path) -> (Value, bool) {
    let state = match store::key_state(database).await {
        Ok(state) => state,
        Err(error) => return failed(&error),
    };
    let (key, kept) = state.found.unzip();
    let ok = state.trouble.is_none();
    let answer = json!({
        "ok": ok,
        "file": state.file.display().to_string(),
        "kept": kept,
        "key": key,
        "made_with": state.made_with,
        "trouble": state.trouble,
    });
    (answer, ok)
}

/// Gives the audit log another key in the place of one that is lost; whether that worked. No daemon may run.
///
/// The answer is `{"key", "kept", "lost", "through", "copy"}`, or `{"error"}`.
pub async fn renew_key(paths: &Paths, because: &str) -> (Value, bool) {
    let lock = Lock::take(&paths.state.join("srtd.lock"), &paths.state);
    let _lock = match lock {
        Ok(lock) => lock,
        Err(error) => return (json!({ "error": error.to_string() }), false),
    };
    let why = Reason {
        uid: rustix::process::getuid().as_raw(),
        because,
    };
    match store::renew(&paths.database(), Prefer::Keyring, &why).await {
        Ok(renewed) => {
            let answer = json!({
                "key": renewed.key,
                "kept": renewed.kept,
                "lost": renewed.lost,
                "through": renewed.through,
                "copy": renewed.copy.display().to_string(),
            });
            (answer, true)
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &StoreError) -> (Value, bool) {
    (json!({ "error": error.to_string() }), false)
}
