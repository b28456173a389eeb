//! `srtctl store`: the daemon's database, looked through and copied. srtd does it itself, so that it works without a daemon,
//! and beside one.

use super::{doctor, output};
use crate::errors::Failure;
use crate::table::{clean, pad};
use crate::terminal::{self, Stream};
use crate::time;
use serde::Deserialize;
use serde_json::Value;
use srt_proto::exit;
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Copy the database to a new file, whole, while it is in use
    ///
    /// To go back to it: stop the daemon, put the file in the place of srt.db (srtctl daemon status says where that is), remove
    /// srt.db-wal and srt.db-shm, and start the daemon, whose log then tells that an older one took its place. The audit log's
    /// key is not in it, and without that the log cannot go on: keep a copy of the key as well (audit.key beside srt.db), in
    /// another place. "srtctl audit verify --file FILE" verifies the copy.
    Backup {
        /// The file, which must not exist yet
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Look through the database: every page, reference and number, and whether somebody changed its schema; exits 1 if
    /// something is wrong
    Check {
        /// Print a JSON object; a check's "found" is null where something is wrong, its "hint" where nothing is
        #[arg(long)]
        json: bool,
    },
}

#[derive(Deserialize)]
struct Backup {
    file: String,
    bytes: u64,
    entries: u64,
}

#[derive(Deserialize)]
struct Report {
    ok: bool,
    checks: Vec<Check>,
}

#[derive(Deserialize)]
struct Check {
    name: String,
    ok: bool,
    found: Option<String>,
    problems: Vec<String>,
    hint: Option<String>,
}

pub(super) fn run(command: &Command) -> Result<i32, Failure> {
    match command {
        Command::Backup { file, json } => {
            // srtd has our working directory, but a name that begins with a dash is no option.
            let words = [
                "store".into(),
                "backup".into(),
                "--json".into(),
                "--".into(),
                OsString::from(file),
            ];
            let value = ask(&words)?.0;
            if *json {
                output::print_json(value)?;
                return Ok(exit::OK);
            }
            let made: Backup = parsed(value)?;
            output::print(&format!(
                "{}: {}, {} audit entries\n",
                clean(&made.file),
                time::size(made.bytes),
                made.entries
            ))?;
            Ok(exit::OK)
        }
        Command::Check { json } => {
            let (value, code) = ask(&["store".into(), "check".into(), "--json".into()])?;
            if *json {
                output::print_json(value)?;
                return Ok(code);
            }
            let report: Report = parsed(value)?;
            output::print(&render(&report, |style, text| {
                Stream::Stdout.paint(style, text)
            }))?;
            Ok(code)
        }
    }
}

/// What srtd answers, or the error that it answers with.
fn ask(words: &[OsString]) -> Result<(Value, i32), Failure> {
    let (value, code) = doctor::ask_srtd(words)?;
    match value["error"].as_str() {
        Some(error) => Err(Failure::from_text(exit::ERROR, error)),
        None => Ok((value, code)),
    }
}

fn parsed<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| doctor::not_understood(&error))
}

fn render(report: &Report, paint: impl Fn(anstyle::Style, &str) -> String) -> String {
    let mut text = String::new();
    for check in &report.checks {
        let name = pad(&clean(&check.name), 12);
        if check.ok {
            let found = clean(check.found.as_deref().unwrap_or_default());
            text.push_str(&format!(
                "{}     {name}{found}\n",
                paint(terminal::GOOD, "ok")
            ));
            continue;
        }
        for (number, problem) in check.problems.iter().enumerate() {
            let (word, name) = match number {
                0 => (paint(terminal::BAD, "WRONG"), name.clone()),
                _ => (pad("", 5), pad("", 12)),
            };
            text.push_str(&format!("{word}  {name}{}\n", clean(problem)));
        }
        if let Some(hint) = &check.hint {
            let word = paint(terminal::STRONG, "hint:");
            text.push_str(&format!("{word} {}\n", clean(hint)));
        }
    }
    if report.ok {
        text.push_str("the database is as it should be\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_below_each_other_with_the_remedy() {
        let report: Report = serde_json::from_str(
            "{\"ok\": false, \"checks\": [\
             {\"name\": \"whole\", \"ok\": true, \"found\": \"every page\", \"problems\": [], \"hint\": null},\
             {\"name\": \"schema\", \"ok\": false, \"found\": null, \"problems\": [\"trigger x is not the daemon's\",\
              \"index y is missing\"], \"hint\": \"look\"}]}",
        )
        .unwrap();
        assert_eq!(
            render(&report, |_, text| text.to_owned()),
            "ok     whole       every page\n\
             WRONG  schema      trigger x is not the daemon's\n\
             \x20                  index y is missing\n\
             hint: look\n"
        );
    }
}
