//! `srtctl audit`.

use super::output::{self, Entries};
use crate::connect::Connection;
use crate::errors::Failure;
use crate::{table, terminal, time};
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use srt_proto::v1::audit_client::AuditClient;
use srt_proto::v1::{AuditEntry, AuditRequest};

/// As many characters of a digest as tell policies apart; `--json` has all of it.
const DIGEST: usize = 12;

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
        output::print(&render(&entry, &zone, terminal::Stream::Stdout.width()))?;
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
        table::pad(server, 17),
        table::pad(subject, 28),
        detail.to_owned(),
    ];
    padded.join("  ").trim_end().to_owned()
}

/// A line an entry. Where a terminal is too narrow for it, the detail follows on lines of its own.
fn render(entry: &AuditEntry, zone: &TimeZone, width: Option<usize>) -> String {
    let at = time::local(&entry.at, zone);
    let [kind, server, subject] =
        [&entry.kind, &entry.server, &entry.subject].map(|text| table::clean(text));
    let detail = table::clean(&detail(entry));
    let whole = line([&at, &kind, &server, &subject, &detail]);
    match width {
        Some(width) if whole.chars().count() > width => {
            let head = line([&at, &kind, &server, &subject, ""]);
            table::fold(&format!("{head} {detail}"), width, 4)
        }
        _ => format!("{whole}\n"),
    }
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

/// `WHAT: REASON`, then `rule: …`, then `key=value …`, then `hint: …`; what the subject says already is left out.
fn detail(entry: &AuditEntry) -> String {
    let Ok(Value::Object(mut object)) = serde_json::from_str::<Value>(&entry.detail) else {
        return entry.detail.clone();
    };
    let reason_is_subject = object.get("reason").is_some_and(|r| *r == *entry.subject);
    object.retain(|key, value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => *text != entry.subject,
        // A command line.
        Value::Array(words) => {
            let words: Option<Vec<_>> = words.iter().map(Value::as_str).collect();
            words.is_none_or(|words| words.join(" ") != entry.subject)
        }
        // The reason of an end has them in words.
        _ => !(reason_is_subject && matches!(key.as_str(), "code" | "signal")),
    });
    if let Some(Value::String(digest)) = object.get_mut("digest") {
        *digest = digest.chars().take(DIGEST).collect();
    }
    let mut take = |key: &str| object.shift_remove(key).map(|value| sentence(&value));
    let front_end = take("front_end");
    // What was done with a file says more than that it was one.
    let what = take("operation").or(front_end);
    let lead = match (what, take("reason")) {
        (Some(what), Some(reason)) => Some(format!("{what}: {reason}")),
        (what, reason) => what.or(reason),
    };
    let rule = take("rule").map(|rule| format!("rule: {rule}"));
    let remedy = take("remedy").map(|remedy| format!("hint: {remedy}"));
    let rest = pairs(&object);
    let parts = [lead, rule, (!rest.is_empty()).then_some(rest), remedy];
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

    fn entry(kind: &str, subject: &str, detail: &str) -> AuditEntry {
        AuditEntry {
            at: "2026-11-20T12:00:00.123Z".into(),
            kind: kind.into(),
            server: "files".into(),
            subject: subject.into(),
            detail: detail.into(),
            ..AuditEntry::default()
        }
    }

    #[test]
    fn details_are_short_and_end_with_the_remedy() {
        let table = [
            ("", ""),
            ("{}", ""),
            ("not json", "not json"),
            (
                "{\"sent\":12,\"received\":3,\"front_end\":\"http\"}",
                "http  sent=12 received=3",
            ),
            (
                "{\"remedy\":\"add \\\"x.org\\\" to network.allowedDomains\",\"rule\":\"default deny\",\"front_end\":\"dns\",\"reason\":\"no rule\",\"pid\":null}",
                "dns: no rule  rule: default deny  hint: add \"x.org\" to network.allowedDomains",
            ),
            (
                "{\"front_end\":\"file\",\"operation\":\"read\",\"reason\":\"it is closed\",\"program\":\"cat\"}",
                "read: it is closed  program=cat",
            ),
            (
                "{\"rule\":{\"key\":\"network.deniedDomains\",\"line\":3},\"names\":[\"A\",\"B c\"],\"o\":{\"k\":true}}",
                "rule: key=network.deniedDomains line=3  names=[A, \"B c\"] o={k=true}",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(detail(&entry("deny", "x.org", text)), expected);
        }
    }

    #[test]
    fn what_the_subject_says_is_not_said_again() {
        let table = [
            (
                "npx -y a b",
                "{\"command\":[\"npx\",\"-y\",\"a b\"],\"cwd\":\"/x\",\"generation\":4,\"restart\":false}",
                "cwd=/x generation=4",
            ),
            (
                "npx",
                "{\"command\":[\"npx\",\"-y\"],\"restart\":true}",
                "command=[npx, -y] restart=true",
            ),
            (
                "killed by SIGKILL",
                "{\"signal\":9,\"reason\":\"killed by SIGKILL\"}",
                "",
            ),
            (
                "/x/settings.json",
                "{\"digest\":\"0123456789abcdef0123\",\"generation\":1,\"known\":false}",
                "digest=0123456789ab generation=1",
            ),
            (
                "192.0.2.1:443",
                "{\"front_end\":\"tcp\",\"address\":\"192.0.2.1:443\",\"bytes_in\":0}",
                "tcp  bytes_in=0",
            ),
        ];
        for (subject, text, expected) in table {
            assert_eq!(detail(&entry("start", subject, text)), expected, "{text}");
            let whole: Value = serde_json::from_str(text).unwrap();
            assert_eq!(json(&entry("start", subject, text))["detail"], whole);
        }
    }

    #[test]
    fn an_entry_is_one_line_whatever_a_server_put_into_it() {
        let entry = entry(
            "deny",
            "evil\u{1b}[1A\n.example:443",
            "{\"front_end\":\"dns\",\"reason\":\"no rule of ours allows it\"}",
        );
        let shown = |width| render(&entry, &TimeZone::UTC, width);
        let head =
            "2026-11-20 12:00:00  deny      files              evil\\u{1b}[1A\\n.example:443 ";
        assert_eq!(
            shown(None),
            format!("{head}  dns: no rule of ours allows it\n")
        );
        assert_eq!(shown(Some(200)), shown(None));
        assert_eq!(
            shown(Some(80)),
            format!("{}\n    dns: no rule of ours allows it\n", head.trim_end())
        );
        assert_eq!(json(&AuditEntry::default())["detail"], json!({}));
    }
}
