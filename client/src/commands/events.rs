//! `srtctl events`: what becomes of servers, as it happens.

use super::output;
use crate::connect::Connection;
use crate::errors::Failure;
use crate::{table, terminal, time};
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use srt_proto::v1::events_client::EventsClient;
use srt_proto::v1::{Event, WatchRequest};

/// How many of those that were before --follow begins with.
const BEFORE: u32 = 10;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only these servers'
    names: Vec<String>,
    /// Go on with those that come, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// Begin with the newest N; by default with all that are kept, with --follow with 10
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<u32>,
    /// Print a JSON array, with --follow an object a line; `launch` and `session` are null where there is none
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let mut client = EventsClient::new(connection.channel.clone());
    let request = WatchRequest {
        names: args.names,
        follow: args.follow,
        limit: args.lines.or(args.follow.then_some(BEFORE)),
    };
    let mut events = client.watch(request).await?.into_inner();
    let mut entries = args.json.then(|| output::Entries::new(args.follow));
    let mut any = false;
    while let Some(event) = events.message().await? {
        match &mut entries {
            Some(entries) => entries.entry(json(&event))?,
            None => {
                if !std::mem::replace(&mut any, true) {
                    output::print(&heading())?;
                }
                output::print(&line(&event, &TimeZone::system()))?;
            }
        }
    }
    match entries {
        Some(entries) => entries.end()?,
        None if !any && !args.follow => output::print(
            "nothing has happened since the daemon started; \"srtctl audit\" has what was before\n",
        )?,
        None => {}
    }
    Ok(0)
}

fn json(event: &Event) -> Value {
    if event.missed > 0 {
        return json!({ "missed": event.missed });
    }
    let maybe = |text: &String| (!text.is_empty()).then(|| text.clone());
    json!({
        "number": event.number,
        "at": event.at,
        "server": event.server,
        "launch": maybe(&event.launch),
        "session": maybe(&event.session),
        "from": event.from,
        "to": event.to,
        "reason": event.reason,
    })
}

/// Columns are fixed, since lines are printed as they come.
fn heading() -> String {
    let text = columns("TIME", "SERVER", "CHANGE", "REASON");
    let style = terminal::STRONG;
    terminal::Stream::Stdout.paint(style, text.trim_end()) + "\n"
}

fn columns(at: &str, server: &str, change: &str, reason: &str) -> String {
    let padded = [
        table::pad(at, 19),
        table::pad(server, 12),
        table::pad(change, 19),
        reason.to_owned(),
    ];
    table::clean(padded.join("  ").trim_end()) + "\n"
}

fn line(event: &Event, zone: &TimeZone) -> String {
    if event.missed > 0 {
        return format!(
            "({} events were missed: they came faster than they were read)\n",
            event.missed
        );
    }
    let change = format!("{} → {}", event.from, event.to);
    // Of several lines the first says what it is; "status" has them all.
    let reason = event.reason.lines().next().unwrap_or_default();
    columns(
        &time::local(&event.at, zone),
        &event.server,
        &change,
        reason,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_the_change_and_why_and_what_was_missed() {
        let event = Event {
            number: 7,
            at: "2026-11-20T12:00:00.000Z".into(),
            server: "git".into(),
            from: "running".into(),
            to: "backoff".into(),
            reason: "exited with status 3\nhint: x".into(),
            ..Event::default()
        };
        assert_eq!(
            line(&event, &TimeZone::UTC),
            "2026-11-20 12:00:00  git           running → backoff    exited with status 3\n"
        );
        assert_eq!(json(&event)["launch"], Value::Null);
        let missed = Event {
            missed: 4,
            ..Event::default()
        };
        assert!(line(&missed, &TimeZone::UTC).starts_with("(4 events were missed"));
        assert_eq!(json(&missed), json!({ "missed": 4 }));
    }
}
