//! A server of MCP's legacy era that does what its calls tell it: answer late, ask the host something, die in the middle
//! of a line. Each call carries a nonce, which whatever is said because of it carries, too.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, Write as _};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::launch::Entry;

/// The tools that it has from the beginning.
pub const TOOLS: [&str; 9] = [
    "echo", "late", "progress", "log", "ask", "roots", "change", "die", "hang",
];

/// Serves on stdin and stdout until stdin ends.
///
/// # Errors
///
/// When its log cannot be written, or the streams fail.
pub fn serve(folder: &Path) -> io::Result<()> {
    let server = Arc::new(Server::new(folder)?);
    for line in io::stdin().lock().lines() {
        let line = line?;
        server.note(&Entry::Read(line.clone()))?;
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        match (
            message.get("method").and_then(Value::as_str),
            message.get("id"),
        ) {
            (Some(method), Some(id)) => {
                let (server, method, id) = (Arc::clone(&server), method.to_owned(), id.clone());
                let params = message["params"].clone();
                // What takes time has a thread of its own, so that answers overtake each other.
                let slow = method == "tools/call"
                    && !matches!(params["name"].as_str(), Some("echo" | "log" | "die"));
                if slow {
                    std::thread::spawn(move || server.request(&method, &id, &params));
                } else {
                    server.request(&method, &id, &params);
                }
            }
            (None, Some(id)) => server.answered(id, &message["result"]),
            _ => {}
        }
    }
    Ok(())
}

struct Server {
    /// Log and stdout, under one lock: in the one order.
    log: Mutex<File>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    asked: u64,
    /// Who waits for the host's answer.
    waiting: HashMap<u64, Sender<Value>>,
    /// Tools beside [`TOOLS`].
    added: Vec<String>,
}

