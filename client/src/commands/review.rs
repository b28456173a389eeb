//! `srtctl policy review`: the checklist for who has to agree to a server.

use super::{list, output};
use crate::connect::Connection;
use crate::errors::Failure;
use crate::table::clean;
use crate::terminal::{self, Stream};
use anstyle::Style;
use clap::ValueEnum;
use serde_json::{Value, json};
use srt_proto::exit;
use srt_proto::v1::policies_client::PoliciesClient;
use srt_proto::v1::{ReviewCheck, ReviewRequest, ReviewResponse};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server
    name: String,
    /// A rule that nothing came by since is unused: a time, or how long ago
    #[arg(long, value_parser = super::since, default_value = "30d")]
    since: String,
    /// How to print it; markdown is for a pull request
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print a JSON object, as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Markdown,
    Json,
}

/// From what weighs most.
const SEVERITIES: [&str; 4] = ["high", "warning", "note", "good"];

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let request = ReviewRequest {
        name: args.name.clone(),
        since: args.since,
    };
    let mut client = PoliciesClient::new(connection.channel.clone());
    let told = client.review(request).await?.into_inner();
    match if args.json { Format::Json } else { args.format } {
        Format::Json => output::print_json(json(&args.name, &told))?,
        Format::Markdown => output::print(&markdown(&args.name, &told))?,
        Format::Text => output::print(&render(&args.name, &told, |style, text| {
            Stream::Stdout.paint(style, text)
        }))?,
    }
    Ok(status(&told))
}

/// By what weighs most: notes are no reason to stop.
fn status(told: &ReviewResponse) -> i32 {
    let has = |severity: &str| told.checks.iter().any(|check| check.severity == severity);
    match (has("high"), has("warning")) {
        (true, _) => exit::REVIEW_HIGH,
        (_, true) => exit::REVIEW_WARNING,
        _ => exit::OK,
    }
}

fn json(name: &str, told: &ReviewResponse) -> Value {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let checks = told.checks.iter().map(|check| {
        json!({
            "about": check.about,
            "severity": check.severity,
            "text": check.text,
            "file": some(&check.file),
            "line": (check.line > 0).then_some(check.line),
            "remedy": some(&check.remedy),
        })
    });
    json!({
        "server": name,
        "policy": list::policy_json(told.policy.as_ref()),
        "running": told.running,
        "since": told.since,
        "checks": checks.collect::<Vec<_>>(),
        "exit_status": status(told),
    })
}

fn place(check: &ReviewCheck) -> String {
    match (check.file.as_str(), check.line) {
        ("", _) => String::new(),
        (file, 0) => format!(" ({file})"),
        (file, line) => format!(" ({file}:{line})"),
    }
}

/// How many of each severity there are.
fn tally(told: &ReviewResponse) -> String {
    let counts = SEVERITIES.map(|severity| {
        let of = |check: &&ReviewCheck| check.severity == severity;
        format!("{} {severity}", told.checks.iter().filter(of).count())
    });
    counts.join(", ")
}

fn heading(name: &str, told: &ReviewResponse) -> String {
    let policy = told.policy.clone().unwrap_or_default();
    let whose = match told.running {
        true => "of the launch that runs",
        false => "as the next launch would have it",
    };
    format!(
        "review of {name}: {} (generation {}), {whose}",
        policy.source, policy.generation
    )
}

fn render(name: &str, told: &ReviewResponse, paint: impl Fn(Style, &str) -> String) -> String {
    let mut text = clean(&heading(name, told)) + "\n";
    let width = told.checks.iter().map(|check| check.about.len()).max();
    let width = width.unwrap_or(0);
    for check in &told.checks {
        let style = match check.severity.as_str() {
            "high" => terminal::BAD,
            "warning" => terminal::BUSY,
            "good" => terminal::GOOD,
            _ => Style::new(),
        };
        let word = paint(style, &format!("{:<7}", clean(&check.severity)));
        let about = clean(&check.about);
        let said = clean(&format!("{}{}", check.text, place(check)));
        text += &format!("  {word}  {about:<width$}  {said}\n");
        if !check.remedy.is_empty() {
            let hint = paint(terminal::STRONG, "hint:");
            text += &format!(
                "  {:<7}  {:<width$}  {hint} {}\n",
                "",
                "",
                clean(&check.remedy)
            );
        }
    }
    text + &format!("{}\n", tally(told))
}

