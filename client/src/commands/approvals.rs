//! `srtctl approvals`, `approve` and `deny`.

use super::output;
use super::screen::Screen;
use crate::connect::Connection;
use crate::errors::Failure;
use crate::table::Table;
use crate::{table, time};
use clap::builder::NonEmptyStringValueParser;
use jiff::Timestamp;
use serde_json::{Value, json};
use srt_proto::v1::approvals_client::ApprovalsClient;
use srt_proto::v1::{ApprovalsRequest, Question, SettleQuestionRequest};
use std::collections::HashSet;
use std::str::FromStr;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this server's
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: Option<String>,
    /// Go on with new ones until interrupted
    #[arg(short, long)]
    follow: bool,
    /// Print a JSON array, with --follow an array a line for each change
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Approve {
    /// The id, as "srtctl approvals" shows it
    id: String,
    /// once (the connections that wait now), session (until the server ends), always (until it is revoked), or a time:
    /// 90s, 10m, 1h, 2d
    #[arg(long = "for", value_name = "HOW LONG", default_value = "once")]
    scope: Scope,
    /// Print a JSON object; `grant` is null for once
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Deny {
    /// The id, as "srtctl approvals" shows it
    id: String,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// How long an approval is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Once,
    Session,
    Seconds(u64),
    Always,
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "once" => Ok(Self::Once),
            "session" => Ok(Self::Session),
            "always" => Ok(Self::Always),
            _ => match time::seconds(text) {
                Some(seconds @ 1..) => Ok(Self::Seconds(seconds)),
                _ => Err("expected once, session, always, or a time: 90s, 10m, 1h, 2d".to_owned()),
            },
        }
    }
}

impl Scope {
    /// The contract's words.
    fn words(self) -> (&'static str, u64) {
        match self {
            Self::Once => ("once", 0),
            Self::Session => ("session", 0),
            Self::Seconds(seconds) => ("time", seconds),
            Self::Always => ("always", 0),
        }
    }
}

