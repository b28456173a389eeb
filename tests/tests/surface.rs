//! server-everything's whole surface, line by line: tools, resources, prompts, completion, logging, progress,
//! cancellation, tasks, and what it asks of its host (roots, sampling, elicitation), bare and under `srt`.
//!
//! The host of this test answers what it is asked always alike, and waits for each step's end before the next, so that
//! the server's lines come in one order. What differs from run to run all the same is named in [`MASKS`].

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};
use srt_tests::mcp::{INITIALIZED, legacy};
use srt_tests::{SOON, Talk, World, servers};

/// What no two runs have in common, with or without a shim: why, a pattern, and what stands for it.
const MASKS: &[(&str, &str, &str)] = &[
    (
        "the time of day in a resource made up on demand",
        r"created at [0-9]{1,2}:[0-9]{2}:[0-9]{2}[^\x22\\]{0,4}[AP]M",
        "created at TIME",
    ),
    (
        "the same in base64: what follows \"This is a base64 blob\"",
        r#""blob":"UmVzb3VyY2Ug[A-Za-z0-9+/=]+""#,
        r#""blob":"RESOURCE""#,
    ),
    (
        "when a task was made or changed",
        r#""(createdAt|lastUpdatedAt)":"[^"]+""#,
        r#""$1":"TIME""#,
    ),
    ("a task's id", r"\b[0-9a-f]{32}\b", "TASK"),
    (
        "the id of an elicitation by URL",
        r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
        "UUID",
    ),
    (
        "which of eight messages the simulated log draws",
        r#""level":"[a-z]+","data":"[A-Z][a-z]+[- ]level[- ]message""#,
        r#""level":"LEVEL","data":"MESSAGE""#,
    ),
    (
        "the environment, which policy is there to change",
        r#""text":"\{\\n  \\"[A-Z_]+\\": .*\\n\}""#,
        r#""text":"ENVIRONMENT""#,
    ),
];

static PATTERNS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    MASKS
        .iter()
        .map(|(_, pattern, mask)| (Regex::new(pattern).unwrap(), *mask))
        .collect()
});

fn masked(line: &str) -> String {
    PATTERNS
        .iter()
        .fold(line.to_owned(), |line, (pattern, mask)| {
            pattern.replace_all(&line, *mask).into_owned()
        })
}

/// A host that writes down every line that it is told.
struct Host {
    talk: Talk,
    seen: Vec<String>,
    next: u64,
    /// How often it was asked after the task that it pretends to do.
    asked_after: u32,
}

impl Host {
    fn start(command: &mut Command) -> Self {
        Self {
            talk: Talk::start(command),
            seen: Vec::new(),
            next: 0,
            asked_after: 0,
        }
    }

    /// The next line, written down and, where it is a request, answered.
    #[track_caller]
    fn line(&mut self) -> Value {
        let line = self.talk.line(SOON);
        let line = line.unwrap_or_else(|| panic!("the server ended: {}", self.talk.stderr()));
        let line = String::from_utf8(line).unwrap();
        let value: Value = serde_json::from_str(&line).unwrap();
        self.seen.push(line);
        if let (Some(id), Some(method)) = (value.get("id"), value["method"].as_str()) {
            let answer = self.answer(method, &value["params"]);
            // The server counts its ids from 0: what it asked is what it is answered.
            let line = json!({ "jsonrpc": "2.0", "id": id, "result": answer }).to_string();
            self.talk.send(&line);
        }
        value
    }

    /// What a person and a model would say, always the same.
    fn answer(&mut self, method: &str, params: &Value) -> Value {
        let task = |status: &str| {
            json!({
                "taskId": "host-task", "status": status, "ttl": 60_000, "pollInterval": 100,
                "createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z",
            })
        };
        let sampled = json!({
            "role": "assistant", "model": "none", "stopReason": "endTurn",
            "content": { "type": "text", "text": "grüße, \u{1f980} and \"quotes\"" },
        });
        let elicited = json!({ "action": "accept", "content": {
            "name": "Ada", "favoriteColor": "Blue", "agreeToTerms": true, "interpretation": "technical",
        }});
        match method {
            "ping" => json!({}),
            "roots/list" => json!({ "roots": [
                { "uri": "file:///somewhere/project", "name": "project" },
                { "uri": "file:///else/w%20here" },
            ]}),
            _ if params.get("task").is_some() => {
                self.asked_after = 0;
                json!({ "task": task("working") })
            }
            "tasks/get" => {
                self.asked_after += 1;
                task(if self.asked_after < 2 {
                    "working"
                } else {
                    "completed"
                })
            }
            "tasks/result" => sampled,
            "sampling/createMessage" => sampled,
            "elicitation/create" => elicited,
            other => panic!("the server asks for {other}"),
        }
    }

