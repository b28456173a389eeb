//! What needs no running daemon: `srtd check` and `srtd doctor`, for srtctl to show.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use srt_policy::{
    Compiled, Diagnostic, Facts, InvalidPolicy, Layer, Layered, Severity, Source, check_one,
    check_project, compile_layers,
};
use srt_runtime::{Status, Tools, doctor};

use crate::layered::{alone, open_settings};
use crate::named::{Named, named};

/// Checks settings files, or what is named by folders, patterns and `-`; whether all can be used.
///
/// With `against`, a server's settings file, the files are projects' and held to it, each as in its own folder.
///
/// The answer is `{"files": [{"path", "ok", "digest", "diagnostics": [{"severity", "line", "column", "message", "hint"}]}]}`, with a
/// `file` where a finding is in one that it extends.
pub fn check(files: &[PathBuf], against: Option<&Path>, home: &Path, cwd: &Path) -> (Value, bool) {
    let facts = Facts {
        home: home.to_owned(),
        cwd: cwd.to_owned(),
        protected: Vec::new(),
        program: Vec::new(),
        macos: cfg!(target_os = "macos"),
    };
    let all: Vec<Value> = named(files)
        .iter()
        .map(|named| checked(named, against, &facts))
        .collect();
    let ok = all.iter().all(|file| file["ok"] == true);
    (json!({ "files": all }), ok)
}

fn checked(named: &Named, against: Option<&Path>, facts: &Facts) -> Value {
    let source = match read(named) {
        Ok(source) => source,
        Err(why) => return unread(named, &why),
    };
    let path = &source.path;
    let shown = path.display().to_string();
    let main = facts.cwd.join(path);
    let compiled = match alone(source, &facts.home, &facts.cwd) {
        Ok(layered) => compiled(layered, against, facts),
        // Beside what is wrong with what it extends, all that is wrong in the file itself.
        Err((mut invalid, file)) => {
            let others = match check_one(&file, facts) {
                Ok(compiled) => compiled.warnings,
                Err(invalid) => invalid.diagnostics,
            };
            invalid.diagnostics.extend(others);
            let place = |found: &Diagnostic| (found.path != main, found.line, found.column);
            invalid.diagnostics.sort_by_key(place);
            Err(invalid)
        }
    };
    let (ok, digest, findings) = match compiled {
        Ok(compiled) => (
            true,
            Some(compiled.policy.digest().to_owned()),
            compiled.warnings,
        ),
        Err(invalid) => (false, None, invalid.diagnostics),
    };
    json!({
        "path": shown,
        "ok": ok,
        "digest": digest,
        "diagnostics": findings.iter().map(|found| placed(found, &main, named, facts)).collect::<Vec<_>>(),
    })
}

fn compiled(
    layered: Layered,
    against: Option<&Path>,
    facts: &Facts,
) -> Result<Compiled, InvalidPolicy> {
    match (against, layered.layer) {
        (Some(outer), _) => held(layered, outer, facts),
        (None, Layer::Project) => check_project(&layered, facts),
        (None, _) => compile_layers(&[layered], facts),
    }
}

/// A project's file with what a server's settings let it tighten.
fn held(project: Layered, outer: &Path, facts: &Facts) -> Result<Compiled, InvalidPolicy> {
    let path = project.main().map(|main| main.path.clone());
    let path = path.unwrap_or_default();
    let fault = |path: &Path, message: String, hint: Option<String>| InvalidPolicy {
        diagnostics: vec![Diagnostic {
            severity: Severity::Error,
            path: path.to_owned(),
            line: 0,
            column: 0,
            message,
            hint,
        }],
    };
    if project.layer != Layer::Project {
        return Err(fault(
            &path,
            "it is no project's file: only those are held to settings".to_owned(),
            Some("a project's file is called .srt.json; check others without --against".to_owned()),
        ));
    }
    let source = read(&Named::File(outer.to_owned()))
        .map_err(|why| fault(&facts.cwd.join(outer), why, None))?;
    let outer = Layered {
        layer: Layer::Server,
        ..alone(source, &facts.home, &facts.cwd).map_err(|(invalid, _)| invalid)?
    };
    // A launch in the project has its folder for a working directory.
    let facts = Facts {
        cwd: path.parent().map(Path::to_owned).unwrap_or_default(),
        ..facts.clone()
    };
    compile_layers(&[outer, project], &facts)
}

/// What a file says, or why it cannot be read.
pub(crate) fn read(named: &Named) -> Result<Source, String> {
    let mut text = String::new();
    // One more than the compiler takes: it then says so.
    const MOST: u64 = (1 << 20) + 1;
    let read = match named {
        Named::File(path) => {
            open_settings(path).and_then(|file| file.take(MOST).read_to_string(&mut text))
        }
        Named::Stdin => std::io::stdin().take(MOST).read_to_string(&mut text),
        Named::Nothing { why, .. } => return Err(why.clone()),
    };
    read.map_err(|error| format!("cannot read it: {error}"))?;
    Ok(Source {
        path: named.path().to_owned(),
        text,
    })
}

/// The report of a file that cannot be read.
pub(crate) fn unread(named: &Named, why: &str) -> Value {
    let finding = json!({
        "severity": "error", "line": 0, "column": 0, "message": why, "hint": null,
    });
    json!({ "path": named.path().display().to_string(), "ok": false, "digest": null, "diagnostics": [finding] })
}

/// A finding with the file that has it, where that is another one than the one that is checked: one that it extends. It is
/// told as the checked one was named: an annotation of a pull request has no place for a whole path.
fn placed(found: &Diagnostic, main: &Path, named: &Named, facts: &Facts) -> Value {
    let mut shown = finding(found);
    if found.path != main {
        let relative = found.path.strip_prefix(&facts.cwd).ok();
        let path = relative.filter(|_| named.path().is_relative());
        shown["file"] = json!(path.unwrap_or(&found.path).display().to_string());
    }
    shown
}

pub(crate) fn finding(finding: &Diagnostic) -> Value {
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
