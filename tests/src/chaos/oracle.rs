//! What a host may be told, whatever it started: rules of the protocol, held against a recorded trace. Knows nothing of
//! launches; [`super::model`] does.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::trace::{By, Event};

/// A request of the host that was sent.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its method.
    pub method: String,
    /// The tool, where it is a call.
    pub tool: Option<String>,
    /// What its answer must carry, where it is a result.
    pub nonce: Option<String>,
    /// Under which progress is told.
    pub token: Option<String>,
    /// The host does not wait for it any more.
    pub cancelled: bool,
    /// How often it was answered.
    pub answers: u32,
}

impl Asked {
    /// Reads a request of the host.
    pub fn of(message: &Value) -> Self {
        let params = &message["params"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let method = text(&message["method"]).unwrap_or_default();
        let token = &params["_meta"]["progressToken"];
        Self {
            tool: (method == "tools/call")
                .then(|| text(&params["name"]))
                .flatten(),
            nonce: text(&params["arguments"]["nonce"]),
            token: (!token.is_null()).then(|| token.to_string()),
            cancelled: false,
            answers: 0,
            method,
        }
    }
}

/// Every rule that the trace breaks, a line each; nothing where it breaks none.
///
/// `errors` says of an error's message whether it explains itself: a host shows it to its model word for word.
pub fn faults(trace: &[Event], explained: impl Fn(&Asked, &str) -> bool) -> Vec<String> {
    let mut judge = Judge::default();
    for (number, event) in trace.iter().enumerate() {
        let Ok(message) = serde_json::from_str::<Value>(&event.line) else {
            judge
                .faults
                .push(format!("line {number} is no JSON: {}", event.line));
            continue;
        };
        match event.by {
            By::Host => judge.host(&message),
            By::Server => judge.server(number, &message, &explained),
        }
    }
    for (id, asked) in &judge.asked {
        if asked.answers == 0 && !asked.cancelled {
            let Asked { method, nonce, .. } = asked;
            judge.faults.push(format!(
                "request {id} ({method}, {nonce:?}) was never answered"
            ));
        }
    }
    judge.faults
}

#[derive(Default)]
struct Judge {
    asked: HashMap<String, Asked>,
    /// Requests of the server that wait for the host.
    owed: HashSet<String>,
    hello: Option<String>,
    greeted: bool,
    faults: Vec<String>,
}

impl Judge {
    fn host(&mut self, message: &Value) {
        let id = message["id"].to_string();
        match (message["method"].as_str(), message.get("id")) {
            (Some(method), Some(_)) => {
                if method == "initialize" {
                    self.hello = Some(id.clone());
                }
                if !matches!(method, "initialize" | "server/discover") && self.hello.is_none() {
                    self.greeted = true;
                }
                self.asked.insert(id, Asked::of(message));
            }
            (Some("notifications/cancelled"), None) => {
                let id = message["params"]["requestId"].to_string();
                if let Some(asked) = self.asked.get_mut(&id) {
                    asked.cancelled = true;
                }
            }
            (None, Some(_)) => {
                self.owed.remove(&id);
            }
            _ => {}
        }
    }

    fn server(
        &mut self,
        number: usize,
        message: &Value,
        explained: &impl Fn(&Asked, &str) -> bool,
    ) {
        let mut fault = |text: String| {
            self.faults
                .push(format!("line {number}: {text}: {message}"))
        };
        if message["jsonrpc"] != "2.0" {
            fault("no message of JSON-RPC 2.0".to_owned());
        }
        let id = message["id"].to_string();
        match (message["method"].as_str(), message.get("id")) {
            (None, Some(_)) => {
                let Some(asked) = self.asked.get_mut(&id) else {
                    fault("answers what was never asked".to_owned());
                    return;
                };
                asked.answers += 1;
                if asked.answers > 1 {
                    fault(format!("answer number {} to one request", asked.answers));
                }
                if self.hello.as_ref() == Some(&id) {
                    self.greeted = true;
                }
                match (message.get("result"), message.get("error")) {
                    (Some(result), None) => {
                        let text = result.to_string();
                        if asked
                            .nonce
                            .as_ref()
                            .is_some_and(|nonce| !text.contains(nonce.as_str()))
                        {
                            fault(format!("the answer to another call than {asked:?}"));
                        }
                    }
                    (None, Some(error)) => {
                        let said = error["message"].as_str().unwrap_or_default();
                        if !error["code"].is_i64() || !explained(asked, said) {
                            fault(format!(
                                "an error that does not explain itself, to {asked:?}"
                            ));
                        }
                    }
                    _ => fault("neither a result nor an error, or both".to_owned()),
                }
            }
            (Some(_), Some(_)) => {
                if !self.greeted {
                    fault("a request before the conversation began".to_owned());
                }
                if !self.owed.insert(id) {
                    fault("a request under the id of one that waits".to_owned());
                }
            }
            (Some("notifications/progress"), None) => {
                let token = message["params"]["progressToken"].to_string();
                let of = self
                    .asked
                    .values()
                    .find(|asked| asked.token.as_ref() == Some(&token));
                match of {
                    Some(asked) if asked.answers == 0 => {
                        let told = message["params"]["message"].as_str();
                        if told.is_some() && told != asked.nonce.as_deref() {
                            fault(format!("progress of another call than {asked:?}"));
                        }
                    }
                    Some(_) => fault("progress of a request that is answered".to_owned()),
                    None => fault("progress that nobody asked for".to_owned()),
                }
            }
            (Some(_), None) => {
                if !self.greeted {
                    fault("a notification before the conversation began".to_owned());
                }
            }
            (None, None) => fault("neither a method nor an id".to_owned()),
        }
    }
}
