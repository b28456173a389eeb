//! `srtctl audit who-touched`.

use super::filters::recorded;
use super::shown;
use crate::commands::output;
use crate::connect::Connection;
use crate::errors::Failure;
use crate::table::{self, Table};
use crate::terminal;
use crate::time;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use srt_proto::v1::audit_client::AuditClient;
use srt_proto::v1::{TouchEntry, WhoTouchedAnswer, WhoTouchedRequest};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A path (with a slash in it: "~/.aws", "./x"), a host, or the name of a variable that launches were given
    #[arg(value_name = "PATH|HOST|VARIABLE")]
    what: String,
    /// Since this RFC 3339 time, or for so long: 90s, 15m, 2h, 3d
    #[arg(long, value_name = "TIME", value_parser = crate::commands::since)]
    since: Option<String>,
    /// Until this RFC 3339 time, or so long ago
    #[arg(long, value_name = "TIME", value_parser = crate::commands::since)]
    until: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let what = match args.what.contains('/') || args.what == "~" || args.what == "." {
        true => recorded(&args.what)?,
        false => args.what,
    };
    let request = WhoTouchedRequest {
        what: what.clone(),
        since: args.since.unwrap_or_default(),
        until: args.until.unwrap_or_default(),
    };
    let mut client = AuditClient::new(connection.channel.clone());
    let answer = client.who_touched(request).await?.into_inner();
    match args.json {
        true => output::print_json(json(&what, &answer))?,
        false => {
            let width = terminal::Stream::Stdout.width();
            output::print(&render(&what, &answer, &TimeZone::system(), width))?;
        }
    }
    Ok(0)
}

fn json(what: &str, answer: &WhoTouchedAnswer) -> Value {
    let touches: Vec<_> = (answer.touches.iter())
        .map(|touch| {
            json!({
                "sort": touch.sort,
                "server": touch.server,
                "kind": touch.kind,
                "count": touch.count,
                "first": touch.first,
                "last": touch.last,
            })
        })
        .collect();
    let newest: Vec<_> = answer.newest.iter().filter_map(entry_json).collect();
    json!({ "what": what, "touches": touches, "newest": newest, "notes": answer.notes })
}

fn entry_json(touch: &TouchEntry) -> Option<Value> {
    let mut value = shown::json(touch.entry.as_ref()?);
    value["calls"] = touch.calls.iter().map(shown::json).collect();
    Some(value)
}

fn render(what: &str, answer: &WhoTouchedAnswer, zone: &TimeZone, width: Option<usize>) -> String {
    let mut text = String::new();
    if answer.touches.is_empty() {
        text += &format!("nothing in the audit log is about {}\n", table::clean(what));
    } else {
        let mut rows = Table::new(["AS", "SERVER", "KIND", "COUNT", "FIRST", "LAST"]);
        for touch in &answer.touches {
            rows.row([
                (&touch.sort).into(),
                (&touch.server).into(),
                (&touch.kind).into(),
                touch.count.to_string().into(),
                time::local(&touch.first, zone).into(),
                time::local(&touch.last, zone).into(),
            ]);
        }
        text += &rows.render();
        text += "\nthe newest:\n";
    }
    for touch in &answer.newest {
        let Some(entry) = &touch.entry else { continue };
        text += &shown::render(entry, zone, width);
        for call in &touch.calls {
            let line = format!(
                "during call {}: {} (srtctl audit --call {})",
                call.seq, call.subject, call.seq
            );
            text += &format!("    {}\n", table::clean(&line));
        }
    }
    for note in &answer.notes {
        text += &format!("note: {}\n", table::clean(note));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use srt_proto::v1::{AuditEntry, Touch};

    #[test]
    fn who_how_often_when_and_during_which_call() {
        let at = "2026-11-20T12:00:00.000Z".to_owned();
        let entry = |seq, kind: &str, subject: &str| AuditEntry {
            seq,
            at: at.clone(),
            kind: kind.into(),
            server: "git".into(),
            subject: subject.into(),
            ..AuditEntry::default()
        };
        let answer = WhoTouchedAnswer {
            touches: vec![Touch {
                sort: "host".into(),
                server: "git".into(),
                kind: "deny".into(),
                count: 12,
                first: at.clone(),
                last: at.clone(),
            }],
            newest: vec![TouchEntry {
                entry: Some(entry(7, "deny", "x.example:443")),
                calls: vec![entry(8, "call", "clone\u{1b}[2J")],
            }],
            notes: vec!["a note".into()],
        };
        assert_eq!(
            render("x.example", &answer, &TimeZone::UTC, None),
            "AS    SERVER  KIND  COUNT  FIRST                LAST\n\
             host  git     deny  12     2026-11-20 12:00:00  2026-11-20 12:00:00\n\
             \n\
             the newest:\n\
             2026-11-20 12:00:00  deny        git                x.example:443\n\
             \x20   during call 8: clone\\u{1b}[2J (srtctl audit --call 8)\n\
             note: a note\n"
        );
        let value = json("x.example", &answer);
        assert_eq!(value["touches"][0]["count"], 12);
        assert_eq!(value["newest"][0]["calls"][0]["seq"], 8);
        assert_eq!(
            render("a\nb", &WhoTouchedAnswer::default(), &TimeZone::UTC, None),
            "nothing in the audit log is about a\\nb\n"
        );
    }
}
