//! What a test asks `srtctl`, and the audit log that it prints.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::{SOON, World, until};

/// One entry of the audit log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// start, exit, allow, deny, …
    pub kind: String,
    /// The server's name.
    pub server: String,
    /// What it is about.
    pub subject: String,
    /// The rest.
    pub json: Value,
}

impl World {
    /// Runs `srtctl` to its end.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[track_caller]
    pub fn srtctl(&self, arguments: &[&str]) -> Output {
        self.command(self.program("srtctl"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("srtctl {arguments:?}: {error}"))
    }

    /// Runs `srtctl`, which must succeed, and gives its stdout.
    ///
    /// # Panics
    ///
    /// When it fails.
    #[track_caller]
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let output = self.srtctl(arguments);
        assert!(
            output.status.success(),
            "srtctl {arguments:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `srtctl … --json`, which must succeed, and gives what it printed.
    ///
    /// # Panics
    ///
    /// When it fails or prints something else.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        let text = self.ctl(&arguments);
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("srtctl {arguments:?}: {error}: {text}"))
    }

    /// What `srtctl status --json` says of one server.
    pub fn status(&self, name: &str) -> Option<Value> {
        let output = self.srtctl(&["status", name, "--json"]);
        let value: Value = serde_json::from_slice(&output.stdout).ok()?;
        value
            .as_array()?
            .iter()
            .find(|server| server["name"] == name)
            .cloned()
    }

    /// Waits until a server is in a state.
    #[track_caller]
    pub fn until_state(&self, name: &str, state: &str) -> Value {
        until(&format!("{name} to be {state}"), SOON, || {
            self.status(name).filter(|server| server["state"] == state)
        })
    }

    /// The whole audit log.
    ///
    /// # Panics
    ///
    /// When it cannot be read.
    #[track_caller]
    pub fn audit(&self) -> Vec<Entry> {
        let Value::Array(entries) = self.json(&["audit"]) else {
            panic!("srtctl audit --json is no array");
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        entries
            .into_iter()
            .map(|json| Entry {
                kind: text(&json["kind"]),
                server: text(&json["server"]),
                subject: text(&json["subject"]),
                json,
            })
            .collect()
    }

    /// Waits for an entry of a kind whose JSON text holds `about`.
    #[track_caller]
    pub fn until_audited(&self, kind: &str, about: &str) -> Entry {
        until(
            &format!("a {kind} entry about {about} in the audit log"),
            Duration::from_secs(10),
            || {
                self.audit()
                    .into_iter()
                    .find(|entry| entry.kind == kind && entry.json.to_string().contains(about))
            },
        )
    }

    /// The daemon's process id, by asking it.
    ///
    /// # Panics
    ///
    /// When it does not answer.
    #[track_caller]
    pub fn daemon_pid(&self) -> u32 {
        let status = self.json(&["daemon", "status"]);
        let pid = status["pid"].as_u64().expect("daemon status has a pid");
        u32::try_from(pid).expect("a process id")
    }

    /// What `srtctl doctor` finds, for whoever reads a failed test on a machine that lacks something.
    pub fn doctor(&self) -> String {
        let output = self.srtctl(&["doctor"]);
        format!(
            "--- srtctl doctor ({}):\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    }
}
