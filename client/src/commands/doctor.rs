//! `srtctl doctor`: what `srtd doctor --json` says, for a person. Needs no running daemon.

use super::output;
use crate::errors::Failure;
use crate::programs;
use crate::table::{clean, pad};
use crate::terminal::{self, Stream};
use serde::Deserialize;
use serde_json::Value;
use srt_proto::exit;
use std::ffi::OsString;
use std::process::{Command, Stdio};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print a JSON object; a check without a remedy has a null one
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Report {
    checks: Vec<Check>,
}

#[derive(Deserialize)]
struct Check {
    name: String,
    status: String,
    found: String,
    remedy: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<i32, Failure> {
    let (value, code) = ask_srtd(&["doctor".into(), "--json".into()])?;
    if args.json {
        output::print_json(value)?;
        return Ok(code);
    }
    let report: Report = serde_json::from_value(value).map_err(|error| not_understood(&error))?;
    output::print(&render(&report, |style, text| {
        Stream::Stdout.paint(style, text)
    }))?;
    Ok(code)
}

/// Runs srtd, which knows policy and sandboxes, with our own stdin, and returns its answer with its exit status.
pub(super) fn ask_srtd(words: &[OsString]) -> Result<(Value, i32), Failure> {
    let program = programs::srtd().map_err(|failure| Failure {
        code: exit::ERROR,
        ..failure
    })?;
    let output = Command::new(&program)
        .args(words)
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| {
            Failure::new(
                exit::ERROR,
                format!("cannot run {}: {error}", program.display()),
            )
        })?;
    match (serde_json::from_slice(&output.stdout), output.status.code()) {
        (Ok(value), Some(code)) => Ok((value, code)),
        (Err(error), Some(0)) => Err(not_understood(&error)),
        _ => Err(Failure::new(
            exit::ERROR,
            format!("{} failed: {}", program.display(), output.status),
        )),
    }
}

pub(super) fn not_understood(error: &serde_json::Error) -> Failure {
    Failure::new(
        exit::ERROR,
        format!("the answer of srtd is not understood: {error}"),
    )
    .hint("srtctl and srtd may be of different versions")
}

fn render(report: &Report, paint: impl Fn(anstyle::Style, &str) -> String) -> String {
    let widest = report
        .checks
        .iter()
        .map(|check| check.name.chars().count())
        .max();
    let mut text = String::new();
    for check in &report.checks {
        let (word, style) = match check.status.as_str() {
            "ok" => ("ok", terminal::GOOD),
            "warning" => ("warning", terminal::BUSY),
            "missing" => ("MISSING", terminal::BAD),
            other => (other, terminal::BUSY),
        };
        let space = pad("", 7usize.saturating_sub(word.chars().count()));
        let name = pad(&clean(&check.name), widest.unwrap_or(0));
        let found = clean(&check.found);
        let line = format!("{}{space}  {name}  {found}", paint(style, &clean(word)));
        text.push_str(line.trim_end());
        text.push('\n');
        for line in check.remedy.iter().flat_map(|remedy| remedy.lines()) {
            text.push_str(&format!(
                "{} {}\n",
                paint(terminal::STRONG, "hint:"),
                clean(line)
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_piece_has_its_remedy_below() {
        let report: Report = serde_json::from_str(
            "{\"platform\":\"linux\",\"checks\":[\
             {\"name\":\"bubblewrap\",\"status\":\"ok\",\"found\":\"0.8.0\",\"remedy\":null},\
             {\"name\":\"user namespaces\",\"status\":\"missing\",\"found\":\"off\",\"remedy\":\"sysctl x=1\"},\
             {\"name\":\"cgroups\",\"status\":\"warning\",\"found\":\"\",\"remedy\":null}]}",
        )
        .unwrap();
        assert_eq!(
            render(&report, |_, text| text.to_owned()),
            "ok       bubblewrap       0.8.0\n\
             MISSING  user namespaces  off\n\
             hint: sysctl x=1\n\
             warning  cgroups\n"
        );
    }
}
