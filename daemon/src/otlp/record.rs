//! From an audit entry to a log record of OTLP, as JSON (the proto3 JSON mapping, with OTLP's own rules: numbers of 64 bits
//! are strings, names are in lowerCamelCase). Pure. A test decodes it with the published definitions.

use serde::Serialize;
use serde_json::Value;

use crate::audit::{Kind, Record};

/// Who speaks.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// Of the log that the entries' numbers belong to.
    pub(crate) instance: String,
    /// This machine's name.
    pub(crate) host: String,
    /// The user's number.
    pub(crate) uid: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Export {
    resource_logs: [ResourceLogs; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceLogs {
    resource: Resource,
    scope_logs: [ScopeLogs; 1],
}

#[derive(Debug, Serialize)]
struct Resource {
    attributes: Vec<KeyValue>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ScopeLogs {
    scope: Scope,
    log_records: Vec<LogRecord>,
}

#[derive(Debug, Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LogRecord {
    time_unix_nano: String,
    observed_time_unix_nano: String,
    severity_number: u8,
    severity_text: &'static str,
    event_name: String,
    body: AnyValue,
    attributes: Vec<KeyValue>,
}

#[derive(Debug, Serialize)]
struct KeyValue {
    key: String,
    value: AnyValue,
}

#[derive(Debug, Serialize)]
enum AnyValue {
    #[serde(rename = "stringValue")]
    Text(String),
    #[serde(rename = "boolValue")]
    Bool(bool),
    #[serde(rename = "intValue")]
    Int(String),
    #[serde(rename = "doubleValue")]
    Double(f64),
    #[serde(rename = "arrayValue")]
    List { values: Vec<AnyValue> },
    #[serde(rename = "kvlistValue")]
    Members { values: Vec<KeyValue> },
}

/// One `ExportLogsServiceRequest`, which is also a line of a file of OTLP/JSON.
pub(crate) fn export(origin: &Origin, records: &[Record]) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let text = |key: &str, value: &str| KeyValue {
        key: key.to_owned(),
        value: AnyValue::Text(value.to_owned()),
    };
    let export = Export {
        resource_logs: [ResourceLogs {
            resource: Resource {
                attributes: vec![
                    text("service.name", "srtd"),
                    text("service.version", version),
                    text("service.instance.id", &origin.instance),
                    text("host.name", &origin.host),
                    text("user.id", &origin.uid.to_string()),
                ],
            },
            scope_logs: [ScopeLogs {
                scope: Scope {
                    name: "srtd.audit",
                    version,
                },
                log_records: records.iter().map(log_record).collect(),
            }],
        }],
    };
    // Strings and numbers alone, of which every one can be written.
    serde_json::to_string(&export).unwrap_or_default()
}

fn log_record(record: &Record) -> LogRecord {
    let entry = &record.entry;
    let nanos = entry.at.as_nanosecond().max(0).to_string();
    let (severity_number, severity_text) = severity(entry.kind);
    let mut attributes = vec![
        KeyValue {
            key: "srt.seq".to_owned(),
            value: AnyValue::Int(record.seq.to_string()),
        },
        string("srt.kind", entry.kind.as_str()),
        string("srt.subject", &entry.subject),
    ];
    if let Some(server) = &entry.server {
        attributes.push(string("srt.server", server));
    }
    if let Some(launch) = entry.launch {
        attributes.push(string("srt.launch", &launch.to_string()));
    }
    attributes.extend(named(record));
    let detail = entry.detail.iter().filter(|(_, value)| !value.is_null());
    attributes.extend(detail.map(|(key, value)| KeyValue {
        key: format!("srt.detail.{key}"),
        value: any(value),
    }));
    LogRecord {
        observed_time_unix_nano: nanos.clone(),
        time_unix_nano: nanos,
        severity_number,
        severity_text,
        event_name: format!("srt.audit.{}", entry.kind),
        body: AnyValue::Text(format!("{} {}", entry.kind, entry.subject)),
        attributes,
    }
}

/// What the semantic conventions have a name for.
fn named(record: &Record) -> Vec<KeyValue> {
    let entry = &record.entry;
    let front_end = entry.detail.get("front_end").and_then(Value::as_str);
    match front_end {
        Some("file") => vec![string("file.path", &entry.subject)],
        Some("mcp") | None => Vec::new(),
        Some(_) => {
            let (host, port) = match entry.subject.rsplit_once(':') {
                Some((host, port)) if port.parse::<u16>().is_ok() => (host, Some(port)),
                _ => (entry.subject.as_str(), None),
            };
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let mut named = vec![string("server.address", host)];
            named.extend(port.map(|port| KeyValue {
                key: "server.port".to_owned(),
                value: AnyValue::Int(port.to_owned()),
            }));
            named
        }
    }
}

fn string(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: AnyValue::Text(value.to_owned()),
    }
}

