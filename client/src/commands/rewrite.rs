//! What `srtctl policy fmt` and `srtctl policy migrate` share: settings files rewritten by `srtd rewrite`.

use super::check::{Diagnostic, listed};
use super::doctor;
use crate::errors::Failure;
use crate::table::clean;
use crate::terminal::Stream;
use serde::Deserialize;
use similar::TextDiff;
use srt_proto::exit;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Deserialize)]
pub(super) struct Report {
    pub(super) files: Vec<File>,
}

#[derive(Deserialize)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
    #[serde(default)]
    pub(super) changes: Vec<String>,
    #[serde(default)]
    diagnostics: Vec<Diagnostic>,
}

impl File {
    pub(super) fn differs(&self) -> bool {
        self.before != self.after
    }

    /// What is wrong with it, as compilers say it.
    pub(super) fn wrong(&self) -> String {
        listed(&clean(&self.path), &self.diagnostics, |style, text| {
            Stream::Stderr.paint(style, text)
        })
    }

    /// The change as a unified diff.
    pub(super) fn diff(&self) -> String {
        let (Some(before), Some(after)) = (&self.before, &self.after) else {
            return String::new();
        };
        let diff = TextDiff::configure()
            .timeout(Duration::from_secs(2))
            .diff_lines(before, after);
        let path = clean(&self.path);
        let text = diff
            .unified_diff()
            .header(&format!("a/{path}"), &format!("b/{path}"))
            .to_string();
        // A line's end is no control character here; what else is one must not drive the terminal.
        text.split('\n').map(clean).collect::<Vec<_>>().join("\n")
    }
}

/// Asks for files to be rewritten; the exit status is that of files that cannot be, else 0.
pub(super) fn ask(how: &str, files: &[PathBuf], write: bool) -> Result<(Report, i32), Failure> {
    let mut words: Vec<OsString> = vec!["rewrite".into(), "--json".into(), "--how".into()];
    words.push(how.into());
    if write {
        words.push("--write".into());
    }
    words.push("--".into());
    words.extend(files.iter().map(OsString::from));
    let (value, code) = doctor::ask_srtd(&words)?;
    let report = serde_json::from_value(value).map_err(|error| doctor::not_understood(&error))?;
    Ok((report, code))
}

/// Whether stdin is rewritten to stdout: then it is the only one.
pub(super) fn is_stdin(files: &[PathBuf]) -> Result<bool, Failure> {
    let stdin = files.iter().any(|file| file == Path::new("-"));
    if stdin && files.len() > 1 {
        return Err(
            Failure::new(exit::USAGE, "- stands alone: its text is printed")
                .hint("rewrite the files by a command of their own"),
        );
    }
    Ok(stdin)
}
