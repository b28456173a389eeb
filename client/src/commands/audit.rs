//! `srtctl audit`.

use super::output::{self, Entries};
use crate::connect::Connection;
use crate::errors::Failure;
use crate::{table, terminal, time};
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use srt_proto::v1::audit_client::AuditClient;
use srt_proto::v1::{AuditEntry, AuditRequest};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this server
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// Entries since this RFC 3339 time, or for so long: 90s, 15m, 2h, 3d
    #[arg(long, value_name = "TIME", value_parser = super::since)]
    since: Option<String>,
    /// Only this kind: start, exit, allow, deny, policy, refused, register, remove, daemon
    #[arg(long)]
    kind: Option<String>,
    /// Go on with new entries until interrupted
    #[arg(short, long)]
    follow: bool,
    /// The newest N entries [default: all; with --follow 10]
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<u32>,
    /// Print a JSON array, with --follow an object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let unbounded = if args.follow && args.since.is_none() {
        10
    } else {
        0
    };
    let request = AuditRequest {
        server: args.server.unwrap_or_default(),
        since: args.since.unwrap_or_default(),
        kind: args.kind.unwrap_or_default(),
        follow: args.follow,
        limit: args.limit.unwrap_or(unbounded),
    };
    let nothing = args.limit == Some(0) && !args.follow;
    let mut client = AuditClient::new(connection.channel.clone());
    let mut log = client.query(request).await?.into_inner();
    let mut entries = Entries::new(args.follow);
    let zone = TimeZone::system();
    if !args.json {
        let heading = line(["TIME", "KIND", "SERVER", "SUBJECT", "DETAIL"]);
        output::print(&terminal::Stream::Stdout.paint(terminal::STRONG, &heading))?;
        output::print("\n")?;
    }
    while let Some(entry) = log.message().await? {
        if nothing {
            break;
        }
        if args.json {
            entries.entry(json(&entry))?;
            continue;
        }
        let text = render(&entry, &zone);
        // Wide ones are cut on a terminal only; --json has all of it.
        let text = match terminal::Stream::Stdout.width() {
            Some(width) => table::cut(&text, width),
            None => text,
        };
        output::print(&format!("{text}\n"))?;
    }
    if args.json {
        entries.end()?;
    }
    Ok(0)
}

/// Columns of a fixed least width, because entries are printed as they come.
fn line(cells: [&str; 5]) -> String {
    let [at, kind, server, subject, detail] = cells;
    let padded = [
        table::pad(at, 19),
        table::pad(kind, 8),
        table::pad(server, 20),
        table::pad(subject, 28),
        detail.to_owned(),
    ];
    padded.join("  ").trim_end().to_owned()
}

fn render(entry: &AuditEntry, zone: &TimeZone) -> String {
    line([
        &time::local(&entry.at, zone),
        &table::clean(&entry.kind),
        &table::clean(&entry.server),
        &table::clean(&entry.subject),
        &table::clean(&detail(&entry.detail)),
    ])
}

fn json(entry: &AuditEntry) -> Value {
    // An object by the contract; text that is none is passed on as it is rather than lost.
    let detail = match entry.detail.as_str() {
        "" => Value::Object(Map::new()),
        text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    };
    json!({
        "seq": entry.seq,
        "at": entry.at,
        "kind": entry.kind,
        "server": entry.server,
        "launch": entry.launch,
        "subject": entry.subject,
        "detail": detail,
    })
}

/// `rule: …`, then `key=value …`, then `hint: …`.
fn detail(text: &str) -> String {
    let Ok(Value::Object(mut object)) = serde_json::from_str::<Value>(text) else {
        return text.to_owned();
    };
    let mut take = |key: &str| object.shift_remove(key).filter(|value| !value.is_null());
    let rule = take("rule").map(|rule| format!("rule: {}", sentence(&rule)));
    let remedy = take("remedy").map(|remedy| format!("hint: {}", sentence(&remedy)));
    let rest = pairs(&object);
    let parts = [rule, (!rest.is_empty()).then_some(rest), remedy];
    parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

fn pairs(object: &Map<String, Value>) -> String {
    let present = object.iter().filter(|(_, value)| !value.is_null());
    present
        .map(|(key, value)| format!("{key}={}", short(value)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A value that stands alone needs no quotes.
fn sentence(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(object) => pairs(object),
        other => short(other),
    }
}

fn short(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() || text.contains([' ', '"', '=']) => {
            value.to_string()
        }
        Value::String(text) => text.clone(),
        Value::Object(object) => format!("{{{}}}", pairs(object)),
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(short).collect();
            format!("[{}]", values.join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_short_and_end_with_the_remedy() {
        let table = [
            ("", ""),
            ("{}", ""),
            ("not json", "not json"),
            (
                "{\"sent\":12,\"received\":3,\"via\":\"http\"}",
                "sent=12 received=3 via=http",
            ),
            (
                "{\"remedy\":\"add \\\"x.org\\\" to network.allowedDomains\",\"rule\":\"default deny\",\"via\":\"dns\",\"pid\":null}",
                "rule: default deny  via=dns  hint: add \"x.org\" to network.allowedDomains",
            ),
            (
                "{\"rule\":{\"key\":\"network.deniedDomains\",\"line\":3},\"names\":[\"A\",\"B c\"],\"o\":{\"k\":true}}",
                "rule: key=network.deniedDomains line=3  names=[A, \"B c\"] o={k=true}",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(detail(text), expected);
        }
    }

    #[test]
    fn an_entry_is_one_line_whatever_a_server_put_into_it() {
        let entry = AuditEntry {
            seq: 7,
            at: "2026-11-20T12:00:00.123Z".into(),
            kind: "deny".into(),
            server: "files".into(),
            subject: "evil\u{1b}[1A\n.example:443".into(),
            detail: "{\"via\":\"dns\"}".into(),
            ..AuditEntry::default()
        };
        assert_eq!(
            render(&entry, &TimeZone::UTC),
            "2026-11-20 12:00:00  deny      files                 evil\\u{1b}[1A\\n.example:443   via=dns"
        );
        assert_eq!(json(&entry)["detail"], json!({"via": "dns"}));
        assert_eq!(json(&AuditEntry::default())["detail"], json!({}));
    }
}
