//! A world in which one attack is tried once: its folders, its scripts, and the commands that run them.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::case::{Case, Group};
use crate::{Beside, World, process};

/// The attacker's program, built.
#[derive(Debug)]
pub struct Arsenal {
    folder: tempfile::TempDir,
}

impl Arsenal {
    /// Builds it from the sources in a folder, with the C compiler that Rust needs anyway.
    ///
    /// # Errors
    ///
    /// What the compiler said, or that there is none.
    pub fn build(sources: &Path) -> Result<Self, String> {
        let fail = |error: &dyn std::fmt::Display| format!("cannot build the attacker: {error}");
        let folder = tempfile::tempdir().map_err(|error| fail(&error))?;
        let entries = fs::read_dir(sources).map_err(|error| fail(&error))?;
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|end| end == "c"));
        let output = Command::new("cc")
            .args(["-O1", "-Wall", "-pthread", "-o"])
            .arg(folder.path().join("attack"))
            .args(&files)
            .args(["-lrt", "-lutil"])
            .output()
            .map_err(|error| fail(&format!("cc: {error}")))?;
        if !output.status.success() {
            return Err(fail(&String::from_utf8_lossy(&output.stderr)));
        }
        Ok(Self { folder })
    }

    /// The program.
    pub fn attacker(&self) -> PathBuf {
        self.folder.path().join("attack")
    }
}

/// Where an attack runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// Without a sandbox.
    Bare,
    /// In a sandbox under the policy that allows it.
    Allowed,
    /// In the sandbox that must hold.
    Boxed,
}

/// One world with what a case needs.
pub(super) struct Stage<'a> {
    pub(super) world: World,
    group: &'a Group,
    case: &'a Case,
    place: Where,
    /// What must not come out.
    pub(super) canary: String,
}

impl<'a> Stage<'a> {
    pub(super) fn new(
        group: &'a Group,
        case: &'a Case,
        place: Where,
        arsenal: &Arsenal,
    ) -> Result<Self, String> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let hosts: Vec<(&str, &str)> = case
            .hosts
            .iter()
            .filter_map(|host| host.split_once(' '))
            .collect();
        let beside = Beside {
            answers: (!case.answers.is_empty()).then(|| case.answers.clone()),
            ..Beside::default()
        };
        let world = match hosts.as_slice() {
            [] if case.answers.is_empty() => World::new(),
            hosts => World::with_network_and(hosts, &beside),
        };
        for private in ["outside", "settings"] {
            fs::DirBuilder::new()
                .mode(0o700)
                .create(world.path(private))
                .map_err(|error| format!("{private}: {error}"))?;
        }
        let attacker = world.work().join("attack");
        fs::copy(arsenal.attacker(), attacker).map_err(|error| format!("attacker: {error}"))?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let stage = Self {
            world,
            group,
            case,
            place,
            canary: format!("canary-{}-{number}-", std::process::id()),
        };
        if let Some(policy) = stage.policy() {
            let path = stage.settings();
            path.parent()
                .map_or(Ok(()), fs::create_dir_all)
                .and_then(|()| fs::write(&path, stage.replaced(policy)))
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        if place != Where::Bare {
            stage.world.start_daemon();
        }
        Ok(stage)
    }