    /// Reads until `last` is the line that came.
    #[track_caller]
    fn until(&mut self, last: impl Fn(&Value) -> bool) -> Value {
        loop {
            let value = self.line();
            if last(&value) {
                return value;
            }
        }
    }

    /// Sends a request and reads until it is answered.
    #[track_caller]
    fn ask(&mut self, method: &str, params: Value) -> Value {
        // Ids of every kind that hosts use.
        self.next += 1;
        let id = match self.next % 3 {
            0 => json!(format!("id \"{}\" \u{1f980}", self.next)),
            1 => json!(self.next),
            _ => json!(9_007_199_254_740_000_u64 + self.next),
        };
        self.talk.send(&legacy(&id, method, params));
        self.until(|value| value.get("id") == Some(&id) && value.get("method").is_none())
    }

    #[track_caller]
    fn call(&mut self, name: &str, arguments: Value) -> Value {
        self.ask(
            "tools/call",
            json!({ "name": name, "arguments": arguments }),
        )
    }

    fn notify(&mut self, method: &str, params: &Value) {
        let line = json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string();
        self.talk.send(&line);
    }
}

/// Initialised with everything that a host can, and past what the server does by itself then.
fn hello(host: &mut Host) {
    let capabilities = json!({
        "roots": { "listChanged": true },
        "sampling": { "context": {}, "tools": {} },
        "elicitation": { "form": {}, "url": {} },
        "tasks": { "list": {}, "cancel": {}, "requests": {
            "sampling": { "createMessage": {} }, "elicitation": { "create": {} },
        }},
    });
    host.ask(
        "initialize",
        json!({
            "protocolVersion": "2025-11-25", "capabilities": capabilities,
            "clientInfo": { "name": "srt-tests", "version": "1" },
        }),
    );
    host.talk.send(INITIALIZED);
    host.until(|value| {
        value["params"]["data"]
            .as_str()
            .is_some_and(|text| text.starts_with("Roots updated"))
    });
}

