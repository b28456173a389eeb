//! What the host asks of the servers, what should come of it, and what did.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rmcp::model::CallToolRequestParams;
use rmcp::transport::TokioChildProcess;
use rmcp::{Peer, RoleClient, ServiceExt as _};
use serde_json::{Value, json};

use crate::stage::{SECRET, Stage};

/// How long an entry may take to stand in the audit log.
const RECORDED: Duration = Duration::from_secs(5);

/// What should come of an attempt.
enum Expected {
    /// The tool succeeds and its text holds this.
    Allowed(&'static str),
    /// The tool fails.
    Refused,
    /// The tool succeeds and its text does not hold this.
    Hidden(&'static str),
}

/// One call of one tool.
pub(crate) struct Attempt {
    title: String,
    tool: &'static str,
    arguments: Value,
    expected: Expected,
    /// What its entry in the audit log is about; none where nothing is decided that could be recorded.
    recorded: Option<String>,
    /// What a line of the effective policy that speaks of this attempt holds: its key, and a part of its value.
    rule: Option<(&'static str, String)>,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) title: String,
    pub(crate) policy: String,
    pub(crate) happened: String,
    good: bool,
}

impl Outcome {
    pub(crate) fn as_expected(&self) -> bool {
        self.good
    }
}

fn attempt(
    title: impl Into<String>,
    tool: &'static str,
    arguments: Value,
    expected: Expected,
) -> Attempt {
    Attempt {
        title: title.into(),
        tool,
        arguments,
        expected,
        recorded: None,
        rule: None,
    }
}

impl Attempt {
    /// The attempt must be in the audit log, as an allow or a deny of this.
    fn recorded(mut self, subject: impl Into<String>) -> Self {
        self.recorded = Some(subject.into());
        self
    }

    fn rule(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.rule = Some((key, value.into()));
        self
    }
}

fn path(folder: &Path, file: &str) -> String {
    folder.join(file).to_string_lossy().into_owned()
}

/// What the demo server is asked.
pub(crate) fn demo(stage: &Stage) -> Vec<Attempt> {
    let (home, work) = (stage.home(), stage.work());
    let (allowed, other) = (stage.allowed, stage.other);
    vec![
        attempt(
            "read a file of the project",
            "read_file",
            json!({ "path": path(&work, "notes.txt") }),
            Expected::Allowed("buy milk"),
        ),
        attempt(
            "write a file in the project",
            "write_file",
            json!({ "path": path(&work, "out.txt"), "content": "hello\n" }),
            Expected::Allowed("wrote 6 bytes"),
        )
        .rule("filesystem.allowWrite", ""),
        attempt(
            "read ~/.ssh/id_rsa",
            "read_file",
            json!({ "path": path(&home, ".ssh/id_rsa") }),
            Expected::Refused,
        )
        .recorded(path(&home, ".ssh/id_rsa")),
        attempt(
            "write outside the project",
            "write_file",
            json!({ "path": path(&home, "diary.txt"), "content": "gone\n" }),
            Expected::Refused,
        )
        .recorded(path(&home, "diary.txt")),
        attempt(
            format!("fetch the allowed 127.0.0.1:{allowed}"),
            "fetch_url",
            json!({ "url": format!("http://127.0.0.1:{allowed}/") }),
            Expected::Allowed("the allowed host says hello"),
        )
        .recorded(format!("127.0.0.1:{allowed}")),
        attempt(
            format!("the same by a plain socket, 127.0.0.1:{allowed}"),
            "connect",
            json!({ "host": "127.0.0.1", "port": allowed }),
            Expected::Allowed("connected"),
        )
        .recorded(format!("127.0.0.1:{allowed}")),
        attempt(
            "fetch another host through the proxy",
            "fetch_url",
            json!({ "url": "http://tracker.example.com/" }),
            Expected::Refused,
        )
        .recorded("tracker.example.com:80"),
        // Addresses kept for documentation: nobody has them.
        attempt(
            "fetch an address literal, 203.0.113.5",
            "fetch_url",
            json!({ "url": "http://203.0.113.5/" }),
            Expected::Refused,
        )
        .recorded("203.0.113.5:80"),
        attempt(
            "a plain socket to 203.0.113.5:443",
            "connect",
            json!({ "host": "203.0.113.5", "port": 443 }),
            Expected::Refused,
        )
        .recorded("203.0.113.5:443"),
        attempt(
            "look up another host's name",
            "connect",
            json!({ "host": "tracker.example.com", "port": 443 }),
            Expected::Refused,
        )
        .recorded("tracker.example.com"),
        attempt(
            format!("a plain socket to 127.0.0.1:{other} of this machine"),
            "connect",
            json!({ "host": "127.0.0.1", "port": other }),
            Expected::Refused,
        ),
        attempt(
            "find SECRET_TOKEN in the environment",
            "list_environment",
            json!({}),
            Expected::Hidden(SECRET),
        ),
    ]
}

/// What the real server-filesystem is asked.
pub(crate) fn filesystem(stage: &Stage) -> Vec<Attempt> {
    let (home, work) = (stage.home(), stage.work());
    vec![
        attempt(
            "server-filesystem reads the project",
            "read_text_file",
            json!({ "path": path(&work, "notes.txt") }),
            Expected::Allowed("buy milk"),
        ),
        attempt(
            "server-filesystem reads ~/.ssh/id_rsa",
            "read_text_file",
            json!({ "path": path(&home, ".ssh/id_rsa") }),
            Expected::Refused,
        )
        .rule("filesystem.denyRead", ".ssh"),
        attempt(
            "server-filesystem writes outside the project",
            "write_file",
            json!({ "path": path(&home, "diary.txt"), "content": "gone\n" }),
            Expected::Refused,
        )
        .recorded(path(&home, "diary.txt")),
    ]
}

/// Launches a registered server as a host does, by the shim, and makes the attempts one after the other.
pub(crate) async fn drive(
    stage: &Stage,
    server: &str,
    attempts: &[Attempt],
) -> anyhow::Result<Vec<Outcome>> {
    let mut command = tokio::process::Command::from(stage.command("srt"));
    command.args(["--name", server]);
    // What the server says to a person would stand in the middle of the table; srtctl logs has it.
    let (transport, _) = TokioChildProcess::builder(command)
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start srt")?;
    let client = ()
        .serve(transport)
        .await
        .with_context(|| format!("{server} does not answer through srt"))?;
    let lines = stage.json(&["policy", "show", server])?;
    let mut outcomes = Vec::new();
    for attempt in attempts {
        let before = newest(stage)?;
        let (text, good) = call(client.peer(), attempt).await?;
        let recorded = match &attempt.recorded {
            Some(subject) => recorded(stage, server, before, subject).await?,
            None => None,
        };
        let logged = attempt.recorded.is_none() || recorded.is_some();
        outcomes.push(Outcome {
            title: attempt.title.clone(),
            policy: match recorded {
                Some(text) => text,
                None if !logged => "NOT IN THE AUDIT LOG".to_owned(),
                None => stated(stage, &lines, attempt).unwrap_or_else(|| default(attempt)),
            },
            happened: stage.shorten(&text),
            good: good && logged,
        });
    }
    client.cancel().await?;
    Ok(outcomes)
}

async fn call(peer: &Peer<RoleClient>, attempt: &Attempt) -> anyhow::Result<(String, bool)> {
    let mut params = CallToolRequestParams::new(attempt.tool);
    if let Value::Object(map) = &attempt.arguments {
        params = params.with_arguments(map.clone());
    }
    let result = peer
        .call_tool(params)
        .await
        .with_context(|| attempt.title.clone())?;
    let text: String = result
        .content
        .iter()
        .filter_map(|block| block.as_text())
        .map(|text| text.text.as_str())
        .collect();
    let refused = result.is_error == Some(true);
    let good = match attempt.expected {
        Expected::Allowed(part) => !refused && text.contains(part),
        Expected::Refused => refused,
        Expected::Hidden(part) => !refused && !text.contains(part),
    };
    let shown = match attempt.expected {
        Expected::Hidden(part) if !text.contains(part) => {
            format!("{} variables, none of them it", text.lines().count())
        }
        // A refusal's first line names it; what to do about it stands in the audit log.
        Expected::Refused => short(&text.lines().take(2).collect::<Vec<_>>().join(", ")),
        _ => short(&text),
    };
    Ok((shown, good))
}

/// The first lines of a text, on one line.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= 130 {
        return line;
    }
    let cut: String = line.chars().take(128).collect();
    format!("{cut} …")
}

/// The number of the newest audit entry.
fn newest(stage: &Stage) -> anyhow::Result<u64> {
    let entries = stage.json(&["audit"])?;
    Ok(entries
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["seq"].as_u64())
        .max()
        .unwrap_or(0))
}

