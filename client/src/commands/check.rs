//! `srtctl policy check`: what `srtd check --json` says, for a person. Needs no running daemon.

use super::{doctor, output};
use crate::errors::Failure;
use crate::table::clean;
use crate::terminal::{self, Stream};
use serde::Deserialize;
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Settings files; a folder stands for the *.json files in it and below, a pattern ('**/.srt.json') for what it
    /// matches, - for stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The files are projects' (.srt.json), which may only tighten: hold each to these settings
    #[arg(long, value_name = "SETTINGS")]
    against: Option<PathBuf>,
    /// How findings are printed: for a person, as a JSON object (a diagnostic without a hint has a null one), or as
    /// annotations of a workflow of GitHub Actions
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
    Github,
}

#[derive(Deserialize)]
struct Report {
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    path: String,
    ok: bool,
    #[serde(default)]
    diagnostics: Vec<Diagnostic>,
}

#[derive(Deserialize)]
pub(super) struct Diagnostic {
    severity: String,
    line: u32,
    column: u32,
    message: String,
    hint: Option<String>,
    /// The file that has it, where that is one which the checked one extends.
    file: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<i32, Failure> {
    let mut words: Vec<OsString> = vec!["check".into(), "--json".into()];
    if let Some(outer) = &args.against {
        words.extend(["--against".into(), outer.into()]);
    }
    words.push("--".into());
    words.extend(args.files.iter().map(OsString::from));
    let (value, code) = doctor::ask_srtd(&words)?;
    if args.json || args.format == Format::Json {
        output::print_json(value)?;
        return Ok(code);
    }
    let report: Report =
        serde_json::from_value(value).map_err(|error| doctor::not_understood(&error))?;
    output::print(&if args.format == Format::Github {
        annotations(&report)
    } else {
        render(&report, |style, text| Stream::Stdout.paint(style, text))
    })?;
    Ok(code)
}

fn render(report: &Report, paint: impl Fn(anstyle::Style, &str) -> String) -> String {
    let mut text = String::new();
    for file in &report.files {
        let path = clean(&file.path);
        text.push_str(&listed(&path, &file.diagnostics, &paint));
        if file.ok && !file.diagnostics.is_empty() {
            text.push_str(&format!("{path}: ok\n"));
        }
    }
    text
}

/// Findings as compilers print theirs, each with its hint beneath it.
pub(super) fn listed(
    path: &str,
    findings: &[Diagnostic],
    paint: impl Fn(anstyle::Style, &str) -> String,
) -> String {
    let mut text = String::new();
    for found in findings {
        let of = found.file.as_deref().map(clean);
        let path = of.as_deref().unwrap_or(path);
        let style = if found.severity == "error" {
            terminal::BAD
        } else {
            terminal::BUSY
        };
        let place = match found.line {
            // About the file as a whole: it cannot be read, say.
            0 => path.to_owned(),
            line => format!("{path}:{line}:{}", found.column),
        };
        let word = paint(style, &format!("{}:", clean(&found.severity)));
        text.push_str(&format!("{place}: {word} {}\n", clean(&found.message)));
        if let Some(hint) = &found.hint {
            text.push_str(&format!(
                "{} {}\n",
                paint(terminal::STRONG, "hint:"),
                clean(hint)
            ));
        }
    }
    text
}

/// A workflow command for each finding: GitHub shows it at its line of a pull request.
fn annotations(report: &Report) -> String {
    let mut text = String::new();
    for file in &report.files {
        for found in &file.diagnostics {
            let kind = if found.severity == "error" {
                "error"
            } else {
                "warning"
            };
            let mut at = format!(
                "file={}",
                property(found.file.as_ref().unwrap_or(&file.path))
            );
            if found.line > 0 {
                at.push_str(&format!(",line={},col={}", found.line, found.column));
            }
            let hint = match &found.hint {
                Some(hint) => format!("\nhint: {}", clean(hint)),
                None => String::new(),
            };
            let message = data(&format!("{}{hint}", clean(&found.message)));
            text.push_str(&format!("::{kind} {at},title=srt policy::{message}\n"));
        }
    }
    text
}

/// What follows the second `::` of a workflow command: without these escapes the next line would be a command of its
/// own.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// A value in front of it, which a comma or a colon would end.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_and_no_message_ends_its_annotation() {
        let report: Report = serde_json::from_value(serde_json::json!({ "files": [
            { "path": "a,b::c\n::error::x.json", "ok": false, "diagnostics": [
                { "severity": "error", "line": 3, "column": 7, "message": "unknown key \"50%\"\r\n::stop-commands::x", "hint": "did you mean\n\"x\"?" },
                { "severity": "warning", "line": 0, "column": 0, "message": "m", "hint": null },
            ] },
            { "path": "b.json", "ok": true, "diagnostics": [] },
        ] }))
        .unwrap();
        assert_eq!(
            annotations(&report),
            "::error file=a%2Cb%3A%3Ac%0A%3A%3Aerror%3A%3Ax.json,line=3,col=7,title=srt policy::unknown key \"50%25\"\\r\\n::stop-commands::x%0Ahint: did you mean\\n\"x\"?\n\
             ::warning file=a%2Cb%3A%3Ac%0A%3A%3Aerror%3A%3Ax.json,title=srt policy::m\n"
        );
    }

    #[test]
    fn diagnostics_are_where_an_editor_finds_them() {
        let report: Report = serde_json::from_str(
            "{\"files\":[\
             {\"path\":\"a.json\",\"ok\":true,\"digest\":\"ab\",\"diagnostics\":[]},\
             {\"path\":\"b.json\",\"ok\":true,\"digest\":\"cd\",\"diagnostics\":[{\"severity\":\"warning\",\"line\":2,\
              \"column\":3,\"message\":\"not enforced yet\",\"hint\":null}]},\
             {\"path\":\"c.json\",\"ok\":false,\"diagnostics\":[{\"severity\":\"error\",\"line\":1,\"column\":5,\
              \"message\":\"unknown key \\\"netwrok\\\"\",\"hint\":\"did you mean \\\"network\\\"?\"}]}]}",
        )
        .unwrap();
        assert_eq!(
            render(&report, |_, text| text.to_owned()),
            "b.json:2:3: warning: not enforced yet\n\
             b.json: ok\n\
             c.json:1:5: error: unknown key \"netwrok\"\n\
             hint: did you mean \"network\"?\n"
        );
    }
}
