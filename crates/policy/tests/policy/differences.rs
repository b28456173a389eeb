//! What changes between two policies, in words; and that no loosening is passed over.

use std::path::Path;

use srt_policy::{Decision, Difference, Effect, Policy};

use crate::support::{policy, target};

fn told(before: &str, after: &str) -> Vec<String> {
    let sign = |difference: &Difference| match difference.effect {
        Effect::Loosens => '+',
        Effect::Tightens => '-',
        Effect::Neutral => '=',
    };
    let differences = policy(before).differences(&policy(after));
    differences
        .iter()
        .map(|found| format!("{} {} ({})", sign(found), found.text, found.key))
        .collect()
}

#[track_caller]
fn check(before: &str, after: &str, expected: &[&str]) {
    assert_eq!(told(before, after), expected, "{before} → {after}");
}

#[test]
fn hosts() {
    let allows = |list: &str| format!(r#"{{"network": {{"allowedDomains": [{list}]}}}}"#);
    check(
        &allows(""),
        &allows(r#""api.x.com:443""#),
        &["+ may now reach api.x.com:443 (network.allowedDomains)"],
    );
    check(
        &allows(r#""api.x.com:443""#),
        &allows(""),
        &["- may no longer reach api.x.com:443 (network.allowedDomains)"],
    );
    // A port fewer, a wildcard more.
    check(
        &allows(r#""x.com""#),
        &allows(r#""x.com:443", "*.x.com""#),
        &[
            "+ may now reach *.x.com (every port) (network.allowedDomains)",
            "- may no longer reach x.com (every port) but for x.com:443 (network.allowedDomains)",
            "= x.com:443 is now in network.allowedDomains, which changes nothing else (network.allowedDomains)",
        ],
    );
    // What another rule allows all the same.
    check(
        &allows(r#""a.x.com", "*.x.com""#),
        &allows(r#""*.x.com""#),
        &[
            "= a.x.com (every port) is no longer in network.allowedDomains, which changes nothing else (network.allowedDomains)",
        ],
    );
    check(
        &allows(r#""*.x.com""#),
        r#"{"network": {"allowedDomains": ["*.x.com"], "deniedDomains": ["a.x.com"]}}"#,
        &["- may no longer reach a.x.com (every port) (network.deniedDomains)"],
    );
    check(
        r#"{"network": {"allowedDomains": ["*.x.com"], "deniedDomains": ["a.x.com"]}}"#,
        &allows(r#""*.x.com""#),
        &["+ may now reach a.x.com (every port) (network.deniedDomains)"],
    );
    check(
        "{}",
        r#"{"network": {"allowedUdp": ["ntp.x.com:123"]}}"#,
        &["+ may now send datagrams to ntp.x.com:123 (network.allowedUdp)"],
    );
    check(
        r#"{"network": {"deniedResolvedAddresses": ["10.0.0.0/8"]}}"#,
        "{}",
        &[
            "+ may now reach addresses of 10.0.0.0/8, whatever name leads there (network.deniedResolvedAddresses)",
        ],
    );
}

#[test]
fn hosts_that_no_rule_names() {
    check(
        "{}",
        r#"{"network": {"ask": true}}"#,
        &["+ may now reach hosts that no rule names where a person says yes (network.ask)"],
    );
    check(
        r#"{"network": {"enforceAllowlist": false}}"#,
        r#"{"network": {"allowedDomains": ["x.com:443"]}}"#,
        &[
            "+ may now reach x.com:443 by a rule, which was only observed before (network.allowedDomains)",
            "- may no longer reach hosts that no rule names (network.enforceAllowlist)",
        ],
    );
    check(
        r#"{"network": {"ask": true}}"#,
        r#"{"network": {"ask": true, "allowedDomains": ["x.com:443"]}}"#,
        &["+ may now reach x.com:443 without a person's yes (network.allowedDomains)"],
    );
    check(
        "{}",
        r#"{"network": {"ask": false}}"#,
        &["= network.ask: not set before, false now (network.ask)"],
    );
}

#[test]
fn files() {
    let writes = |list: &str| format!(r#"{{"filesystem": {{"allowWrite": [{list}]}}}}"#);
    check(
        &writes(r#""./src""#),
        &writes(r#""./src", "./build""#),
        &["+ may now write ./build (filesystem.allowWrite)"],
    );
    check(
        &writes(r#""./src", "./build""#),
        &writes(r#""./src""#),
        &["- may no longer write ./build (filesystem.allowWrite)"],
    );
    check(
        &writes(r#"".""#),
        &writes(r#"".", "./src""#),
        &[
            "= ./src is now in filesystem.allowWrite, which changes nothing else (filesystem.allowWrite)",
        ],
    );
    check(
        &writes(r#"".""#),
        r#"{"filesystem": {"allowWrite": ["."], "denyWrite": ["./src"]}}"#,
        &["- may no longer write ./src (filesystem.denyWrite)"],
    );
    check(
        &writes(r#"".""#),
        &writes(r#""./src""#),
        &[
            "- may no longer write . but for ./src (filesystem.allowWrite)",
            "= ./src is now in filesystem.allowWrite, which changes nothing else (filesystem.allowWrite)",
        ],
    );
    check(
        "{}",
        r#"{"filesystem": {"allowRead": ["~/.aws"]}}"#,
        &["+ may now read ~/.aws (filesystem.allowRead)"],
    );
    check(
        r#"{"filesystem": {"denyRead": ["./secret"], "allowWrite": ["."]}}"#,
        &writes(r#"".""#),
        &["+ may now read and write ./secret (filesystem.denyRead)"],
    );
    check(
        "{}",
        r#"{"filesystem": {"denyRead": ["**/*.pem"]}}"#,
        &["- may no longer read what matches **/*.pem (filesystem.denyRead)"],
    );
    check(
        r#"{"filesystem": {"mode": "minimal"}}"#,
        r#"{"filesystem": {"mode": "shared"}}"#,
        &[
            "+ filesystem.mode: minimal before, shared now (filesystem.mode)",
            "+ may now read everything that no rule is about (filesystem.mode)",
        ],
    );
    check(
        &writes(r#""./x""#),
        r#"{"filesystem": {"overlay": ["./x"]}}"#,
        &[
            "- may no longer write ./x (filesystem.allowWrite)",
            "= what it changes of ./x now goes to a layer and not to the host (filesystem.overlay)",
        ],
    );
}

#[test]
fn the_rest() {
    check(
        r#"{"runtime": {"memoryMax": "1G", "envStrip": ["A"]}}"#,
        r#"{"runtime": {"memoryMax": "512M", "maxProcesses": 9}}"#,
        &[
            "+ may now get the variable A, where one is passed (runtime.envStrip)",
            "- runtime.maxProcesses: not set before, 9 now (runtime.maxProcesses)",
            "- runtime.memoryMax: 1073741824 before, 536870912 now (runtime.memoryMax)",
        ],
    );
    check(
        r#"{"mcp": {"tools": {"allow": ["read_*"]}, "pinTools": true}}"#,
        r#"{"mcp": {"tools": {"allow": ["read_*", "write"], "deny": ["x"]}}}"#,
        &[
            "+ may now use the tools write (mcp.tools.allow)",
            "+ mcp.pinTools: true before, not set now (mcp.pinTools)",
            "- may no longer use the tools x (mcp.tools.deny)",
        ],
    );
    check(
        "{}",
        r#"{"mcp": {"tools": {"allow": ["read_*"]}}, "network": {"logDroppedConnections": false}}"#,
        &[
            "+ network.logDroppedConnections: not set before, false now (network.logDroppedConnections)",
            "- may no longer use any tools but read_* (mcp.tools.allow)",
        ],
    );
    check(
        r#"{"allowNestedUserNamespaces": true, "network": {"allowUnixSockets": ["/a.sock"]}}"#,
        r#"{"tls": {"ech": "refuse"}, "network": {"ambiguousRequestTarget": "asSpelled"}}"#,
        &[
            "+ network.ambiguousRequestTarget: not set before, asSpelled now (network.ambiguousRequestTarget)",
            "- allowNestedUserNamespaces: true before, not set now (allowNestedUserNamespaces)",
            "- may no longer connect to the socket /a.sock (network.allowUnixSockets)",
            "- tls.ech: not set before, refuse now (tls.ech)",
        ],
    );
    check(
        r#"{"audit": {"mcp": "off"}}"#,
        r#"{ "audit": {"mcp": "off",}, }"#,
        &[],
    );
}

/// Documents drawn from few words that overlap: whatever the newer policy lets through and the older did not is behind a
/// line that says so, and the reverse.
#[test]
fn no_loosening_is_passed_over() {
    let hosts = [
        "a.x.com",
        "x.com:443",
        "*.x.com",
        "*.x.com:443",
        "b.a.x.com",
        "*.a.x.com",
        "192.0.2.1",
    ];
    let paths = [
        "/d",
        "/d/e",
        "/d/e/f",
        "/d/g",
        "~",
        "~/.ssh",
        "~/.ssh/known_hosts",
        ".",
        "./src",
        "**/*.pem",
        "/d/**/k",
        "/",
    ];
    let probes = [
        "a.x.com:443",
        "a.x.com:80",
        "x.com:443",
        "x.com:80",
        "b.a.x.com:443",
        "c.x.com:443",
        "192.0.2.1:443",
        "y.org:443",
    ];
    let places = [
        "/d",
        "/d/e",
        "/d/e/f",
        "/d/e/f/h",
        "/d/g",
        "/d/g/k",
        "/d/x",
        "/home/ada",
        "/home/ada/.ssh",
        "/home/ada/.ssh/known_hosts",
        "/home/ada/.ssh/id",
        "/home/ada/project",
        "/home/ada/project/src/a.pem",
        "/home/ada/project/src/a",
        "/usr/bin",
        "/etc/x.pem",
        "/",
    ];
    // A linear congruential generator (Knuth's constants): the same documents in every run.
    let mut seed = 7_u64;
    let mut draw = |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("31 bits") % below
    };
    let mut document = || {
        let mut list = |words: &[&str], most: usize| {
            let drawn: Vec<String> = (0..draw(most))
                .map(|_| format!("{:?}", words[draw(words.len())]))
                .collect();
            drawn.join(", ")
        };
        let (allowed, denied) = (list(&hosts, 4), list(&hosts, 3));
        let files: Vec<String> = ["denyRead", "allowRead", "allowWrite", "denyWrite"]
            .iter()
            .map(|key| format!("{key:?}: [{}]", list(&paths, 3)))
            .collect();
        let mode = ["minimal", "shared"][draw(2)];
        let unlisted = ["", r#""ask": true, "#, r#""enforceAllowlist": false, "#][draw(3)];
        format!(
            r#"{{"network": {{{unlisted}"allowedDomains": [{allowed}], "deniedDomains": [{denied}]}}, "filesystem": {{"mode": {mode:?}, {}}}}}"#,
            files.join(", ")
        )
    };
    let reach = |policy: &Policy, probe: &str| match policy.network.decide(&target(probe)) {
        Decision::Deny(_) => 0,
        Decision::Ask(_) => 1,
        Decision::Allow(_) => 2,
    };
    let (mut loosened, mut tightened) = (0, 0);
    for _ in 0..150 {
        let (before, after) = (document(), document());
        let (one, other) = (policy(&before), policy(&after));
        let differences = one.differences(&other);
        let says = |effect, about: &str| {
            let mut found = differences.iter();
            found.any(|found| found.effect == effect && found.key.starts_with(about))
        };
        let mut judge = |was: u8, is: u8, about: &str, probe: &str| {
            let effect = match was.cmp(&is) {
                std::cmp::Ordering::Less => Effect::Loosens,
                std::cmp::Ordering::Equal => return,
                std::cmp::Ordering::Greater => Effect::Tightens,
            };
            *(if was < is {
                &mut loosened
            } else {
                &mut tightened
            }) += 1;
            assert!(
                says(effect, about),
                "{probe}: {before} → {after}: {differences:#?}"
            );
        };
        for probe in probes {
            judge(reach(&one, probe), reach(&other, probe), "network", probe);
        }
        for place in places {
            let read =
                |policy: &Policy| u8::from(policy.filesystem.decide_read(Path::new(place)).allowed);
            let write = |policy: &Policy| {
                u8::from(policy.filesystem.decide_write(Path::new(place)).allowed)
            };
            judge(read(&one), read(&other), "filesystem", place);
            judge(write(&one), write(&other), "filesystem", place);
        }
        assert!(one.differences(&one).is_empty());
    }
    assert!(loosened > 100 && tightened > 100, "{loosened} {tightened}");
}
