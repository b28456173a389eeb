//! `srtctl policy history`.

use super::output;
use crate::connect::Connection;
use crate::errors::Failure;
use crate::table::{Table, clean};
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use srt_proto::exit;
use srt_proto::v1::policies_client::PoliciesClient;
use srt_proto::v1::{PolicyHistoryRequest, PolicyHistoryResponse, PolicyMoment};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server
    name: String,
    /// Print a JSON object; what there is not is null
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let request = PolicyHistoryRequest { name: args.name };
    let mut client = PoliciesClient::new(connection.channel.clone());
    let told = client.history(request).await?.into_inner();
    match args.json {
        true => output::print_json(json(&told))?,
        false => output::print(&render(&told, &TimeZone::system()))?,
    }
    if told.trouble.is_empty() {
        return Ok(exit::OK);
    }
    // What is in force, or was, is shown all the same.
    Failure::from_text(exit::POLICY_INVALID, &told.trouble).report("");
    Ok(exit::POLICY_INVALID)
}

fn json(told: &PolicyHistoryResponse) -> Value {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let moments = told.moments.iter().map(|moment| {
        json!({
            "generation": moment.generation,
            "at": moment.at,
            "reason": moment.reason,
            "digest": moment.digest,
            "documents": moment.documents,
            "cwd": some(&moment.cwd),
            "settings": some(&moment.settings),
        })
    });
    json!({
        "history": moments.collect::<Vec<_>>(),
        "current": (told.current > 0).then_some(told.current),
        "trouble": some(&told.trouble),
    })
}

fn render(told: &PolicyHistoryResponse, zone: &TimeZone) -> String {
    let mut table = Table::new(["GENERATION", "SINCE", "WHY", "SETTINGS"]);
    // The moment that is in force is the last of its generation.
    let current = told
        .moments
        .iter()
        .rposition(|moment| moment.generation == told.current);
    for (place, moment) in told.moments.iter().enumerate() {
        let mark = if Some(place) == current { " *" } else { "" };
        table.row([
            format!("{}{mark}", moment.generation).into(),
            crate::time::local(&moment.at, zone).into(),
            (&moment.reason).into(),
            documents(moment).into(),
        ]);
    }
    let mut text = table.render();
    if current.is_some() {
        text += "* in force\n";
    }
    text
}

fn documents(moment: &PolicyMoment) -> String {
    match moment.documents.as_slice() {
        [] => "built-in".to_owned(),
        documents => clean(&documents.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_moment_says_why_and_the_one_in_force_is_marked() {
        let moment = |generation, reason: &str, documents: &[&str]| PolicyMoment {
            generation,
            at: "2026-11-20T08:00:00Z".into(),
            reason: reason.into(),
            documents: documents.iter().map(|path| (*path).to_owned()).collect(),
            ..PolicyMoment::default()
        };
        let told = PolicyHistoryResponse {
            moments: vec![
                moment(3, "first use", &[]),
                moment(4, "/s.json came to count", &["@git", "/s.json"]),
                moment(3, "/s.json no longer counts", &[]),
            ],
            current: 3,
            trouble: String::new(),
        };
        assert_eq!(
            render(&told, &TimeZone::UTC),
            "GENERATION  SINCE                WHY                       SETTINGS\n\
             3           2026-11-20 08:00:00  first use                 built-in\n\
             4           2026-11-20 08:00:00  /s.json came to count     @git, /s.json\n\
             3 *         2026-11-20 08:00:00  /s.json no longer counts  built-in\n\
             * in force\n"
        );
        assert_eq!(json(&told)["trouble"], Value::Null);
        assert_eq!(json(&told)["history"][1]["generation"], 4);
    }
}