/// Every tool that it lists; those that it does not list are in `more`.
fn tools(host: &mut Host) {
    let listed = host.ask("tools/list", json!({}));
    let names: BTreeSet<_> = listed["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect();
    let mut called = BTreeSet::new();
    let mut call = |name: &str, arguments: Value| {
        called.insert(name.to_owned());
        host.call(name, arguments)
    };
    call(
        "echo",
        json!({ "message": "grüße \u{1f980} \u{2028} \" \\ \u{0}" }),
    );
    call("echo", json!({ "message": "z".repeat(1_500_000) }));
    call("echo", json!({ "wrong": 1 }));
    for kind in ["error", "success", "debug"] {
        call(
            "get-annotated-message",
            json!({ "messageType": kind, "includeImage": true }),
        );
    }
    call("get-env", json!({}));
    call("get-resource-links", json!({ "count": 5 }));
    for kind in ["Text", "Blob"] {
        call(
            "get-resource-reference",
            json!({ "resourceType": kind, "resourceId": 7 }),
        );
    }
    for city in ["New York", "Chicago", "Los Angeles"] {
        call("get-structured-content", json!({ "location": city }));
    }
    call("get-sum", json!({ "a": 0.1, "b": 0.2 }));
    call("get-sum", json!({ "a": 1e300, "b": -3 }));
    call("get-tiny-image", json!({}));
    for kind in ["resource", "resourceLink"] {
        let arguments =
            json!({ "name": "a.gz", "data": "data:text/plain,hello", "outputType": kind });
        call("gzip-file-as-resource", arguments);
    }
    // On, one message at once, and off before the next is due.
    for _ in 0..2 {
        call("toggle-simulated-logging", json!({}));
    }
    call("get-roots-list", json!({}));
    call("trigger-elicitation-request", json!({}));
    call("trigger-elicitation-request-async", json!({}));
    call(
        "trigger-sampling-request",
        json!({ "prompt": "p \u{1f980}", "maxTokens": 9 }),
    );
    call("trigger-sampling-request-async", json!({ "prompt": "p" }));
    call(
        "trigger-url-elicitation",
        json!({ "url": "https://example.com/x", "message": "m", "elicitationId": "e-1" }),
    );
    call(
        "trigger-url-elicitation",
        json!({ "url": "https://example.com/x", "errorPath": true }),
    );
    call("no-such-tool", json!({}));
    called.remove("no-such-tool");
    // Called with a progress token, as a task, and with updates, by what follows.
    for elsewhere in [
        "trigger-long-running-operation",
        "simulate-research-query",
        "toggle-subscriber-updates",
    ] {
        called.insert(elsewhere.to_owned());
    }
    assert_eq!(called, names, "every tool is called");
}

fn progress(host: &mut Host) {
    let params = |steps: u32| {
        json!({
            "name": "trigger-long-running-operation",
            "arguments": { "duration": 0.4, "steps": steps },
            "_meta": { "progressToken": "token \u{1f980}" },
        })
    };
    host.ask("tools/call", params(8));
    // Cancelled in the middle: no answer comes, the progress that its timers make does.
    host.talk
        .send(&legacy(&json!("cancelled"), "tools/call", params(2)));
    host.until(|value| value["params"]["progress"] == 1);
    host.notify(
        "notifications/cancelled",
        &json!({ "requestId": "cancelled", "reason": "enough" }),
    );
    host.until(|value| value["params"]["progress"] == 2);
    host.ask("ping", json!({}));
}

fn tasks(host: &mut Host) {
    let task = |host: &mut Host, ambiguous: bool| {
        let made = host.ask(
            "tools/call",
            json!({
                "name": "simulate-research-query", "task": { "ttl": 60_000 },
                "arguments": { "topic": "python", "ambiguous": ambiguous },
            }),
        );
        made["result"]["task"]["taskId"].clone()
    };
    let id = task(host, true);
    host.ask("tasks/get", json!({ "taskId": id }));
    host.ask("tasks/result", json!({ "taskId": id }));
    host.ask("tasks/get", json!({ "taskId": id }));
    let id = task(host, false);
    host.ask("tasks/cancel", json!({ "taskId": id }));
    host.ask("tasks/get", json!({ "taskId": id }));
    host.ask("tasks/list", json!({}));
}

fn resources(host: &mut Host) {
    let listed = host.ask("resources/list", json!({}));
    let listed = listed["result"]["resources"].as_array().unwrap().clone();
    assert!(listed.len() > 3, "{listed:?}");
    for resource in &listed {
        host.ask("resources/read", json!({ "uri": resource["uri"] }));
    }
    host.ask("resources/templates/list", json!({}));
    for uri in ["text/3", "blob/3", "text/none"] {
        let uri = format!("demo://resource/dynamic/{uri}");
        host.ask("resources/read", json!({ "uri": uri }));
        host.ask("resources/subscribe", json!({ "uri": uri }));
    }
    // The updates begin at once, three of them.
    host.call("toggle-subscriber-updates", json!({}));
    host.call("toggle-subscriber-updates", json!({}));
    for uri in ["text/3", "blob/3"] {
        host.ask(
            "resources/unsubscribe",
            json!({ "uri": format!("demo://resource/dynamic/{uri}") }),
        );
    }
}

fn prompts(host: &mut Host) {
    host.ask("prompts/list", json!({}));
    for (name, arguments) in [
        ("simple-prompt", json!({})),
        (
            "args-prompt",
            json!({ "city": "Graz", "state": "\u{1f980}" }),
        ),
        ("args-prompt", json!({})),
        (
            "completable-prompt",
            json!({ "department": "Sales", "name": "Eve" }),
        ),
        (
            "resource-prompt",
            json!({ "resourceType": "Text", "resourceId": "2" }),
        ),
        (
            "resource-prompt",
            json!({ "resourceType": "Blob", "resourceId": "2" }),
        ),
        ("no-such-prompt", json!({})),
    ] {
        host.ask(
            "prompts/get",
            json!({ "name": name, "arguments": arguments }),
        );
    }
    for (argument, value) in [("department", ""), ("department", "S"), ("name", "")] {
        host.ask(
            "completion/complete",
            json!({
                "ref": { "type": "ref/prompt", "name": "completable-prompt" },
                "argument": { "name": argument, "value": value },
                "context": { "arguments": { "department": "Sales" } },
            }),
        );
    }
    host.ask(
        "completion/complete",
        json!({
            "ref": { "type": "ref/resource", "uri": "demo://resource/dynamic/text/{resourceId}" },
            "argument": { "name": "resourceId", "value": "12" },
        }),
    );
}

/// Everything, and every line that the server wrote meanwhile.
fn surface(command: &mut Command) -> Vec<String> {
    let mut host = Host::start(command);
    hello(&mut host);
    for level in ["debug", "emergency", "loud"] {
        host.ask("logging/setLevel", json!({ "level": level }));
    }
    host.ask("logging/setLevel", json!({ "level": "debug" }));
    tools(&mut host);
    progress(&mut host);
    tasks(&mut host);
    resources(&mut host);
    prompts(&mut host);
    host.ask("no/such/method", json!({}));
    host.notify("notifications/roots/list_changed", &json!({}));
    host.until(|value| {
        value["params"]["data"]
            .as_str()
            .is_some_and(|text| text.starts_with("Roots updated"))
    });
    // Tasks that it keeps for a while keep it from ending by itself.
    host.seen
}

#[test]
fn every_line_of_server_everything_is_the_same() {
    let world = World::start();
    world.policy(&json!({
        "filesystem": { "denyRead": [], "allowWrite": ["."], "denyWrite": [] },
        "network": { "allowedDomains": [], "deniedDomains": [] },
    }));
    let program = servers().join("node/node_modules/.bin/mcp-server-everything");
    // At the same time: each waits for the server's own timers most of it.
    let mut alone = world.command(&program);
    let bare = std::thread::spawn(move || surface(alone.arg("stdio")));
    let mut shim = world.srt(&["--name", "everything", "--"]);
    let boxed = surface(shim.arg(&program).arg("stdio"));
    let bare = bare.join().unwrap();
    for (number, (bare, boxed)) in bare.iter().zip(&boxed).enumerate() {
        let (bare, boxed) = (masked(bare), masked(boxed));
        assert!(
            bare == boxed,
            "line {number} differs\nbare: {bare:?}\nsrt:  {boxed:?}"
        );
    }
    assert_eq!(bare.len(), boxed.len(), "as many lines");
    for asked in [
        "roots/list",
        "sampling/createMessage",
        "elicitation/create",
        "tasks/result",
    ] {
        let method = format!(r#""method":"{asked}""#);
        assert!(
            bare.iter().any(|line| line.contains(&method)),
            "it asks for {asked}"
        );
    }
    for told in [
        "progress",
        "message",
        "resources/updated",
        "tools/list_changed",
        "resources/list_changed",
    ] {
        let method = format!(r#""method":"notifications/{told}""#);
        assert!(
            bare.iter().any(|line| line.contains(&method)),
            "it tells {told}"
        );
    }
    for ((pattern, _), (why, ..)) in PATTERNS.iter().zip(MASKS) {
        assert!(
            bare.iter().any(|line| pattern.is_match(line)),
            "nothing is masked as {why}"
        );
    }
    // Masks hide little: most lines are compared as they are.
    let touched = bare.iter().filter(|line| masked(line) != **line).count();
    assert!(
        touched * 4 < bare.len(),
        "{touched} of {} lines are masked",
        bare.len()
    );
}

#[test]
fn a_mask_hides_what_it_names_and_nothing_beside() {
    let line = r#"{"text":"made, created at 10:07:59 AM","x":1}"#;
    assert_eq!(masked(line), r#"{"text":"made, created at TIME","x":1}"#);
    let line = r#"{"task":{"taskId":"0123456789abcdef0123456789abcdef","createdAt":"2026-01-01T00:00:00Z"}}"#;
    assert_eq!(
        masked(line),
        r#"{"task":{"taskId":"TASK","createdAt":"TIME"}}"#
    );
    for whole in [
        r#"{"id":1,"result":{"content":[]}}"#,
        r#"{"text":"{\"a\": 1}"}"#,
    ] {
        assert_eq!(masked(whole), whole);
    }
}
