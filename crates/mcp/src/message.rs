//! A line's envelope (JSON-RPC 2.0), and of its parameters what carrying it depends on.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Id;

/// What a line says.
#[derive(Clone, Debug)]
pub enum Message<'a> {
    /// Wants an answer.
    Request {
        /// Under which it is answered.
        id: Id,
        /// `tools/call`.
        method: Cow<'a, str>,
        /// As it came.
        params: Option<&'a RawValue>,
    },
    /// Wants none.
    Notification {
        /// `notifications/initialized`.
        method: Cow<'a, str>,
        /// As it came.
        params: Option<&'a RawValue>,
    },
    /// The answer to a request.
    Response {
        /// Of the request.
        id: Id,
        /// The result, or the error.
        outcome: Result<&'a RawValue, &'a RawValue>,
    },
    /// Several at once (revision 2025-03-26 only), as they came.
    Batch(Vec<&'a RawValue>),
}

#[derive(Deserialize)]
struct Envelope<'a> {
    jsonrpc: Cow<'a, str>,
    #[serde(default, deserialize_with = "some")]
    id: Option<Id>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// A key that is there has a value: `"id": null` is no notification, it is nothing that MCP knows.
fn some<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Id>, D::Error> {
    Id::deserialize(deserializer).map(Some)
}

/// Reads a line. `None` where it is no message: no JSON, a key of the envelope twice, an id that is none, both a result
/// and an error. Whoever decides by what a line says must not let such a line pass, for a peer may read it otherwise.
pub fn read(line: &[u8]) -> Option<Message<'_>> {
    let first = line.iter().find(|byte| !byte.is_ascii_whitespace())?;
    if *first == b'[' {
        return serde_json::from_slice(line).ok().map(Message::Batch);
    }
    let envelope: Envelope<'_> = serde_json::from_slice(line).ok()?;
    if envelope.jsonrpc != "2.0" {
        return None;
    }
    let Envelope {
        id,
        method,
        params,
        result,
        error,
        ..
    } = envelope;
    match (id, method, result, error) {
        (Some(id), Some(method), None, None) => Some(Message::Request { id, method, params }),
        (None, Some(method), None, None) => Some(Message::Notification { method, params }),
        (Some(id), None, Some(result), None) => Some(Message::Response {
            id,
            outcome: Ok(result),
        }),
        (Some(id), None, None, Some(error)) => Some(Message::Response {
            id,
            outcome: Err(error),
        }),
        _ => None,
    }
}

/// Of a message's parameters what carrying it depends on. Each is `None` where it is not there or of another type.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// `params.name`: the tool or the prompt.
    pub name: Option<String>,
    /// `params.uri`: the resource.
    pub uri: Option<String>,
    /// `params.level`: of `logging/setLevel`.
    pub level: Option<String>,
    /// `params.requestId`: what `notifications/cancelled` is about.
    pub request_id: Option<Id>,
    /// `params.progressToken`: what `notifications/progress` is about.
    pub progress: Option<Id>,
    /// `params._meta.progressToken`: under which progress is wanted.
    pub progress_wanted: Option<Id>,
    /// `params._meta["io.modelcontextprotocol/protocolVersion"]`: a request of the modern era.
    pub modern: Option<String>,
    /// `params.protocolVersion`: of `initialize`.
    pub protocol: Option<String>,
    /// `params._meta["io.modelcontextprotocol/subscriptionId"]`: the listen that a notification belongs to.
    pub subscription: Option<Id>,
}

#[derive(Deserialize)]
struct Known<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    uri: Option<&'a RawValue>,
    #[serde(borrow)]
    level: Option<&'a RawValue>,
    #[serde(borrow, rename = "requestId")]
    request_id: Option<&'a RawValue>,
    #[serde(borrow, rename = "progressToken")]
    progress: Option<&'a RawValue>,
    #[serde(borrow, rename = "protocolVersion")]
    protocol: Option<&'a RawValue>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "progressToken")]
    progress: Option<&'a RawValue>,
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    modern: Option<&'a RawValue>,
    #[serde(borrow, rename = "io.modelcontextprotocol/subscriptionId")]
    subscription: Option<&'a RawValue>,
}

fn value<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

impl Details {
    /// Reads parameters (or a result). `None` where they are no object, or have one of the keys twice: whoever decides
    /// by one must not let them pass.
    pub fn of(params: Option<&RawValue>) -> Option<Self> {
        let Some(params) = params else {
            return Some(Self::default());
        };
        let known: Known<'_> = serde_json::from_str(params.get()).ok()?;
        let meta: Option<Meta<'_>> = match known.meta {
            Some(meta) if meta.get().starts_with('{') => {
                Some(serde_json::from_str(meta.get()).ok()?)
            }
            _ => None,
        };
        Some(Self {
            name: value(known.name),
            uri: value(known.uri),
            level: value(known.level),
            request_id: value(known.request_id),
            progress: value(known.progress),
            protocol: value(known.protocol),
            progress_wanted: value(meta.as_ref().and_then(|meta| meta.progress)),
            modern: value(meta.as_ref().and_then(|meta| meta.modern)),
            subscription: value(meta.as_ref().and_then(|meta| meta.subscription)),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_envelope_says_what_it_is() {
        let kind = |line: &str| match read(line.as_bytes()) {
            Some(Message::Request { id, method, .. }) => format!("request {id} {method}"),
            Some(Message::Notification { method, .. }) => format!("notification {method}"),
            Some(Message::Response { id, outcome }) => {
                format!("{} {id}", if outcome.is_ok() { "result" } else { "error" })
            }
            Some(Message::Batch(messages)) => format!("batch of {}", messages.len()),
            None => "nothing".to_owned(),
        };
        let table = [
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
                "request 1 ping",
            ),
            (
                r#" {"params":{"id":2},"method":"a\u002fb","id":"x","jsonrpc":"2.0","more":1}"#,
                r#"request "x" a/b"#,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
                "notification notifications/initialized",
            ),
            (r#"{"jsonrpc":"2.0","id":1,"result":null}"#, "nothing"),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "result 1"),
            (
                r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}"#,
                "error 1",
            ),
            (
                r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{}]"#,
                "batch of 2",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
                "nothing",
            ),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, "nothing"),
            (
                r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
                "nothing",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#,
                "nothing",
            ),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, "nothing"),
            (r#"{"id":1,"method":"ping"}"#, "nothing"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping"} {}"#, "nothing"),
            ("", "nothing"),
        ];
        for (line, expected) in table {
            assert_eq!(kind(line), expected, "{line}");
        }
    }

    #[test]
    fn details_are_read_where_they_are_and_never_twice() {
        let details = |text: &str| {
            let raw: &RawValue = serde_json::from_str(text).unwrap();
            Details::of(Some(raw))
        };
        let found = details(
            r#"{"name":"echo","arguments":{"name":"other"},"_meta":{"progressToken":7,"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#,
        )
        .unwrap();
        assert_eq!(found.name.as_deref(), Some("echo"));
        assert_eq!(found.progress_wanted.unwrap().raw(), "7");
        assert_eq!(found.modern.as_deref(), Some("2026-07-28"));
        assert!(found.uri.is_none() && found.progress.is_none());
        assert!(details(r#"{"name":"a","name":"b"}"#).is_none());
        assert!(details("[1]").is_none());
        assert_eq!(details(r#"{"name":{}}"#).unwrap().name, None);
        assert!(Details::of(None).is_some());
    }
}
