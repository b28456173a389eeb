//! A private home, a private daemon, and the programs under test, all below one temporary folder.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Signal;

use crate::built::built;
use crate::process::{self, Process};
use crate::{Beside, SOON, Talk, until};

/// Everything one test needs, gone when it is dropped: processes by pid, then the folder.
///
/// The folder's path is the mark by which [`World::processes`] knows its own: the programs are linked into it, and
/// `HOME` is in it.
#[derive(Debug)]
pub struct World {
    folder: tempfile::TempDir,
    daemon: Mutex<Option<Child>>,
    /// The shell that made the network and the mounts, and still has the right to change them.
    pub(crate) network: Option<Mutex<Talk>>,
    variables: Vec<(String, String)>,
}

impl World {
    /// A world without a running daemon.
    ///
    /// # Panics
    ///
    /// When the programs have not been built.
    pub fn new() -> Self {
        // Not in /tmp, which a sandbox may replace by its own.
        let base = std::env::var_os("SRT_TEST_TMP")
            .map(PathBuf::from)
            .unwrap_or_else(std::env::temp_dir);
        let base = if base.starts_with("/tmp") {
            PathBuf::from("/var/tmp")
        } else {
            base
        };
        let folder = tempfile::Builder::new()
            .prefix("srt-w.")
            .tempdir_in(&base)
            .unwrap_or_else(|error| panic!("no temporary folder in {}: {error}", base.display()));
        let world = Self {
            folder,
            daemon: Mutex::new(None),
            network: None,
            variables: Vec::new(),
        };
        for private in ["home", "run", "tmp", "bin", "work"] {
            fs::DirBuilder::new()
                .mode(0o700)
                .create(world.path(private))
                .expect("a folder in a fresh folder");
        }
        for program in [
            "srtd",
            "srtctl",
            "srt",
            "srt-jail",
            "demo-server",
            "test-web",
            "test-dns",
            "test-scripted",
        ] {
            let built = built(program);
            let linked = world.program(program);
            if fs::hard_link(&built, &linked).is_err() {
                fs::copy(&built, &linked).unwrap_or_else(|error| {
                    panic!(
                        "cannot copy {}: {error}\nhint: build it first: make test",
                        built.display()
                    )
                });
            }
        }
        world
    }

    /// A world with a running daemon.
    pub fn start() -> Self {
        let world = Self::new();
        world.start_daemon();
        world
    }

    /// A world with a network of its own, in which the daemon, [`World::bare`] commands and [`Web::in_world`] live:
    /// every address of 203.0.113.0/24 (a network for documentation) is a host of it, and these names are in its
    /// /etc/hosts. Nothing sent there can leave the machine. No daemon runs yet.
    ///
    /// A user namespace makes it possible without root.
    ///
    /// # Panics
    ///
    /// When the kernel refuses, with what it said.
    pub fn with_network(names: &[(&str, &str)]) -> Self {
        Self::with_network_and(names, &Beside::default())
    }

