//! How entries are shown: a line each for people, an object each for programs.

use crate::{table, time};
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use srt_proto::v1::AuditEntry;

/// As many characters of a digest as tell policies apart; `--json` has all of it.
const DIGEST: usize = 12;
/// Where the detail begins when it has lines of its own.
const INDENT: usize = 4;
const HINT: &str = "hint: ";

/// The line above the entries.
pub(super) fn heading(width: Option<usize>) -> String {
    let heading = ["TIME", "KIND", "SERVER", "SUBJECT"];
    let heading = laid_out(heading, &["DETAIL".to_owned()], width);
    heading.trim_end().to_owned()
}

/// A line, its columns of a fixed least width, because entries are printed as they come. Where a terminal is too
/// narrow for it, the detail follows on lines of its own, a hint apart.
fn laid_out(cells: [&str; 4], detail: &[String], width: Option<usize>) -> String {
    let [at, kind, server, subject] = cells;
    let padded = [
        table::pad(at, 19),
        table::pad(kind, 10),
        table::pad(server, 17),
        table::pad(subject, 28),
    ];
    let head = padded.join("  ");
    let whole = format!("{head}  {}", detail.join("  "));
    let whole = whole.trim_end();
    match width {
        Some(width) if whole.chars().count() > width => {
            let mut text = table::fold(&head, 0, width);
            let (hints, rest): (Vec<_>, Vec<_>) =
                detail.iter().partition(|part| part.starts_with(HINT));
            let rest: Vec<_> = rest.into_iter().map(String::as_str).collect();
            text += &table::fold(&rest.join("  "), INDENT, width);
            for hint in hints {
                text += &table::fold(hint, INDENT, width);
            }
            text
        }
        _ => format!("{whole}\n"),
    }
}

/// An entry for a person.
pub(super) fn render(entry: &AuditEntry, zone: &TimeZone, width: Option<usize>) -> String {
    let at = time::local(&entry.at, zone);
    let [kind, server, subject] =
        [&entry.kind, &entry.server, &entry.subject].map(|text| table::clean(text));
    let detail: Vec<_> = detail(entry)
        .iter()
        .map(|part| table::clean(part))
        .collect();
    laid_out([&at, &kind, &server, &subject], &detail, width)
}

/// An entry for a program.
pub(super) fn json(entry: &AuditEntry) -> Value {
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
fn detail(entry: &AuditEntry) -> Vec<String> {
    let Ok(Value::Object(mut object)) = serde_json::from_str::<Value>(&entry.detail) else {
        return vec![entry.detail.clone()];
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
    if entry.kind == "call" {
        // What --call takes.
        object.insert("seq".to_owned(), entry.seq.into());
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
    let remedy = take("remedy").map(|remedy| format!("{HINT}{remedy}"));
    let rest = pairs(&object);
    let parts = [lead, rule, (!rest.is_empty()).then_some(rest), remedy];
    parts.into_iter().flatten().collect()
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
            assert_eq!(detail(&entry("deny", "x.org", text)).join("  "), expected);
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
            let got = detail(&entry("start", subject, text)).join("  ");
            assert_eq!(got, expected, "{text}");
            let whole: Value = serde_json::from_str(text).unwrap();
            assert_eq!(json(&entry("start", subject, text))["detail"], whole);
        }
    }

    #[test]
    fn an_entry_is_one_line_whatever_a_server_put_into_it() {
        let entry = entry(
            "deny",
            "evil\u{1b}[1A\n.example:443",
            "{\"front_end\":\"dns\",\"reason\":\"no rule of ours allows it\",\"remedy\":\"allow it\"}",
        );
        let shown = |width| render(&entry, &TimeZone::UTC, width);
        let head =
            "2026-11-20 12:00:00  deny        files              evil\\u{1b}[1A\\n.example:443 ";
        assert_eq!(
            shown(None),
            format!("{head}  dns: no rule of ours allows it  hint: allow it\n")
        );
        assert_eq!(shown(Some(200)), shown(None));
        assert_eq!(
            shown(Some(80)),
            format!(
                "{}\n    dns: no rule of ours allows it\n    hint: allow it\n",
                head.trim_end()
            )
        );
        assert_eq!(json(&AuditEntry::default())["detail"], json!({}));
    }
}
