//! What needs no running daemon: `srtd check` and `srtd doctor`, for srtctl to show.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use srt_policy::{Diagnostic, Facts, Severity, Source, compile};
use srt_runtime::{Status, Tools, doctor};

use crate::policies::open_settings;

/// Checks settings files; whether all can be used.
///
/// The answer is `{"files": [{"path", "ok", "digest", "diagnostics": [{"severity", "line", "column", "message", "hint"}]}]}`.
pub fn check(files: &[PathBuf], home: &Path, cwd: &Path) -> (Value, bool) {
    let facts = Facts {
        home: home.to_owned(),
        cwd: cwd.to_owned(),
        protected: Vec::new(),
        macos: cfg!(target_os = "macos"),
    };
    let checked: Vec<Value> = files.iter().map(|path| check_one(path, &facts)).collect();
    let ok = checked.iter().all(|file| file["ok"] == true);
    (json!({ "files": checked }), ok)
}

fn check_one(path: &Path, facts: &Facts) -> Value {
    let read = || {
        let mut text = String::new();
        // One more than the compiler takes: it then says so.
        let file = open_settings(path)?;
        file.take((1 << 20) + 1).read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    };
    let text = match read() {
        Ok(text) => text,
        Err(error) => {
            let finding = json!({
                "severity": "error", "line": 0, "column": 0,
                "message": format!("cannot read it: {error}"), "hint": null,
            });
            return json!({ "path": path.display().to_string(), "ok": false, "digest": null, "diagnostics": [finding] });
        }
    };
    let source = Source {
        path: path.to_owned(),
        text,
    };
    let (ok, digest, findings) = match compile(Some(&source), facts) {
        Ok(compiled) => (
            true,
            Some(compiled.policy.digest().to_owned()),
            compiled.warnings,
        ),
        Err(invalid) => (false, None, invalid.diagnostics),
    };
    json!({
        "path": path.display().to_string(),
        "ok": ok,
        "digest": digest,
        "diagnostics": findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn finding(finding: &Diagnostic) -> Value {
    json!({
        "severity": match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "line": finding.line,
        "column": finding.column,
        "message": finding.message,
        "hint": finding.hint,
    })
}

/// Tries every mechanism; whether none is missing.
///
/// The answer is `{"platform", "checks": [{"name", "status", "found", "remedy"}]}`.
pub fn examine(tools: &Tools) -> (Value, bool) {
    let checks = doctor(tools);
    let ok = checks.iter().all(|check| check.status != Status::Missing);
    let shown: Vec<Value> = checks
        .iter()
        .map(|check| {
            json!({
                "name": check.name,
                "status": match check.status {
                    Status::Ok => "ok",
                    Status::Warning => "warning",
                    Status::Missing => "missing",
                },
                "found": check.found,
                "remedy": check.remedy,
            })
        })
        .collect();
    let platform = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    (json!({ "platform": platform, "checks": shown }), ok)
}
