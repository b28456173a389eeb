//! The person's tool: servers are registered, started, stopped, looked at and removed, with the promised exit
//! statuses and stable JSON.

#![allow(clippy::unwrap_used)]

use std::process::Output;

use serde_json::{Value, json};
use srt_tests::{SOON, Talk, World, process, until};

#[track_caller]
fn fails(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(!stderr.is_empty(), "a failure says why");
    stderr
}

fn add(world: &World, name: &str, command: &[&str]) {
    let work = world.work().to_string_lossy().into_owned();
    let mut arguments = vec!["add", name, "--cwd", &work, "--"];
    arguments.extend(command);
    let said = world.ctl(&arguments);
    assert_eq!(said, "", "silent on success");
}

fn pid(status: &Value) -> u32 {
    u32::try_from(status["pid"].as_u64().unwrap()).unwrap()
}

#[test]
fn a_server_is_added_listed_and_removed() {
    let world = World::start();
    assert_eq!(world.json(&["list"]), json!([]), "[] and never null");
    assert_eq!(world.json(&["status"]), json!([]));
    add(&world, "beta", &["cat"]);
    add(&world, "alpha", &["cat", "-u"]);
    let listed = world.json(&["list"]);
    let names: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["name"])
        .collect();
    assert_eq!(names, ["alpha", "beta"], "sorted");
    assert_eq!(listed[0]["command"], json!(["cat", "-u"]));
    let shown = world.ctl(&["list"]);
    assert!(shown.contains("alpha") && shown.contains("beta"), "{shown}");

    world.ctl(&["remove", "alpha"]);
    assert_eq!(world.json(&["list"]).as_array().unwrap().len(), 1);
    fails(&world.srtctl(&["remove", "alpha"]), 4);
    for kind in ["register", "remove"] {
        world.until_audited(kind, "alpha");
    }
}

#[test]
fn registered_servers_outlive_the_daemon() {
    let world = World::start();
    add(&world, "kept", &["cat"]);
    world.stop_daemon();
    world.start_daemon();
    assert_eq!(world.json(&["list"])[0]["name"], "kept");
}

#[test]
fn status_has_the_promised_fields() {
    let world = World::start();
    add(&world, "cat", &["cat"]);
    world.ctl(&["start", "cat"]);
    let status = world.until_state("cat", "running");
    for field in [
        "name",
        "state",
        "pid",
        "sessions",
        "restarts",
        "uptime_seconds",
        "memory_bytes",
        "policy",
        "last_exit",
    ] {
        assert!(status.get(field).is_some(), "{field} is missing: {status}");
    }
    for field in ["source", "digest", "generation"] {
        assert!(
            status["policy"].get(field).is_some(),
            "policy.{field}: {status}"
        );
    }
    assert_eq!(status["policy"]["source"], "built-in");
    assert_eq!(status["sessions"], 0);
    assert!(process::lives(pid(&status)));
    let text = world.ctl(&["status"]);
    for heading in [
        "NAME",
        "STATE",
        "PID",
        "SESSIONS",
        "RESTARTS",
        "UPTIME",
        "MEM",
        "POLICY",
        "LAST-EXIT",
    ] {
        assert!(text.contains(heading), "{heading} is missing:\n{text}");
    }
    assert!(!text.contains('\x1b'), "no colour without a terminal");
}

#[test]
fn start_stop_and_restart_are_idempotent_and_do_what_they_say() {
    let world = World::start();
    add(&world, "cat", &["cat"]);
    add(&world, "dog", &["cat"]);
    world.ctl(&["start", "cat"]);
    let first = pid(&world.until_state("cat", "running"));
    world.ctl(&["start", "cat"]);
    assert_eq!(pid(&world.status("cat").unwrap()), first, "still the same");

    world.ctl(&["restart", "cat"]);
    let second = until("another process", SOON, || {
        let status = world.status("cat")?;
        (status["state"] == "running" && pid(&status) != first).then(|| pid(&status))
    });
    until("the first to be gone", SOON, || {
        (!process::lives(first)).then_some(())
    });
    world.ctl(&["start", "--all"]);
    world.until_state("dog", "running");
    world.ctl(&["stop", "--all"]);
    world.until_state("cat", "stopped");
    world.until_state("dog", "stopped");
    world.ctl(&["stop", "cat"]);
    assert!(!process::lives(second));

    fails(&world.srtctl(&["start", "nobody"]), 4);
    fails(&world.srtctl(&["stop", "nobody"]), 4);
    fails(&world.srtctl(&["status", "nobody"]), 4);
}

