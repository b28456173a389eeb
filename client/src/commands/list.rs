//! `srtctl list` and `srtctl status`.

use super::{detail, output};
use crate::connect::Connection;
use crate::errors::Failure;
use crate::table::{self, Cell, Table};
use crate::{terminal, time};
use jiff::Timestamp;
use serde_json::{Value, json};
use srt_proto::exit;
use srt_proto::v1::servers_client::ServersClient;
use srt_proto::v1::{LastExit, ListRequest, PolicyRef, Server};
use std::path::Path;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only these servers
    names: Vec<String>,
    /// Print a JSON array; `pid`, `last_exit` and `next_retry` are null where there is none
    #[arg(long)]
    json: bool,
}

/// Whatever their state, 0.
pub(super) async fn list(connection: &Connection, args: Args) -> Result<i32, Failure> {
    print(connection, args, render).await.map(|_| 0)
}

/// A table, or all there is to know of servers that are named; then 3 when one is not running.
pub(super) async fn status(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let named = !args.names.is_empty();
    let shown = if named { detail::render } else { render };
    let servers = print(connection, args, shown).await?;
    if named && servers.iter().any(|server| server.state != "running") {
        return Ok(exit::NOT_RUNNING);
    }
    Ok(0)
}

async fn print(
    connection: &Connection,
    args: Args,
    render: fn(&[Server], Option<&Path>, Timestamp) -> String,
) -> Result<Vec<Server>, Failure> {
    let request = ListRequest { names: args.names };
    let mut client = ServersClient::new(connection.channel.clone());
    let servers = client.list(request).await?.into_inner().servers;
    if args.json {
        output::print_json(servers.iter().map(json).collect())?;
    } else {
        let home = std::env::var_os("HOME");
        output::print(&render(
            &servers,
            home.as_ref().map(Path::new),
            Timestamp::now(),
        ))?;
    }
    Ok(servers)
}

fn json(server: &Server) -> Value {
    json!({
        "name": server.name,
        "state": server.state,
        "pid": (server.pid != 0).then_some(server.pid),
        "sessions": server.sessions,
        "restarts": server.restarts,
        "uptime_seconds": server.uptime_seconds,
        "memory_bytes": server.memory_bytes,
        "policy": policy_json(server.policy.as_ref()),
        "last_exit": server.last_exit.as_ref().map(|last| json!({
            "code": last.code,
            "signal": last.signal,
            "reason": last.reason,
            "at": last.at,
            "kind": last.kind,
        })),
        "next_retry": (!server.next_retry.is_empty()).then_some(&server.next_retry),
        "restart": server.restart,
        "ready": server.ready,
        "warm": server.warm,
        "registered": server.registered,
        "enabled": server.enabled,
        "command": server.command,
        "cwd": server.cwd,
        "reason": server.reason,
        "policy_trouble": server.policy_trouble,
        "next_start": server.next_start,
        "attached": server.attached.iter().map(|session| json!({
            "session": session.session,
            "launch": session.launch,
            "age_seconds": session.age_seconds,
            "client_pid": (session.client_pid != 0).then_some(session.client_pid),
            "mode": session.mode,
        })).collect::<Value>(),
    })
}

/// An object even where the daemon names no policy, so that a reader can always look inside.
pub(super) fn policy_json(policy: Option<&PolicyRef>) -> Value {
    let policy = policy.cloned().unwrap_or_default();
    json!({
        "source": policy.source,
        "digest": policy.digest,
        "generation": policy.generation,
        "files": policy.files,
        "profile": (!policy.profile.is_empty()).then_some(policy.profile),
    })
}

fn render(servers: &[Server], home: Option<&Path>, now: Timestamp) -> String {
    let mut table = Table::new([
        "NAME",
        "STATE",
        "ENABLED",
        "PID",
        "SESSIONS",
        "RESTARTS",
        "UPTIME",
        "MEM",
        "POLICY",
        "LAST-EXIT",
    ])
    // "status NAME" has them all.
    .sparing(&["POLICY", "ENABLED", "UPTIME", "RESTARTS"]);
    for server in servers {
        let running = server.pid != 0;
        let or_dash = |text: String| if running { text } else { "-".to_owned() };
        let policy = server.policy.as_ref().map_or("-", |policy| &policy.source);
        let last = server.last_exit.as_ref();
        table.row([
            (&server.name).into(),
            state(&server.state),
            enabled(server).into(),
            or_dash(server.pid.to_string()).into(),
            server.sessions.to_string().into(),
            server.restarts.to_string().into(),
            or_dash(time::span(server.uptime_seconds)).into(),
            or_dash(time::size(server.memory_bytes)).into(),
            short(policy, home).into(),
            last.map_or("-".to_owned(), |last| last_exit(last, now))
                .into(),
        ]);
    }
    let mut text = table.render();
    for server in servers {
        let mut tell = |what: &str| {
            for line in what.lines() {
                text.push_str(&table::clean(&format!("{}: {line}", server.name)));
                text.push('\n');
            }
        };
        tell(&server.reason);
        if server
            .attached
            .iter()
            .any(|session| session.mode == "direct")
        {
            tell("in direct mode: it has its host's own descriptors, and ends with them");
        }
        if !server.policy_trouble.is_empty() {
            tell("its changed settings cannot be used, those from before stay in force:");
            tell(&server.policy_trouble);
        }
        if !server.next_start.is_empty() {
            tell(&format!(
                "changed, and taken over at the next start: {}",
                server.next_start.join(", ")
            ));
        }
    }
    text
}

