//! `srtctl reload`.

use super::output;
use crate::connect::Connection;
use crate::errors::Failure;
use crate::table;
use serde_json::{Value, json};
use srt_proto::exit;
use srt_proto::v1::servers_client::ServersClient;
use srt_proto::v1::{PolicyRef, ReloadRequest, Reloaded};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The servers [default: all]
    names: Vec<String>,
    /// Sessions that need another launch get it at once, not when nothing is under way
    #[arg(long)]
    now: bool,
    /// Print a JSON array; what there is not is null
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let request = ReloadRequest {
        names: args.names,
        now: args.now,
    };
    let mut client = ServersClient::new(connection.channel.clone());
    let servers = client.reload(request).await?.into_inner().servers;
    match args.json {
        true => output::print_json(servers.iter().map(json).collect())?,
        false => {
            let text: String = servers
                .iter()
                .map(|server| render(server, args.now))
                .collect();
            output::print(&text)?;
        }
    }
    let invalid = servers.iter().any(|server| !server.error.is_empty());
    Ok(if invalid {
        exit::POLICY_INVALID
    } else {
        exit::OK
    })
}

fn json(server: &Reloaded) -> Value {
    let policy = server.policy.as_ref();
    json!({
        "name": server.name,
        "policy": policy.map(|policy| json!({
            "source": policy.source,
            "digest": policy.digest,
            "generation": policy.generation,
        })),
        "error": (!server.error.is_empty()).then_some(&server.error),
        "in_force": server.in_force,
        "next_start": server.next_start,
        "launches": server.launches,
        "replaced": server.replaced,
        "carried": server.carried,
        "kept": server.kept,
    })
}

/// Each line as a terminal may have it.
fn lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(table::clean).collect();
    lines.join("\n")
}

fn render(server: &Reloaded, now: bool) -> String {
    let name = table::clean(&server.name);
    let mut text = String::new();
    let generation = |policy: &PolicyRef| {
        let source = table::clean(&policy.source);
        format!("generation {} of {source}", policy.generation)
    };
    match (&server.policy, server.error.as_str()) {
        (policy, error) if !error.is_empty() => {
            text += &format!("{name}: {}\n", lines(error));
            text += &match policy {
                Some(policy) => {
                    format!("  nothing changes: {} stays in force\n", generation(policy))
                }
                None => "  it cannot be started before that is put right\n".to_owned(),
            };
        }
        (Some(policy), _) => text += &format!("{name}: {}\n", generation(policy)),
        (None, _) => text += &format!("{name}\n"),
    }
    if server.launches == 0 {
        return text;
    }
    if server.in_force.is_empty() && server.next_start.is_empty() {
        text += "  nothing has changed since it was started\n";
    }
    let keys = |keys: &[String]| table::clean(&keys.join(", "));
    if !server.in_force.is_empty() {
        text += &format!("  in force now: {}\n", keys(&server.in_force));
    }
    if !server.next_start.is_empty() {
        text += &format!("  needs another launch: {}\n", keys(&server.next_start));
    }
    let many = |count: u32, one: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    };
    if server.replaced > 0 {
        text += "    the launch without a host is replaced now\n";
    }
    if server.carried > 0 {
        let when = match now {
            true => "now",
            false => "as soon as nothing is under way (--now: at once)",
        };
        let sessions = many(server.carried, "session");
        let go = if server.carried == 1 { "goes" } else { "go" };
        text += &format!("    {sessions} {go} on in another one {when}\n");
    }
    if server.kept > 0 {
        let sessions = many(server.kept, "session");
        text += &format!(
            "    {sessions} cannot: not ready yet, or no MCP; it takes effect when the host starts the server again\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Reloaded {
        Reloaded {
            name: "git".into(),
            policy: Some(PolicyRef {
                source: "/home/u/.srt-settings.json".into(),
                digest: "ab".into(),
                generation: 5,
                ..PolicyRef::default()
            }),
            launches: 3,
            ..Reloaded::default()
        }
    }

    #[test]
    fn what_changes_is_said_in_words() {
        let head = "git: generation 5 of /home/u/.srt-settings.json\n";
        assert_eq!(
            render(&server(), false),
            format!("{head}  nothing has changed since it was started\n")
        );
        let changed = Reloaded {
            in_force: vec!["network.allowedDomains".into()],
            next_start: vec!["filesystem.allowWrite".into(), "runtime.memoryMax".into()],
            replaced: 1,
            carried: 1,
            kept: 2,
            ..server()
        };
        assert_eq!(
            render(&changed, false),
            format!(
                "{head}  in force now: network.allowedDomains\n  \
                 needs another launch: filesystem.allowWrite, runtime.memoryMax\n    \
                 the launch without a host is replaced now\n    \
                 1 session goes on in another one as soon as nothing is under way (--now: at once)\n    \
                 2 sessions cannot: not ready yet, or no MCP; it takes effect when the host starts the server again\n"
            )
        );
        assert!(render(&changed, true).contains("goes on in another one now\n"));
    }

    #[test]
    fn a_file_that_cannot_be_used_changes_nothing_and_says_where() {
        let wrong = Reloaded {
            error: "the settings file cannot be used\n/s.json:1:2: error: x\nhint: y".into(),
            ..server()
        };
        assert_eq!(
            render(&wrong, false),
            "git: the settings file cannot be used\n/s.json:1:2: error: x\nhint: y\n  \
             nothing changes: generation 5 of /home/u/.srt-settings.json stays in force\n  \
             nothing has changed since it was started\n"
        );
        let stopped = Reloaded {
            policy: None,
            launches: 0,
            ..wrong
        };
        assert!(
            render(&stopped, false).ends_with("  it cannot be started before that is put right\n")
        );
        assert_eq!(json(&stopped)["policy"], Value::Null);
    }
}
