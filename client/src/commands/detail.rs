//! What `srtctl status NAME` shows: everything there is to know of a server, a line each.

use super::list;
use crate::table::{self, Table};
use crate::{terminal, time};
use jiff::Timestamp;
use srt_proto::v1::Server;
use std::path::Path;

/// The servers, a paragraph each.
pub(super) fn render(servers: &[Server], home: Option<&Path>, now: Timestamp) -> String {
    let paragraphs: Vec<_> = servers
        .iter()
        .map(|server| paragraph(server, home, now))
        .collect();
    paragraphs.join("\n")
}

fn paragraph(server: &Server, home: Option<&Path>, now: Timestamp) -> String {
    let name = table::clean(&server.name);
    let mut text = terminal::Stream::Stdout.paint(terminal::STRONG, &name) + "\n";
    let mut line = |key: &str, value: &str| {
        for (number, part) in value.lines().enumerate() {
            let key = if number == 0 { key } else { "" };
            text += &format!("  {}{}\n", table::pad(key, 13), table::clean(part));
        }
    };
    let mut state = server.state.clone();
    if server.ready {
        state += ", ready";
    }
    line("state", &state);
    line("reason", &server.reason);
    if let Ok(at) = server.next_retry.parse::<Timestamp>() {
        let left = at.duration_since(now).as_secs_f64().ceil();
        line("next try", &format!("in {}", time::span(left)));
    }
    if server.pid != 0 {
        line("pid", &server.pid.to_string());
        line("up for", &time::span(server.uptime_seconds));
        line("memory", &time::size(server.memory_bytes));
    }
    line("restarts", &restarts(server));
    if let Some(last) = &server.last_exit {
        let kind = match last.kind.as_str() {
            "" => String::new(),
            kind => format!(" ({kind})"),
        };
        line("last end", &(list::last_exit(last, now) + &kind));
    }
    if let Some(policy) = &server.policy
        && !policy.source.is_empty()
    {
        let source = list::short(&policy.source, home);
        line(
            "policy",
            &format!("{source}, generation {}", policy.generation),
        );
        if policy.files.len() > 1 {
            let files = policy.files.iter().map(|file| list::short(file, home));
            line(
                "",
                &format!("from {}", files.collect::<Vec<_>>().join(", ")),
            );
        }
        if !policy.profile.is_empty() {
            line("profile", &policy.profile);
        }
    }
    if !server.policy_trouble.is_empty() {
        line(
            "",
            "its changed settings cannot be used, those from before stay in force:",
        );
        line("", &server.policy_trouble);
    }
    if !server.next_start.is_empty() {
        let keys = server.next_start.join(", ");
        line(
            "",
            &format!("changed, and taken over at the next start: {keys}"),
        );
    }
    line("starts", starts(server));
    line("command", &server.command.join(" "));
    line("folder", &list::short(&server.cwd, home));
    line("sessions", &server.sessions.to_string());
    text + &sessions(server)
}

fn restarts(server: &Server) -> String {
    let policy = match server.restart.as_str() {
        "never" => ", never restarted (runtime.restart)",
        "always" => ", restarted after every end (runtime.restart)",
        "on-failure" => ", restarted after a failure",
        _ => "",
    };
    format!("{}{policy}", server.restarts)
}

fn starts(server: &Server) -> &'static str {
    match (server.registered, server.enabled) {
        (_, true) => "with the daemon, and when a host attaches",
        (true, false) => "when a host attaches (srtctl enable: with the daemon, too)",
        (false, false) => "when a host attaches; it is not registered",
    }
}

fn sessions(server: &Server) -> String {
    if server.attached.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["    SESSION", "AGE", "MODE", "HOST-PID", "LAUNCH"]);
    for session in &server.attached {
        let pid = match session.client_pid {
            0 => "-".to_owned(),
            pid => pid.to_string(),
        };
        table.row([
            // What differs between two that began in the same moment is in front.
            format!("    {}", head(&session.session)).into(),
            time::span(session.age_seconds).into(),
            (&session.mode).into(),
            pid.into(),
            (&session.launch).into(),
        ]);
    }
    table.render()
}

fn head(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use srt_proto::v1::{LastExit, PolicyRef, SessionInfo};

    #[test]
    fn everything_that_is_known_stands_there_and_nothing_else() {
        let now = "2026-11-20T14:04:09Z".parse().unwrap();
        let home = Some(Path::new("/home/u"));
        let running = Server {
            name: "files".into(),
            state: "running".into(),
            ready: true,
            pid: 4711,
            sessions: 1,
            restarts: 2,
            restart: "on-failure".into(),
            uptime_seconds: 192.4,
            memory_bytes: 12_897_485,
            policy: Some(PolicyRef {
                source: "/home/u/.srt-settings.json".into(),
                digest: "ab".into(),
                generation: 2,
                ..PolicyRef::default()
            }),
            registered: true,
            command: vec!["npx".into(), "-y".into(), "pkg".into()],
            cwd: "/home/u/p".into(),
            next_start: vec!["filesystem.allowWrite".into()],
            attached: vec![SessionInfo {
                session: "0b1f7a52-4ed0-4a8e-9d83-6a3a7a0c2f11".into(),
                launch: "0199-l".into(),
                age_seconds: 190.0,
                client_pid: 4700,
                mode: "relayed".into(),
            }],
            ..Server::default()
        };
        let waits = Server {
            name: "git".into(),
            state: "backoff".into(),
            reason: "exited with status 3".into(),
            next_retry: "2026-11-20T14:04:12.500Z".into(),
            restart: "always".into(),
            enabled: true,
            registered: true,
            last_exit: Some(LastExit {
                code: 3,
                reason: "exited with status 3".into(),
                at: "2026-11-20T14:04:08Z".into(),
                kind: "exited".into(),
                ..LastExit::default()
            }),
            command: vec!["git-server".into()],
            ..Server::default()
        };
        assert_eq!(
            render(&[running, waits], home, now),
            "files\n\
             \x20 state        running, ready\n\
             \x20 pid          4711\n\
             \x20 up for       3m12s\n\
             \x20 memory       12.3 MiB\n\
             \x20 restarts     2, restarted after a failure\n\
             \x20 policy       ~/.srt-settings.json, generation 2\n\
             \x20              changed, and taken over at the next start: filesystem.allowWrite\n\
             \x20 starts       when a host attaches (srtctl enable: with the daemon, too)\n\
             \x20 command      npx -y pkg\n\
             \x20 folder       ~/p\n\
             \x20 sessions     1\n\
             \x20   SESSION   AGE    MODE     HOST-PID  LAUNCH\n\
             \x20   0b1f7a52  3m10s  relayed  4700      0199-l\n\
             \n\
             git\n\
             \x20 state        backoff\n\
             \x20 reason       exited with status 3\n\
             \x20 next try     in 4s\n\
             \x20 restarts     0, restarted after every end (runtime.restart)\n\
             \x20 last end     exited with status 3, 1s ago (exited)\n\
             \x20 starts       with the daemon, and when a host attaches\n\
             \x20 command      git-server\n\
             \x20 sessions     0\n"
        );
    }
}
