//! The audit log on its way to a collector of OpenTelemetry: every entry arrives at least once, whoever dies meanwhile, and
//! nothing of ours waits for it. The collector decodes with the published definitions and refuses what is not in them.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use srt_tests::{SOON, World, clients, servers, until};

/// A collector, and what it has got.
struct Collector {
    file: PathBuf,
    certificate: Option<(PathBuf, PathBuf)>,
    port: u16,
    child: Option<Child>,
}

impl Collector {
    fn new(world: &World) -> Self {
        let mut collector = Self {
            file: world.path("collector/got"),
            certificate: None,
            port: 0,
            child: None,
        };
        fs::create_dir(world.path("collector")).unwrap();
        collector.start();
        collector
    }

    /// Starts it, at the port it had before where it was there before.
    fn start(&mut self) {
        let told = self.file.with_extension("port");
        let _ = fs::remove_file(&told);
        let mut command = python();
        command.arg(self.port.to_string()).arg(&self.file);
        if let Some((certificate, key)) = &self.certificate {
            command.args([certificate, key]);
        }
        self.child = Some(command.stdin(Stdio::null()).spawn().unwrap());
        self.port = until("the collector to listen", SOON, || {
            fs::read_to_string(&told).ok()?.parse().ok()
        });
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Turns one of its habits on or off.
    fn habit(&self, name: &str, on: bool) {
        let file = self.file.with_extension(name);
        match on {
            true => fs::write(file, "").unwrap(),
            false => fs::remove_file(file).unwrap(),
        }
    }

    fn got(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn numbers(&self) -> BTreeSet<u64> {
        let got = self.got();
        got.iter()
            .map(|one| one["attributes"]["srt.seq"].as_u64().unwrap())
            .collect()
    }

    /// Waits until it has every entry that the log has now.
    #[track_caller]
    fn until_all(&self, world: &World) {
        let entries: BTreeSet<u64> = world
            .audit()
            .iter()
            .map(|entry| entry.json["seq"].as_u64().unwrap())
            .collect();
        until("the collector to have all", SOON * 3, || {
            self.numbers().is_superset(&entries).then_some(())
        });
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.kill();
    }
}

fn python() -> Command {
    let mut command = Command::new(servers().join("python/bin/python"));
    command.arg(clients().join("collector.py"));
    command
}

/// The user's settings with the collector in them.
fn name_it(world: &World, scheme: &str, port: u16) {
    let endpoint = format!("{scheme}://localhost:{port}");
    let otlp = json!({ "endpoint": endpoint, "headers": { "x-token": "a-token" } });
    world.policy(&json!({ "audit": { "otlp": otlp } }));
}

/// Something that the log has an entry of.
fn make_entries(world: &World, count: usize) {
    for number in 0..count {
        world.ctl(&["add", &format!("s{number}"), "--", "true"]);
        world.ctl(&["remove", &format!("s{number}")]);
    }
}

fn shipping(world: &World) -> Value {
    world.json(&["daemon", "status"])["shipping"].clone()
}

#[test]
fn what_is_shipped_is_what_the_log_has() {
    let world = World::start();
    let mut collector = Collector::new(&world);
    assert_eq!(shipping(&world), Value::Null);
    // A daemon that runs takes the collector up when the settings name one.
    name_it(&world, "http", collector.port);
    world.ctl(&["add", "git", "--", "npx", "--token", "hunter2", "x"]);
    collector.until_all(&world);
    let got = collector.got();
    for entry in world.audit() {
        let of_it = |one: &&Value| one["attributes"]["srt.seq"] == entry.json["seq"];
        let one = got.iter().find(of_it).unwrap();
        assert_eq!(one["attributes"]["srt.kind"], entry.kind.as_str());
        assert_eq!(one["attributes"]["srt.subject"], entry.subject.as_str());
        assert_eq!(one["event"], format!("srt.audit.{}", entry.kind));
        assert_eq!(one["resource"]["service.name"], "srtd");
        assert_eq!(one["token"], "a-token");
        let detail = entry.json["detail"].as_object().unwrap();
        for (key, value) in detail {
            assert_eq!(
                one["attributes"][format!("srt.detail.{key}")],
                *value,
                "{entry:?}"
            );
        }
    }
    assert!(
        !fs::read_to_string(&collector.file)
            .unwrap()
            .contains("hunter2")
    );
    let status = until("the status to say so", SOON, || {
        let status = shipping(&world);
        (status["behind"] == 0 && status["last"] != Value::Null).then_some(status)
    });
    assert_eq!(status["trouble"], Value::Null, "{status}");
    assert!(world.ctl(&["daemon", "status"]).contains("up to entry"));

    // The same, as a file.
    let exported = world.ctl(&["audit", "export", "--format", "otlp"]);
    let file = world.write("exported", &exported);
    let decoded = python()
        .arg("--decode")
        .stdin(fs::File::open(file).unwrap())
        .output()
        .unwrap();
    let decoded = String::from_utf8(decoded.stdout).unwrap();
    let numbers: Vec<u64> = decoded
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["attributes"]["srt.seq"]
                .as_u64()
                .unwrap()
        })
        .collect();
    let all: Vec<u64> = world
        .audit()
        .iter()
        .map(|entry| entry.json["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, all);

    // Settings without a collector end it.
    world.policy(&json!({}));
    until("shipping to end", SOON, || {
        (shipping(&world) == Value::Null).then_some(())
    });
    collector.kill();
}

#[test]
fn every_entry_arrives_whoever_dies() {
    let world = World::new();
    let mut collector = Collector::new(&world);
    name_it(&world, "http", collector.port);
    world.start_daemon();
    make_entries(&world, 5);
    collector.until_all(&world);

    // Without its collector the daemon goes on, and says what is wrong.
    collector.kill();
    make_entries(&world, 5);
    let status = until("the status to say so", SOON, || {
        let status = shipping(&world);
        status["trouble"].is_string().then_some(status)
    });
    assert!(
        status["trouble"]
            .as_str()
            .unwrap()
            .contains("cannot connect"),
        "{status}"
    );
    assert!(status["behind"].as_u64() > Some(0), "{status}");

    // The daemon dies with entries that nobody has taken; others come when it is there again and the collector is not.
    world.kill_daemon();
    world.start_daemon();
    make_entries(&world, 5);
    collector.start();
    collector.until_all(&world);

    // One that is busy gets them when it is not.
    collector.habit("busy", true);
    make_entries(&world, 3);
    until("the trouble to be told", SOON, || {
        shipping(&world)["trouble"]
            .as_str()?
            .contains("503 Service Unavailable: busy")
            .then_some(())
    });
    collector.habit("busy", false);
    collector.until_all(&world);

    // Killed while it takes them, again and again.
    for _ in 0..3 {
        make_entries(&world, 3);
        collector.kill();
        world.kill_daemon();
        collector.start();
        world.start_daemon();
    }
    collector.until_all(&world);
    // Numbers begin anew with another log only: with the log's own name each entry has one for ever.
    let names: BTreeSet<String> = collector
        .got()
        .iter()
        .map(|one| one["resource"]["service.instance.id"].to_string())
        .collect();
    assert_eq!(names.len(), 1, "{names:?}");
    // What came twice is the same.
    let mut bodies: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for one in collector.got() {
        let seq = one["attributes"]["srt.seq"].as_u64().unwrap();
        bodies
            .entry(seq)
            .or_default()
            .insert(one["body"].to_string());
    }
    assert!(
        bodies.values().all(|bodies| bodies.len() == 1),
        "{bodies:?}"
    );
}

#[test]
fn what_a_collector_refuses_is_counted_and_holds_nothing_up() {
    let world = World::new();
    let collector = Collector::new(&world);
    collector.habit("small", true);
    world.start_daemon();
    make_entries(&world, 12);
    world.ctl(&["add", "poison", "--", "poison"]);
    make_entries(&world, 3);
    name_it(&world, "http", collector.port);
    let refused = world
        .audit()
        .into_iter()
        .filter(|entry| entry.subject.contains("poison"));
    let refused: BTreeSet<u64> = refused
        .map(|entry| entry.json["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(refused.len(), 1);
    let all: BTreeSet<u64> = world
        .audit()
        .iter()
        .map(|entry| entry.json["seq"].as_u64().unwrap())
        .collect();
    let rest: BTreeSet<u64> = all.difference(&refused).copied().collect();
    until("the others to arrive", SOON, || {
        collector.numbers().is_superset(&rest).then_some(())
    });
    assert!(collector.numbers().is_disjoint(&refused));
    until("it to be counted", SOON, || {
        (shipping(&world)["rejected"] == 1).then_some(())
    });
    assert!(
        world
            .log()
            .contains("the collector does not take an audit entry"),
        "{}",
        world.log()
    );
}

#[test]
fn a_collector_behind_tls_is_trusted_by_its_certificate_alone() {
    let mut world = World::new();
    let folder = world.path("tls");
    fs::create_dir(&folder).unwrap();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let mut collector = Collector::new(&world);
    collector.kill();
    collector.certificate = Some((folder.join("cert.pem"), folder.join("key.pem")));
    collector.start();
    name_it(&world, "https", collector.port);
    // One that nobody vouches for gets nothing.
    world.start_daemon();
    until("the trouble to be told", SOON, || {
        shipping(&world)["trouble"]
            .as_str()?
            .contains("no TLS with localhost")
            .then_some(())
    });
    assert_eq!(collector.got().len(), 0);
    world.stop_daemon();
    world.set("SSL_CERT_FILE", &folder.join("cert.pem").to_string_lossy());
    world.start_daemon();
    collector.until_all(&world);
}