    /// As [`World::with_network`], with more beside. So are all addresses of 2001:db8::/32, the same for IPv6.
    ///
    /// # Panics
    ///
    /// As there.
    pub fn with_network_and(names: &[(&str, &str)], beside: &Beside) -> Self {
        let mut world = Self::new();
        let mut text = "127.0.0.1 localhost\n".to_owned();
        for (address, name) in names {
            text.push_str(&format!("{address} {name}\n"));
        }
        let hosts = world.write("hosts", &text);
        // AnyIP: the addresses are local without being assigned, so the guard against a machine's own addresses does
        // not take them for such. One that is, so that a machine with IPv4 is what getaddrinfo(3) sees. The variables'
        // values are paths of ours.
        let mut script = "set -e; mount --bind \"$HOSTS\" /etc/hosts; ip link set lo up; \
             ip addr add 192.0.0.8/32 dev lo; ip route add local 203.0.113.0/24 dev lo; \
             [ ! -e /proc/net/if_inet6 ] || ip -6 route add local 2001:db8::/32 dev lo; "
            .to_owned();
        if beside.account {
            world.write("passwd", &world.accounts());
            script.push_str("mount --bind \"$PASSWD\" /etc/passwd; ");
        }
        if beside.low_ports {
            // Of this network alone: each has one of its own.
            script.push_str("echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start; ");
        }
        if beside.logger {
            script.push_str(&world.devices());
        }
        if let Some(answers) = &beside.answers {
            world.write("dns/answers", &answers.join("\n"));
            world.write("dns/resolv.conf", "nameserver 203.0.113.53\n");
            // Its capabilities over this network are those of this shell, which nothing that comes later has: port 53.
            script.push_str(
                "mount --bind \"$DNS/resolv.conf\" /etc/resolv.conf; \
                 \"$TEST_DNS\" 203.0.113.53:53 \"$DNS\" & \
                 while [ ! -e \"$DNS/asked\" ]; do sleep 0.01; done; ",
            );
        }
        if let Some(size) = beside.disk {
            fs::create_dir_all(world.state()).expect("a folder in our folder");
            let uid = rustix::process::getuid().as_raw();
            script.push_str(&format!(
                "mount -t tmpfs -o size={size}m,mode=700,uid={uid} state \"$STATE\"; "
            ));
        }
        let mut command = world.command("unshare");
        command
            .env("HOSTS", hosts)
            .env("STATE", world.state())
            .env("PASSWD", world.path("passwd"))
            .env("DNS", world.path("dns"))
            .env("TEST_DNS", world.program("test-dns"))
            .args(["--user", "--map-current-user", "--keep-caps"])
            .args(["--mount", "--net", "--", "sh", "-c"])
            .arg(script + "echo ready; while read -r line; do if eval \"$line\" >&2; then echo done; else echo failed; fi; done");
        let mut holder = Talk::start(&mut command);
        let said = holder.line(SOON);
        assert_eq!(
            said.as_deref(),
            Some(&b"ready\n"[..]),
            "no private network: {}",
            holder.stderr()
        );
        world.network = Some(Mutex::new(holder));
        world
    }

    /// /etc/passwd with whoever runs the tests as somebody who may log in, at home in this world.
    fn accounts(&self) -> String {
        format!(
            "root:x:0:0:root:/root:/bin/sh\n{}:x:{}:{}::{}:/bin/sh\n",
            self.user(),
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
            self.home().display()
        )
    }

    /// The name of whoever runs the tests.
    pub fn user(&self) -> String {
        std::env::var("USER").unwrap_or_else(|_| "srt-test".to_owned())
    }

    /// Adds a variable to the environment of every command.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// The mark: the folder.
    pub fn mark(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the folder.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// `HOME`.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// The project: the working directory of every command.
    pub fn work(&self) -> PathBuf {
        self.path("work")
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.path("run/srtd.sock")
    }

    /// A program under test.
    pub fn program(&self, name: &str) -> PathBuf {
        self.path("bin").join(name)
    }

    /// Writes a file below the folder, with its parents.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn write(&self, relative: &str, text: &str) -> PathBuf {
        let path = self.path(relative);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a folder in our folder");
        }
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Writes `~/.srt-settings.json`.
    pub fn policy(&self, document: &serde_json::Value) -> PathBuf {
        self.write("home/.srt-settings.json", &format!("{document:#}"))
    }

