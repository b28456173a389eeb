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
    /// Settings files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print a JSON object; a diagnostic without a hint has a null one
    #[arg(long)]
    json: bool,
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
struct Diagnostic {
    severity: String,
    line: u32,
    column: u32,
    message: String,
    hint: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<i32, Failure> {
    let mut words: Vec<OsString> = vec!["check".into(), "--json".into(), "--".into()];
    words.extend(args.files.iter().map(OsString::from));
    let (value, code) = doctor::ask_srtd(&words)?;
    if args.json {
        output::print_json(value)?;
        return Ok(code);
    }
    let report: Report =
        serde_json::from_value(value).map_err(|error| doctor::not_understood(&error))?;
    output::print(&render(&report, |style, text| {
        Stream::Stdout.paint(style, text)
    }))?;
    Ok(code)
}

fn render(report: &Report, paint: impl Fn(anstyle::Style, &str) -> String) -> String {
    let mut text = String::new();
    for file in &report.files {
        let path = clean(&file.path);
        for found in &file.diagnostics {
            let style = if found.severity == "error" {
                terminal::BAD
            } else {
                terminal::BUSY
            };
            let place = match found.line {
                // About the file as a whole: it cannot be read, say.
                0 => path.clone(),
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
        if file.ok && !file.diagnostics.is_empty() {
            text.push_str(&format!("{path}: ok\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

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
