//! The daemon under a service manager: the unit files hold together, the passed socket is served by a real daemon to a real
//! shim, and what is said to the manager is true. systemd itself does not run here: its own tools check the files and pass
//! the socket, and the test listens at $NOTIFY_SOCKET in its place.

#![allow(clippy::unwrap_used)]

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use srt_tests::{SOON, Talk, World, process, until};

/// A file of the repository.
fn source(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join(relative)
}

/// A child that is killed with the test.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Guard {
    /// Ends it by SIGTERM, which it must follow in order.
    #[track_caller]
    fn stop(&mut self, world: &World) {
        process::signal(self.0.id(), Signal::TERM);
        let status = until("the daemon to end", SOON, || self.0.try_wait().unwrap());
        assert!(status.success(), "{status}\n{}", world.log());
    }
}

/// Starts a program with its words in the daemon's log.
fn spawn(world: &World, command: &mut Command) -> Guard {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(world.path("srtd.log"))
        .unwrap();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    Guard(command.spawn().unwrap())
}

/// What stands for the service manager: a socket that reads what it is told.
struct Manager(UnixDatagram, PathBuf);

impl Manager {
    fn new(world: &World) -> Self {
        let place = world.path("notify");
        let socket = UnixDatagram::bind(&place).unwrap();
        Self(socket, place)
    }

    /// The next message that comes within the time.
    fn message(&self, within: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(within)).unwrap();
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// Reads on until a message has this line.
    #[track_caller]
    fn until(&self, line: &str) -> String {
        let begun = Instant::now();
        loop {
            let left = SOON.saturating_sub(begun.elapsed());
            let message = self
                .message(left.max(Duration::from_millis(1)))
                .unwrap_or_else(|| panic!("waited in vain for {line}"));
            if message.lines().any(|other| other == line) {
                return message;
            }
        }
    }
}

/// The units as `srtctl daemon install` finds them, in a home that has the programs that they name.
fn verify(world: &World, units: &[PathBuf]) -> std::process::Output {
    let programs = world.path("home/.local/bin");
    std::fs::create_dir_all(&programs).unwrap();
    for program in ["srtd", "srtctl"] {
        let place = programs.join(program);
        if !place.exists() {
            std::fs::copy(world.program(program), place).unwrap();
        }
    }
    world
        .command("systemd-analyze")
        .args(["--user", "verify"])
        .args(units)
        .env("XDG_RUNTIME_DIR", world.path("run"))
        .env_remove("SRT_SOCKET")
        .output()
        .unwrap()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let world = World::new();
    let units = ["systemd/srtd.service", "systemd/srtd.socket"].map(source);
    let output = verify(&world, &units);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    // It does find what is wrong.
    let text = std::fs::read_to_string(&units[0]).unwrap();
    let broken = text.replace("OOMPolicy=continue", "OOMPolicy=go-on\nWatchdgoSec=1s");
    assert_ne!(text, broken);
    let broken = world.write("broken/srtd.service", &broken);
    std::fs::copy(&units[1], world.path("broken/srtd.socket")).unwrap();
    let output = verify(&world, &[broken]);
    let said = String::from_utf8_lossy(&output.stderr);
    for wrong in ["go-on", "WatchdgoSec"] {
        assert!(said.contains(wrong), "{said}");
    }
}

#[test]
fn every_setting_of_a_unit_stands_under_its_reason() {
    for unit in ["systemd/srtd.service", "systemd/srtd.socket"] {
        let text = std::fs::read_to_string(source(unit)).unwrap();
        let mut reasoned = false;
        for line in text.lines() {
            match line.chars().next() {
                Some('#') => reasoned = true,
                // What the sections and the description are needs no reason.
                Some('[') | None => reasoned = false,
                Some(_) if line.starts_with("Description=") => {}
                // A second line under one reason goes with the first.
                Some(_) => assert!(reasoned || line.starts_with("WantedBy="), "{unit}: {line}"),
            }
        }
    }
}

/// Waits until systemd-socket-activate says that it listens: the file is there a moment before.
#[track_caller]
fn until_listening(world: &World) {
    until("somebody to listen", SOON, || {
        world.log().contains("Listening on ").then_some(())
    });
}

