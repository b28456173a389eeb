//! `srtctl policy why`.

use super::{list, output};
use crate::connect::Connection;
use crate::errors::Failure;
use crate::table::clean;
use crate::terminal::{self, Stream};
use anstyle::Style;
use clap::ValueEnum;
use serde_json::{Value, json};
use srt_proto::exit;
use srt_proto::v1::servers_client::ServersClient;
use srt_proto::v1::{WhyRequest, WhyResponse};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server
    name: String,
    /// What it would do
    #[arg(value_enum)]
    operation: Operation,
    /// connect: HOST or HOST:PORT (443 where none is given); read, write: a path, "~/…" for one of the home folder
    #[arg(value_name = "HOST[:PORT]|PATH")]
    subject: String,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Operation {
    Connect,
    Read,
    Write,
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let (operation, subject) = match args.operation {
        Operation::Connect => ("connect", args.subject),
        Operation::Read => ("read", absolute(&args.subject)?),
        Operation::Write => ("write", absolute(&args.subject)?),
    };
    let request = WhyRequest {
        name: args.name,
        operation: operation.to_owned(),
        subject,
    };
    let mut client = ServersClient::new(connection.channel.clone());
    let answer = client.why(request).await?.into_inner();
    match args.json {
        true => output::print_json(json(&answer))?,
        false => output::print(&render(&answer, |style, text| {
            Stream::Stdout.paint(style, text)
        }))?,
    }
    Ok(match answer.decision.as_str() {
        "allow" | "would-deny" => exit::OK,
        _ => exit::DENIED,
    })
}

/// As a policy reads it: `~` is the home folder, and a relative path is one of where we are.
pub(super) fn absolute(path: &str) -> Result<String, Failure> {
    let home = std::env::var_os("HOME").filter(|_| path == "~" || path.starts_with("~/"));
    let meant = match home {
        Some(home) => PathBuf::from(home).join(path[1..].trim_start_matches('/')),
        None => PathBuf::from(path),
    };
    match std::path::absolute(meant) {
        Ok(path) => Ok(path.display().to_string()),
        Err(error) => Err(Failure::new(
            exit::USAGE,
            format!("{path:?} is no path: {error}"),
        )),
    }
}

fn json(answer: &WhyResponse) -> Value {
    let rule = (!answer.key.is_empty()).then(|| {
        json!({
            "key": answer.key,
            "value": answer.value,
            "file": answer.file,
            "line": answer.line,
        })
    });
    let addresses = answer.addresses.iter().map(|address| {
        json!({
            "address": address.address,
            "allowed": address.allowed,
            "reason": address.reason,
        })
    });
    json!({
        "decision": answer.decision,
        "subject": answer.subject,
        "reason": answer.reason,
        "rule": rule,
        "remedy": answer.remedy,
        "policy": list::policy_json(answer.policy.as_ref()),
        "running": answer.running,
        "addresses": addresses.collect::<Vec<_>>(),
        "notes": answer.notes,
    })
}

fn render(answer: &WhyResponse, paint: impl Fn(Style, &str) -> String) -> String {
    let (word, style) = match answer.decision.as_str() {
        "allow" => ("allowed:", terminal::GOOD),
        "would-deny" => ("allowed (only observed):", terminal::BUSY),
        "ask" => ("a person is asked:", terminal::BUSY),
        _ => ("denied:", terminal::BAD),
    };
    let mut text = format!("{} {}\n", paint(style, word), clean(&answer.subject));
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            text += &format!("  {name}: {}\n", clean(value));
        }
    };
    line("reason", &answer.reason);
    let place = match answer.line {
        0 => answer.file.clone(),
        number => format!("{}:{number}", answer.file),
    };
    match answer.key.as_str() {
        "" => line("rule", "none"),
        key => line("rule", &format!("{key} {:?} ({place})", answer.value)),
    }
    for address in &answer.addresses {
        match address.reason.as_str() {
            "" => line("address", &address.address),
            reason => line(
                "address",
                &format!("{}: refused: {reason}", address.address),
            ),
        }
    }
    let policy = answer.policy.clone().unwrap_or_default();
    let whose = match answer.running {
        true => "of the launch that runs",
        false => "as the next launch would have it",
    };
    line(
        "policy",
        &format!(
            "{} (generation {}), {whose}",
            policy.source, policy.generation
        ),
    );
    for note in &answer.notes {
        line("note", note);
    }
    if !answer.remedy.is_empty() {
        let allows = !matches!(answer.decision.as_str(), "allow");
        let file = match policy.source.as_str() {
            "" | "built-in" => "~/.srt-settings.json".to_owned(),
            source => source.to_owned(),
        };
        let hint = match allows {
            true => format!("to allow it, add to {file}: {}", answer.remedy),
            false => answer.remedy.clone(),
        };
        text += &format!("{} {}\n", paint(terminal::STRONG, "hint:"), clean(&hint));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use srt_proto::v1::{PolicyRef, WhyAddress};

    #[test]
    fn a_path_is_what_a_policy_would_take_it_for() {
        let home = std::env::var("HOME").unwrap();
        let here = std::env::current_dir().unwrap().display().to_string();
        for (path, meant) in [
            ("~".to_owned(), home.clone()),
            ("~/.ssh/id_rsa".to_owned(), format!("{home}/.ssh/id_rsa")),
            ("~x/y".to_owned(), format!("{here}/~x/y")),
            ("a".to_owned(), format!("{here}/a")),
            ("/etc/passwd".to_owned(), "/etc/passwd".to_owned()),
        ] {
            let found = absolute(&path).map_err(|_| "refused").unwrap();
            assert_eq!(found.trim_end_matches('/'), meant.trim_end_matches('/'));
        }
    }

    fn answer(decision: &str) -> WhyResponse {
        WhyResponse {
            decision: decision.into(),
            subject: "x.example:443".into(),
            policy: Some(PolicyRef {
                source: "/s.json".into(),
                digest: "ab".into(),
                generation: 3,
                ..PolicyRef::default()
            }),
            running: true,
            ..WhyResponse::default()
        }
    }

    #[test]
    fn it_says_what_why_and_what_would_change_it() {
        let denied = WhyResponse {
            reason: "no rule in network.allowedDomains matches".into(),
            remedy: "\"network\": { \"allowedDomains\": [\"x.example:443\"] }".into(),
            ..answer("deny")
        };
        assert_eq!(
            render(&denied, |_, text| text.to_owned()),
            "denied: x.example:443\n  reason: no rule in network.allowedDomains matches\n  rule: none\n  \
             policy: /s.json (generation 3), of the launch that runs\n\
             hint: to allow it, add to /s.json: \"network\": { \"allowedDomains\": [\"x.example:443\"] }\n"
        );
        assert_eq!(json(&denied)["rule"], Value::Null);
        let allowed = WhyResponse {
            key: "network.allowedDomains".into(),
            value: "*.example".into(),
            file: "/s.json".into(),
            line: 4,
            addresses: vec![
                WhyAddress {
                    address: "192.0.2.1".into(),
                    allowed: true,
                    reason: String::new(),
                },
                WhyAddress {
                    address: "127.0.0.1".into(),
                    allowed: false,
                    reason: "it is loopback".into(),
                },
            ],
            ..answer("allow")
        };
        assert_eq!(
            render(&allowed, |_, text| text.to_owned()),
            "allowed: x.example:443\n  rule: network.allowedDomains \"*.example\" (/s.json:4)\n  \
             address: 192.0.2.1\n  address: 127.0.0.1: refused: it is loopback\n  \
             policy: /s.json (generation 3), of the launch that runs\n"
        );
    }
}
