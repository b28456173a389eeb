//! Writing settings files anew: what `srtctl policy fmt` and `srtctl policy migrate` show and do. Needs no running daemon.

use std::path::PathBuf;

use serde_json::{Value, json};
use srt_policy::{InvalidPolicy, Source, format, migrate};

use crate::check::{finding, read, unread};
use crate::named::{Named, named};
use crate::place::Spot;

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Its one form.
    Format,
    /// The newest version of the format.
    Migrate,
}

/// Rewrites settings files, or what is named by folders, patterns and `-`: in memory, and with `write` on the disk, each
/// file as a whole or not at all. Whether all could be read.
///
/// The answer is `{"files": [{"path", "ok", "before", "after", "written", "changes": ["…"], "diagnostics"}]}`, the last as
/// [`check`](crate::check::check) has them; `before` and `after` are null for a file that cannot be read.
pub fn rewrite(how: Rewrite, files: &[PathBuf], write: bool) -> (Value, bool) {
    let done: Vec<Value> = named(files)
        .iter()
        .map(|named| rewrite_one(how, named, write))
        .collect();
    let ok = done.iter().all(|file| file["ok"] == true);
    (json!({ "files": done }), ok)
}

fn rewrite_one(how: Rewrite, named: &Named, write: bool) -> Value {
    let source = match read(named) {
        Ok(source) => source,
        Err(why) => return with_texts(unread(named, &why)),
    };
    let (after, changes) = match rewritten(how, &source) {
        Ok(rewritten) => rewritten,
        Err(invalid) => {
            let found: Vec<Value> = invalid.diagnostics.iter().map(finding).collect();
            return with_texts(json!({
                "path": source.path.display().to_string(),
                "ok": false,
                "diagnostics": found,
            }));
        }
    };
    let mut written = false;
    if let (true, Named::File(path)) = (write && after != source.text, named) {
        // Of a link, what it leads to.
        let replaced = path
            .canonicalize()
            .and_then(|real| Spot::of(&real)?.replace(&after));
        if let Err(error) = replaced {
            return with_texts(unread(named, &format!("cannot write it: {error}")));
        }
        written = true;
    }
    json!({
        "path": source.path.display().to_string(),
        "ok": true,
        "before": source.text,
        "after": after,
        "written": written,
        "changes": changes,
        "diagnostics": [],
    })
}

/// The report of a file that stays as it is, with every name that one has.
fn with_texts(mut report: Value) -> Value {
    for (name, value) in [
        ("before", Value::Null),
        ("after", Value::Null),
        ("written", false.into()),
        ("changes", json!([])),
    ] {
        report[name] = value;
    }
    report
}

fn rewritten(how: Rewrite, source: &Source) -> Result<(String, Vec<String>), InvalidPolicy> {
    match how {
        Rewrite::Format => Ok((format(source)?, Vec::new())),
        Rewrite::Migrate => migrate(source).map(|migrated| (migrated.text, migrated.changes)),
    }
}

/// The built-in templates, `{"templates": [{"name", "text"}]}`.
pub fn templates() -> Value {
    let all: Vec<Value> = srt_policy::TEMPLATES
        .iter()
        .map(|(name, text)| json!({ "name": name, "text": text }))
        .collect();
    json!({ "templates": all })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_mode_and_through_its_link() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (
            folder.path().join("a.json"),
            folder.path().join("link.json"),
        );
        fs::write(&file, "{\"strict\":true}").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("a.json", &link).unwrap();
        let (answer, ok) = rewrite(Rewrite::Format, std::slice::from_ref(&link), true);
        assert!(ok, "{answer}");
        assert_eq!(answer["files"][0]["written"], true);
        assert_eq!(fs::read_to_string(&file).unwrap(), "{ \"strict\": true }\n");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o7777,
            0o640
        );
        assert!(link.is_symlink());
        // Nothing lies beside it.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_has_a_fault_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.json");
        for (how, text) in [
            (Rewrite::Format, "{ \"strict\" }"),
            (Rewrite::Migrate, "{ \"strikt\": true }"),
            (Rewrite::Migrate, "{ \"version\": 7 }"),
        ] {
            fs::write(&file, text).unwrap();
            let (answer, ok) = rewrite(how, std::slice::from_ref(&file), true);
            assert!(!ok, "{answer}");
            assert_eq!(answer["files"][0]["after"], Value::Null);
            assert_eq!(answer["files"][0]["diagnostics"][0]["severity"], "error");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }
}