pub(super) async fn list(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let request = ApprovalsRequest {
        name: args.name.unwrap_or_default(),
        follow: args.follow,
    };
    let mut client = ApprovalsClient::new(connection.channel.clone());
    let mut answers = client.list(request).await?.into_inner();
    if !args.follow {
        let waiting = answers.message().await?.unwrap_or_default().waiting;
        match args.json {
            true => output::print_json(waiting.iter().map(json).collect())?,
            false => output::print(&render(&waiting, Timestamp::now()))?,
        }
        return Ok(0);
    }
    let mut screen = (!args.json).then(Screen::open).flatten();
    let mut known = HashSet::new();
    let mut waiting = Vec::new();
    loop {
        // What is left of the time is drawn anew each second.
        let tick = async {
            match &screen {
                Some(_) => tokio::time::sleep(Duration::from_secs(1)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            answer = answers.message() => match answer? {
                Some(answer) => waiting = answer.waiting,
                None => return Ok(0),
            },
            () = tick => {}
            _ = tokio::signal::ctrl_c() => return Ok(0),
        }
        match &mut screen {
            Some(screen) => screen.show(&render(&waiting, Timestamp::now()))?,
            None if args.json => {
                let mut all: Value = waiting.iter().map(json).collect();
                all.sort_all_objects();
                output::print(&format!("{all}\n"))?;
            }
            None => {
                for question in &waiting {
                    if known.insert(question.id.clone()) {
                        output::print(&line(question))?;
                    }
                }
            }
        }
    }
}

pub(super) async fn approve(connection: &Connection, args: Approve) -> Result<i32, Failure> {
    let (scope, seconds) = args.scope.words();
    let request = SettleQuestionRequest {
        id: args.id,
        approve: true,
        scope: scope.to_owned(),
        seconds,
    };
    let mut client = ApprovalsClient::new(connection.channel.clone());
    let settled = client.settle(request).await?.into_inner();
    if args.json {
        let grant = (!settled.grant.is_empty()).then_some(&settled.grant);
        output::print_json(json!({
            "server": settled.server,
            "target": settled.target,
            "grant": grant,
            "connections": settled.connections,
        }))?;
        return Ok(0);
    }
    let how_long = match args.scope {
        Scope::Once => "once".to_owned(),
        Scope::Session => "until the server ends".to_owned(),
        Scope::Seconds(seconds) => format!("for {}", time::span(seconds as f64)),
        Scope::Always => "until it is revoked".to_owned(),
    };
    let mut text = format!(
        "{} may connect to {} {how_long}",
        settled.server, settled.target
    );
    if !settled.grant.is_empty() {
        text += &format!(" (take it back: srtctl grants revoke {})", settled.grant);
    }
    output::print(&format!("{}\n", table::clean(&text)))?;
    Ok(0)
}

pub(super) async fn deny(connection: &Connection, args: Deny) -> Result<i32, Failure> {
    let request = SettleQuestionRequest {
        id: args.id,
        approve: false,
        ..SettleQuestionRequest::default()
    };
    let mut client = ApprovalsClient::new(connection.channel.clone());
    let settled = client.settle(request).await?.into_inner();
    if args.json {
        output::print_json(json!({
            "server": settled.server,
            "target": settled.target,
            "connections": settled.connections,
        }))?;
        return Ok(0);
    }
    let text = format!("{} may not connect to {}", settled.server, settled.target);
    output::print(&format!("{}\n", table::clean(&text)))?;
    Ok(0)
}

fn json(question: &Question) -> Value {
    json!({
        "id": question.id,
        "server": question.server,
        "launch": question.launch,
        "target": question.target,
        "front_end": question.front_end,
        "reason": question.reason,
        "since": question.since,
        "expires": question.expires,
        "connections": question.connections,
    })
}

fn render(waiting: &[Question], now: Timestamp) -> String {
    if waiting.is_empty() {
        return "nothing waits for approval\n".to_owned();
    }
    let mut table = Table::new(["ID", "SERVER", "TARGET", "VIA", "WAITING", "LEFT", "WHY"]);
    for question in waiting {
        let left = match question.expires.parse::<Timestamp>() {
            Ok(at) => time::span(at.duration_since(now).as_secs_f64()),
            Err(_) => question.expires.clone(),
        };
        table.row([
            (&question.id).into(),
            (&question.server).into(),
            (&question.target).into(),
            (&question.front_end).into(),
            question.connections.to_string().into(),
            left.into(),
            (&question.reason).into(),
        ]);
    }
    table.render() + "answer with: srtctl approve ID [--for session|1h|always], or srtctl deny ID\n"
}

/// One that is new, with the command that answers it.
fn line(question: &Question) -> String {
    let text = format!(
        "{} {} wants to connect to {} ({}): srtctl approve {}, or srtctl deny {}",
        question.id, question.server, question.target, question.front_end, question.id, question.id
    );
    table::clean(&text) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_is_a_word_or_a_time() {
        for (text, expected) in [
            ("once", Scope::Once),
            ("session", Scope::Session),
            ("always", Scope::Always),
            ("10m", Scope::Seconds(600)),
            ("2d", Scope::Seconds(172_800)),
            ("1h30m", Scope::Seconds(5400)),
        ] {
            assert_eq!(text.parse(), Ok(expected));
        }
        for wrong in ["", "0s", "forever", "10", "-1h", "1y", "Once"] {
            assert!(wrong.parse::<Scope>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_table_says_how_to_answer() {
        let question = Question {
            id: "k7x2".into(),
            server: "git".into(),
            target: "x.example:443".into(),
            front_end: "connect".into(),
            reason: "no rule matches".into(),
            expires: "2026-11-20T12:01:00Z".into(),
            connections: 2,
            ..Question::default()
        };
        let now = "2026-11-20T12:00:13Z".parse().unwrap();
        assert_eq!(
            render(std::slice::from_ref(&question), now),
            "ID    SERVER  TARGET         VIA      WAITING  LEFT  WHY\n\
             k7x2  git     x.example:443  connect  2        47s   no rule matches\n\
             answer with: srtctl approve ID [--for session|1h|always], or srtctl deny ID\n"
        );
        assert_eq!(render(&[], now), "nothing waits for approval\n");
        assert!(line(&question).ends_with("srtctl approve k7x2, or srtctl deny k7x2\n"));
    }
}