/// What the audit log says of an attempt that was just made: its allow or deny, with the rule. An allowed flow is
/// recorded at its end, so it is waited for.
async fn recorded(
    stage: &Stage,
    server: &str,
    before: u64,
    subject: &str,
) -> anyhow::Result<Option<String>> {
    let start = Instant::now();
    loop {
        let entries = stage.json(&["audit", "--server", server])?;
        let found = entries.as_array().into_iter().flatten().find(|entry| {
            entry["seq"].as_u64() > Some(before)
                && entry["subject"]
                    .as_str()
                    .is_some_and(|of| is_about(of, subject))
                && matches!(entry["kind"].as_str(), Some("allow" | "deny"))
        });
        if let Some(entry) = found {
            let kind = entry["kind"].as_str().unwrap_or_default();
            let why = ["reason", "rule"]
                .iter()
                .find_map(|key| entry["detail"][key].as_str())
                .unwrap_or(subject);
            return Ok(Some(stage.shorten(&format!("{kind}: {why}"))));
        }
        if start.elapsed() > RECORDED {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The line of the effective policy that speaks of an attempt.
fn stated(stage: &Stage, policy: &Value, attempt: &Attempt) -> Option<String> {
    let (key, part) = attempt.rule.as_ref()?;
    let line = policy["lines"].as_array()?.iter().find(|line| {
        line["key"] == *key && line["value"].as_str().is_some_and(|v| v.contains(part))
    })?;
    let file = line["file"].as_str().unwrap_or("built-in");
    let place = match line["line"].as_u64() {
        None | Some(0) => file.to_owned(),
        Some(number) => format!("{file}:{number}"),
    };
    let value = line["value"].as_str()?;
    let kind = match attempt.expected {
        Expected::Allowed(_) => "allow",
        _ => "deny",
    };
    Some(stage.shorten(&format!("{kind}: {key}: {value} ({place})")))
}

/// What holds where no line speaks of an attempt.
fn default(attempt: &Attempt) -> String {
    match (attempt.tool, &attempt.expected) {
        ("list_environment", _) => "hidden: policy does not pass it on".to_owned(),
        ("connect", Expected::Refused) => {
            "nothing to decide: the sandbox has a loopback of its own".to_owned()
        }
        (_, Expected::Allowed(_)) => "allow: no rule in filesystem.denyRead".to_owned(),
        _ => "no rule allows it".to_owned(),
    }
}

/// Whether an entry is about a path: many programs save by writing a file of another name beside it first.
fn is_about(of: &str, subject: &str) -> bool {
    of.strip_prefix(subject)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') && rest.ends_with(".tmp"))
}
