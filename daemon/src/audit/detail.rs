//! The detail object of each kind of entry.
//!
//! Each payload names its fields once; a field that has nothing to say is left out rather than written as null.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Entry, Kind};

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
    /// What it came in by: http, socks5, tcp, dns.
    pub front_end: &'a str,
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
}

/// Something that policy denied.
#[derive(Clone, Debug, Serialize)]
pub struct Denial<'a> {
    /// What it came in by: http, socks5, tcp, dns.
    pub front_end: &'a str,
    /// Why, for a person.
    pub reason: &'a str,
    /// The rule that denied it; absent where nothing allowed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'a str>,
    /// The line that would allow it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'a str>,
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

/// A launch that was not begun.
#[derive(Clone, Debug, Serialize)]
pub struct Refusal<'a> {
    /// The step that failed.
    pub step: &'a str,
    /// What was wrong.
    pub reason: &'a str,
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
    /// The entry; `peer` is `host:port` as the server named it.
    pub fn entry(&self, at: Timestamp, server: &str, launch: Uuid, peer: &str) -> Entry {
        about(Kind::Allow, at, server, peer, self).launch(launch)
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

impl Refusal<'_> {
    /// The entry; `command` is what would have run.
    pub fn entry(&self, at: Timestamp, server: &str, command: &[String]) -> Entry {
        about(Kind::Refused, at, server, command.join(" "), self)
    }
}

fn about(
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
            address: Some("192.0.2.1:443".into()),
            bytes_out: 10,
            bytes_in: 20,
            duration_ms: 3,
            rule: Some("api.example.com"),
        }
        .entry(Timestamp::UNIX_EPOCH, "git", launch, "api.example.com:443");
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
            r#"{"front_end":"http","address":"192.0.2.1:443","bytes_out":10,"bytes_in":20,"duration_ms":3,"rule":"api.example.com"}"#
        );

        let denial = Denial {
            front_end: "dns",
            reason: "no rule allows it",
            rule: None,
            remedy: None,
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
        }
        .entry(Timestamp::UNIX_EPOCH, "s", Uuid::nil());
        assert_eq!(start.subject, "npx -y");
        assert_eq!(
            Value::from(start.detail).to_string(),
            r#"{"command":["npx","-y"],"cwd":"/x","generation":4,"restart":false}"#
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