#[test]
fn a_warm_server_is_taken_over_by_the_next_attachment() {
    let world = World::start();
    add(&world, "warm", &["sh", "-c", "echo here; exec cat"]);
    world.ctl(&["start", "warm"]);
    let warm = pid(&world.until_state("warm", "running"));
    let mut talk = Talk::start(&mut world.srt(&["--name", "warm"]));
    // What it said before anybody was there is not lost.
    assert_eq!(talk.line(SOON).unwrap(), b"here\n");
    talk.send("hello");
    assert_eq!(talk.line(SOON).unwrap(), b"hello\n");
    let status = world.status("warm").unwrap();
    assert_eq!((pid(&status), &status["sessions"]), (warm, &json!(1)));
    talk.close();
    assert_eq!(talk.wait(SOON).code(), Some(0));
}

#[test]
fn a_stopped_server_ends_its_shim_with_the_reason() {
    let world = World::start();
    let mut talk = Talk::start(&mut world.srt(&["--name", "cat", "--", "cat"]));
    talk.send("x");
    assert_eq!(talk.line(SOON).unwrap(), b"x\n");
    world.ctl(&["stop", "cat"]);
    talk.wait(SOON);
    let status = world.until_state("cat", "stopped");
    assert!(status["last_exit"]["reason"].as_str().is_some(), "{status}");
}