fn any(value: &Value) -> AnyValue {
    match value {
        // In a list a null keeps its place.
        Value::Null => AnyValue::Text(String::new()),
        Value::Bool(value) => AnyValue::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => AnyValue::Int(number.to_string()),
            (None, Some(number)) => AnyValue::Double(number),
            (None, None) => AnyValue::Text(number.to_string()),
        },
        Value::String(text) => AnyValue::Text(text.clone()),
        Value::Array(values) => AnyValue::List {
            values: values.iter().map(any).collect(),
        },
        Value::Object(members) => AnyValue::Members {
            values: members
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| KeyValue {
                    key: key.clone(),
                    value: any(value),
                })
                .collect(),
        },
    }
}

/// OTLP's severity, number and text: what was refused, or would have been, is a warning.
fn severity(kind: Kind) -> (u8, &'static str) {
    match kind {
        Kind::Deny | Kind::WouldDeny | Kind::Reject | Kind::Refused | Kind::Close => (13, "WARN"),
        _ => (9, "INFO"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Entry;
    use jiff::Timestamp;
    use serde_json::json;

    #[test]
    fn an_entry_becomes_a_log_record() {
        let at = Timestamp::new(1_700_000_000, 5_000).unwrap();
        let entry = Entry::new(at, Kind::Deny, "[::1]:443")
            .server("git")
            .with("front_end", "http")
            .with("bytes_out", 7)
            .with("ratio", 0.5)
            .with("again", true)
            .with("nothing", Value::Null)
            .with("rule", json!({"key": "k", "lines": [1, null]}));
        let origin = Origin {
            instance: "i".into(),
            host: "h".into(),
            uid: 1000,
        };
        let text = export(&origin, &[Record { seq: 3, entry }]);
        let value: Value = serde_json::from_str(&text).unwrap();
        let record = &value["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
        assert_eq!(record["timeUnixNano"], "1700000000000005000");
        assert_eq!(record["severityText"], "WARN");
        assert_eq!(record["eventName"], "srt.audit.deny");
        assert_eq!(record["body"], json!({"stringValue": "deny [::1]:443"}));
        let attribute = |key: &str| {
            let all = record["attributes"].as_array().unwrap().iter();
            all.clone()
                .find(|one| one["key"] == key)
                .map(|one| one["value"].clone())
        };
        let table = [
            ("srt.seq", json!({"intValue": "3"})),
            ("srt.server", json!({"stringValue": "git"})),
            ("server.address", json!({"stringValue": "::1"})),
            ("server.port", json!({"intValue": "443"})),
            ("srt.detail.bytes_out", json!({"intValue": "7"})),
            ("srt.detail.ratio", json!({"doubleValue": 0.5})),
            ("srt.detail.again", json!({"boolValue": true})),
            (
                "srt.detail.rule",
                json!({"kvlistValue": {"values": [
                    {"key": "key", "value": {"stringValue": "k"}},
                    {"key": "lines", "value": {"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": ""}]}}},
                ]}}),
            ),
        ];
        for (key, expected) in table {
            assert_eq!(attribute(key), Some(expected), "{key}");
        }
        assert_eq!(attribute("srt.detail.nothing"), None);
        assert_eq!(attribute("srt.launch"), None);
    }
}
