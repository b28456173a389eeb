//! Stands between rmcp's client and what it talks to, writes every line down, and breaks some on purpose, where a test
//! is to show that the oracle notices.

use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, duplex, split};
use tokio::process::Child;
use tokio::task::JoinHandle;

use super::trace::{By, Event, Recorder};
use crate::process;

/// What a relay may do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breakage {
    /// Says an answer twice.
    Duplicates,
    /// Leaves an answer out.
    Drops,
    /// Exchanges the ids of two answers.
    Crosses,
    /// Says that something changed, which nobody said.
    Invents,
    /// Says progress after the answer.
    Reorders,
    /// Answers in the server's place, with an error that helps nobody.
    Mumbles,
    /// Shows the reply to a question of its own.
    Leaks,
}

impl Breakage {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Duplicates,
        Self::Drops,
        Self::Crosses,
        Self::Invents,
        Self::Reorders,
        Self::Mumbles,
        Self::Leaks,
    ];
}

/// How often a line is broken: every so-manieth that can be.
const EVERY: u32 = 5;

struct Relay {
    breakage: Option<Breakage>,
    could: u32,
    held: Option<String>,
}

impl Relay {
    /// What becomes of a line of the server.
    fn pass(&mut self, line: String) -> Vec<String> {
        let Some(breakage) = self.breakage else {
            return vec![line];
        };
        let message: Value = serde_json::from_str(&line).unwrap_or_default();
        let is_answer = message.get("result").is_some() && message["id"] != 0;
        let is_progress = message["method"] == "notifications/progress";
        let fits = match breakage {
            Breakage::Reorders => is_progress || self.held.is_some(),
            _ => is_answer,
        };
        if !fits {
            return vec![line];
        }
        self.could += 1;
        if self.held.is_none() && !self.could.is_multiple_of(EVERY) {
            return vec![line];
        }
        match breakage {
            Breakage::Duplicates => vec![line.clone(), line],
            Breakage::Drops => Vec::new(),
            Breakage::Crosses => match self.held.take() {
                None => {
                    self.held = Some(line);
                    Vec::new()
                }
                Some(other) => {
                    let mut other: Value = serde_json::from_str(&other).unwrap_or_default();
                    let mut message = message;
                    let id = other["id"].take();
                    other["id"] = message["id"].take();
                    message["id"] = id;
                    vec![other.to_string(), message.to_string()]
                }
            },
            Breakage::Invents => {
                let invented =
                    r#"{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}"#;
                vec![invented.to_owned(), line]
            }
            // Held until something that is no progress has passed: the answer, sooner or later.
            Breakage::Reorders => match self.held.take() {
                None => {
                    self.held = Some(line);
                    Vec::new()
                }
                Some(held) if is_answer => vec![line, held],
                Some(held) => {
                    self.held = Some(held);
                    vec![line]
                }
            },
            Breakage::Mumbles => vec![format!(
                r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32000,"message":"error"}}}}"#,
                message["id"]
            )],
            Breakage::Leaks => vec![
                r#"{"jsonrpc":"2.0","id":"private-1","result":{}}"#.to_owned(),
                line,
            ],
        }
    }
}

/// A program whose conversation is written down.
#[derive(Debug)]
pub struct Tee {
    child: Child,
    recorder: Recorder,
    pumps: [JoinHandle<()>; 2],
}

impl Tee {
    /// Starts a command; what comes back is for the client.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start(command: Command, breakage: Option<Breakage>) -> (Self, DuplexStream) {
        let shown = format!("{command:?}");
        let mut child = tokio::process::Command::from(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (ours, clients) = duplex(64 * 1024);
        let (from_client, mut to_client) = split(ours);
        let recorder = Recorder::default();
        let record = recorder.clone();
        let outward = tokio::spawn(async move {
            let mut lines = BufReader::new(from_client).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                record.add(By::Host, &line);
                // A server that is gone is found out by its silence.
                let _ = stdin.write_all(format!("{line}\n").as_bytes()).await;
            }
        });
        let record = recorder.clone();
        let inward = tokio::spawn(async move {
            let mut relay = Relay {
                breakage,
                could: 0,
                held: None,
            };
            let mut stdout = BufReader::new(stdout);
            let mut line = Vec::new();
            while let Ok(1..) = stdout.read_until(b'\n', &mut line).await {
                let text = String::from_utf8_lossy(&line);
                let whole = text.ends_with('\n');
                for line in relay.pass(text.trim_end_matches('\n').to_owned()) {
                    record.add(By::Server, &line);
                    // The client may have gone.
                    let end = if whole { "\n" } else { "" };
                    let _ = to_client.write_all(format!("{line}{end}").as_bytes()).await;
                }
                line.clear();
            }
            let _ = to_client.shutdown().await;
        });
        let tee = Self {
            child,
            recorder,
            pumps: [outward, inward],
        };
        (tee, clients)
    }

    /// Waits for the program's end, and gives all that was said and how it ended; no status where it had to be killed.
    pub async fn end(self, within: Duration) -> (Vec<Event>, Option<ExitStatus>) {
        let Self {
            mut child,
            recorder,
            pumps: [outward, mut inward],
        } = self;
        let mut waited = None;
        // As SDKs do: stdin is closed by now; those that go on without are told to end.
        for patience in [within / 4, within] {
            let ended = async {
                // Its last words first.
                if !inward.is_finished() {
                    let _ = (&mut inward).await;
                }
                child.wait().await.ok()
            };
            if let Ok(ended) = tokio::time::timeout(patience, ended).await {
                waited = ended;
                break;
            }
            if let Some(pid) = child.id() {
                process::signal(pid, Signal::TERM);
            }
        }
        // The client holds its end for as long as it likes; nobody reads what it still says.
        outward.abort();
        inward.abort();
        (recorder.events(), waited)
    }
}
