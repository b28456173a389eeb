//! `srt.v1.Servers.Why`: what policy says of one connection or one use of a file, by the very code that decides on the
//! real one.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use srt_policy::{Decision, Denial, Host, NetworkPolicy, Origin, Permit, Policy, RuleRef, Target};
use srt_proto::v1::{WhyAddress, WhyRequest, WhyResponse};
use srt_runtime::{Examined, FileAnswer, examine};
use tonic::Status;

use super::Api;
use super::error::{bad_request, of_policy, unknown};
use super::inventory::reference;
use crate::policies::Generation;
use crate::supervisor::Shared;

/// The port that is meant where none is named.
const HTTPS: u16 = 443;

/// What a question is asked of.
pub(super) struct Subject {
    network: Arc<NetworkPolicy>,
    /// Whose file rules are in force.
    files: Arc<Policy>,
    /// Whose rules that hold at once are in force.
    pub(super) policy: Arc<Policy>,
    cwd: PathBuf,
    generation: Generation,
    running: bool,
    notes: Vec<String>,
}

impl Api {
    /// Answers `srtctl policy why`.
    pub(super) async fn why(&self, request: WhyRequest) -> Result<WhyResponse, Status> {
        let shared = &self.supervisor.shared;
        let subject = self.subject(&request.name).await?;
        let mut answer = match request.operation.as_str() {
            "connect" => connect(&subject, &request.subject).await?,
            "read" => file(shared, &subject, &request.subject, false).await?,
            "write" => file(shared, &subject, &request.subject, true).await?,
            other => {
                return Err(bad_request(format!(
                    "{other:?} is nothing that policy decides on\nhint: connect, read or write"
                )));
            }
        };
        answer.policy = Some(reference(&subject.generation));
        answer.running = subject.running;
        answer.notes.extend(subject.notes);
        Ok(answer)
    }

    /// The policy of the newest launch that runs, else the one that the next would have.
    pub(super) async fn subject(&self, name: &str) -> Result<Subject, Status> {
        let known = self.known().await?;
        let Some(server) = known.into_iter().find(|server| server.name == name) else {
            return Err(unknown(name));
        };
        let newest = self
            .supervisor
            .snapshot(name)
            .and_then(|snapshot| snapshot.launches.last().cloned());
        if let Some(control) = newest {
            let rules = &control.rules;
            let standing = rules.standing();
            let mut notes = Vec::new();
            if let Some(trouble) = &standing.trouble {
                notes.push(format!(
                    "its settings have changed and cannot be used, so this is what they said before: {}",
                    trouble.replace('\n', " ")
                ));
            }
            if !standing.next_start.is_empty() {
                notes.push(format!(
                    "changed since it started, and taken over at its next start: {}",
                    standing.next_start.join(", ")
                ));
            }
            return Ok(Subject {
                network: rules.network(),
                files: rules.begun(),
                policy: rules.current(),
                cwd: rules.cwd.clone(),
                generation: standing.generation,
                running: true,
                notes,
            });
        }
        let shared = &self.supervisor.shared;
        let cwd = self.cwd_of(&server);
        let loaded = shared
            .policies
            .load_for(&server, &cwd)
            .await
            .map_err(|error| of_policy(&error))?;
        Ok(Subject {
            network: shared.live.granted(&loaded.policy, name),
            files: loaded.policy.clone(),
            policy: loaded.policy,
            cwd,
            generation: loaded.generation,
            running: false,
            notes: Vec::new(),
        })
    }
}

async fn connect(subject: &Subject, text: &str) -> Result<WhyResponse, Status> {
    let target = target(text)?;
    let policy = &subject.network;
    let mut answer = WhyResponse {
        subject: target.to_string(),
        ..WhyResponse::default()
    };
    let permit = match policy.decide(&target) {
        Decision::Deny(denial) => {
            "deny".clone_into(&mut answer.decision);
            refuse(&mut answer, denial);
            return Ok(answer);
        }
        Decision::Ask(question) => {
            "ask".clone_into(&mut answer.decision);
            refuse(&mut answer, question.denial().clone());
            answer.reason += &format!(
                "; the connection waits up to {} s for \"srtctl approve\"",
                policy.ask_timeout().as_secs()
            );
            return Ok(answer);
        }
        Decision::Allow(permit) => permit,
    };
    match permit.would_be_denied() {
        Some(denial) => {
            "would-deny".clone_into(&mut answer.decision);
            answer.reason = format!("only observed; otherwise: {}", denial.reason);
            answer.remedy = denial.remedy.clone().unwrap_or_default();
        }
        None => {
            "allow".clone_into(&mut answer.decision);
            answer.remedy = match &permit.rule().origin {
                Origin::Grant { id } => format!("to refuse it: srtctl grants revoke {id}"),
                _ => format!(
                    "to refuse it: \"network\": {{ \"deniedDomains\": [\"{}\"] }}",
                    answer.subject
                ),
            };
        }
    }
    name_rule(&mut answer, permit.rule());
    addresses(policy, &permit, &mut answer).await;
    Ok(answer)
}

