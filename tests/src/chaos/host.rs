//! A host: rmcp's client, which calls whatever a seed tells it, several at once.

// Newer revisions of MCP give sampling up; servers use it.
#![allow(deprecated)]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rmcp::model::{
    ClientConfig, ClientRequest, CreateMessageRequestParams, CreateMessageResult, ErrorData,
};
use rmcp::service::{PeerRequestOptions, RequestContext};
use rmcp::{ClientHandler, ClientServiceExt as _, Peer, RoleClient};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::tee::{Breakage, Tee};
use super::trace::Event;
use crate::Random;
use crate::mcp::lifecycle;

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// [`super::scripted`].
    Scripted,
    /// server-everything.
    Everything,
}

/// What a host does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What it talks to.
    pub server: Server,
    /// What it draws from.
    pub seed: u64,
    /// How many requests it makes.
    pub requests: u32,
    /// How many calls may tell the server to die.
    pub deaths: u32,
    /// How long it waits between two, at most.
    pub pause: Duration,
    /// How long it waits for an answer.
    pub patience: Duration,
}

/// A conversation that is over.
#[derive(Debug)]
pub struct Conversation {
    /// All that passed.
    pub trace: Vec<Event>,
    /// The exit status of what was started; none where it had to be killed.
    pub code: Option<i32>,
    /// How many requests were answered with a result, and how many with an error.
    pub answered: [u32; 2],
}

/// Answers a question of the server with what is in it.
#[derive(Clone, Debug)]
struct Handler;

impl ClientHandler for Handler {
    async fn create_message(
        &self,
        params: CreateMessageRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let asked = serde_json::to_value(params).unwrap_or_default();
        let content = &asked["messages"][0]["content"];
        let text = content.get(0).unwrap_or(content)["text"].clone();
        let answer = json!({
            "model": "none", "role": "assistant", "content": { "type": "text", "text": text },
        });
        serde_json::from_value(answer)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))
    }

    fn get_info(&self) -> ClientConfig {
        serde_json::from_value(json!({
            "protocolVersion": "2025-06-18",
            "capabilities": { "sampling": {}, "roots": {} },
            "clientInfo": { "name": "srt-tests", "version": "1" },
        }))
        .expect("it is what initialize takes")
    }
}

/// Requests that are under way at once.
const AT_ONCE: usize = 8;

/// How far the hosts of a storm have come.
#[derive(Debug, Default)]
pub struct Progress {
    /// How many have had `initialize` answered.
    pub begun: AtomicU32,
    /// How many have nothing more to ask, or never will.
    pub done: AtomicU32,
    /// The storm is over: they may close.
    pub calm: AtomicBool,
}

/// Counts a host as done, however it ends.
struct Done<'a>(&'a Progress);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Has a host talk to what a command starts.
///
/// # Panics
///
/// When the conversation does not begin.
pub async fn converse(
    command: Command,
    plan: Plan,
    breakage: Option<Breakage>,
    progress: &Progress,
) -> Conversation {
    let done = Done(progress);
    let (tee, stream) = Tee::start(command, breakage);
    let client = tokio::time::timeout(
        plan.patience,
        Handler.serve_with_lifecycle(stream, lifecycle(false)),
    )
    .await
    .expect("an answer to initialize")
    .unwrap_or_else(|error| panic!("the conversation does not begin: {error}"));
    progress.begun.fetch_add(1, Ordering::Relaxed);
    let mut random = Random::new(plan.seed);
    let mut deaths = plan.deaths;
    let answered = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for number in 0..plan.requests {
        if client.is_closed() {
            break;
        }
        let nonce = format!("n{:x}-{number}", plan.seed);
        let (request, cancel) = match plan.server {
            Server::Scripted => scripted(&mut random, &nonce, &mut deaths),
            Server::Everything => everything(&mut random, &nonce),
        };
        let place = Arc::clone(&places).acquire_owned().await;
        let (peer, answered) = (client.peer().clone(), Arc::clone(&answered));
        // Sent here, so that the order is the seed's; awaited beside.
        let handle = send(&peer, request).await;
        tasks.spawn(async move {
            let _place = place;
            let Ok(handle) = handle else { return };
            if let Some(after) = cancel {
                tokio::time::sleep(after).await;
                // It may have been answered meanwhile.
                let _ = handle.cancel(Some("enough".to_owned())).await;
                return;
            }
            match tokio::time::timeout(plan.patience, handle.await_response()).await {
                Ok(Ok(_)) => answered[0].fetch_add(1, Ordering::Relaxed),
                _ => answered[1].fetch_add(1, Ordering::Relaxed),
            };
        });
        let pause = u64::try_from(plan.pause.as_micros()).unwrap_or(u64::MAX);
        tokio::time::sleep(Duration::from_micros(random.below(pause.max(1)))).await;
    }
    while tasks.join_next().await.is_some() {}
    drop(done);
    // What is hit after the host has closed its side is nobody's conversation any more.
    while !progress.calm.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Whatever was hit last, the session goes on: the trace has the answer, or it is missed.
    if let Ok(handle) = send(client.peer(), json!({ "method": "ping" })).await {
        let _ = tokio::time::timeout(plan.patience, handle.await_response()).await;
    }
    // Over already where the other side is.
    let _ = client.cancel().await;
    let (trace, status) = tee.end(Duration::from_secs(20)).await;
    Conversation {
        trace,
        code: status.and_then(|status| status.code()),
        answered: [0, 1].map(|which| answered[which].load(Ordering::Relaxed)),
    }
}

