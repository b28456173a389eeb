//! What a monitoring system sees: metrics and health over a private socket or a loopback port with a token, and nothing
//! for anybody else.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use srt_tests::{SOON, Shell, Talk, Web, World, process, until};

/// curl, which knows HTTP over Unix sockets; its last line is the status.
fn curl(world: &World, arguments: &[&str]) -> (u32, String) {
    let output = world
        .bare("curl")
        .args(["-sS", "--noproxy", "*", "-w", "\n%{http_code}"])
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "curl {arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

fn over_socket(world: &World, path: &str) -> (u32, String) {
    let socket = world.path("metrics/m.sock");
    let url = format!("http://srtd{path}");
    curl(world, &["--unix-socket", &socket.to_string_lossy(), &url])
}

/// A world whose daemon serves metrics at `metrics/m.sock`.
fn on_socket(world: World) -> World {
    fs::create_dir(world.path("metrics")).unwrap();
    fs::set_permissions(world.path("metrics"), fs::Permissions::from_mode(0o700)).unwrap();
    let place = format!("unix:{}", world.path("metrics/m.sock").display());
    world.start_daemon_with(&["--metrics", &place]);
    world
}

/// A page of OpenMetrics, read as strictly as its grammar is: each line, its name declared before, its value a number.
struct Page(Vec<(String, f64)>);

impl Page {
    #[track_caller]
    fn read(text: &str) -> Self {
        assert!(text.ends_with("# EOF\n"), "it has its end: {text}");
        let mut declared: Vec<String> = Vec::new();
        let mut samples = Vec::new();
        for line in text.lines().filter(|line| *line != "# EOF") {
            if let Some(rest) = line.strip_prefix("# ") {
                let (kind, rest) = rest.split_once(' ').unwrap();
                assert!(["HELP", "TYPE", "UNIT"].contains(&kind), "{line}");
                let name = rest.split(' ').next().unwrap();
                if kind == "TYPE" {
                    assert!(!declared.contains(&name.to_owned()), "twice: {line}");
                    declared.push(name.to_owned());
                }
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            assert!(
                declared.iter().any(|declared| name.starts_with(declared)),
                "{name} is not declared"
            );
            let open = series.contains('{');
            assert_eq!(open, series.ends_with('}'), "{line}");
            samples.push((series.to_owned(), value.parse().unwrap()));
        }
        Self(samples)
    }

    fn get(&self, series: &str) -> Option<f64> {
        let found = self.0.iter().find(|(name, _)| name == series);
        found.map(|(_, value)| *value)
    }
}

fn page(world: &World) -> Page {
    let (status, text) = over_socket(world, "/metrics");
    assert_eq!(status, 200, "{text}");
    Page::read(&text)
}

#[test]
fn what_servers_do_is_counted() {
    let world = World::with_network(&[("203.0.113.7", "one.test")]);
    let _web = Web::in_world(&world, "203.0.113.7:7000", "--echo");
    world.policy(&json!({ "network": { "allowedDomains": ["one.test:7000"] } }));
    let world = on_socket(world);
    let before = page(&world);
    assert_eq!(
        before.get(&format!(
            "srt_build_info{{version=\"{}\"}}",
            env!("CARGO_PKG_VERSION")
        )),
        Some(1.0)
    );
    assert_eq!(before.get("srt_launch_seconds_count"), Some(0.0));

    let mut shell = Shell::start(&world, "s");
    assert!(shell.reaches("one.test", 7000));
    let during = page(&world);
    for (series, value) in [
        ("srt_launches_total{server=\"s\",result=\"started\"}", 1.0),
        ("srt_attachments_total{server=\"s\"}", 1.0),
        ("srt_running_launches{server=\"s\"}", 1.0),
        ("srt_sessions{server=\"s\"}", 1.0),
        ("srt_open_flows{server=\"s\"}", 1.0),
        ("srt_launch_seconds_count", 1.0),
        ("srt_launch_seconds_bucket{le=\"+Inf\"}", 1.0),
    ] {
        assert_eq!(during.get(series), Some(value), "{series}: {:?}", during.0);
    }
    assert!(during.get("srt_memory_bytes{server=\"s\"}") > Some(0.0));
    assert!(during.get("srt_store_commits_total") > before.get("srt_store_commits_total"));

    // A refused host, a refused file, and the end of what was allowed.
    assert_eq!(shell.ask("open two.test 7000"), "refused");
    assert!(shell.ask("http two.test 7000").contains("403"));
    assert_eq!(shell.ask("write /etc/srt-test-file"), "refused");
    assert_eq!(shell.ask("open one.test 7000"), "open");
    until("it to be counted", SOON, || {
        let page = page(&world);
        let flows = "srt_flows_total{server=\"s\",front_end=\"tcp\",outcome=\"allowed\"}";
        let out = "srt_flow_bytes_total{server=\"s\",direction=\"out\"}";
        let network = "srt_denials_total{server=\"s\",of=\"network\"}";
        let file = "srt_denials_total{server=\"s\",of=\"file\"}";
        (page.get(flows) >= Some(1.0)
            && page.get(out) == Some(6.0)
            && page.get(network) >= Some(1.0)
            && page.get(file) >= Some(1.0))
        .then_some(())
    });

    let refused = world
        .srt(&["--name", "none", "--", "no-such-program"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let after = page(&world);
    let series = "srt_launches_total{server=\"none\",result=\"refused\"}";
    assert_eq!(after.get(series), Some(1.0));
    world.ctl(&["stop", "s"]);
    let series = "srt_launch_ends_total{server=\"s\",kind=\"stopped\"}";
    assert_eq!(page(&world).get(series), Some(1.0));
}

#[test]
fn mcp_messages_and_calls_are_counted() {
    let world = on_socket(World::new());
    let mut talk = Talk::start(&mut world.demo());
    talk.send(r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#);
    talk.line(SOON).unwrap();
    until("the call to be counted", SOON, || {
        let page = page(&world);
        (page.get("srt_messages_total{direction=\"to_server\"}") == Some(1.0)
            && page.get("srt_messages_total{direction=\"to_host\"}") == Some(1.0)
            && page.get("srt_call_seconds_count") == Some(1.0))
        .then_some(())
    });
}

#[test]
fn no_secret_stands_in_it() {
    let world = on_socket(World::new());
    let secret = "hunter2-not-to-be-seen";
    let mut command = world.srt(&["--name", "s", "--env", "API_TOKEN", "--", "sh", "-c"]);
    command
        .args(["exec cat", "sh", secret])
        .env("API_TOKEN", secret);
    let mut talk = Talk::start(&mut command);
    talk.send("x");
    talk.line(SOON).unwrap();
    // It really has it, so that not seeing it says something.
    let audit = world.ctl(&["audit", "--json"]);
    assert!(audit.contains(secret), "{audit}");
    let (_, text) = over_socket(&world, "/metrics");
    let (_, health) = over_socket(&world, "/health");
    let home = world.home().to_string_lossy().into_owned();
    for hidden in [secret, "API_TOKEN", "exec cat", &home] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
        assert!(!health.contains(hidden), "{hidden}: {health}");
    }
    assert!(text.contains("server=\"s\""), "{text}");
}

#[test]
fn health_is_200_or_503_with_the_reasons() {
    let world = on_socket(World::new());
    let (status, text) = over_socket(&world, "/health");
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, 200);
    assert_eq!(value, json!({ "status": "ok", "reasons": [] }));

    let work = world.work().to_string_lossy().into_owned();
    world.ctl(&["add", "broken", "--cwd", &work, "--", "no-such-program"]);
    assert!(!world.srtctl(&["start", "broken"]).status.success());
    world.until_state("broken", "failed");
    assert_eq!(over_socket(&world, "/health").0, 200, "nobody counts on it");
    world.ctl(&["enable", "broken"]);
    let (status, text) = over_socket(&world, "/health");
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, 503, "{text}");
    let reason = value["reasons"][0].as_str().unwrap();
    assert!(
        reason.starts_with("broken is enabled and has failed: "),
        "{reason}"
    );
    world.ctl(&["disable", "broken"]);
    assert_eq!(over_socket(&world, "/health").0, 200);
    assert_eq!(over_socket(&world, "/other").0, 404);
}

#[test]
fn the_socket_is_ours_alone_and_goes_with_the_daemon() {
    let world = on_socket(World::new());
    let socket = world.path("metrics/m.sock");
    let meta = fs::metadata(&socket).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    world.stop_daemon();
    assert!(!socket.exists());
    // What a daemon that was killed left is replaced; what is no socket stays.
    let place = format!("unix:{}", socket.display());
    world.start_daemon_with(&["--metrics", &place]);
    world.kill_daemon();
    assert!(socket.exists());
    world.start_daemon_with(&["--metrics", &place]);
    assert_eq!(over_socket(&world, "/health").0, 200);
    world.stop_daemon();
    fs::write(&socket, "mine").unwrap();
    let said = refused(&world, &place);
    assert!(said.contains("is there and is no socket"), "{said}");
    assert_eq!(fs::read_to_string(&socket).unwrap(), "mine");
    fs::remove_file(&socket).unwrap();
    fs::set_permissions(world.path("metrics"), fs::Permissions::from_mode(0o755)).unwrap();
    let said = refused(&world, &place);
    assert!(said.contains("others may enter it"), "{said}");
}

/// What a daemon says that does not start.
#[track_caller]
fn refused(world: &World, place: &str) -> String {
    let output: Output = world
        .bare(world.program("srtd"))
        .args(["--metrics", place])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success(), "{place} was taken");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_loopback_port_asks_for_the_token_and_no_other_address_is_served() {
    let world = World::new();
    // Bound and let go: nobody else takes it within the moment.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let place = format!("127.0.0.1:{port}");
    world.start_daemon_with(&["--metrics", &place]);
    let file = state_of(&world).join("metrics.token");
    let token = fs::read_to_string(&file).unwrap().trim().to_owned();
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for path in ["/metrics", "/health"] {
        let url = format!("http://{place}{path}");
        let (status, said) = curl(&world, &[&url]);
        assert_eq!(status, 401, "{said}");
        assert!(said.contains("metrics.token"), "{said}");
        for wrong in ["Bearer x", "Basic x", &format!("Bearer {}", &token[1..])] {
            let header = format!("Authorization: {wrong}");
            let (status, said) = curl(&world, &["-H", &header, &url]);
            assert_eq!(status, 401, "{wrong}: {said}");
            assert!(!said.contains("srt_"), "{said}");
        }
        let header = format!("Authorization: Bearer {token}");
        assert_eq!(curl(&world, &["-H", &header, &url]).0, 200);
    }
    // Whoever connects and says nothing holds a few of the daemon's descriptors, for a while, and no more.
    let daemon = world.daemon_pid();
    // Of whoever asked last a few may still be open.
    const FEW: usize = 4;
    let before = process::descriptors(daemon).unwrap();
    let idle: Vec<_> = (0..100)
        .map(|_| TcpStream::connect(&place).unwrap())
        .collect();
    let taken = || process::descriptors(daemon).map(|now| now.saturating_sub(before));
    until("some to be accepted", SOON, || {
        (taken()? >= 16 - FEW).then_some(())
    });
    // They last for 30 s, and those behind them are not accepted meanwhile.
    std::thread::sleep(Duration::from_secs(1));
    assert!(taken().unwrap() <= 16 + FEW, "{:?}", taken());
    assert_eq!(world.json(&["daemon", "status"])["pid"], daemon);
    drop(idle);
    until("them to be let go", SOON, || {
        (taken()? <= FEW).then_some(())
    });
    let header = format!("Authorization: Bearer {token}");
    let url = format!("http://{place}/health");
    assert_eq!(curl(&world, &["-H", &header, &url]).0, 200);
    // The next daemon's is the same one, so that who monitors need not be told anew.
    world.stop_daemon();
    world.start_daemon_with(&["--metrics", &place]);
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), token);
    world.stop_daemon();

    for exposed in ["0.0.0.0:9464", "192.0.2.1:9464", "[::]:9464"] {
        let said = refused(&world, exposed);
        assert!(said.contains("not a loopback address"), "{exposed}: {said}");
        assert!(said.contains("hint: serve them on 127.0.0.1"), "{said}");
    }
    for wrong in ["localhost:9464", "9464", "unix:m.sock"] {
        assert!(refused(&world, wrong).contains("hint: "), "{wrong}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let said = refused(&world, &place);
    assert!(
        said.contains("others may read the metrics' token"),
        "{said}"
    );
}

#[test]
fn nothing_is_served_unless_it_is_asked_for() {
    let world = World::start();
    assert!(!state_of(&world).join("metrics.token").exists());
    assert!(!world.log().contains("metrics are served"));
}

/// The daemon's state folder, by what it says of its database.
fn state_of(world: &World) -> std::path::PathBuf {
    let status = world.json(&["daemon", "status"]);
    let database = status["database"].as_str().unwrap();
    Path::new(database).parent().unwrap().to_owned()
}
