//! The conversation by its edges: what the host and a server say, what becomes of it, and what each of them sees.

#![allow(clippy::unwrap_used)]

mod bounds;
mod host_side;
mod legacy;
mod modern;
mod server_side;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::errors::Failure;

/// A conversation, and what came of it since it was last looked at.
struct Case {
    talk: Conversation,
    now: Instant,
}

const HEALTH: Duration = Duration::from_secs(7);

impl Case {
    fn new() -> Self {
        let now = Instant::now();
        let mut case = Self {
            talk: Conversation::new("x", 7, now),
            now,
        };
        case.open();
        case
    }

    /// One in which the legacy handshake is over, with these capabilities.
    fn legacy(capabilities: &Value) -> Self {
        let mut case = Self::new();
        case.host(INITIALIZE);
        case.server(&initialized(0, capabilities));
        case.host(INITIALIZED);
        case.clear();
        case
    }

    /// One of the modern era, in which the server was asked who it is.
    fn modern(capabilities: &Value) -> Self {
        let mut case = Self::new();
        case.host(&modern(0, "server/discover", json!({})));
        case.server(&discovered(json!(0), capabilities));
        case.clear();
        case
    }

    fn open(&mut self) {
        let attached = Attached {
            carried: true,
            health: Some(HEALTH),
        };
        self.talk.opened(&attached, self.now);
    }

    fn host(&mut self, line: &str) {
        self.talk.host(format!("{line}\n").as_bytes(), self.now);
    }

    fn server(&mut self, line: &str) {
        self.talk.server(format!("{line}\n").into(), self.now);
    }

    /// The server is killed.
    fn dies(&mut self) {
        self.ends(true);
    }

    fn ends(&mut self, again: bool) {
        let gone = Gone::Ended {
            code: 137,
            reason: "killed by SIGKILL".to_owned(),
            again,
        };
        self.talk.gone(gone, self.now);
    }

    fn loses_the_daemon(&mut self) {
        self.talk
            .gone(Gone::Lost(Failure::new(5, "gone")), self.now);
    }

    fn passes(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.talk.tick(self.now);
    }

    /// What the host was told since the last look, line by line.
    fn told(&mut self) -> Vec<String> {
        let bytes: Vec<u8> = self.talk.out.to_host.drain(..).flatten().collect();
        lines(&bytes)
    }

    /// What the server was sent since the last look; the end of stdin is `END`.
    fn sent(&mut self) -> Vec<String> {
        let mut bytes = Vec::new();
        for next in self.talk.out.to_server.drain(..) {
            match next {
                ToServer::Bytes(next) => bytes.extend(next),
                ToServer::End => bytes.extend(b"END\n"),
            }
        }
        lines(&bytes)
    }

    fn orders(&mut self) -> Vec<Order> {
        self.talk.out.orders.drain(..).collect()
    }

    /// Nothing that was not looked at matters.
    fn clear(&mut self) {
        self.told();
        self.sent();
        self.orders();
    }

    /// The next launch is open; it is asked who it is, and answers `capabilities`. What it is sent after that.
    fn relaunched(&mut self, capabilities: &Value) -> Vec<String> {
        self.open();
        let sent = self.sent();
        let [asked] = &sent[..] else {
            panic!("only the handshake: {sent:?}")
        };
        let asked: Value = serde_json::from_str(asked).unwrap();
        let answer = match asked["method"].as_str().unwrap() {
            "initialize" => initialized(asked["id"].clone(), capabilities),
            "server/discover" => discovered(asked["id"].clone(), capabilities),
            other => panic!("{other} is no handshake"),
        };
        self.server(&answer);
        self.sent()
    }

    /// The single order is to end, with this status.
    #[track_caller]
    fn is_over(&mut self, expected: i32) -> Option<Failure> {
        match &self.orders()[..] {
            [Order::End { code, failure }] => {
                assert_eq!(*code, expected);
                failure.clone()
            }
            other => panic!("it is not over: {other:?}"),
        }
    }

    /// The single order is to open another attachment.
    #[track_caller]
    fn reopens(&mut self) -> String {
        match &self.orders()[..] {
            [Order::Reopen { because }] => because.clone(),
            other => panic!("no other attachment is wanted: {other:?}"),
        }
    }
}

fn lines(bytes: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.split_inclusive('\n')
        .map(|line| line.trim_end_matches('\n').to_owned())
        .collect()
}

const INITIALIZE: &str = r#"{"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{"x":{}},"clientInfo":{"name":"h"}},"jsonrpc":"2.0","id":0}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

fn initialized(id: impl Into<Value>, capabilities: &Value) -> String {
    let result =
        json!({ "protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": {} });
    json!({ "jsonrpc": "2.0", "id": id.into(), "result": result }).to_string()
}

fn discovered(id: Value, capabilities: &Value) -> String {
    let result = json!({ "supportedVersions": ["2026-07-28"], "capabilities": capabilities });
    json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string()
}

fn request(id: impl Into<Value>, method: &str, params: Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params }).to_string()
}

/// The host's capabilities and progress token change; the first is told to a new launch, the second is not.
fn modern(id: impl Into<Value>, method: &str, mut params: Value) -> String {
    params["_meta"] = json!({ "progressToken": 9 });
    for (name, value) in meta().as_object().unwrap() {
        params["_meta"][name] = value.clone();
    }
    request(id, method, params)
}

fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

fn call(id: impl Into<Value>, tool: &str) -> String {
    request(id, "tools/call", json!({ "name": tool }))
}

fn result(id: impl Into<Value>, result: Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id.into(), "result": result }).to_string()
}

fn notification(method: &str, params: Value) -> String {
    json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string()
}

/// The id and the message of an error that we authored.
#[track_caller]
fn error(line: &str) -> (Value, String) {
    let value: Value = serde_json::from_str(line).unwrap();
    assert_eq!(value["error"]["code"], -32000, "{line}");
    let message = value["error"]["message"].as_str().unwrap().to_owned();
    (value["id"].clone(), message)
}

/// The method and the parameters of a request of ours, whose id is private.
#[track_caller]
fn ours(line: &str) -> (String, Value) {
    let value: Value = serde_json::from_str(line).unwrap();
    let id = value["id"].as_str().unwrap();
    assert!(id.starts_with("srt-0000000000000007-"), "{line}");
    (
        value["method"].as_str().unwrap().to_owned(),
        value["params"].clone(),
    )
}

/// The answer to a request of ours.
fn answer_ours(line: &str, outcome: Value) -> String {
    let asked: Value = serde_json::from_str(line).unwrap();
    result(asked["id"].clone(), outcome)
}