    /// Writes an executable shell script and gives its path.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.write(name, &format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
        path
    }

    /// The variables of every command: what a host passes, and the private socket.
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let user = self.user();
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
        let mut variables = vec![
            ("HOME".to_owned(), text(self.home())),
            ("USER".to_owned(), user.clone()),
            ("LOGNAME".to_owned(), user),
            ("SHELL".to_owned(), "/bin/sh".to_owned()),
            ("TERM".to_owned(), "dumb".to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ("PATH".to_owned(), path),
            ("TMPDIR".to_owned(), text(self.path("tmp"))),
            ("SRT_SOCKET".to_owned(), text(self.socket())),
            ("RUST_BACKTRACE".to_owned(), "1".to_owned()),
        ];
        variables.extend(self.variables.iter().cloned());
        variables
    }

    /// A command in this world: its environment and working directory.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .env_clear()
            .envs(self.environment())
            .current_dir(self.work());
        command
    }

    /// A command in this world's network, where it has one of its own.
    ///
    /// The capabilities over that network are lost when the command runs.
    pub fn bare(&self, program: impl AsRef<Path>) -> Command {
        let Some(network) = &self.network else {
            return self.command(program);
        };
        let mut command = self.command("nsenter");
        command
            .arg(format!(
                "--target={}",
                network.lock().expect("no test panics holding it").pid()
            ))
            .args(["--user", "--preserve-credentials", "--mount", "--net"])
            // Entering the mounts leaves the working directory behind.
            .args(["--", "sh", "-c", "cd \"$1\" && shift && exec \"$@\"", "sh"])
            .arg(self.work())
            .arg(program.as_ref());
        command
    }

    /// The shim.
    pub fn srt(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(self.program("srt"));
        command.args(arguments);
        command
    }

    /// The demo server through the shim, under the name `demo`.
    pub fn demo(&self) -> Command {
        let mut command = self.srt(&["--name", "demo", "--"]);
        command.arg(self.program("demo-server"));
        command
    }

    /// Starts the daemon and waits until it answers.
    ///
    /// # Panics
    ///
    /// When it does not, with its log and what `srtctl doctor` finds.
    #[track_caller]
    pub fn start_daemon(&self) {
        self.start_daemon_with(&[]);
    }

    /// As [`World::start_daemon`], with arguments.
    ///
    /// # Panics
    ///
    /// As there.
    #[track_caller]
    pub fn start_daemon_with(&self, arguments: &[&str]) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("srtd.log"))
            .expect("a file in our folder");
        let child = self
            .bare(self.program("srtd"))
            .args(arguments)
            .env(
                "RUST_LOG",
                std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned()),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start srtd: {error}"));
        *self.daemon.lock().expect("no test panics holding it") = Some(child);
        until("the daemon to answer", SOON, || {
            if let Some(status) = self.daemon_ended() {
                panic!(
                    "srtd ended at once: {status}\n{}{}",
                    self.log(),
                    self.doctor()
                );
            }
            let answer = self.srtctl(&["daemon", "status"]);
            answer.status.success().then_some(())
        });
    }

    fn daemon_ended(&self) -> Option<std::process::ExitStatus> {
        let mut daemon = self.daemon.lock().expect("no test panics holding it");
        daemon.as_mut()?.try_wait().ok().flatten()
    }

    /// Kills the daemon as if it had crashed, and reaps it.
    pub fn kill_daemon(&self) {
        if let Some(mut child) = self
            .daemon
            .lock()
            .expect("no test panics holding it")
            .take()
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks the daemon to end, as systemd would, and waits for it.
    ///
    /// # Panics
    ///
    /// When it does not end in time or not cleanly.
    #[track_caller]
    pub fn stop_daemon(&self) {
        let child = self
            .daemon
            .lock()
            .expect("no test panics holding it")
            .take();
        if let Some(mut child) = child {
            process::signal(child.id(), Signal::TERM);
            let status = until("the daemon to end after SIGTERM", SOON, || {
                child.try_wait().ok().flatten()
            });
            assert!(
                status.success(),
                "srtd ended with {status} after SIGTERM\n{}",
                self.log()
            );
        }
    }

    /// The processes of this world, the daemon and its own included.
    pub fn processes(&self) -> Vec<Process> {
        process::marked(self.mark())
    }

    /// The processes of this world that run a program.
    pub fn running(&self, program: &str) -> Vec<Process> {
        self.running_at(&format!("bin/{program}"))
    }

    /// The processes of this world whose executable is a file of its folder.
    pub fn running_at(&self, relative: &str) -> Vec<Process> {
        let exe = self.path(relative);
        let mut found = self.processes();
        found.retain(|process| process.exe == exe);
        found
    }

    /// What the daemon logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("srtd.log")).unwrap_or_default()
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(60)..];
            eprintln!("--- the daemon's log, its end:\n{}", last.join("\n"));
            eprintln!("{}", self.doctor());
        }
        let mut child = match self.daemon.get_mut() {
            Ok(daemon) => daemon.take(),
            Err(poisoned) => poisoned.into_inner().take(),
        };
        let start = std::time::Instant::now();
        let mut asked = Vec::new();
        while start.elapsed() < Duration::from_secs(10) {
            if let Some(daemon) = &mut child {
                let _ = daemon.try_wait();
            }
            // Daemons first, in the orderly way, so that they take their launches with them; then what is left. A shim that
            // lost its daemon may have started another one meanwhile.
            let daemons = self.running("srtd");
            if daemons.is_empty() {
                break;
            }
            for daemon in daemons {
                if !asked.contains(&daemon.pid) {
                    process::signal(daemon.pid, Signal::TERM);
                    asked.push(daemon.pid);
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        if !self.running("srtd").is_empty() {
            eprintln!(
                "a daemon did not end in 10 s after SIGTERM (asked: {asked:?}): {:#?}; its log:\n{}",
                self.processes(),
                self.log()
            );
        }
        for left in self.processes() {
            process::signal(left.pid, Signal::KILL);
        }
        if let Some(mut daemon) = child {
            let _ = daemon.wait();
        }
    }
}
