//! The detail object of each kind of entry.
//!
//! Each payload names its fields once; a field that has nothing to say is left out rather than written as null.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Entry, Kind, command_line};

/// A launch begins.
#[derive(Clone, Debug, Serialize)]
pub struct Started<'a> {
    /// Program and arguments.
    pub command: &'a [String],
    /// Working directory.
    pub cwd: &'a str,
    /// Policy generation in force.
    pub generation: u64,
    /// Whether the supervisor replaces a launch that ended.
    pub restart: bool,
    /// In direct mode, what its 0, 1 and 2 are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdio: Option<&'a [String; 3]>,
    /// The names of the variables that were passed on because somebody named them, sorted; never their values.
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    pub variables: &'a [&'a str],
}

/// A launch ended.
#[derive(Clone, Debug, Serialize)]
pub struct Ended<'a> {
    /// Exit status, unless a signal ended the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Why, for a person.
    pub reason: &'a str,
}

/// An exchange that policy allowed, when it is over.
#[derive(Clone, Debug, Serialize)]
pub struct Flow<'a> {
    /// What it came in by: http, connect, socks5, tcp, udp.
    pub front_end: &'a str,
    /// Of would-deny and close: the reason, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// The address connected to: the very one that was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Bytes from the sandbox to the peer.
    pub bytes_out: u64,
    /// Bytes from the peer to the sandbox.
    pub bytes_in: u64,
    /// From the decision to the end.
    pub duration_ms: u64,
    /// The rule that allowed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'a str>,
    /// Of would-deny: the line that a rule for it would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'a str>,
    /// The policy generation that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// Something that policy denied.
#[derive(Clone, Debug, Serialize)]
pub struct Denial<'a> {
    /// What it came in by: http, connect, socks5, tcp, dns, udp; "file" for a use of a file.
    pub front_end: &'a str,
    /// Why, for a person.
    pub reason: &'a str,
    /// The rule that denied it; absent where nothing allowed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'a str>,
    /// The line that would allow it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'a str>,
    /// The policy generation that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// A request between host and server that is over.
#[derive(Clone, Debug, Serialize)]
pub struct Called<'a> {
    /// What was asked for: "tools/call".
    pub method: &'a str,
    /// The tool that was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<&'a str>,
    /// "server" where the server asked its host; absent where the host asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<&'a str>,
    /// The request's identifier as it was written, its beginning.
    pub id: &'a str,
    /// done, failed (the tool's own failure), error, cancelled, lost (the launch ended first), refused (by policy).
    pub outcome: &'a str,
    /// The policy generation in force when it was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Of outcome error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// From the request to the end, rounded up.
    pub duration_ms: u64,
    /// Bytes of the request.
    pub bytes_asked: u64,
    /// Bytes of the answer; 0 where there was none.
    pub bytes_answered: u64,
    /// The beginning of the parameters, with `audit.mcp: "full"` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<&'a str>,
    /// The beginning of the result or error, with `audit.mcp: "full"` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<&'a str>,
}

/// What a server says of its tools was accepted.
#[derive(Clone, Debug, Serialize)]
pub struct Pinned<'a> {
    /// How many tools.
    pub tools: u64,
    /// "first sight", or who accepted it: a user's name or id.
    pub by: &'a str,
    /// The policy generation in force; absent where a person accepted and no launch of the server runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// A policy was loaded.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyLoad<'a> {
    /// Lower-case hexadecimal SHA-256 of the text.
    pub digest: &'a str,
    /// Its generation number.
    pub generation: u64,
    /// Whether this text was in force before.
    pub known: bool,
}

/// A running launch's traffic is decided by another policy from now on.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyChange<'a> {
    /// Lower-case hexadecimal SHA-256 of the text.
    pub digest: &'a str,
    /// The generation that is in force from now on.
    pub generation: u64,
    /// The one that was until now.
    pub instead_of: u64,
    /// Changed keys that take effect at the next start only.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub next_start: &'a [String],
}

/// A settings file changed and was not taken over.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyTrouble<'a> {
    /// The generation that stays in force.
    pub generation: u64,
    /// What is wrong with it.
    pub error: &'a str,
}

