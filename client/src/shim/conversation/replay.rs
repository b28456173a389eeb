//! What a new launch must be told before the conversation goes on: what both sides agreed on, the log level, the
//! subscriptions, the open listens.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use srt_mcp::Id;

use super::calls::Call;
use super::lists::List;

/// So many subscriptions are remembered, and so many listens.
const REMEMBERED: usize = 1024;
/// The name in `_meta` under which a modern notification says to which listen it belongs.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// What a server said of itself: the answer to `initialize`, or to `server/discover`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    /// One, or in the modern era those that the server speaks.
    versions: Vec<String>,
    capabilities: Value,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "protocolVersion")]
    version: Option<String>,
    #[serde(rename = "supportedVersions", default)]
    versions: Vec<String>,
    #[serde(default)]
    capabilities: Map<String, Value>,
}

impl Agreed {
    /// Of a result. `None` where it is no such answer.
    pub(super) fn of(result: &RawValue) -> Option<Self> {
        let answer: Answer = serde_json::from_str(result.get()).ok()?;
        let mut versions = answer.versions;
        versions.extend(answer.version);
        Some(Self {
            versions,
            capabilities: answer.capabilities.into(),
        })
    }

    /// What the host was told of that `new` does not have any more, for a person.
    ///
    /// # Errors
    ///
    /// The first thing that is missing.
    pub(super) fn keeps(&self, new: &Self) -> Result<(), String> {
        if let Some(version) = self
            .versions
            .iter()
            .find(|version| !new.versions.contains(version))
        {
            let now = new.versions.join(", ");
            return Err(format!(
                "it spoke protocol version {version}, and now speaks {now}"
            ));
        }
        match missing(&self.capabilities, &new.capabilities, "") {
            Some(what) => Err(format!("it no longer has the capability {what}")),
            None => Ok(()),
        }
    }

    pub(super) fn tells_of(&self, list: List) -> bool {
        self.capabilities[list.capability()]["listChanged"] == Value::Bool(true)
    }
}

/// The first capability of `old` that `new` lacks.
fn missing(old: &Value, new: &Value, path: &str) -> Option<String> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => old.iter().find_map(|(name, old)| {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            match new.get(name) {
                Some(new) => missing(old, new, &path),
                None if *old == Value::Bool(false) => None,
                None => Some(path),
            }
        }),
        (Value::Bool(true), new) if *new != Value::Bool(true) => Some(path.to_owned()),
        (Value::Object(_), _) => Some(path.to_owned()),
        _ => None,
    }
}

/// An open `subscriptions/listen`.
#[derive(Clone, Debug)]
struct Listen {
    call: Call,
    line: Bytes,
    /// The host has its acknowledgement; the next one is ours to swallow.
    acknowledged: bool,
    /// It was sent to this launch, whose acknowledgement is to come.
    again: bool,
    /// What the server accepted: `toolsListChanged` and others.
    accepted: Value,
    order: u64,
}

/// Why a private request was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Private {
    /// `initialize` or `server/discover` of a new launch.
    Handshake,
    /// A log level or a subscription, with what a person calls it.
    Restore(String),
    Page(List),
    /// Whether it still answers.
    Health,
}

/// All that is remembered.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Of `initialize`, as the host sent it.
    pub(super) params: Option<Box<RawValue>>,
    /// The answer to it.
    pub(super) legacy: Option<Agreed>,
    /// The host sent `notifications/initialized`.
    pub(super) initialized: bool,
    /// The answer to `server/discover`.
    pub(super) modern: Option<Agreed>,
    /// What a modern request says of the host.
    pub(super) meta: Option<Value>,
    /// A request was answered after which the session is worth carrying.
    pub(super) ready: bool,
    /// Of `logging/setLevel`.
    level: Option<Box<str>>,
    /// URIs.
    subscriptions: BTreeSet<Box<str>>,
    listens: HashMap<Id, Listen>,
    next: u64,
}