#[test]
fn a_passed_socket_is_served_and_outlives_the_daemon() {
    let world = World::new();
    let activate = |world: &World| {
        let mut command = world.command("systemd-socket-activate");
        command.arg("--listen").arg(world.socket());
        for (name, value) in world.environment() {
            command.arg("--setenv").arg(format!("{name}={value}"));
        }
        command.arg(world.program("srtd"));
        spawn(world, &mut command)
    };
    let mut daemon = activate(&world);
    until_listening(&world);
    assert_eq!(world.running("srtd").len(), 0, "nobody asked for it yet");
    // The shim connects, which starts the daemon, and starts none of its own.
    let mut talk = Talk::start(&mut world.srt(&["--name", "cat", "--", "cat"]));
    talk.send("x");
    assert_eq!(talk.line(SOON).unwrap(), b"x\n", "{}", talk.stderr());
    let daemons = world.running("srtd");
    assert_eq!(daemons.len(), 1);
    assert_eq!(daemons[0].pid, daemon.0.id());
    assert_eq!(world.daemon_pid(), daemon.0.id());
    talk.close();
    assert_eq!(talk.wait(SOON).code(), Some(0));
    daemon.stop(&world);
    // The file is the manager's, who listens on; here, it has ended with the daemon.
    assert!(world.socket().exists());
    let status = world.srtctl(&["daemon", "status"]);
    assert_eq!(status.status.code(), Some(3));
}