/// A person puts an older generation's settings back. What comes to be in force by it has entries of its own.
#[derive(Clone, Debug, Serialize)]
pub struct RolledBack<'a> {
    /// The generation whose texts are written.
    pub rollback_to: u64,
    /// The one that was in force; 0 where the settings could not be used.
    pub instead_of: u64,
    /// The files that change.
    pub files: &'a [String],
    /// Who, for a person.
    pub by: &'a str,
    /// Who, to the kernel.
    pub uid: u32,
    /// The process that asked, on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_pid: Option<u32>,
}

/// A launch that was not begun.
#[derive(Clone, Debug, Serialize)]
pub struct Refusal<'a> {
    /// The step that failed.
    pub step: &'a str,
    /// What was wrong.
    pub reason: &'a str,
    /// The policy generation that it was to have; absent where there was none, as of settings that cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// What a server changed of an overlaid folder was applied or discarded.
#[derive(Clone, Debug, Serialize)]
pub struct Settled<'a> {
    /// Of the server's layers which.
    pub layer: u32,
    /// The paths that were asked for, relative to the folder; none: everything.
    pub asked: &'a [String],
    /// How many paths were settled.
    pub settled: u64,
    /// How many were not, each for a reason that was told.
    pub refused: u64,
    /// Whether conflicts were overridden.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Rules that were overridden for a path that was named, with the path.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub overridden: &'a [String],
    /// The policy generation that said what may be written; of a discard absent where the settings cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The process that asked, on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_pid: Option<u32>,
}

/// A person sent a signal.
#[derive(Clone, Debug, Serialize)]
pub struct Signalled<'a> {
    /// Its number.
    pub signal: i32,
    /// The process ids on the host that it was sent to.
    pub pids: &'a [u32],
    /// The process that asked, on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_pid: Option<u32>,
}

impl Signalled<'_> {
    /// The entry; its subject is the signal's name.
    pub fn entry(&self, at: Timestamp, server: &str, name: &str) -> Entry {
        about(Kind::Signal, at, server, name, self)
    }
}

impl Settled<'_> {
    /// The entry; `kind` is apply or discard, and its subject is the overlaid folder.
    pub fn entry(&self, kind: Kind, at: Timestamp, server: &str, folder: &str) -> Entry {
        about(kind, at, server, folder, self)
    }
}

impl Started<'_> {
    /// The entry; its subject is the command line.
    pub fn entry(&self, at: Timestamp, server: &str, launch: Uuid) -> Entry {
        about(Kind::Start, at, server, self.command.join(" "), self).launch(launch)
    }
}

impl Ended<'_> {
    /// The entry; its subject is the reason.
    pub fn entry(&self, at: Timestamp, server: &str, launch: Uuid) -> Entry {
        about(Kind::Exit, at, server, self.reason, self).launch(launch)
    }
}

impl Flow<'_> {
    /// The entry; `kind` is allow, would-deny or close, `peer` is `host:port` as the server named it.
    pub fn entry(
        &self,
        kind: Kind,
        at: Timestamp,
        server: &str,
        launch: Uuid,
        peer: &str,
    ) -> Entry {
        about(kind, at, server, peer, self).launch(launch)
    }
}

impl Denial<'_> {
    /// The entry; `peer` is `host:port` as the server named it, or a bare name for DNS.
    pub fn entry(&self, at: Timestamp, server: &str, launch: Uuid, peer: &str) -> Entry {
        about(Kind::Deny, at, server, peer, self).launch(launch)
    }
}

impl PolicyLoad<'_> {
    /// The entry; `source` is the settings file's path or `built-in`.
    pub fn entry(&self, at: Timestamp, server: &str, source: &str) -> Entry {
        about(Kind::Policy, at, server, source, self)
    }
}

impl PolicyChange<'_> {
    /// The entry; `source` is the settings file's path or `built-in`.
    pub fn entry(&self, at: Timestamp, server: &str, launch: Uuid, source: &str) -> Entry {
        about(Kind::Policy, at, server, source, self).launch(launch)
    }
}

impl Called<'_> {
    /// The entry; it is about the tool, or the method.
    pub fn entry(&self, at: Timestamp, server: &str, launch: Uuid) -> Entry {
        let subject = self.tool.unwrap_or(self.method);
        about(Kind::Call, at, server, subject, self).launch(launch)
    }
}

