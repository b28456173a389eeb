//! What a daemon that died left behind is found and settled at the next start, and told in its log and in the audit log;
//! what only looks like it is left alone.

#![allow(clippy::unwrap_used)]

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use srt_tests::{SOON, Talk, World, process, until};

/// A process of nobody's, killed with the test.
struct Stray(Child);

impl Stray {
    fn new() -> Self {
        Self(
            Command::new("sleep")
                .arg("600")
                .stdin(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// When it started, in clock ticks since boot (proc_pid_stat(5), field 22).
    fn start(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields = stat.rsplit_once(')').unwrap().1;
        fields
            .split_ascii_whitespace()
            .nth(19)
            .unwrap()
            .parse()
            .unwrap()
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn boot() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    text.trim().to_owned()
}

/// Plants a launch of which no end is recorded, as a daemon leaves it that dies.
#[track_caller]
fn plant(world: &World, id: &str, server: &str, more: Value) {
    let mut row = json!({
        "id": id, "server": server, "restart": 0, "started_at": 1,
    });
    for (name, value) in more.as_object().unwrap() {
        row[name] = value.clone();
    }
    let script = "import json, sqlite3, sys\n\
        row = json.loads(sys.argv[2])\n\
        base = sqlite3.connect(sys.argv[1])\n\
        row['generation'] = base.execute('SELECT max(id) FROM policy_generations').fetchone()[0]\n\
        names = ', '.join(row)\n\
        marks = ', '.join('?' for _ in row)\n\
        base.execute(f'INSERT INTO launches ({names}) VALUES ({marks})', list(row.values()))\n\
        base.commit()";
    let output = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .arg(world.path("home/.local/state/srt/srt.db"))
        .arg(row.to_string())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A world whose daemon has run a server, and was killed.
fn after_a_crash() -> World {
    let world = World::start();
    let mut talk = Talk::start(&mut world.srt(&["--name", "real", "--", "cat"]));
    talk.send("x");
    assert_eq!(talk.line(SOON).unwrap(), b"x\n");
    // The shim would start another daemon; and where it went first, the daemon would end the launch in order.
    process::signal(talk.pid(), rustix::process::Signal::STOP);
    world.kill_daemon();
    process::signal(talk.pid(), rustix::process::Signal::KILL);
    talk.wait(SOON);
    until("the launch to go with its daemon", SOON, || {
        world.of_launches().is_empty().then_some(())
    });
    world
}

fn id(number: u32) -> String {
    format!("01900000-0000-7000-8000-{number:012}")
}

#[test]
fn processes_that_were_left_are_ended_and_nobody_elses() {
    let world = after_a_crash();
    let [server, init, reused, other_boot] = [(); 4].map(|()| Stray::new());
    let gone = {
        let gone = Stray::new();
        (gone.pid(), gone.start())
    };
    plant(
        &world,
        &id(1),
        "left",
        json!({ "pid": server.pid(), "pid_start": server.start(), "boot_id": boot() }),
    );
    // Its server has ended; what it started lives on in its namespace.
    plant(
        &world,
        &id(2),
        "children",
        json!({ "pid": gone.0, "pid_start": gone.1, "init_pid": init.pid(), "init_start": init.start(), "boot_id": boot() }),
    );
    // The pid belongs to somebody else by now, in this boot or because it is another.
    plant(
        &world,
        &id(3),
        "reused",
        json!({ "pid": reused.pid(), "pid_start": reused.start() - 1, "init_pid": reused.pid(), "init_start": reused.start() + 1, "boot_id": boot() }),
    );
    plant(
        &world,
        &id(4),
        "rebooted",
        json!({ "pid": other_boot.pid(), "pid_start": other_boot.start(), "boot_id": "another" }),
    );
    // Of a launch that had not come far.
    plant(&world, &id(5), "unborn", json!({}));
    world.start_daemon();
    assert!(!process::lives(server.pid()) && !process::lives(init.pid()));
    assert!(process::lives(reused.pid()) && process::lives(other_boot.pid()));
    for (name, killed) in [
        ("left", Some(server.pid())),
        ("children", Some(init.pid())),
        ("reused", None),
        ("rebooted", None),
        ("unborn", None),
    ] {
        let entry = world.until_audited("exit", name);
        let detail = &entry.json["detail"];
        assert_eq!(detail["lost"], true, "{}", entry.json);
        let reason = detail["reason"].as_str().unwrap();
        match killed {
            Some(pid) => assert!(reason.contains(&format!("(pid {pid})")), "{reason}"),
            None => assert!(reason.contains("it with it"), "{reason}"),
        }
        assert!(
            world.log().contains(&format!("server=\"{name}\"")),
            "{}",
            world.log()
        );
    }
    // Once is enough: at the next start nothing is left to settle.
    let exits = || {
        world
            .audit()
            .iter()
            .filter(|entry| entry.kind == "exit")
            .count()
    };
    let before = exits();
    world.stop_daemon();
    world.start_daemon();
    assert_eq!(exits(), before);
}

#[test]
fn folders_go_layers_stay_and_both_are_told() {
    let world = after_a_crash();
    let state = world.path("home/.local/state/srt");
    // What the crash itself left, and one as a server may leave it.
    let left = world.launches();
    assert_eq!(left.len(), 1, "{left:?}");
    let planted = world.write(
        &format!("home/.local/state/srt/launches/{}/tmp/deep/file", id(7)),
        "x",
    );
    let work = world.write(
        "home/.local/state/srt/layers/ghost/1/upper/work",
        "somebody's",
    );
    world.start_daemon();
    assert!(!planted.exists());
    assert_eq!(world.launches().len(), 0);
    assert_eq!(std::fs::read_to_string(work).unwrap(), "somebody's");
    let real = left[0].file_name().unwrap().to_string_lossy().into_owned();
    for name in [real.as_str(), &id(7), "ghost"] {
        let entry = world.until_audited("daemon", name);
        assert_eq!(entry.subject, "settled", "{}", entry.json);
        assert!(world.log().contains(name), "{name}: {}", world.log());
    }
    let entry = world.until_audited("daemon", "ghost");
    assert!(entry.json.to_string().contains("kept"), "{}", entry.json);
    assert!(state.join("srt.db").exists());
}

/// Where the processes of a real launch are noted, so that the sweep has something to go by.
#[test]
fn the_processes_of_a_launch_are_recorded_with_their_start() {
    let world = World::start();
    let mut talk = Talk::start(&mut world.srt(&["--name", "cat", "--", "cat"]));
    talk.send("x");
    assert_eq!(talk.line(SOON).unwrap(), b"x\n");
    let script = "import sqlite3, sys\n\
        base = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True)\n\
        print(*(base.execute('SELECT pid, pid_start, init_pid, init_start FROM launches').fetchone()))";
    let numbers = until("the processes to be noted", SOON, || {
        let output = Command::new("/usr/bin/python3")
            .args(["-c", script])
            .arg(world.path("home/.local/state/srt/srt.db"))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let numbers: Result<Vec<u64>, _> = text.split_whitespace().map(str::parse).collect();
        numbers.ok().filter(|numbers| numbers.len() == 4)
    });
    for (pid, start) in [(numbers[0], numbers[1]), (numbers[2], numbers[3])] {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields = stat.rsplit_once(')').unwrap().1;
        let found: u64 = fields
            .split_ascii_whitespace()
            .nth(19)
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(found, start);
    }
}