async fn send(
    peer: &Peer<RoleClient>,
    request: Value,
) -> Result<rmcp::service::RequestHandle<RoleClient>, rmcp::ServiceError> {
    let request: ClientRequest =
        serde_json::from_value(request).expect("a request that rmcp knows");
    peer.send_cancellable_request(request, PeerRequestOptions::no_options())
        .await
}

fn call(name: &str, arguments: Value) -> Value {
    json!({ "method": "tools/call", "params": { "name": name, "arguments": arguments } })
}

/// A request, and when it is to be cancelled.
type Drawn = (Value, Option<Duration>);

fn scripted(random: &mut Random, nonce: &str, deaths: &mut u32) -> Drawn {
    let ms = random.below(60);
    let request = match random.below(40) {
        0..=7 => call("echo", json!({ "nonce": nonce })),
        8..=12 => call("late", json!({ "nonce": nonce, "ms": ms })),
        13..=16 => call(
            "progress",
            json!({ "nonce": nonce, "ms": ms / 6, "steps": 1 + random.below(4) }),
        ),
        17..=19 => call("log", json!({ "nonce": nonce })),
        20..=23 => call("ask", json!({ "nonce": nonce })),
        24 => call("roots", json!({ "nonce": nonce })),
        25 => call("change", json!({ "nonce": nonce })),
        26 | 27 => {
            let after = Duration::from_millis(ms);
            let name = if random.below(2) == 0 {
                "hang"
            } else {
                "progress"
            };
            let arguments = json!({ "nonce": nonce, "ms": 20, "steps": 4 });
            return (call(name, arguments), Some(after));
        }
        28 | 29 if *deaths > 0 => {
            *deaths -= 1;
            let how = ["before", "half", "after", "clean"][random.below(4) as usize];
            call("die", json!({ "nonce": nonce, "how": how }))
        }
        30 | 31 => json!({ "method": "tools/list" }),
        32 => json!({ "method": "resources/list" }),
        33 => json!({ "method": "resources/read", "params": { "uri": format!("test://{nonce}") } }),
        34 => {
            json!({ "method": "prompts/get", "params": { "name": "p", "arguments": { "nonce": nonce } } })
        }
        35 => json!({ "method": "ping" }),
        36 => json!({ "method": "logging/setLevel", "params": { "level": "info" } }),
        37 => json!({ "method": "resources/subscribe", "params": { "uri": "test://one" } }),
        38 => json!({ "method": "resources/unsubscribe", "params": { "uri": "test://one" } }),
        _ => call(
            "echo",
            json!({ "nonce": nonce, "text": "x".repeat(random.below(100_000) as usize) }),
        ),
    };
    (request, None)
}

fn everything(random: &mut Random, nonce: &str) -> Drawn {
    let request = match random.below(12) {
        0..=4 => call("echo", json!({ "nonce": nonce, "message": nonce })),
        5 => call(
            "trigger-long-running-operation",
            json!({ "duration": 0.1, "steps": 3 }),
        ),
        6 => call(
            "trigger-sampling-request",
            json!({ "nonce": nonce, "prompt": nonce }),
        ),
        7 => call("get-sum", json!({ "a": 1, "b": 2 })),
        8 => json!({ "method": "tools/list" }),
        9 => json!({ "method": "resources/list" }),
        10 => json!({ "method": "prompts/list" }),
        _ => json!({ "method": "ping" }),
    };
    (request, None)
}
