//! `srtctl list` and `srtctl status`.

use super::output;
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
    /// Print a JSON array; `pid` and `last_exit` are null where there is none
    #[arg(long)]
    json: bool,
}

/// Whatever their state, 0.
pub(super) async fn list(connection: &Connection, args: Args) -> Result<i32, Failure> {
    print(connection, args).await.map(|_| 0)
}

/// 3 when a server that was named is not running.
pub(super) async fn status(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let named = !args.names.is_empty();
    let servers = print(connection, args).await?;
    if named && servers.iter().any(|server| server.state != "running") {
        return Ok(exit::NOT_RUNNING);
    }
    Ok(0)
}

async fn print(connection: &Connection, args: Args) -> Result<Vec<Server>, Failure> {
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
        })),
        "registered": server.registered,
        "command": server.command,
        "cwd": server.cwd,
        "reason": server.reason,
    })
}

/// An object even where the daemon names no policy, so that a reader can always look inside.
pub(super) fn policy_json(policy: Option<&PolicyRef>) -> Value {
    let policy = policy.cloned().unwrap_or_default();
    json!({
        "source": policy.source,
        "digest": policy.digest,
        "generation": policy.generation,
    })
}

fn render(servers: &[Server], home: Option<&Path>, now: Timestamp) -> String {
    let mut table = Table::new([
        "NAME",
        "STATE",
        "PID",
        "SESSIONS",
        "RESTARTS",
        "UPTIME",
        "MEM",
        "POLICY",
        "LAST-EXIT",
    ]);
    for server in servers {
        let running = server.pid != 0;
        let or_dash = |text: String| if running { text } else { "-".to_owned() };
        let policy = server.policy.as_ref().map_or("-", |policy| &policy.source);
        let last = server.last_exit.as_ref();
        table.row([
            (&server.name).into(),
            state(&server.state),
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
    for server in servers.iter().filter(|server| !server.reason.is_empty()) {
        text.push_str(&table::clean(&format!(
            "{}: {}",
            server.name, server.reason
        )));
        text.push('\n');
    }
    text
}

fn state(state: &str) -> Cell {
    let style = match state {
        "running" => terminal::GOOD,
        "failed" => terminal::BAD,
        "starting" | "stopping" | "backoff" => terminal::BUSY,
        _ => return state.into(),
    };
    Cell::styled(state, style)
}

fn last_exit(last: &LastExit, now: Timestamp) -> String {
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
fn short(source: &str, home: Option<&Path>) -> String {
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
        };
        [
            Server {
                name: "files".into(),
                state: "running".into(),
                pid: 4711,
                sessions: 1,
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
                ..Server::default()
            },
        ]
    }

    #[test]
    fn the_table() {
        let now = "2026-11-20T14:04:09Z".parse().unwrap();
        assert_eq!(
            render(&servers(), Some(Path::new("/home/u")), now),
            "NAME   STATE    PID   SESSIONS  RESTARTS  UPTIME  MEM       POLICY                LAST-EXIT\n\
             files  running  4711  1         0         3m12s   12.3 MiB  ~/.srt-settings.json  -\n\
             git    failed   -     0         5         -       -         built-in              exited with status 3, 2h4m ago\n\
             git: gave up after 5 restarts\n"
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
            json!({"source": "/home/u/.srt-settings.json", "digest": "ab", "generation": 2})
        );
        assert_eq!(json(&Server::default())["policy"]["source"], "");
    }
}