impl Memory {
    /// Keeps what a modern request says of the host: version, name, capabilities, log level. Not its progress token.
    pub(super) fn remember_meta(&mut self, params: Option<&RawValue>) {
        #[derive(Deserialize)]
        struct Params {
            #[serde(rename = "_meta")]
            meta: Map<String, Value>,
        }
        let Some(mut params) =
            params.and_then(|params| serde_json::from_str::<Params>(params.get()).ok())
        else {
            return;
        };
        params
            .meta
            .retain(|name, _| name.starts_with("io.modelcontextprotocol/"));
        self.meta = Some(params.meta.into());
    }

    /// Whether a new launch is asked who it is before anything else: with which request.
    pub(super) fn handshake(&self) -> Option<(&'static str, Value)> {
        match (&self.legacy, &self.params) {
            (Some(_), Some(params)) => Some((
                "initialize",
                serde_json::from_str(params.get()).unwrap_or_default(),
            )),
            _ if self.modern.is_some() => Some(("server/discover", self.params_with(json!({})))),
            _ => None,
        }
    }

    /// Parameters of a private request, in the era of the conversation.
    pub(super) fn params_with(&self, mut params: Value) -> Value {
        if let (None, Some(meta)) = (&self.legacy, &self.meta) {
            params["_meta"] = meta.clone();
        }
        params
    }

    /// How to find out whether the server answers.
    pub(super) fn health(&self) -> (&'static str, Value) {
        match self.legacy {
            Some(_) => ("ping", json!({})),
            None => ("server/discover", self.params_with(json!({}))),
        }
    }

    /// A new launch answered the handshake.
    ///
    /// # Errors
    ///
    /// What it lacks, for a person.
    pub(super) fn compare(&mut self, outcome: Result<&RawValue, &RawValue>) -> Result<(), String> {
        let new = match outcome {
            Ok(result) => Agreed::of(result).ok_or("its answer to the handshake is none")?,
            Err(error) => return Err(format!("it refused the handshake: {}", said(error))),
        };
        let old = if self.legacy.is_some() {
            &mut self.legacy
        } else {
            &mut self.modern
        };
        if let Some(old) = old {
            old.keeps(&new)?;
        }
        // What it has more, it may use: lists that it tells of.
        *old = Some(new);
        Ok(())
    }

    pub(super) fn set_level(&mut self, level: &str) {
        self.level = Some(level.into());
    }

    /// Whether there was room for it.
    pub(super) fn subscribe(&mut self, uri: Box<str>) -> bool {
        let room = self.subscriptions.len() < REMEMBERED;
        if room {
            self.subscriptions.insert(uri);
        }
        room
    }

    pub(super) fn unsubscribe(&mut self, uri: &str) {
        self.subscriptions.remove(uri);
    }

    /// The requests that restore level and subscriptions, each with what a person calls it.
    pub(super) fn restore(&self) -> Vec<(&'static str, Value, String)> {
        let level = self.level.iter().map(|level| {
            let what = format!("the log level {level}");
            ("logging/setLevel", json!({ "level": level }), what)
        });
        let subscriptions = self.subscriptions.iter().map(|uri| {
            let what = format!("the subscription to {uri}");
            ("resources/subscribe", json!({ "uri": uri }), what)
        });
        level.chain(subscriptions).collect()
    }

    /// A listen that was sent. It comes back where it cannot be remembered.
    pub(super) fn listen(&mut self, call: Call) -> Option<Call> {
        let Some(line) = call.line.clone() else {
            return Some(call);
        };
        if self.listens.len() >= REMEMBERED {
            return Some(call);
        }
        self.next += 1;
        let id = call.id.clone();
        let listen = Listen {
            call,
            line,
            acknowledged: false,
            again: false,
            accepted: Value::Null,
            order: self.next,
        };
        self.listens.insert(id, listen);
        None
    }

    /// All listens in the order in which they came; there are none then.
    pub(super) fn take_listens(&mut self) -> Vec<Call> {
        let mut listens: Vec<_> = self.listens.drain().map(|(_, listen)| listen).collect();
        listens.sort_unstable_by_key(|listen| listen.order);
        listens.into_iter().map(|listen| listen.call).collect()
    }

