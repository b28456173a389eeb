//! A settings file of any text, compiled for both systems: it ends, points only to places that the text has, and what
//! it accepts decides on anything.
#![no_main]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use srt_fuzz::{facts, source};
use srt_policy::{
    Compiled, Decision, Diagnostic, FlowKind, Host, Origin, Policy, Severity, Target, compile,
};

fuzz_target!(|text: &str| {
    for macos in [false, true] {
        match compile(Some(&source(text)), &facts(macos)) {
            Ok(compiled) => {
                points(text, &compiled.warnings);
                let warning = |found: &Diagnostic| found.severity == Severity::Warning;
                assert!(compiled.warnings.iter().all(warning));
                decides(&compiled);
            }
            Err(invalid) => {
                points(text, &invalid.diagnostics);
                let error = |found: &Diagnostic| found.severity == Severity::Error;
                assert!(invalid.diagnostics.iter().any(error));
                assert!(!invalid.to_string().is_empty());
            }
        }
    }
});

/// Every finding points into the text.
fn points(text: &str, found: &[Diagnostic]) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for one in found {
        place(text, one.line, one.column);
        assert!(!one.message.is_empty(), "{one}");
    }
}

/// A line that there is, and a column that it has; its end counts.
fn place(text: &str, line: u32, column: u32) {
    let lines: Vec<&str> = text.split('\n').collect();
    assert!(line >= 1 && column >= 1, "{line}:{column}");
    let line_text = lines.get(line as usize - 1);
    let length = line_text.unwrap_or_else(|| panic!("line {line} of {}", lines.len()));
    assert!(
        column as usize <= length.chars().count() + 1,
        "{line}:{column}"
    );
}

fn decides(compiled: &Compiled) {
    let policy = &compiled.policy;
    let files = &policy.filesystem;
    let mut paths: Vec<PathBuf> = [
        "/",
        "/w/p/a/.git/hooks/x",
        "/home/u/.ssh/id",
        "/etc/passwd",
        "x",
    ]
    .map(PathBuf::from)
    .to_vec();
    for rule in files.rules() {
        if let Origin::File { line, column, .. } = &rule.origin {
            let text = policy.text();
            place(
                text.strip_prefix('\u{feff}').unwrap_or(text),
                *line,
                *column,
            );
            if paths.len() < 40 {
                assert!(rule.path.is_absolute(), "{rule:?}");
                paths.extend([
                    rule.path.clone(),
                    rule.path.join("a/b.c"),
                    rule.path.join(".."),
                ]);
            }
        }
    }
    let same = files.resolved(Path::to_path_buf);
    for path in &paths {
        let (read, write) = (files.decide_read(path), files.decide_write(path));
        assert!(
            read.allowed || !write.allowed,
            "{path:?} is written and not read"
        );
        assert_eq!(same.decide_read(path).allowed, read.allowed, "{path:?}");
        assert_eq!(same.decide_write(path).allowed, write.allowed, "{path:?}");
        assert!(files.moves(path, path, true).is_ok() || path.is_relative());
        let _ = (files.leads_to(path), policy.audit.ignores("git", path));
        // The tree of rules and each rule by itself say the same.
        if let Some(rule) = write.rule {
            assert!(rule.covers(path), "{rule:?} {path:?}");
        }
    }
    connects(policy);
    let offered = BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]);
    let _ = policy.environment.select(&offered, &["HOME".to_owned()]);
    let _ = policy.network.loopback_listeners();
    assert!(!policy.lines().is_empty());
}

fn connects(policy: &Policy) {
    let network = &policy.network;
    let hosts = [
        "example.com",
        "localhost",
        "127.1",
        "[::1]",
        "a.b.example.com",
        "intranet",
    ];
    for host in hosts.map(|text| Host::parse(text).expect("a host")) {
        let target = Target { host, port: 443 };
        let decisions = [network.decide(&target), network.decide_udp(&target)];
        assert!(!matches!(decisions[1], Decision::Ask(_)), "{target}");
        for decision in decisions {
            match decision {
                Decision::Allow(permit) => {
                    assert!(network.decide_lookup(&target.host).is_ok(), "{target}");
                    let plain = network.upstream(&permit, FlowKind::PlainHttp);
                    let tunnel = network.upstream(&permit, FlowKind::Tunnel);
                    assert!(plain.is_none() || tunnel.is_some(), "{target}");
                    assert!(permit.would_be_denied().is_none() || network.observes());
                }
                Decision::Ask(question) => {
                    assert!(network.asks(), "{target}");
                    let once = network.permit_once(&question, "1").expect("still asked");
                    assert!(network.keeps(&once, None, &[]).is_ok(), "{target}");
                }
                Decision::Deny(denial) => assert!(!denial.reason.is_empty()),
            }
        }
    }
    assert!((1..=600).contains(&network.ask_timeout().as_secs()));
    for header in &network.requests().strip_response_headers {
        assert!(network.requests().strips(header), "{header}");
    }
}