    fn policy(&self) -> Option<&'a str> {
        match self.place {
            Where::Allowed => self.case.allowed.as_deref(),
            _ => self.case.policy(self.group),
        }
    }

    /// Processes of ours that stand on the host, or ended up there.
    fn attackers(&self) -> Vec<process::Process> {
        let program = self.world.work().join("attack");
        let mut found = self.world.processes();
        found.retain(|process| process.exe == program);
        found
    }

    fn settings(&self) -> PathBuf {
        match &self.case.settings {
            Some(path) => self.replaced(path).into(),
            None => self.world.path("settings/policy.json"),
        }
    }

    fn text(&self, relative: &str) -> String {
        self.world.path(relative).to_string_lossy().into_owned()
    }

    /// The names of this world in a text that no shell reads.
    fn replaced(&self, text: &str) -> String {
        text.replace("$WORK", &self.text("work"))
            .replace("$HOME", &self.text("home"))
            .replace("$OUT", &self.text("outside"))
            .replace("$BIN", &self.text("bin"))
    }

    /// A script with the names of this world before it. None of its paths has a quote.
    fn script(&self, text: &str) -> String {
        let mut script = String::new();
        for (name, relative) in [
            ("WORK", "work"),
            ("HOME", "home"),
            ("OUT", "outside"),
            ("BIN", "bin"),
            ("ETC", "settings"),
            ("SOCKET", "run/srtd.sock"),
            ("DNS", "dns"),
            ("A", "work/attack"),
        ] {
            script.push_str(&format!("{name}='{}'\n", self.text(relative)));
        }
        script.push_str("tried() { echo tried; }\n");
        script.push_str(text);
        script
    }

    /// A script for the host: it knows the canary, and how to start another sandbox.
    pub(super) fn host(&self, text: &str) -> Command {
        let launch = match self.place {
            // What a launch takes long for is over at once: a race needs more rounds.
            Where::Bare => "ROUNDS=300; launch() { shift; \"$@\"; }; settle() { :; }",
            // Each under a name of its own, so that none waits for another.
            _ => {
                "ROUNDS=12; launch() { launched=$((launched + 1)); settings=$1; shift; \
                 \"$BIN/srt\" --name \"${as:-other-$$-$launched}\" --settings \"$settings\" -- \"$@\"; }; \
                 settle() { \"$BIN/srtctl\" apply \"$NAME\" \"$@\"; }"
            }
        };
        let mut command = self.world.bare("sh");
        command
            .arg("-c")
            .arg(self.script(&format!(
                "CANARY='{}' NAME='{}' PLACE='{:?}'\n{launch}\n{text}\n",
                self.canary, self.case.name, self.place
            )))
            .stdin(Stdio::null());
        command
    }

    /// What is to be run before the attack.
    pub(super) fn setups(&self) -> impl Iterator<Item = &'a str> {
        let case = self.case.setup.as_deref();
        self.group.setup.as_deref().into_iter().chain(case)
    }

    /// The command that runs the attack.
    pub(super) fn attack(&self) -> Command {
        let mut script = self.script("");
        if let Some(first) = &self.group.first {
            script.push_str(&format!("{first}\n"));
        }
        if !self.case.attack.contains("tried") {
            script.push_str("tried\n");
        }
        script.push_str(&self.case.attack);
        let mut words = Vec::new();
        if self.place != Where::Bare {
            words.push(self.text("bin/srt"));
            words.extend(["--name".to_owned(), self.case.name.clone()]);
            if self.policy().is_some() {
                let settings = self.settings().to_string_lossy().into_owned();
                words.extend(["--settings".to_owned(), settings]);
            }
            words.extend(self.case.options.iter().map(|text| self.replaced(text)));
            words.push("--".to_owned());
        }
        let program = self.case.program.as_deref().unwrap_or("sh");
        words.extend([self.replaced(program), "-c".to_owned(), script]);
        let mut command = match &self.case.around {
            Some(around) => {
                let mut command = self.world.bare("sh");
                let around = format!("CANARY='{}'\n{around}", self.canary);
                command.args(["-c", &self.script(&around), "sh"]);
                command.args(&words);
                command
            }
            None => {
                let mut command = self.world.bare(&words[0]);
                command.args(&words[1..]);
                command
            }
        };
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for Stage<'_> {
    /// The victims that hold what no process's end takes along (shared memory, queues) remove it when they are told
    /// to end. The world kills whatever is left.
    fn drop(&mut self) {
        if let Some(finally) = &self.case.finally {
            // What it cannot remove is looked for nowhere else.
            let _ = self.host(finally).stdout(Stdio::null()).status();
        }
        for attacker in self.attackers() {
            process::signal(attacker.pid, rustix::process::Signal::TERM);
        }
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(1) && !self.attackers().is_empty() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