/// A checklist: what is good is ticked, and what is not waits for somebody to tick it.
fn markdown(name: &str, told: &ReviewResponse) -> String {
    let mut text = format!(
        "## {}\n\n{}\n\n",
        escaped(&heading(name, told)),
        tally(told)
    );
    for check in &told.checks {
        let tick = match check.severity.as_str() {
            "good" => "x",
            _ => " ",
        };
        text += &format!(
            "- [{tick}] **{}** {}: {}\n",
            escaped(&check.severity),
            escaped(&check.about),
            escaped(&format!("{}{}", check.text, place(check)))
        );
        if !check.remedy.is_empty() {
            text += &format!("  - hint: {}\n", escaped(&check.remedy));
        }
    }
    text
}

/// Text as Markdown shows it, whatever is in it: a rule's own words must not be a link or a heading.
fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for character in clean(text).chars() {
        if r"\`*_{}[]()<>#+!|~&@$^".contains(character) {
            safe.push('\\');
        }
        safe.push(character);
    }
    // An address would be a link all the same.
    safe.replace("://", "\\://")
}

#[cfg(test)]
mod tests {
    use super::*;
    use srt_proto::v1::PolicyRef;

    fn told(severities: &[&str]) -> ReviewResponse {
        let check = |severity: &&str| ReviewCheck {
            about: "egress".into(),
            severity: (*severity).to_owned(),
            text: "may reach *.github.io".into(),
            file: "/s.json".into(),
            line: 3,
            remedy: if *severity == "good" {
                String::new()
            } else {
                "name it".into()
            },
        };
        ReviewResponse {
            policy: Some(PolicyRef {
                source: "/s.json".into(),
                generation: 4,
                ..PolicyRef::default()
            }),
            running: true,
            since: "2026-11-20T08:00:00Z".into(),
            checks: severities.iter().map(check).collect(),
        }
    }

    #[test]
    fn the_exit_status_is_that_of_what_weighs_most() {
        for (severities, expected) in [
            (&[][..], 0),
            (&["good", "note"], 0),
            (&["note", "warning", "good"], 8),
            (&["warning", "high"], 9),
        ] {
            assert_eq!(status(&told(severities)), expected);
            assert_eq!(json("s", &told(severities))["exit_status"], expected);
        }
    }

    #[test]
    fn text_and_markdown_say_what_where_and_what_would_be_better() {
        let told = told(&["high", "good"]);
        assert_eq!(
            render("s", &told, |_, text| text.to_owned()),
            "review of s: /s.json (generation 4), of the launch that runs\n  \
               high     egress  may reach *.github.io (/s.json:3)\n                   hint: name it\n  \
               good     egress  may reach *.github.io (/s.json:3)\n\
             1 high, 0 warning, 0 note, 1 good\n"
        );
        assert_eq!(
            markdown("s", &told),
            "## review of s: /s.json \\(generation 4\\), of the launch that runs\n\n\
             1 high, 0 warning, 0 note, 1 good\n\n\
             - [ ] **high** egress: may reach \\*.github.io \\(/s.json:3\\)\n  - hint: name it\n\
             - [x] **good** egress: may reach \\*.github.io \\(/s.json:3\\)\n"
        );
        let hostile = escaped("[x](https://evil.example) <b>\n# y");
        assert_eq!(
            hostile,
            "\\[x\\]\\(https\\://evil.example\\) \\<b\\>\\\\n\\# y"
        );
    }
}
