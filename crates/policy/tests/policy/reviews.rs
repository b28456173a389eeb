//! What a review says of a policy.

use std::path::Path;

use srt_policy::Weight;

use crate::support::policy;

/// What is said about something, the heaviest of it.
#[track_caller]
fn check(text: &str, about: &str, expected: Weight, words: &str) {
    let checks = policy(text).review(Path::new("/home/ada"), Path::new("/home/ada/project"));
    let heaviest = checks
        .iter()
        .filter(|check| check.about == about)
        .max_by_key(|check| check.weight)
        .unwrap_or_else(|| panic!("nothing about {about}: {text}"));
    assert_eq!(heaviest.weight, expected, "{text}: {heaviest:?}");
    assert!(heaviest.text.contains(words), "{text}: {heaviest:?}");
}

use Weight::{Good, High, Note, Warning};

#[test]
fn hosts() {
    let allows = |list: &str| format!(r#"{{"network": {{"allowedDomains": [{list}]}}}}"#);
    check("{}", "egress", Good, "no rule lets it reach");
    check(&allows(r#""api.x.com""#), "egress", Good, "one rule");
    check(
        &allows(r#""*.x.com""#),
        "egress",
        Note,
        "every name below x.com",
    );
    check(
        &allows(r#""*.github.io""#),
        "egress",
        High,
        "given out to anybody",
    );
    check(
        &allows(r#""*.co.uk""#),
        "egress",
        High,
        "anybody can register",
    );
    check(&allows(r#""localhost""#), "egress", Warning, "this machine");
    check(
        &allows(r#""127.0.0.1:3000""#),
        "egress",
        Note,
        "this machine",
    );
    check(
        r#"{"network": {"enforceAllowlist": false}}"#,
        "egress",
        High,
        "only observed",
    );
    check(
        r#"{"network": {"ask": true}}"#,
        "egress",
        Note,
        "a person says yes",
    );
}

#[test]
fn files() {
    let writes = |list: &str| format!(r#"{{"filesystem": {{"allowWrite": [{list}]}}}}"#);
    check("{}", "files", Good, "nothing but its own");
    check(&writes(r#""./build""#), "files", Good, "one rule");
    check(&writes(r#""~""#), "files", High, "whole home");
    check(&writes(r#""/home""#), "files", High, "whole home");
    check(&writes(r#""/""#), "files", High, "whole disk");
    check(&writes(r#""/etc""#), "files", High, "of the system");
    check(&writes(r#""/tmp""#), "temp", Warning, "every program");
    check(
        &writes(r#""~/**/*.log""#),
        "files",
        Warning,
        "wherever in the home",
    );
    check(
        r#"{"filesystem": {"allowWrite": ["."], "allowGitConfig": true}}"#,
        "files",
        Warning,
        ".git/config",
    );
    check(
        r#"{"filesystem": {"mode": "minimal", "allowRead": ["~"]}}"#,
        "files",
        Warning,
        "whole home",
    );
    check("{}", "credentials", Good, "none of");
    let reads = |list: &str| format!(r#"{{"filesystem": {{"allowRead": [{list}]}}}}"#);
    check(&reads(r#""~/.ssh""#), "credentials", High, "~/.ssh");
    check(
        &reads(r#""~/.ssh/known_hosts""#),
        "credentials",
        Warning,
        "known_hosts",
    );
    check(&reads(r#""~""#), "credentials", Good, "none of");
    check("{}", "mode", Note, "whole disk");
    check(
        r#"{"filesystem": {"mode": "minimal"}}"#,
        "mode",
        Good,
        "only what is named",
    );
}

#[test]
fn the_rest() {
    check("{}", "sockets", Good, "no Unix socket");
    let sockets = |list: &str| format!(r#"{{"network": {{"allowUnixSockets": [{list}]}}}}"#);
    check(&sockets(r#""/run/x.sock""#), "sockets", Note, "/run/x.sock");
    check(
        &sockets(r#""/var/run/docker.sock""#),
        "sockets",
        High,
        "anything on this machine",
    );
    check(
        r#"{"network": {"allowAllUnixSockets": true}}"#,
        "sockets",
        High,
        "every Unix socket",
    );
    check(
        r#"{"allowNestedUserNamespaces": true}"#,
        "sandbox",
        Warning,
        "namespaces",
    );
    check("{}", "limits", Note, "memory and processes");
    check(
        r#"{"runtime": {"memoryMax": "1G", "maxProcesses": 9}}"#,
        "limits",
        Good,
        "has limits",
    );
    check("{}", "tools", Note, "may change");
    check(r#"{"mcp": {"pinTools": true}}"#, "tools", Good, "unnoticed");
    check("{}", "record", Good, "recorded");
    check(
        r#"{"network": {"logDroppedConnections": false}}"#,
        "record",
        Warning,
        "without a record",
    );
    check(
        r#"{"audit": {"filesystem": false}}"#,
        "record",
        Warning,
        "without a record",
    );
    check(
        r#"{"audit": {"mcp": "off"}}"#,
        "record",
        Note,
        "without a record",
    );
}