/// Whether it starts with the daemon; one that is not registered cannot.
fn enabled(server: &Server) -> &'static str {
    match (server.registered, server.enabled) {
        (_, true) => "yes",
        (true, false) => "no",
        (false, false) => "-",
    }
}

/// A state in its colour.
pub(super) fn state(state: &str) -> Cell {
    let style = match state {
        "running" => terminal::GOOD,
        "failed" => terminal::BAD,
        "starting" | "stopping" | "backoff" => terminal::BUSY,
        _ => return state.into(),
    };
    Cell::styled(state, style)
}

pub(super) fn last_exit(last: &LastExit, now: Timestamp) -> String {
    let what = match last.reason.as_str() {
        "" if last.signal != 0 => format!("killed by signal {}", last.signal),
        "" => format!("exited with status {}", last.code),
        reason => reason.to_owned(),
    };
    match last.at.parse::<Timestamp>() {
        Ok(at) => format!(
            "{what}, {} ago",
            time::span(now.duration_since(at).as_secs_f64())
        ),
        Err(_) => what,
    }
}

/// A path below the reader's home, with a tilde.
pub(super) fn short(source: &str, home: Option<&Path>) -> String {
    let below = home.and_then(|home| Path::new(source).strip_prefix(home).ok());
    match below {
        Some(rest) if rest != Path::new("") => format!("~/{}", rest.display()),
        _ => source.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers() -> [Server; 2] {
        let policy = |source: &str| PolicyRef {
            source: source.into(),
            digest: "ab".into(),
            generation: 2,
            ..PolicyRef::default()
        };
        [
            Server {
                name: "files".into(),
                state: "running".into(),
                pid: 4711,
                sessions: 1,
                enabled: true,
                uptime_seconds: 192.4,
                memory_bytes: 12_897_485,
                policy: Some(policy("/home/u/.srt-settings.json")),
                command: vec!["npx".into()],
                ..Server::default()
            },
            Server {
                name: "git".into(),
                state: "failed".into(),
                restarts: 5,
                policy: Some(policy("built-in")),
                last_exit: Some(LastExit {
                    code: 3,
                    reason: "exited with status 3".into(),
                    at: "2026-11-20T12:00:00Z".into(),
                    ..LastExit::default()
                }),
                reason: "gave up after 5 restarts".into(),
                policy_trouble: "/s.json:1:1: error: it is no JSON".into(),
                next_start: vec!["filesystem.allowWrite".into()],
                ..Server::default()
            },
        ]
    }

    #[test]
    fn the_table() {
        let now = "2026-11-20T14:04:09Z".parse().unwrap();
        assert_eq!(
            render(&servers(), Some(Path::new("/home/u")), now),
            "NAME   STATE    ENABLED  PID   SESSIONS  RESTARTS  UPTIME  MEM       POLICY                LAST-EXIT\n\
             files  running  yes      4711  1         0         3m12s   12.3 MiB  ~/.srt-settings.json  -\n\
             git    failed   -        -     0         5         -       -         built-in              exited with status 3, 2h4m ago\n\
             git: gave up after 5 restarts\n\
             git: its changed settings cannot be used, those from before stay in force:\n\
             git: /s.json:1:1: error: it is no JSON\n\
             git: changed, and taken over at the next start: filesystem.allowWrite\n"
        );
    }

    #[test]
    fn the_json_has_every_field_and_null_only_where_promised() {
        let [files, git] = servers();
        let (files, git) = (json(&files), json(&git));
        assert_eq!(files["pid"], 4711);
        assert_eq!(git["pid"], Value::Null);
        assert_eq!(files["last_exit"], Value::Null);
        assert_eq!(git["last_exit"]["code"], 3);
        assert_eq!(git["command"], json!([]));
        assert_eq!(
            files["policy"],
            json!({"source": "/home/u/.srt-settings.json", "digest": "ab", "generation": 2, "files": [], "profile": null})
        );
        assert_eq!(json(&Server::default())["policy"]["source"], "");
    }
}