#[test]
fn an_unknown_name_alone_is_an_error() {
    let world = World::start();
    let output = world
        .srt(&["--name", "nobody"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = fails(&output, 4);
    assert!(said.contains("nobody"), "{said}");
}

#[test]
fn logs_keep_what_the_server_said_on_stderr() {
    let world = World::start();
    let script = "for i in 1 2 3; do echo line $i >&2; done; exec cat";
    let mut talk = Talk::start(&mut world.srt(&["--name", "noisy", "--", "sh", "-c", script]));
    talk.send("x");
    talk.line(SOON).unwrap();
    let stderr = ["logs", "noisy", "--stream", "stderr"];
    let lines = until("three lines", SOON, || {
        let text = world.ctl(&stderr);
        (text.lines().count() == 3).then_some(text)
    });
    assert!(lines.contains("line 1"), "{lines}");
    let last = world.ctl(&["logs", "noisy", "--stream", "stderr", "-n", "1"]);
    assert!(
        last.contains("line 3") && !last.contains("line 2"),
        "{last}"
    );
    let value = world.json(&stderr);
    assert_eq!(value.as_array().unwrap().len(), 3, "{value}");
    assert_eq!(value[0]["line"], "line 1");
    assert_eq!(value[0]["stream"], "stderr");
    fails(&world.srtctl(&["logs", "nobody"]), 4);
}

#[test]
fn logs_can_be_followed() {
    let world = World::start();
    let mut server = Talk::start(&mut world.srt(&[
        "--name",
        "echo",
        "--",
        "sh",
        "-c",
        "while read -r line; do echo \"$line\" >&2; echo done; done",
    ]));
    server.send("before");
    server.line(SOON).unwrap();
    let mut follow = Talk::start(
        world
            .command(world.program("srtctl"))
            .args(["logs", "echo", "-f", "--stream", "stderr"]),
    );
    let line = String::from_utf8(follow.line(SOON).unwrap()).unwrap();
    assert!(line.contains("before"), "{line}");
    server.send("after");
    let line = String::from_utf8(follow.line(SOON).unwrap()).unwrap();
    assert!(line.contains("after"), "{line}");
}

#[test]
fn policy_check_tells_good_from_bad_with_the_place() {
    let world = World::start();
    let path = |name: &str, text: &str| world.write(name, text).to_string_lossy().into_owned();
    let good = path(
        "work/good.json",
        r#"{"filesystem":{"denyRead":["~/.ssh"],"allowWrite":["."],"denyWrite":[]},"network":{"allowedDomains":["api.github.com"],"deniedDomains":[]}}"#,
    );
    world.ctl(&["policy", "check", &good]);
    for (text, place, right) in [
        (
            "{\n \"filesystem\": { \"denyread\": [] }\n}",
            "bad.json:2",
            "denyRead",
        ),
        (
            "{\n \"network\": { \"allowedDomains\": [\n  \"*.com\"\n ] }\n}",
            "bad.json:3",
            "*.com",
        ),
        ("{\n \"network\": [\n}", "bad.json:", ""),
    ] {
        let bad = path("work/bad.json", text);
        // What it finds is what was asked for, so it stands on stdout.
        let output = world.srtctl(&["policy", "check", &bad]);
        assert_eq!(output.status.code(), Some(6), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(place) && said.contains(right), "{said}");
    }
    // It needs no daemon: a person checks before anything runs.
    world.stop_daemon();
    world.ctl(&["policy", "check", &good]);
}

#[test]
fn policy_show_says_where_each_line_comes_from() {
    let world = World::start();
    let settings = world.policy(&json!({
        "filesystem": { "denyRead": ["~/private"], "allowWrite": ["."], "denyWrite": [] },
        "network": { "allowedDomains": ["api.github.com"], "deniedDomains": [] },
    }));
    add(&world, "cat", &["cat"]);
    let shown = world.json(&["policy", "show", "cat"]);
    assert_eq!(shown["policy"]["source"], json!(settings));
    let lines = shown["lines"].as_array().unwrap();
    let find = |key: &str, value: &str| {
        lines
            .iter()
            .find(|line| line["key"] == key && line["value"].as_str().unwrap().contains(value))
            .unwrap_or_else(|| panic!("{key} {value}: {shown:#}"))
    };
    let line = find("network.allowedDomains", "api.github.com");
    assert_eq!(line["file"], json!(settings));
    assert!(line["line"].as_u64().unwrap() > 0);
    find("filesystem.denyRead", "private");
    let built_in = find("filesystem.denyRead", ".ssh");
    assert_eq!(built_in["file"], "built-in");
    fails(&world.srtctl(&["policy", "show", "nobody"]), 4);
}

#[test]
fn doctor_finds_this_machine_fit() {
    let world = World::new();
    let output = world.srtctl(&["doctor"]);
    assert!(
        output.status.success(),
        "what this machine lacks:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let said = String::from_utf8_lossy(&output.stdout).to_lowercase();
    for piece in ["bubblewrap", "user namespace", "landlock", "seccomp"] {
        assert!(said.contains(piece), "{piece} is missing:\n{said}");
    }
}

/// In a user namespace that may have none of one kind of namespace, as the kernel counts them: what a machine says that was
/// set up so.
#[test]
fn a_machine_that_lacks_a_namespace_is_told_which_and_runs_nothing() {
    for kind in ["user", "net", "pid", "mnt", "ipc", "uts"] {
        let world = World::new();
        let key = format!("user.max_{kind}_namespaces");
        let within = |program: &str, arguments: &[&str]| {
            let limit = format!("/proc/sys/{}", key.replace('.', "/"));
            let mut command = world.command("unshare");
            command
                .args(["--user", "--map-current-user", "--keep-caps", "--"])
                .args(["sh", "-c", "echo 0 > \"$1\" && shift && exec \"$@\"", "sh"])
                .args([limit.as_str(), "setpriv", "--inh-caps=-all"])
                .args(["--ambient-caps=-all", "--bounding-set=-all", "--"])
                .arg(world.program(program))
                .args(arguments);
            command.output().unwrap()
        };
        let doctor = within("srtctl", &["doctor"]);
        let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert_eq!(doctor.status.code(), Some(1), "{kind}: {said}");
        let wanted = format!("{key} is 0\nhint: sudo sysctl -w {key}=15000\n");
        assert!(said.contains(&wanted), "{kind}: {said}");
        // The daemon is started there, too.
        let run = within("srt", &["--name", "s", "--", "echo", "ran"]);
        let said = fails(&run, 7);
        assert!(said.contains("doctor\" names the limit"), "{kind}: {said}");
        assert!(run.stdout.is_empty(), "{kind}");
        let audit = within("srtctl", &["audit"]);
        let audit = String::from_utf8_lossy(&audit.stdout).into_owned();
        assert!(audit.contains("namespace"), "{kind}: {audit}");
        within("srtctl", &["daemon", "stop"]);
    }
}

#[test]
fn the_daemon_is_asked_started_and_stopped() {
    let world = World::new();
    fails(&world.srtctl(&["list"]), 5);
    let output = world.srtctl(&["daemon", "status"]);
    assert!(matches!(output.status.code(), Some(3 | 5)), "{output:?}");
    world.ctl(&["daemon", "start"]);
    let status = world.json(&["daemon", "status"]);
    assert_eq!(status["socket"], json!(world.socket()));
    assert_eq!(
        status["database"],
        json!(world.path("home/.local/state/srt/srt.db"))
    );
    let daemon = world.daemon_pid();
    world.ctl(&["daemon", "start"]);
    assert_eq!(world.daemon_pid(), daemon, "one daemon per socket");
    world.ctl(&["daemon", "stop"]);
    until("the daemon to end", SOON, || {
        (!process::lives(daemon) && !world.socket().exists()).then_some(())
    });
}

/// Editors built on Chromium have the kernel kill their children first; the daemon is not one host's alone.
#[cfg(target_os = "linux")]
#[test]
fn a_daemon_is_no_more_ready_to_be_killed_than_it_must_be() {
    let world = World::new();
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let own: i32 = own.trim().parse().unwrap();
    let raised = (own + 300).min(1000);
    let output = world
        .command("sh")
        .args(["-c", "echo \"$1\" > /proc/self/oom_score_adj && cat /proc/self/oom_score_adj && shift && exec \"$@\"", "sh"])
        .arg(raised.to_string())
        .arg(world.program("srt"))
        .args(["--name", "s", "--", "true"])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("{raised}\n"),
        "{output:?}"
    );
    let daemon = format!("/proc/{}/oom_score_adj", world.daemon_pid());
    let daemon = std::fs::read_to_string(daemon).unwrap();
    assert!(daemon.trim().parse::<i32>().unwrap() <= own, "{daemon}");
}

#[test]
fn a_second_daemon_on_the_socket_is_refused() {
    let world = World::start();
    let mut second = Talk::start(&mut world.command(world.program("srtd")));
    assert!(!second.wait(SOON).success());
    // A thread reads it: the process may be gone before its last words are in.
    until("its reason", SOON, || {
        second.stderr().contains("hint: ").then_some(())
    });
    world.ctl(&["daemon", "status"]);
}

#[test]
fn an_orderly_end_takes_everything_along() {
    let world = World::start();
    world.policy(&json!({
        "filesystem": { "denyRead": [".env"], "allowWrite": ["."], "denyWrite": [] },
        "network": { "allowedDomains": [], "deniedDomains": [] },
    }));
    add(&world, "warm", &["cat"]);
    world.ctl(&["start", "warm"]);
    world.until_state("warm", "running");
    let mut talk = Talk::start(&mut world.srt(&["--name", "cat", "--", "cat"]));
    talk.send("x");
    talk.line(SOON).unwrap();
    let denied = world.path("work/.env");
    assert_eq!(world.launches().len(), 2);
    assert!(!process::mounts(world.mark()).is_empty());
    assert!(
        !denied.exists(),
        "what is denied is held without anything on the disk"
    );
    assert!(!world.sockets().is_empty());
    world.stop_daemon();
    talk.wait(SOON);
    until("every process to go", SOON, || {
        world.processes().is_empty().then_some(())
    });
    assert_eq!(world.traces(), Vec::<String>::new());
    assert_eq!(world.sockets(), Vec::<String>::new());
    assert!(!denied.exists());
}

#[test]
fn usage_errors_end_with_2_and_an_empty_log_is_empty() {
    let world = World::start();
    fails(&world.srtctl(&["no-such-command"]), 2);
    fails(&world.srtctl(&["add"]), 2);
    fails(
        &world
            .srt(&[])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap(),
        2,
    );
    assert_eq!(world.json(&["audit", "--kind", "deny"]), json!([]));
    for shell in ["bash", "zsh", "fish"] {
        assert!(!world.ctl(&["completions", shell]).is_empty());
    }
}

#[test]
fn the_audit_log_tells_a_launch_from_start_to_exit() {
    let world = World::start();
    let output = world
        .srt(&["--name", "seven", "--", "sh", "-c", "exit 7"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7));
    world.until_audited("exit", "seven");
    let entries = world.audit();
    let seqs: Vec<_> = entries
        .iter()
        .map(|e| e.json["seq"].as_u64().unwrap())
        .collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    let of: Vec<_> = entries.iter().filter(|e| e.server == "seven").collect();
    let start = of.iter().position(|e| e.kind == "start").unwrap();
    let exit = of.iter().position(|e| e.kind == "exit").unwrap();
    assert!(start < exit);
    assert_eq!(of[start].json["launch"], of[exit].json["launch"]);
    let filtered = world.json(&["audit", "--server", "seven", "--kind", "exit"]);
    assert_eq!(filtered.as_array().unwrap().len(), 1);
}