/// The second half of a decision: where a name leads.
async fn addresses(policy: &NetworkPolicy, permit: &Permit, answer: &mut WhyResponse) {
    match examine(policy, permit).await {
        Examined::Upstream(proxy) => answer.notes.push(format!(
            "it goes through the proxy {proxy}, which resolves the name: its addresses are not looked at here"
        )),
        Examined::Unresolved(why) => answer.notes.push(format!(
            "{why}; where it leads to is looked at when it is connected to"
        )),
        Examined::Addresses(found) => {
            let passes = found.iter().any(|(_, denial)| denial.is_none());
            if !passes && let Some((_, Some(denial))) = found.first() {
                "deny".clone_into(&mut answer.decision);
                refuse(answer, denial.clone());
            }
            answer.addresses = found
                .into_iter()
                .map(|(ip, denial)| WhyAddress {
                    address: ip.to_string(),
                    allowed: denial.is_none(),
                    reason: denial.map(|denial| denial.reason).unwrap_or_default(),
                })
                .collect();
        }
    }
}

fn refuse(answer: &mut WhyResponse, denial: Denial) {
    answer.reason = denial.reason;
    answer.remedy = denial.remedy.unwrap_or_default();
    answer.key.clear();
    answer.value.clear();
    answer.file.clear();
    answer.line = 0;
    if let Some(rule) = &denial.rule {
        name_rule(answer, rule);
    }
}

fn name_rule(answer: &mut WhyResponse, rule: &RuleRef) {
    answer.key.clone_from(&rule.key);
    answer.value.clone_from(&rule.pattern);
    place(answer, &rule.origin);
}

fn place(answer: &mut WhyResponse, origin: &Origin) {
    (answer.file, answer.line) = match origin {
        Origin::BuiltIn(_) => ("built-in".to_owned(), 0),
        Origin::Grant { id } => (format!("grant {id}"), 0),
        Origin::File { path, line, .. } => (path.display().to_string(), *line),
    };
}

/// `HOST`, `HOST:PORT`, `[V6]:PORT`, or a bare IPv6. Port 443 where none is given.
fn target(text: &str) -> Result<Target, Status> {
    let wrong = |why: &dyn std::fmt::Display| {
        bad_request(format!(
            "{why}\nhint: HOST or HOST:PORT, like api.github.com:443; of an IPv6 address with a port, [::1]:443"
        ))
    };
    let (host, port) = match text.rsplit_once(':') {
        // The last colon of an IPv6 address has no port after it.
        Some((host, port)) if text.parse::<Ipv6Addr>().is_err() && !text.ends_with(']') => {
            let port = port.parse().ok().filter(|port| *port != 0);
            (
                host,
                port.ok_or_else(|| {
                    wrong(&format_args!("{text:?} has no port after its last colon"))
                })?,
            )
        }
        _ => (text, HTTPS),
    };
    let host = Host::parse(host).map_err(|error| wrong(&error))?;
    Ok(Target { host, port })
}

async fn file(
    shared: &Arc<Shared>,
    subject: &Subject,
    text: &str,
    write: bool,
) -> Result<WhyResponse, Status> {
    let path = PathBuf::from(text);
    if !path.is_absolute() {
        return Err(bad_request(format!("{text:?} is not absolute")));
    }
    let (shared, policy, cwd) = (shared.clone(), subject.files.clone(), subject.cwd.clone());
    let examine = move || shared.manager.examine_file(&policy, &cwd, &path, write);
    let answer = tokio::task::spawn_blocking(examine)
        .await
        .map_err(|_| Status::internal("the question was not answered"))?;
    Ok(of_file(answer, Path::new(text)))
}

fn of_file(found: FileAnswer, asked: &Path) -> WhyResponse {
    let mut answer = WhyResponse {
        decision: if found.allowed { "allow" } else { "deny" }.to_owned(),
        subject: found.path.display().to_string(),
        reason: found.reason,
        remedy: found.remedy.unwrap_or_default(),
        notes: found.notes,
        ..WhyResponse::default()
    };
    if let Some(rule) = found.rule {
        rule.kind.key().clone_into(&mut answer.key);
        answer.value = rule.text;
        place(&mut answer, &rule.origin);
    }
    if found.path != asked {
        answer
            .notes
            .push(format!("{} is that path without links", answer.subject));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_as_people_type_them() {
        for (text, expected) in [
            ("Example.com", "example.com:443"),
            ("example.com:80", "example.com:80"),
            ("1.2.3.4", "1.2.3.4:443"),
            ("::1", "[::1]:443"),
            ("[::1]", "[::1]:443"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(target(text).unwrap().to_string(), expected);
        }
        for wrong in [
            "",
            "x:",
            "x:0",
            "x:65536",
            "https://x",
            "a b",
            "[::1]:x",
            "u@x",
        ] {
            let error = target(wrong).unwrap_err();
            assert!(
                error.message().contains("\nhint: HOST"),
                "{wrong}: {error:?}"
            );
        }
    }
}