#[test]
fn a_passed_socket_that_others_could_reach_is_refused() {
    let world = World::new();
    let place = world.path("tmp/open");
    std::fs::create_dir(&place).unwrap();
    let socket = place.join("srtd.sock");
    let mut daemon = spawn(
        &world,
        world
            .command("systemd-socket-activate")
            .arg("--listen")
            .arg(&socket)
            .arg("--setenv")
            .arg(format!("HOME={}", world.home().display()))
            .arg(world.program("srtd")),
    );
    until_listening(&world);
    std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let status = until("it to refuse", SOON, || daemon.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    let said = world.log();
    assert!(
        said.contains("others may enter it") && said.contains("hint: "),
        "{said}"
    );
}

#[test]
fn a_manager_is_told_when_the_daemon_is_ready_replaced_and_about_to_end() {
    let world = World::new();
    let manager = Manager::new(&world);
    let mut daemon = spawn(
        &world,
        world
            .command(world.program("srtd"))
            .env("NOTIFY_SOCKET", &manager.1),
    );
    let first = manager.message(SOON).unwrap();
    assert!(first.lines().any(|line| line == "READY=1"), "{first}");
    // True at that moment.
    assert_eq!(world.daemon_pid(), daemon.0.id());
    world.ctl(&["daemon", "upgrade"]);
    let reloading = manager.message(SOON).unwrap();
    assert!(
        reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="),
        "{reloading}"
    );
    let again = manager.message(SOON).unwrap();
    assert!(again.lines().any(|line| line == "READY=1"), "{again}");
    daemon.stop(&world);
    manager.until("STOPPING=1");
}

#[test]
fn the_watchdog_is_fed_while_the_store_answers_and_no_longer() {
    let world = World::new();
    let manager = Manager::new(&world);
    let limit = Duration::from_secs(4);
    let mut daemon = spawn(
        &world,
        world
            .command(world.program("srtd"))
            .env("NOTIFY_SOCKET", &manager.1)
            .env("WATCHDOG_USEC", limit.as_micros().to_string()),
    );
    manager.until("READY=1");
    for _ in 0..3 {
        manager.until("WATCHDOG=1");
    }
    // Somebody else has the database and does not let go: the writer waits for it.
    let database = world.path("home/.local/state/srt/srt.db");
    let mut holder = Talk::start(world.command("/usr/bin/python3").arg("-c").arg(format!(
        "import sqlite3, sys\n\
         held = sqlite3.connect({:?}, isolation_level=None)\n\
         held.execute('BEGIN EXCLUSIVE')\n\
         print('held', flush=True)\n\
         sys.stdin.read()",
        database.display().to_string()
    )));
    assert_eq!(holder.line(SOON).unwrap(), b"held\n", "{}", holder.stderr());
    until(
        "the daemon to fall silent for longer than it may",
        SOON,
        || {
            let begun = Instant::now();
            let fed = std::iter::from_fn(|| manager.message(limit.saturating_sub(begun.elapsed())))
                .any(|message| message.contains("WATCHDOG=1"));
            (!fed && begun.elapsed() >= limit).then_some(())
        },
    );
    assert!(
        world.log().contains("no answer from the store"),
        "{}",
        world.log()
    );
    // It speaks again as soon as it is well.
    holder.close();
    manager.until("WATCHDOG=1");
    daemon.stop(&world);
}

#[test]
fn a_socket_unit_does_not_take_the_place_of_a_running_daemon() {
    let world = World::new();
    world.ctl(&["daemon", "vacant"]);
    world.start_daemon();
    let output = world.srtctl(&["daemon", "vacant"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{said}");
    let pid = format!("(pid {})", world.daemon_pid());
    assert!(
        said.contains(&pid) && said.contains("hint: srtctl daemon stop"),
        "{said}"
    );
    world.stop_daemon();
    world.ctl(&["daemon", "vacant"]);
}

/// A **mock** of systemctl, since no systemd runs here: it writes down what it is asked, and says that nothing is active.
fn systemctl(world: &World) -> String {
    let asked = world.path("asked");
    world.script(
        "mock/systemctl",
        &format!(
            "echo \"$*\" >> '{}'; case \"$*\" in *is-active*) exit 3 ;; esac",
            asked.display()
        ),
    );
    format!("{}:/usr/bin:/bin", world.path("mock").display())
}

fn install(world: &World, path: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = world
        .command(world.program("srtctl"))
        .arg("daemon")
        .args(arguments)
        .env("PATH", path)
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn the_service_is_installed_once_and_taken_away_whole() {
    let world = World::new();
    let path = systemctl(&world);
    let units = world.path("home/.config/systemd/user");
    let asked = || std::fs::read_to_string(world.path("asked")).unwrap_or_default();
    let (code, said) = install(&world, &path, &["install", "--now", "--dry-run"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("would write") && said.contains("would run"),
        "{said}"
    );
    assert!(
        !units.exists() && !asked().contains("enable"),
        "{}",
        asked()
    );

    let (code, said) = install(&world, &path, &["install", "--now"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("wrote") && said.contains("ran systemctl --user start"),
        "{said}"
    );
    let order: Vec<_> = asked()
        .lines()
        .filter(|line| !line.contains("show") && !line.contains("is-active"))
        .map(str::to_owned)
        .collect();
    assert_eq!(
        order,
        [
            "--user daemon-reload",
            "--user enable srtd.service srtd.socket",
            "--user start srtd.socket srtd.service"
        ]
    );
    // With the programs of this installation, which systemd finds.
    let files = ["srtd.service", "srtd.socket"].map(|name| units.join(name));
    let text = std::fs::read_to_string(&files[0]).unwrap();
    let program = format!("ExecStart=\"{}\"", world.program("srtd").display());
    assert!(text.contains(&program), "{text}");
    let output = verify(&world, &files);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");

    let (code, said) = install(&world, &path, &["install"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("is in place") && !said.contains("wrote"),
        "{said}"
    );
    let (code, said) = install(&world, &path, &["uninstall", "--now"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(asked().contains("--user disable --now srtd.socket srtd.service"));
    assert!(!files[0].exists() && !files[1].exists());
    let (code, said) = install(&world, &path, &["uninstall"]);
    assert_eq!((code, said.as_str()), (Some(0), "nothing is installed\n"));
}

#[test]
fn a_unit_that_somebody_changed_is_not_overwritten_without_a_word() {
    let world = World::new();
    let path = systemctl(&world);
    install(&world, &path, &["install"]);
    let unit = world.path("home/.config/systemd/user/srtd.service");
    let changed = std::fs::read_to_string(&unit)
        .unwrap()
        .replace("60s", "90s");
    std::fs::write(&unit, &changed).unwrap();
    for verb in ["install", "uninstall"] {
        let (code, said) = install(&world, &path, &[verb]);
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains("srtd.service") && said.contains("hint: --force"),
            "{said}"
        );
        assert_eq!(std::fs::read_to_string(&unit).unwrap(), changed);
    }
    let (code, said) = install(&world, &path, &["install", "--force"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(std::fs::read_to_string(&unit).unwrap().contains("60s"));
}

#[test]
fn where_no_systemd_runs_it_says_what_is_left_to_do() {
    let world = World::new();
    let (code, said) = install(&world, "/usr/bin:/bin", &["install"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("no systemd answers") && said.contains("  systemctl --user enable"),
        "{said}"
    );
    assert!(world.path("home/.config/systemd/user/srtd.socket").exists());
    // What was asked for was not done.
    let (code, _) = install(&world, "/usr/bin:/bin", &["install", "--now"]);
    assert_eq!(code, Some(1));
}

#[test]
fn it_does_not_begin_a_service_beside_a_daemon_that_runs() {
    let world = World::start();
    let path = systemctl(&world);
    let (code, said) = install(&world, &path, &["install", "--now"]);
    assert_eq!(code, Some(75), "{said}");
    assert!(
        said.contains("runs already") && said.contains("srtctl daemon stop"),
        "{said}"
    );
    assert!(!world.path("home/.config/systemd/user").exists());
}
