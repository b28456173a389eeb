//! A domain pattern and hosts as requests name them: a host has one reading, which reads back as itself; a pattern
//! that is accepted covers what a matcher says that goes by letters alone, in whichever list it stands.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use srt_fuzz::{facts, source};
use srt_policy::{Decision, FlowKind, Grant, Host, NetworkPolicy, Target, compile};

/// A pattern on the first line, a host on each other one.
fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let pattern = lines.next().unwrap_or_default();
    let mut hosts: Vec<Host> = lines.take(8).filter_map(host).collect();
    // The pattern's own host, one below it and one beside it.
    let (name, port) = split(pattern);
    let base = name.strip_prefix("*.").unwrap_or(name);
    for near in [base.to_owned(), format!("a.{base}"), format!("a{base}")] {
        hosts.extend(host(&near));
    }
    let targets: Vec<Target> = hosts
        .iter()
        .flat_map(|host| [Some(443), port].map(|port| (host.clone(), port)))
        .filter_map(|(host, port)| port.map(|port| Target { host, port }))
        .collect();

    let covers = |target: &Target| covers(name, port, target);
    if let Some(network) = network("allowedDomains", pattern) {
        assert!(!pattern.contains(|c: char| c.is_whitespace() || c.is_control()));
        for target in &targets {
            allows(&network, target, covers(target));
        }
    }
    if let Some(network) = network("deniedDomains", pattern) {
        let any = name == "*";
        for target in &targets {
            let covered = covers(target) || any && port.is_none_or(|port| port == target.port);
            // Whatever else would allow it.
            let grants = [Grant {
                id: "1".to_owned(),
                host: target.host.clone(),
                port: None,
            }];
            allows(&network.with_grants(&grants), target, !covered);
        }
    }
    if let Some(network) = network("allowedUdp", pattern) {
        for target in &targets {
            let allowed = matches!(network.decide_udp(target), Decision::Allow(_));
            assert_eq!(allowed, covers(target), "{pattern:?} {target}");
            assert!(matches!(network.decide(target), Decision::Deny(_)));
        }
        assert_eq!(network.udp_ports().len(), 1);
    }
    exceptions(pattern, &targets);
});

/// A host has one reading.
fn host(text: &str) -> Option<Host> {
    let host = match Host::parse(text) {
        Ok(host) => host,
        Err(error) => {
            assert!(error.to_string().len() < 1000 && !error.why.is_empty());
            return None;
        }
    };
    let shown = host.to_string();
    assert_eq!(Host::parse(&shown).as_ref(), Ok(&host), "{text:?}");
    assert!(
        shown.bytes().all(|byte| byte.is_ascii_graphic()),
        "{text:?}"
    );
    assert!(
        !shown.contains(['@', '%', '/', '\\', '?', '#', '*']),
        "{text:?}"
    );
    match &host {
        Host::Ip(ip) => assert_eq!(Host::from_ip(*ip), host, "{text:?}"),
        Host::Name(name) => {
            assert!(name.len() <= 253 && !name.ends_with('.') && !name.contains(':'));
            assert!(name.split('.').all(|label| (1..=63).contains(&label.len())));
            assert_eq!(*name, name.to_ascii_lowercase());
            // No resolver takes it for an address.
            assert!(name.parse::<IpAddr>().is_err(), "{text:?}");
            assert_eq!(Host::parse(&name.to_ascii_uppercase()).as_ref(), Ok(&host));
            assert_eq!(Host::parse(&format!("{name}.")).as_ref(), Ok(&host));
        }
    }
    Some(host)
}

/// The policy of one entry in one list, if it is accepted.
fn network(list: &str, entry: &str) -> Option<NetworkPolicy> {
    let text = serde_json::json!({"network": {list: [entry]}}).to_string();
    let compiled = compile(Some(&source(&text)), &facts(false)).ok()?;
    Some(compiled.policy.network)
}

fn allows(network: &NetworkPolicy, target: &Target, expected: bool) {
    let decision = network.decide(target);
    let allowed = matches!(decision, Decision::Allow(_));
    assert_eq!(allowed, expected, "{target} {network:?}");
    let looked_up = network.decide_lookup(&target.host).is_ok();
    assert!(
        looked_up || !allowed,
        "{target} is allowed and not looked up"
    );
    if let Decision::Allow(permit) = decision {
        assert!(network.keeps(&permit, None, &[]).is_ok());
        assert_eq!(network.upstream(&permit, FlowKind::Tunnel), None);
    }
}

/// The name and the port of a pattern, by letters.
fn split(pattern: &str) -> (&str, Option<u16>) {
    if let Some((name, digits)) = pattern.rsplit_once(':')
        && (!name.contains(':') || name.ends_with(']'))
        && let Ok(port) = digits.parse()
    {
        return (name, Some(port));
    }
    (pattern, None)
}

fn covers(name: &str, port: Option<u16>, target: &Target) -> bool {
    let host = match name.strip_prefix("*.") {
        None => Host::parse(name).is_ok_and(|own| own == target.host),
        Some(base) => match (Host::parse(base), &target.host) {
            (Ok(base), Host::Name(name)) => name.ends_with(&format!(".{base}")),
            _ => false,
        },
    };
    host && port.is_none_or(|port| port == target.port)
}

/// The same text as a list of exceptions from a proxy: it compiles or not, and a host it names goes past the proxy.
fn exceptions(list: &str, targets: &[Target]) {
    let text = serde_json::json!({"network": {
        "enforceAllowlist": false,
        "parentProxy": {"http": "http://proxy.test:1", "noProxy": list},
    }})
    .to_string();
    let Ok(compiled) = compile(Some(&source(&text)), &facts(false)) else {
        return;
    };
    let network = compiled.policy.network;
    for target in targets {
        let Decision::Allow(permit) = network.decide(target) else {
            panic!("{target} is observed");
        };
        let direct = network.upstream(&permit, FlowKind::PlainHttp).is_none();
        if covers(list, None, target) || list.trim() == "*" {
            assert!(direct, "{list:?} {target}");
        }
    }
}
