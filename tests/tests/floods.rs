//! One server floods the daemon through its own proxies. Another server's request still succeeds within two seconds,
//! the daemon's memory stays bounded, and with the server all of it goes.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use srt_tests::escape::Arsenal;
use srt_tests::{SOON, Site, Talk, process, until};

/// How long another server's request may take.
const IN_TIME: Duration = Duration::from_secs(2);
/// How much the daemon may take for a flood. 1,024 connections are served at once, each with a head of a few KiB.
const ROOM: u64 = 64 << 20;

struct Flood {
    site: Site,
    other: Talk,
    daemon: u32,
    /// Of the daemon, before.
    descriptors: usize,
    memory: u64,
}

/// Two hosts that answer, and another server that has had its first answer.
fn flood() -> Flood {
    // As most sessions have it: whoever needs more descriptors raises its own limit.
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = Some(1024);
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    let site = Site::with_web();
    let arsenal = Arsenal::build(&Path::new(env!("CARGO_MANIFEST_DIR")).join("escape/programs"));
    fs::copy(arsenal.unwrap().attacker(), site.world.path("work/attack")).unwrap();
    let other = Talk::start(&mut site.world.demo());
    let daemon = site.world.daemon_pid();
    let mut flood = Flood {
        site,
        other,
        daemon,
        descriptors: 0,
        memory: 0,
    };
    flood.ask();
    flood.descriptors = process::descriptors(daemon).unwrap();
    flood.memory = process::memory(daemon, "VmRSS").unwrap();
    flood
}

impl Flood {
    /// The other server's request, and how long it took.
    fn ask(&mut self) -> Duration {
        let start = Instant::now();
        let url = json!({ "url": "http://allowed.test:8080/" });
        let (said, failed) = self.other.tool("fetch_url", url);
        assert!(!failed && said.contains("hello"), "{said}");
        start.elapsed()
    }

    /// `attack hold WHERE COUNT TEXT DRIP` in a sandbox, or bare; gives how many connections stood.
    fn hold(&self, boxed: bool, words: [&str; 4]) -> (Talk, u64) {
        let script =
            "h=${HTTP_PROXY#http://}; s=${SRT_SOCKS_PROXY#socks5h://}; eval \"where=$1\"; shift
            exec ./attack hold \"$where\" \"$@\"";
        let all: Vec<String> = ["sh", "-c", script, "sh"]
            .into_iter()
            .chain(words)
            .map(str::to_owned)
            .collect();
        let mut command = match boxed {
            true => self.site.boxed(&all),
            false => {
                let mut command = self.site.world.bare(&all[0]);
                command.args(&all[1..]);
                command
            }
        };
        let mut talk = Talk::start(&mut command);
        let line = talk.line(SOON).unwrap_or_default();
        let line = String::from_utf8(line).unwrap();
        let held = line
            .trim_end()
            .strip_prefix("holding ")
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("{line}; {}", talk.stderr()));
        (talk, held)
    }

    /// Shows that without a sandbox every connection stands, floods, and looks at the daemon and the other server.
    fn check(&mut self, wanted: u64, wheres: &str, text: &str, drip: &str) {
        let count = wanted.to_string();
        let (bare, held) = self.hold(false, ["203.0.113.7:8080", &count, text, drip]);
        assert_eq!(held, wanted, "each must stand without a sandbox");
        for left in self.site.world.running_at("work/attack") {
            process::signal(left.pid, rustix::process::Signal::KILL);
        }
        drop(bare);
        let (mut attacker, held) = self.hold(true, [wheres, &count, text, drip]);
        for turn in 0..10 {
            let took = self.ask();
            assert!(took < IN_TIME, "request {turn} of another took {took:?}");
        }
        let start = Instant::now();
        self.site.world.ctl(&["daemon", "status"]);
        assert!(start.elapsed() < IN_TIME, "{:?}", start.elapsed());
        let memory = process::memory(self.daemon, "VmHWM").unwrap();
        let taken = memory.saturating_sub(self.memory);
        let descriptors = process::descriptors(self.daemon).unwrap();
        println!(
            "{wheres}: {held} of {wanted} stand inside; the daemon has {descriptors} descriptors, before {}, and at \
             most {} KiB more memory",
            self.descriptors,
            taken >> 10
        );
        assert!(taken < ROOM, "the daemon took {} KiB", taken >> 10);
        // What its listeners' queues hold the kernel accepts; the daemon serves 1,024 of them.
        assert!(descriptors < self.descriptors + 1024 + 64, "{descriptors}");
        attacker.close();
        self.site.world.ctl(&["stop", "client"]);
        until("the flood's connections to be closed", SOON, || {
            let now = process::descriptors(self.daemon)?;
            (now <= self.descriptors + 8).then_some(())
        });
        self.ask();
    }
}

#[test]
fn half_open_connections() {
    let mut flood = flood();
    // Nothing is ever said on them.
    flood.check(10_000, "$h", "", "");
}

#[test]
fn half_open_connections_to_socks() {
    flood().check(10_000, "$s", "", "");
}

#[test]
fn half_open_connections_to_the_resolver() {
    flood().check(10_000, "127.0.0.1:53", "", "");
}

#[test]
fn slowloris() {
    // A head that never ends, a line of it at a time.
    let head = "GET http://allowed.test:8080/ HTTP/1.1\\r\\nHost: allowed.test:8080\\r\\n";
    flood().check(3_000, "$h", head, "X-More: and more\\r\\n");
}

#[test]
fn lookups_that_are_refused() {
    const NAMES: usize = 20_000;
    let mut flood = flood();
    let attack = flood.site.world.path("work/attack");
    let words = |resolver: &str| {
        let attack = attack.to_string_lossy();
        [&*attack, "ask-many", resolver, &NAMES.to_string()].map(str::to_owned)
    };
    let bare = words("203.0.113.53:53");
    let said = flood
        .site
        .run(flood.site.world.bare(&bare[0]).args(&bare[1..]));
    assert_eq!(said, format!("answered {NAMES}\n"), "without a sandbox");
    let asked = flood.site.world.path("dns/asked");
    let asked = || fs::read_to_string(&asked).unwrap().lines().count();
    assert!(asked() >= NAMES);
    let before = asked();

    let mut attacker = Talk::start(&mut flood.site.boxed(&words("127.0.0.1:53")));
    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    while attacker.ended().is_none() {
        slowest = slowest.max(flood.ask());
    }
    assert!(slowest < IN_TIME, "another's request took {slowest:?}");
    let said = attacker.line(SOON).unwrap_or_default();
    let memory = process::memory(flood.daemon, "VmHWM").unwrap();
    let taken = memory.saturating_sub(flood.memory);
    println!(
        "{} in {:?}; another's slowest request took {slowest:?}; at most {} KiB more memory",
        String::from_utf8_lossy(&said).trim_end(),
        start.elapsed(),
        taken >> 10
    );
    assert!(taken < ROOM, "the daemon took {} KiB", taken >> 10);
    assert_eq!(asked(), before, "no question left the sandbox");
    // Each is refused on the record, or counted there.
    flood.site.world.until_audited("deny", "told-0.denied.test");
}
