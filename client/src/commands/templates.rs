//! `srtctl policy templates`: the built-in settings that other files extend. Needs no running daemon.

use super::{doctor, output};
use crate::errors::Failure;
use crate::table::{Table, clean};
use serde::Deserialize;
use srt_proto::exit;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print this one, with or without its @
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

#[derive(Deserialize)]
struct Report {
    templates: Vec<Template>,
}

#[derive(Deserialize)]
struct Template {
    name: String,
    text: String,
}

pub(super) fn run(args: &Args) -> Result<i32, Failure> {
    let (value, code) = doctor::ask_srtd(&["templates".into(), "--json".into()])?;
    let report: Report =
        serde_json::from_value(value).map_err(|error| doctor::not_understood(&error))?;
    output::print(&match &args.name {
        Some(name) => text(&report, name)?,
        None => listed(&report),
    })?;
    Ok(code)
}

fn text(report: &Report, name: &str) -> Result<String, Failure> {
    let bare = name.strip_prefix('@').unwrap_or(name);
    let found = report.templates.iter().find(|known| known.name == bare);
    found.map(|found| found.text.clone()).ok_or_else(|| {
        let known: Vec<&str> = report.templates.iter().map(|known| &*known.name).collect();
        Failure::new(
            exit::UNKNOWN_NAME,
            format!("there is no template {:?}", clean(name)),
        )
        .hint(format!("there are: {}", known.join(", ")))
    })
}

/// Each with the first line of its text, which says what it is for.
fn listed(report: &Report) -> String {
    let mut table = Table::new(["NAME", "FOR"]);
    for template in &report.templates {
        let first = template.text.lines().next().unwrap_or_default();
        let what = first.trim_start_matches('/').trim();
        table.row([format!("@{}", template.name).into(), what.into()]);
    }
    table.render()
}
