//! What is done to everything below a host's conversation while it goes on.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::host::Progress;
use crate::{Random, SOON, World, process, replace, until};

/// What may happen. Servers that fail five times in a minute are given up, by promise: what kills them is rationed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blow {
    /// A server is killed, by its pid.
    Server,
    /// A process that makes a sandbox is killed.
    Sandbox,
    /// The daemon is killed.
    Daemon,
    /// What files servers may write changes: their sandboxes are renewed.
    Files,
    /// What hosts they may reach changes: nothing is renewed.
    Network,
    /// The settings file becomes one that cannot be read, for a while.
    Nonsense,
}

impl Blow {
    const ALL: [Self; 6] = [
        Self::Server,
        Self::Sandbox,
        Self::Daemon,
        Self::Files,
        Self::Network,
        Self::Nonsense,
    ];
}

/// Deals blows from the moment that all `hosts` have begun until all are done. How many of each were dealt.
///
/// `fatal` is how many may end a launch as a failure of its own.
pub fn deal(
    world: &Below,
    random: &mut Random,
    mut fatal: u32,
    progress: &Progress,
    hosts: u32,
) -> BTreeMap<Blow, u32> {
    // A server that dies before it has answered at all dies as it would bare.
    until("every host to be answered", SOON, || {
        let ended = progress.done.load(Ordering::Relaxed) > 0;
        (ended || progress.begun.load(Ordering::Relaxed) == hosts).then_some(())
    });
    let over = || progress.done.load(Ordering::Relaxed) >= hosts;
    let mut dealt = BTreeMap::new();
    let mut settings = settings();
    while !over() {
        pause(Duration::from_millis(100 + random.below(700)), &over);
        let blow = Blow::ALL[random.below(Blow::ALL.len() as u64) as usize];
        let done = match blow {
            Blow::Server | Blow::Sandbox if fatal == 0 => false,
            Blow::Server => {
                let hit = kill_one(random, &world.servers());
                fatal -= u32::from(hit);
                hit
            }
            Blow::Sandbox => {
                let hit = kill_one(random, &world.sandboxes());
                fatal -= u32::from(hit);
                hit
            }
            Blow::Daemon => kill_one(random, &world.daemons()),
            Blow::Files => {
                let folder = format!("./may-write-{}", random.below(3));
                settings["filesystem"]["allowWrite"] = json!([".", folder]);
                world.save(random, &settings.to_string());
                true
            }
            Blow::Network => {
                let host = format!("host-{}.example.com", random.below(3));
                settings["network"]["allowedDomains"] = json!([host]);
                world.save(random, &settings.to_string());
                true
            }
            Blow::Nonsense => {
                world.save(random, "{ \"filesystem\": ");
                pause(Duration::from_millis(random.below(900)), &over);
                world.save(random, &settings.to_string());
                true
            }
        };
        if done {
            *dealt.entry(blow).or_insert(0) += 1;
        }
    }
    progress.calm.store(true, Ordering::Relaxed);
    dealt
}

/// The settings from which everything begins.
pub fn settings() -> Value {
    json!({
        "filesystem": { "denyRead": [], "allowWrite": ["."], "denyWrite": [] },
        "network": { "allowedDomains": [], "deniedDomains": [] },
    })
}

/// Waits at random, which is what is wanted here, and no longer than until it is over.
fn pause(time: Duration, over: &impl Fn() -> bool) {
    let start = Instant::now();
    while start.elapsed() < time && !over() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kill_one(random: &mut Random, pids: &[u32]) -> bool {
    let Some(bound) = u64::try_from(pids.len()).ok().filter(|count| *count > 0) else {
        return false;
    };
    process::signal(pids[random.below(bound) as usize], Signal::KILL);
    true
}

/// What of a world can be hit: its paths, so that a thread of its own may.
#[derive(Clone, Debug)]
pub struct Below {
    mark: std::path::PathBuf,
    settings: std::path::PathBuf,
    programs: std::path::PathBuf,
}

impl Below {
    /// Of a world.
    pub fn new(world: &World) -> Self {
        Self {
            mark: world.mark().to_owned(),
            settings: world.path("home/.srt-settings.json"),
            programs: world.path("bin"),
        }
    }

    fn running(&self, program: &str) -> Vec<process::Process> {
        let exe = self.programs.join(program);
        let mut found = process::marked(&self.mark);
        found.retain(|process| process.exe == exe);
        found
    }

    fn daemons(&self) -> Vec<u32> {
        self.running("srtd").iter().map(|found| found.pid).collect()
    }

    /// The servers: programs in a sandbox, its own left out.
    fn servers(&self) -> Vec<u32> {
        let all = process::marked(&self.mark);
        let is_sandbox = |process: &process::Process| process.exe.ends_with("bwrap");
        let inside = |process: &&process::Process| {
            !is_sandbox(process)
                && process
                    .exe
                    .file_name()
                    .is_some_and(|name| name == "test-scripted" || name == "node")
                && all
                    .iter()
                    .any(|other| other.pid == process.parent && is_sandbox(other))
        };
        all.iter().filter(inside).map(|found| found.pid).collect()
    }

    /// What holds the sandboxes.
    fn sandboxes(&self) -> Vec<u32> {
        let mut found = process::marked(&self.mark);
        found.retain(|process| {
            process.exe.ends_with("bwrap") || process.arguments.ends_with("srt-jail outside")
        });
        found.iter().map(|found| found.pid).collect()
    }

    /// As one editor or another saves.
    fn save(&self, random: &mut Random, text: &str) {
        if random.below(2) == 0 {
            replace(&self.settings, text);
        } else {
            // Truncated and written: for a moment there is nothing in it.
            std::fs::write(&self.settings, text).expect("a file of our own");
        }
    }
}
