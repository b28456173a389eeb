//! Two hosts that known programs talk to, in a world of their own: `allowed.test`, which the policy names, and
//! `denied.test`, which no rule does. Both offer the same, by `tests/clients`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::{Beside, Entry, SOON, Talk, World, servers};

/// The host that the policy names.
const ALLOWED: &str = "allowed.test";
/// One that no rule names.
const DENIED: &str = "denied.test";

/// A world with the two hosts, of which nothing runs yet but the network.
#[derive(Debug)]
pub struct Site {
    /// The world.
    pub world: World,
    programs: Vec<Talk>,
}

impl Site {
    /// The hosts, certificates for them, and a daemon with the policy.
    ///
    /// # Panics
    ///
    /// When any of it cannot be had.
    pub fn new() -> Self {
        let names = [
            ("203.0.113.7", ALLOWED),
            ("203.0.113.7", "www.allowed.test"),
            ("203.0.113.8", DENIED),
        ];
        let beside = Beside {
            account: true,
            answers: Some(vec!["203.0.113.8 *.denied.test".to_owned()]),
            ..Beside::default()
        };
        let world = World::with_network_and(&names, &beside);
        world.policy(&json!({
            "filesystem": { "denyRead": [], "allowWrite": ["."], "denyWrite": [], "allowGitConfig": true },
            "network": { "allowedDomains": [ALLOWED, "[2001:db8::7]"], "deniedDomains": [] },
        }));
        let site = Self {
            world,
            programs: Vec::new(),
        };
        site.certify();
        site.world.start_daemon();
        site
    }

    /// As [`Site::new`], with web servers (`tests/clients/site.mjs`).
    pub fn with_web() -> Self {
        let mut site = Self::new();
        let node = servers().join("node/node_modules");
        let mut web = site.world.bare("node");
        web.arg(clients().join("site.mjs"))
            .args([&site.folder(), &node])
            .args(["203.0.113.7", "203.0.113.8"]);
        if site.has_v6() {
            // Only there do addresses of a route count as ours that no interface has.
            web.arg("::");
        }
        site.serve(&mut web);
        site
    }

    /// Whether this kernel has IPv6.
    pub fn has_v6(&self) -> bool {
        Path::new("/proc/net/if_inet6").exists()
    }

    /// Starts what prints `ready` on stdout when it is, and ends when its stdin does.
    ///
    /// # Panics
    ///
    /// When it says something else first.
    #[track_caller]
    pub fn serve(&mut self, command: &mut Command) {
        let mut program = Talk::start(command);
        let said = program.line(SOON);
        assert_eq!(
            said.as_deref(),
            Some(&b"ready\n"[..]),
            "{command:?}: {}",
            program.stderr()
        );
        self.programs.push(program);
    }

    /// Where the services' files are: outside of the project.
    pub fn folder(&self) -> PathBuf {
        self.world.path("site")
    }

    /// The certificate of the authority that certifies both hosts.
    pub fn ca(&self) -> String {
        text(&self.folder().join("ca.pem"))
    }

    fn certify(&self) {
        let folder = self.folder();
        let config = "subjectAltName=DNS:allowed.test,DNS:*.allowed.test,DNS:denied.test,IP:203.0.113.7,IP:203.0.113.8,\
                      IP:2001:db8::7,IP:2001:db8::8\n";
        self.world.write("site/names", config);
        let openssl = "set -e; cd \"$1\"; exec 2>said || exit; new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
            openssl req -x509 $new -subj '/CN=a test' -days 30 -keyout ca.key -out ca.pem \
              -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
            openssl req $new -subj /CN=allowed.test -keyout key.pem -out request
            openssl x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile names -out cert.pem";
        self.run(
            self.world
                .command("sh")
                .args(["-c", openssl, "sh"])
                .arg(&folder),
        );
    }

    /// Runs a command of the host's side, which must succeed.
    ///
    /// # Panics
    ///
    /// When it fails.
    #[track_caller]
    pub fn run(&self, command: &mut Command) -> String {
        let output = output(command);
        assert!(output.status.success(), "{command:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A command in the sandbox.
    pub fn boxed(&self, words: &[String]) -> Command {
        let mut command = self.world.srt(&["--name", "client", "--"]);
        command.args(words);
        command
    }

    /// Shows that a client works unmodified. `words` are its command for a host and port: it says `expected`
    /// without a sandbox for the host that no rule names, and in the sandbox for the one that is allowed. For the
    /// other one it fails there, and the log has why and what would change it.
    ///
    /// # Panics
    ///
    /// When any of this is not so.
    #[track_caller]
    pub fn check(&self, port: u16, expected: &str, words: impl Fn(&str) -> Vec<String>) {
        self.check_hosts([ALLOWED, DENIED], port, expected, words);
    }

    /// As [`Site::check`] for other names of the hosts.
    ///
    /// # Panics
    ///
    /// As there.
    #[track_caller]
    pub fn check_hosts(
        &self,
        [allowed, denied]: [&str; 2],
        port: u16,
        expected: &str,
        words: impl Fn(&str) -> Vec<String>,
    ) {
        let command = words(denied);
        let shown = output(self.world.bare(&command[0]).args(&command[1..]));
        assert!(
            shown.status.success() && said(&shown).contains(expected),
            "it must work without a sandbox: {command:?}: {}",
            said(&shown)
        );
        let before = self.world.audit().len();
        let command = words(allowed);
        let inside = output(&mut self.boxed(&command));
        assert!(
            inside.status.success() && said(&inside).contains(expected),
            "it must work in the sandbox: {command:?}: {}\n{}",
            said(&inside),
            self.recorded(before)
        );
        self.until(before, "allow", &format!("{allowed}:{port}"));
        let before = self.world.audit().len();
        let command = words(denied);
        let refused = output(&mut self.boxed(&command));
        assert!(
            !refused.status.success() && !said(&refused).contains(expected),
            "it must be refused: {command:?}: {}\n{}",
            said(&refused),
            self.recorded(before)
        );
        // A name that does not resolve never comes to a port.
        let entry = self.until(before, "deny", denied);
        let remedy = entry.json["detail"]["remedy"].as_str().unwrap_or_default();
        assert!(remedy.contains("allowedDomains"), "{}", entry.json);
    }

    #[track_caller]
    fn until(&self, before: usize, kind: &str, about: &str) -> Entry {
        crate::until(
            &format!("a {kind} entry about {about}\n{}", self.recorded(before)),
            Duration::from_secs(10),
            || {
                let mut entries = self.world.audit().into_iter().skip(before);
                entries.find(|entry| entry.kind == kind && entry.subject.contains(about))
            },
        )
    }

    fn recorded(&self, before: usize) -> String {
        let mut text = String::new();
        for entry in self.world.audit().iter().skip(before) {
            let _ = writeln!(text, "{}", entry.json);
        }
        text
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the programs of `tests/clients` are.
pub fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn output(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn said(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
