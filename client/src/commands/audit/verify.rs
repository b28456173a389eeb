//! `srtctl audit verify`: whether the audit log is what was written. srtd does it itself, so that it works without a daemon,
//! and beside one.

use super::super::{doctor, output};
use crate::errors::Failure;
use crate::table::clean;
use crate::terminal::{self, Stream};
use serde::Deserialize;
use srt_proto::exit;
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A copy of the database, such as a backup, in place of the daemon's own. Its end is held against FILE.anchor, where that
    /// is there
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The key's file of another daemon [default: audit.key of the state folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A line that the daemon told syslog (audit.anchor.syslog): the entry that it names must be there and be the same
    #[arg(long, value_name = "LINE")]
    anchor: Option<String>,
    /// What is wrong before this entry is known and does not count
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,
    /// Print a JSON object; a finding about the log as a whole has a null "seq"
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Report {
    path: String,
    entries: u64,
    first: u64,
    last: u64,
    bad: u64,
    adopted: u64,
    pruned: u64,
    segments: u64,
    anchored: Option<u64>,
    findings: Vec<Finding>,
}

#[derive(Deserialize)]
struct Finding {
    kind: String,
    seq: Option<u64>,
    message: String,
}

pub(super) fn run(args: &Args) -> Result<i32, Failure> {
    let mut words: Vec<OsString> = vec!["verify".into(), "--json".into()];
    // As one word: a value that begins with a dash is no option.
    let mut add = |name: &str, value: Option<OsString>| {
        words.extend(value.map(|value| {
            let mut word = OsString::from(format!("--{name}="));
            word.push(value);
            word
        }));
    };
    add("file", args.file.as_ref().map(OsString::from));
    add("key", args.key.as_ref().map(OsString::from));
    add("anchor", args.anchor.as_ref().map(OsString::from));
    add("from", args.from.map(|from| from.to_string().into()));
    let (value, code) = doctor::ask_srtd(&words)?;
    if let Some(error) = value["error"].as_str() {
        return Err(Failure::from_text(exit::ERROR, error));
    }
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
    let path = clean(&report.path);
    let range = match report.entries {
        0 => "no entries".to_owned(),
        1 => format!("1 entry, {}", report.first),
        count => format!("{count} entries, {} to {}", report.first, report.last),
    };
    let mut text = String::new();
    for finding in &report.findings {
        let word = paint(terminal::BAD, &clean(&finding.kind));
        let place = match finding.seq {
            Some(seq) => format!("entry {seq}: "),
            None => String::new(),
        };
        text.push_str(&format!("{place}{word}: {}\n", clean(&finding.message)));
    }
    let verdict = match report.findings.is_empty() {
        true => paint(terminal::GOOD, "ok"),
        false => paint(terminal::BAD, "not ok"),
    };
    text.push_str(&format!("{path}: {verdict}: {range}"));
    if report.bad > 1 {
        text.push_str(&format!(", {} of which do not fit", report.bad));
    }
    if report.segments > 0 {
        text.push_str(&format!(", {} sealed segments", report.segments));
    }
    text.push('\n');
    if report.pruned > 0 {
        text.push_str(&format!(
            "entries up to {} were removed, as the settings ask (audit.retain)\n",
            report.pruned
        ));
    }
    if report.adopted > 0 {
        text.push_str(&format!(
            "entries up to {} were chained later than they were written, as they were found then\n",
            report.adopted
        ));
    }
    if report.anchored.is_none() && report.findings.is_empty() {
        text.push_str("there is no anchor beside it: whether its end was cut off cannot be told\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_comes_first_and_what_is_not_checked_is_said() {
        let report = |text: &str| -> Report { serde_json::from_str(text).unwrap() };
        let well = report(
            r#"{"ok":true,"path":"/s/srt.db","database":"d","key":"k","entries":3,"first":8,"last":10,"bad":0,"missing":0,
            "adopted":2,"pruned":7,"segments":2,"anchored":null,"findings":[]}"#,
        );
        assert_eq!(
            render(&well, |_, text| text.to_owned()),
            "/s/srt.db: ok: 3 entries, 8 to 10, 2 sealed segments\n\
             entries up to 7 were removed, as the settings ask (audit.retain)\n\
             entries up to 2 were chained later than they were written, as they were found then\n\
             there is no anchor beside it: whether its end was cut off cannot be told\n"
        );
        let bad = report(
            r#"{"ok":false,"path":"/s/srt.db","database":"d","key":"k","entries":1,"first":1,"last":1,"bad":1,"missing":0,
            "adopted":0,"pruned":0,"segments":0,"anchored":2,"findings":[
            {"kind":"edited","seq":1,"message":"entry 1 was changed"},{"kind":"anchor","seq":null,"message":"gone"}]}"#,
        );
        assert_eq!(
            render(&bad, |_, text| text.to_owned()),
            "entry 1: edited: entry 1 was changed\nanchor: gone\n/s/srt.db: not ok: 1 entry, 1\n"
        );
    }
}