    /// The host's listen is over. Whether there was one.
    pub(super) fn unlisten(&mut self, id: &Id) -> bool {
        self.listens.remove(id).is_some()
    }

    /// An acknowledgement. Whether the host has it already.
    pub(super) fn acknowledge(&mut self, id: &Id, params: Option<&RawValue>) -> bool {
        #[derive(Deserialize)]
        struct Params {
            #[serde(default)]
            notifications: Value,
        }
        let Some(listen) = self.listens.get_mut(id) else {
            return false;
        };
        let params = params.and_then(|params| serde_json::from_str::<Params>(params.get()).ok());
        listen.accepted = params.map_or(Value::Null, |params| params.notifications);
        let swallowed = listen.again && listen.acknowledged;
        listen.again = false;
        listen.acknowledged = true;
        swallowed
    }

    /// The lines of all listens, in the order in which they came, for a new launch.
    pub(super) fn listen_again(&mut self) -> Vec<Bytes> {
        let mut listens: Vec<_> = self.listens.values_mut().collect();
        listens.sort_unstable_by_key(|listen| listen.order);
        let again = listens.into_iter().map(|listen| {
            listen.again = true;
            listen.line.clone()
        });
        again.collect()
    }

    /// The notifications that tell the host of a changed list: their parameters. None where nobody listens.
    pub(super) fn told_of(&self, list: List) -> Vec<Option<Value>> {
        match &self.legacy {
            Some(agreed) if agreed.tells_of(list) && self.initialized => vec![None],
            Some(_) => Vec::new(),
            None => {
                let wants = |listen: &&Listen| listen.accepted[list.wanted()] == Value::Bool(true);
                let mut listens: Vec<_> = self
                    .listens
                    .iter()
                    .filter(|(_, listen)| wants(listen))
                    .collect();
                listens.sort_unstable_by_key(|(_, listen)| listen.order);
                let params = listens.into_iter().map(|(id, _)| {
                    let id: Value = serde_json::from_str(id.raw()).unwrap_or_default();
                    Some(json!({ "_meta": { SUBSCRIPTION: id } }))
                });
                params.collect()
            }
        }
    }
}

/// An error's own message, at most a few hundred bytes of it.
pub(super) fn said(error: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Error {
        message: String,
    }
    let message = serde_json::from_str(error.get())
        .map_or_else(|_| error.get().to_owned(), |error: Error| error.message);
    message.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn agreed(text: &str) -> Agreed {
        Agreed::of(&serde_json::from_str::<Box<RawValue>>(text).unwrap()).unwrap()
    }

    #[test]
    fn what_shrank_is_named_and_what_grew_is_welcome() {
        let old = r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"logging":{},"x":false}}"#;
        let table = [
            (old, Ok(())),
            (
                r#"{"protocolVersion":"2025-06-18","capabilities":{"logging":{"y":1},"tools":{"listChanged":true},"z":{}}}"#,
                Ok(()),
            ),
            (
                r#"{"protocolVersion":"2025-03-26","capabilities":{}}"#,
                Err("it spoke protocol version 2025-06-18, and now speaks 2025-03-26"),
            ),
            (
                r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":false},"logging":{}}}"#,
                Err("it no longer has the capability tools.listChanged"),
            ),
            (
                r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true}}}"#,
                Err("it no longer has the capability logging"),
            ),
            (
                r#"{"protocolVersion":"2025-06-18"}"#,
                Err("it no longer has the capability tools"),
            ),
        ];
        for (new, expected) in table {
            let kept = agreed(old).keeps(&agreed(new));
            assert_eq!(
                kept.as_ref().copied().map_err(String::as_str),
                expected,
                "{new}"
            );
        }
        let modern =
            agreed(r#"{"supportedVersions":["2025-11-25","2026-07-28"],"capabilities":{}}"#);
        assert!(modern.keeps(&modern).is_ok());
        let fewer = agreed(r#"{"supportedVersions":["2025-11-25"],"capabilities":{}}"#);
        assert!(modern.keeps(&fewer).unwrap_err().contains("2026-07-28"));
    }
}