impl Pinned<'_> {
    /// The entry; `names` are those of the tools, as many as can be shown.
    pub fn entry(&self, at: Timestamp, server: &str, names: &str) -> Entry {
        about(Kind::Pin, at, server, names, self)
    }
}

impl PolicyTrouble<'_> {
    /// The entry; `source` is the path of the settings file that was in force, or `built-in`.
    pub fn entry(&self, at: Timestamp, server: &str, source: &str) -> Entry {
        about(Kind::Policy, at, server, source, self)
    }
}

impl RolledBack<'_> {
    /// The entry; its subject are the files.
    pub fn entry(&self, at: Timestamp, server: &str) -> Entry {
        about(Kind::Policy, at, server, self.files.join(", "), self)
    }
}

impl Refusal<'_> {
    /// The entry; `command` is what would have run.
    pub fn entry(&self, at: Timestamp, server: &str, command: &[String]) -> Entry {
        about(Kind::Refused, at, server, command_line(command), self)
    }
}

pub(super) fn about(
    kind: Kind,
    at: Timestamp,
    server: &str,
    subject: impl Into<String>,
    payload: &impl Serialize,
) -> Entry {
    let detail = match serde_json::to_value(payload) {
        Ok(Value::Object(object)) => object,
        // Every payload above is a struct of strings and numbers, so neither happens; an entry is still owed.
        Ok(other) => Map::from_iter([("value".to_owned(), other)]),
        Err(error) => Map::from_iter([("unserialisable".to_owned(), error.to_string().into())]),
    };
    let mut entry = Entry::new(at, kind, subject).server(server);
    entry.detail = detail;
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_and_a_denial_name_their_values_and_leave_out_what_is_unknown() {
        let launch = Uuid::from_u128(7);
        let flow = Flow {
            front_end: "http",
            reason: None,
            address: Some("192.0.2.1:443".into()),
            bytes_out: 10,
            bytes_in: 20,
            duration_ms: 3,
            rule: Some("api.example.com"),
            remedy: None,
            generation: Some(4),
        }
        .entry(
            Kind::Allow,
            Timestamp::UNIX_EPOCH,
            "git",
            launch,
            "api.example.com:443",
        );
        assert_eq!(
            (
                flow.kind,
                flow.server.as_deref(),
                flow.launch,
                flow.subject.as_str()
            ),
            (
                Kind::Allow,
                Some("git"),
                Some(launch),
                "api.example.com:443"
            )
        );
        assert_eq!(
            Value::from(flow.detail).to_string(),
            r#"{"front_end":"http","address":"192.0.2.1:443","bytes_out":10,"bytes_in":20,"duration_ms":3,"rule":"api.example.com","generation":4}"#
        );

        let denial = Denial {
            front_end: "dns",
            reason: "no rule allows it",
            rule: None,
            remedy: None,
            generation: None,
        }
        .entry(Timestamp::UNIX_EPOCH, "git", launch, "evil.example");
        assert_eq!(denial.kind, Kind::Deny);
        assert_eq!(
            Value::from(denial.detail).to_string(),
            r#"{"front_end":"dns","reason":"no rule allows it"}"#
        );
    }

    #[test]
    fn a_start_and_an_exit_say_what_ran_and_how_it_ended() {
        let command = ["npx".to_owned(), "-y".to_owned()];
        let start = Started {
            command: &command,
            cwd: "/x",
            generation: 4,
            restart: false,
            stdio: None,
            variables: &["API_TOKEN"],
        }
        .entry(Timestamp::UNIX_EPOCH, "s", Uuid::nil());
        assert_eq!(start.subject, "npx -y");
        assert_eq!(
            Value::from(start.detail).to_string(),
            r#"{"command":["npx","-y"],"cwd":"/x","generation":4,"restart":false,"variables":["API_TOKEN"]}"#
        );
        let exit = Ended {
            code: None,
            signal: Some(9),
            reason: "killed by SIGKILL",
        }
        .entry(Timestamp::UNIX_EPOCH, "s", Uuid::nil());
        assert_eq!(
            Value::from(exit.detail).to_string(),
            r#"{"signal":9,"reason":"killed by SIGKILL"}"#
        );
    }
}