impl Server {
    fn new(folder: &Path) -> io::Result<Self> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(io::Error::other)?;
        let nanoseconds = u64::try_from(now.as_nanos()).map_err(io::Error::other)?;
        fs::create_dir_all(folder)?;
        let name = format!("{nanoseconds}-{}.log", std::process::id());
        let server = Self {
            log: Mutex::new(File::create_new(folder.join(name))?),
            state: Mutex::default(),
        };
        server.note(&Entry::Began(nanoseconds))?;
        Ok(server)
    }

    fn note(&self, entry: &Entry) -> io::Result<()> {
        let line = serde_json::to_string(entry)? + "\n";
        self.log
            .lock()
            .map_err(|_| io::Error::other("a thread panicked"))?
            .write_all(line.as_bytes())
    }

    /// Writes a message, which is in the log by then. Whoever cannot write ends.
    fn say(&self, message: &Value) {
        let line = message.to_string();
        let said = || -> io::Result<()> {
            let mut log = self
                .log
                .lock()
                .map_err(|_| io::Error::other("a thread panicked"))?;
            let entry = serde_json::to_string(&Entry::Wrote(line.clone()))? + "\n";
            log.write_all(entry.as_bytes())?;
            let mut stdout = io::stdout().lock();
            stdout.write_all(format!("{line}\n").as_bytes())?;
            stdout.flush()
        };
        if said().is_err() {
            std::process::exit(3);
        }
    }

    fn notify(&self, method: &str, params: Option<Value>) {
        let mut message = json!({ "jsonrpc": "2.0", "method": method });
        if let Some(params) = params {
            message["params"] = params;
        }
        self.say(&message);
    }

    /// Asks the host, and waits for what it says, 60 s at most.
    fn ask(&self, method: &str, params: &Value) -> Value {
        let (sender, receiver) = channel();
        let Ok(mut state) = self.state.lock() else {
            return Value::Null;
        };
        // From 0 in every launch, as the SDKs count: an answer to an older launch's would fit.
        let id = state.asked;
        state.asked += 1;
        state.waiting.insert(id, sender);
        drop(state);
        self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        receiver
            .recv_timeout(Duration::from_secs(60))
            .unwrap_or_default()
    }

    fn answered(&self, id: &Value, result: &Value) {
        let waiting = id
            .as_u64()
            .and_then(|id| self.state.lock().ok()?.waiting.remove(&id));
        if let Some(waiting) = waiting {
            // It may have waited too long.
            let _ = waiting.send(result.clone());
        }
    }

    fn request(&self, method: &str, id: &Value, params: &Value) {
        let answer = |result: Value| {
            self.say(&json!({ "jsonrpc": "2.0", "id": id, "result": result }));
        };
        match method {
            "initialize" => answer(json!({
                "protocolVersion": params["protocolVersion"],
                "capabilities": {
                    "tools": { "listChanged": true }, "logging": {}, "prompts": {}, "completions": {},
                    "resources": { "subscribe": true, "listChanged": true },
                },
                "serverInfo": { "name": "scripted", "version": "1" },
            })),
            "tools/list" => answer(json!({ "tools": self.tools() })),
            "resources/list" => answer(json!({ "resources": [
                { "uri": "test://one", "name": "one" },
            ]})),
            "resources/templates/list" => answer(json!({ "resourceTemplates": [] })),
            "resources/read" => answer(json!({ "contents": [
                { "uri": params["uri"], "text": params["uri"] },
            ]})),
            "prompts/list" => answer(json!({ "prompts": [{ "name": "p" }] })),
            "prompts/get" => answer(json!({ "messages": [
                { "role": "user", "content": { "type": "text", "text": params["arguments"]["nonce"] } },
            ]})),
            "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" => {
                answer(json!({}));
            }
            "tools/call" => {
                if let Some(text) = self.call(id, params) {
                    answer(json!({ "content": [{ "type": "text", "text": text }] }));
                }
            }
            other => self.say(&json!({
                "jsonrpc": "2.0", "id": id,
                "error": { "code": -32601, "message": format!("no method {other}") },
            })),
        }
    }

    fn tools(&self) -> Vec<Value> {
        let added = self
            .state
            .lock()
            .map_or_else(|_| Vec::new(), |state| state.added.clone());
        TOOLS
            .iter()
            .map(|name| (*name).to_owned())
            .chain(added)
            .map(|name| json!({ "name": name, "inputSchema": { "type": "object" } }))
            .collect()
    }

    /// The text of a call's answer; none where there is to be none.
    fn call(&self, id: &Value, params: &Value) -> Option<String> {
        let arguments = &params["arguments"];
        let nonce = arguments["nonce"].as_str().unwrap_or_default().to_owned();
        let wait = Duration::from_millis(arguments["ms"].as_u64().unwrap_or_default());
        match params["name"].as_str().unwrap_or_default() {
            "late" => std::thread::sleep(wait),
            "progress" => {
                for step in 1..=arguments["steps"].as_u64().unwrap_or(3) {
                    std::thread::sleep(wait);
                    self.notify(
                        "notifications/progress",
                        Some(json!({
                            "progressToken": params["_meta"]["progressToken"],
                            "progress": step, "message": nonce,
                        })),
                    );
                }
            }
            "log" => self.notify(
                "notifications/message",
                Some(json!({ "level": "info", "data": nonce })),
            ),
            "ask" => {
                let said = self.ask(
                    "sampling/createMessage",
                    &json!({
                        "messages": [{ "role": "user", "content": { "type": "text", "text": nonce } }],
                        "maxTokens": 10,
                    }),
                );
                return Some(format!("{nonce} {}", said["content"]["text"]));
            }
            "roots" => {
                self.ask("roots/list", &json!({}));
            }
            "change" => {
                if let Ok(mut state) = self.state.lock() {
                    state.added.push(format!("added-{nonce}"));
                }
                self.notify("notifications/tools/list_changed", None);
            }
            "hang" => return None,
            "die" => self.die(id, &nonce, arguments["how"].as_str().unwrap_or_default()),
            _ => {}
        }
        Some(nonce)
    }

    /// Ends the process before its answer, in the middle of it, or after it.
    fn die(&self, id: &Value, nonce: &str, how: &str) -> ! {
        let line = json!({
            "jsonrpc": "2.0", "id": id, "result": { "content": [{ "type": "text", "text": nonce }] },
        });
        match how {
            "half" => {
                let line = line.to_string();
                let part = &line[..line.len() / 2];
                let _ = self.note(&Entry::Part(part.to_owned()));
                let mut stdout = io::stdout().lock();
                let _ = stdout
                    .write_all(part.as_bytes())
                    .and_then(|()| stdout.flush());
            }
            "after" => self.say(&line),
            _ => {}
        }
        std::process::exit(if how == "clean" { 0 } else { 7 });
    }
}
