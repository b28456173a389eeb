//! Hosts that no rule names: questions, grants, the observed list; datagrams; and what an established flow is held to.

use std::net::IpAddr;

use srt_policy::{Decision, FlowKind, Grant, Host, NetworkPolicy, Origin, Permit, Question};

use crate::support::{denial, network, permit, policy, show, target, try_compile};

fn of(network: &str) -> NetworkPolicy {
    policy(&format!(r#"{{"network": {{{network}}}}}"#)).network
}

fn question(network: &NetworkPolicy, text: &str) -> Question {
    match network.decide(&target(text)) {
        Decision::Ask(question) => question,
        other => panic!("{text} must be asked about: {other:?}"),
    }
}

fn datagrams(network: &NetworkPolicy, text: &str) -> Permit {
    match network.decide_udp(&target(text)) {
        Decision::Allow(permit) => permit,
        other => panic!("datagrams to {text} must be allowed: {other:?}"),
    }
}

fn grant(id: &str, host: &str, port: Option<u16>) -> Grant {
    Grant {
        id: id.to_owned(),
        host: Host::parse(host).expect("a host"),
        port,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn looked_up(network: &NetworkPolicy, host: &str) -> bool {
    network
        .decide_lookup(&Host::parse(host).expect("a host"))
        .is_ok()
}

#[test]
fn what_no_rule_names_is_asked_about() {
    let asking = of(
        r#""ask": true, "allowedDomains": ["a.example.com"], "deniedDomains": ["*.evil.com", "*:25"],
        "deniedResolvedAddresses": ["10.0.0.0/8"]"#,
    );
    assert!(asking.asks() && asking.allows_anything() && !asking.observes());
    assert_eq!(asking.ask_timeout().as_secs(), 60);
    permit(&asking, "a.example.com:443");
    let asked = question(&asking, "b.example.com:443");
    assert_eq!(asked.target(), &target("b.example.com:443"));
    assert_eq!(
        asked.denial().reason,
        "no rule in network.allowedDomains matches"
    );
    assert!(asked.denial().remedy.is_some());
    question(&asking, "192.0.2.1:443");
    question(&asking, "127.0.0.1:3000");
    question(&asking, "localhost:3000");
    // What a rule refuses, nobody is asked about; nor what a yes could not be written down for.
    denial(&asking, "www.evil.com:443");
    denial(&asking, "b.example.com:25");
    let range = denial(&asking, "10.1.2.3:443");
    assert!(
        range
            .reason
            .contains("network.deniedResolvedAddresses has \"10.0.0.0/8\""),
        "{range:?}"
    );
    denial(&asking, "intranet:443");
    assert!(looked_up(&asking, "b.example.com"));
    assert!(!looked_up(&asking, "www.evil.com"));
    assert!(!looked_up(&asking, "intranet"));

    let strict = try_compile(r#"{"network": {"ask": true, "strictAllowlist": true}}"#).unwrap();
    assert_eq!(
        show(&strict.warnings),
        [
            "1:21 warning: network.ask has no effect: with network.strictAllowlist: true nobody is asked | remove one of them"
        ]
    );
    assert!(!strict.policy.network.asks());
    denial(&strict.policy.network, "b.example.com:443");
    assert!(!looked_up(&strict.policy.network, "b.example.com"));

    let quick = of(r#""ask": true, "askTimeoutSeconds": 5"#);
    assert_eq!(quick.ask_timeout().as_secs(), 5);
    for seconds in ["0", "601", "-1", "1.5", "\"60\""] {
        let text = format!(r#"{{"network": {{"askTimeoutSeconds": {seconds}}}}}"#);
        let shown = show(&try_compile(&text).expect_err("out of bounds").diagnostics);
        assert!(shown[0].contains("askTimeoutSeconds must be"), "{shown:?}");
    }
}

#[test]
fn a_grant_is_a_rule_that_denied_domains_still_beat() {
    let asking = of(r#""ask": true, "deniedDomains": ["*.evil.com"]"#);
    let granted = asking.with_grants(&[
        grant("7", "b.example.com", Some(443)),
        grant("8", "www.evil.com", None),
        grant("9", "127.0.0.1", Some(3000)),
    ]);
    let by = permit(&granted, "b.example.com:443");
    assert_eq!(by.rule().origin, Origin::Grant { id: "7".to_owned() });
    assert_eq!(
        (by.rule().key.as_str(), by.rule().pattern.as_str()),
        ("grant", "b.example.com:443")
    );
    assert!(!by.requires_sni());
    question(&granted, "b.example.com:80");
    question(&granted, "a.b.example.com:443");
    denial(&granted, "www.evil.com:443");
    // A granted address opens itself, as a listed one does.
    granted
        .check(permit(&granted, "127.0.0.1:3000"), &[], &[])
        .expect("granted by its address");
    assert_eq!(granted.loopback_listeners().len(), 1);
    // But not against what the file denies.
    let ranges = of(r#""ask": true, "deniedResolvedAddresses": ["127.0.0.0/8"]"#)
        .with_grants(&[grant("9", "127.0.0.1", Some(3000))]);
    ranges
        .check(permit(&ranges, "127.0.0.1:3000"), &[], &[])
        .expect_err("the file denies the range");
    // The policy that it was made from is what it was.
    question(&asking, "b.example.com:443");
    // Where nobody may be asked, what somebody once said does not count.
    let strict = of(r#""strictAllowlist": true"#);
    denial(
        &strict.with_grants(&[grant("7", "b.example.com", None)]),
        "b.example.com:443",
    );
}

#[test]
fn a_yes_for_one_connection_is_worth_what_the_policy_in_force_says() {
    let asking = of(r#""ask": true"#);
    let asked = question(&asking, "b.example.com:443");
    let once = asking.permit_once(&asked, "12").expect("still asked");
    assert_eq!(once.target(), &target("b.example.com:443"));
    assert_eq!(
        once.rule().origin,
        Origin::Grant {
            id: "12".to_owned()
        }
    );
    question(&asking, "b.example.com:443");

    let allowing = network(r#""b.example.com""#, "");
    let permit = allowing.permit_once(&asked, "12").expect("allowed by now");
    assert_eq!(permit.rule().key, "network.allowedDomains");
    for refusing in [
        of(r#""ask": true, "deniedDomains": ["b.example.com"]"#),
        of(""),
    ] {
        refusing.permit_once(&asked, "12").expect_err("refused");
    }

    // An address that a person said yes to opens itself, but not against a rule.
    let loopback = question(&asking, "127.0.0.1:3000");
    let once = asking.permit_once(&loopback, "13").expect("asked");
    asking
        .check(once.clone(), &[], &[ip("127.0.0.1")])
        .expect("it was named");
    assert!(asking.keeps(&once, Some(ip("127.0.0.1")), &[]).is_ok());
    let ranges = of(r#""ask": true, "deniedResolvedAddresses": ["127.0.0.0/8"]"#);
    ranges
        .keeps(&once, Some(ip("127.0.0.1")), &[])
        .expect_err("the file has come to deny it");
    // A name that leads to loopback does not: the yes was to the name.
    let name = question(&asking, "b.example.com:3000");
    let once = asking.permit_once(&name, "14").expect("asked");
    asking
        .check(once, &[ip("127.0.0.1")], &[])
        .expect_err("loopback");
}

#[test]
fn an_observed_list_lets_through_and_says_what_it_would_have_said() {
    let compiled = try_compile(
        r#"{"network": {"enforceAllowlist": false, "allowedDomains": ["a.example.com"],
        "deniedDomains": ["*.evil.com", "192.0.2.9"], "deniedResolvedAddresses": ["10.0.0.0/8"]}}"#,
    )
    .expect("compiles");
    assert_eq!(
        show(&compiled.warnings),
        [
            "1:34 warning: with network.enforceAllowlist: false every host is reached that network.deniedDomains does not name | what the list would refuse is recorded as \"would be denied\": add what is needed to network.allowedDomains, and remove the key"
        ]
    );
    let observing = compiled.policy.network;
    assert!(observing.observes() && !observing.asks() && observing.allows_anything());
    let listed = permit(&observing, "a.example.com:443");
    assert_eq!(listed.would_be_denied(), None);
    let other = permit(&observing, "b.example.com:443");
    let denied = other.would_be_denied().expect("not listed");
    assert_eq!(denied.reason, "no rule in network.allowedDomains matches");
    assert_eq!(
        (other.rule().key.as_str(), other.rule().pattern.as_str()),
        ("network.enforceAllowlist", "false")
    );
    assert!(!other.requires_sni());
    permit(&observing, "intranet:80");
    denial(&observing, "www.evil.com:443");
    assert!(looked_up(&observing, "intranet") && looked_up(&observing, "b.example.com"));
    assert!(!looked_up(&observing, "www.evil.com"));

    // The classes of addresses hold, also for what is asked for by address or as localhost.
    let own = [ip("198.51.100.1")];
    for text in [
        "169.254.169.254:80",
        "127.0.0.1:22",
        "10.1.2.3:80",
        "198.51.100.1:22",
        "[::1]:22",
    ] {
        let permit = permit(&observing, text);
        observing
            .check(permit, &[], &own)
            .expect_err("a denied class");
    }
    for (text, leads_to) in [
        ("localhost:22", "127.0.0.1"),
        ("b.example.com:80", "169.254.169.254"),
        ("b.example.com:80", "192.0.2.9"),
    ] {
        let permit = permit(&observing, text);
        observing
            .check(permit, &[ip(leads_to)], &own)
            .expect_err("a denied class");
    }
    observing
        .check(other, &[ip("203.0.113.1")], &own)
        .expect("an ordinary address");
    // Nor does a proxy of the user's get to see what nobody has named.
    let chained = of(
        r#""enforceAllowlist": false, "allowedDomains": ["127.0.0.1:3"],
        "proxyConfig": {"http": "http://192.0.2.1:1"}"#,
    );
    for (text, passes) in [
        ("169.254.169.254:80", false),
        ("[fe80::1]:80", false),
        ("203.0.113.1:80", true),
        ("b.example.com:80", true),
    ] {
        let permit = permit(&chained, text);
        let upstream = chained
            .upstream(&permit, FlowKind::Tunnel)
            .expect("the user's proxy");
        let kept = chained.keeps(&permit, None, &[]).is_ok();
        let checked = chained.check_upstream(permit, upstream, &[ip("192.0.2.1")]);
        assert_eq!(
            (checked.is_ok(), kept),
            (passes, passes),
            "{text}: {checked:?}"
        );
    }

    let both = try_compile(
        r#"{"network": {"enforceAllowlist": false, "strictAllowlist": true, "ask": true}}"#,
    )
    .expect_err("a contradiction");
    let shown = show(&both.diagnostics);
    assert!(
        shown
            .iter()
            .any(|line| line.contains("error: network.enforceAllowlist: false and")),
        "{shown:?}"
    );
    assert!(
        shown
            .iter()
            .any(|line| line.contains("network.ask has no effect")),
        "{shown:?}"
    );
}

#[test]
fn datagrams_go_where_their_own_list_says() {
    let network = of(
        r#""allowedDomains": ["a.example.com"], "deniedDomains": ["*.evil.com"],
        "allowedUdp": ["ntp.example.com:123", "www.evil.com:123", "192.0.2.1:5060", "127.0.0.1:9", "[2001:db8::1]:123"]"#,
    );
    assert_eq!(network.udp_ports(), [9, 123, 5060]);
    let ntp = datagrams(&network, "ntp.example.com:123");
    assert_eq!(ntp.rule().key, "network.allowedUdp");
    assert!(!ntp.requires_sni());
    for refused in [
        "ntp.example.com:124",
        "a.example.com:443",
        "www.evil.com:123",
        "192.0.2.2:5060",
    ] {
        let Decision::Deny(_) = network.decide_udp(&target(refused)) else {
            panic!("datagrams to {refused} must be refused");
        };
    }
    let Decision::Deny(denied) = network.decide_udp(&target("ntp.example.com:124")) else {
        panic!("refused");
    };
    assert_eq!(
        denied.reason,
        "no rule in network.allowedUdp matches; \"ntp.example.com:123\" is for another port"
    );
    let remedy = denied.remedy.expect("a line");
    datagrams(
        &policy(&format!("{{{remedy}}}")).network,
        "ntp.example.com:124",
    );
    // A rule about datagrams allows no connection, and the other way round; the name is looked up all the same.
    denial(&network, "ntp.example.com:123");
    assert!(looked_up(&network, "ntp.example.com") && !looked_up(&network, "www.evil.com"));
    assert!(of(r#""allowedUdp": ["ntp.example.com:123"]"#).allows_anything());

    // Addresses are held to the same classes, and a named one opens itself.
    network
        .check(ntp.clone(), &[ip("127.0.0.1")], &[])
        .expect_err("loopback");
    network
        .check(datagrams(&network, "127.0.0.1:9"), &[], &[])
        .expect("named itself");
    network
        .keeps(&ntp, Some(ip("203.0.113.1")), &[])
        .expect("still listed");
    of(r#""allowedDomains": ["ntp.example.com:123"]"#)
        .keeps(&ntp, Some(ip("203.0.113.1")), &[])
        .expect_err("not for datagrams");

    // Nobody is asked, and an observed list lets no datagram through.
    for more in [r#""ask": true"#, r#""enforceAllowlist": false"#] {
        let Decision::Deny(_) = of(more).decide_udp(&target("ntp.example.com:123")) else {
            panic!("{more}: datagrams need a rule of their own");
        };
    }
}

#[test]
fn a_rule_about_datagrams_is_one_host_and_one_port() {
    #[track_caller]
    fn check(entry: &str, why: &str) {
        let text = format!(r#"{{"network": {{"allowedUdp": [{entry:?}]}}}}"#);
        let shown = show(&try_compile(&text).expect_err(entry).diagnostics);
        assert!(
            shown.len() == 1 && shown[0].contains(why) && shown[0].contains(" | "),
            "{shown:?}"
        );
    }
    check("ntp.example.com", "no port");
    check("192.0.2.1", "no port");
    check("[2001:db8::1]", "no port");
    check("*.example.com:123", "asterisk");
    check("*:123", "every host");
    check("*", "every host");
    check("a.*.com:1", "asterisk");
    check("8.8.8.8:53", "port 53");
    check("224.0.0.251:5353", "group");
    check("255.255.255.255:9", "group");
    check("[ff02::fb]:5353", "group");
    check("[::ffff:224.0.0.1]:9", "group");
    check("intranet:123", "single label");
    check("ntp.example.com:0", "port");
    check("ntp.example.com:123/udp", "path");
    check("udp://ntp.example.com:123", "URL");
    check("2001:db8::1:123", "brackets");
    check("10.0.0.0/8", "range");
    check("", "empty");
}

#[test]
fn a_flow_goes_on_while_the_policy_in_force_permits_it() {
    #[track_caller]
    fn check(permit: &Permit, network: &NetworkPolicy, address: &str, kept: bool) {
        let own = [ip("198.51.100.1")];
        let answer = network.keeps(permit, Some(ip(address)), &own);
        assert_eq!(
            answer.is_ok(),
            kept,
            "{} at {address}: {answer:?}",
            permit.target()
        );
    }
    let wide = network(r#""*.example.com", "localhost""#, "");
    let flow = permit(&wide, "a.example.com:443");
    let out = "203.0.113.1";
    check(&flow, &wide, out, true);
    // By another rule.
    check(&flow, &network(r#""a.example.com:443""#, ""), out, true);
    check(&flow, &network(r#""a.example.com:80""#, ""), out, false);
    check(&flow, &network("", ""), out, false);
    check(
        &flow,
        &network(r#""*.example.com""#, r#""a.example.com""#),
        out,
        false,
    );
    check(
        &flow,
        &network(r#""*.example.com""#, r#""203.0.113.1""#),
        out,
        false,
    );
    let ranges =
        of(r#""allowedDomains": ["*.example.com"], "deniedResolvedAddresses": ["203.0.113.0/24"]"#);
    check(&flow, &ranges, out, false);
    check(&flow, &ranges, "203.0.114.1", true);
    // The address has become this host's own.
    check(&flow, &wide, "198.51.100.1", false);
    // Through a proxy of the user's there is no address to look at.
    assert!(ranges.keeps(&flow, None, &[]).is_ok());
    // Loopback, named.
    check(&permit(&wide, "localhost:80"), &wide, "127.0.0.1", true);
    check(&permit(&wide, "localhost:80"), &of(""), "127.0.0.1", false);
    // It was allowed, and is now a question: nobody has said yes.
    check(&flow, &of(r#""ask": true"#), out, false);
    check(&flow, &of(r#""enforceAllowlist": false"#), out, true);

    let asking = of(r#""ask": true"#);
    let once = asking
        .permit_once(&question(&asking, "b.example.com:443"), "1")
        .expect("asked");
    check(&once, &asking, out, true);
    check(&once, &of(""), out, true);
    check(
        &once,
        &of(r#""ask": true, "deniedDomains": ["b.example.com"]"#),
        out,
        false,
    );
    check(&once, &asking, "127.0.0.1", false);

    let granted = asking.with_grants(&[grant("1", "b.example.com", None)]);
    let by_grant = permit(&granted, "b.example.com:443");
    check(&by_grant, &granted, out, true);
    // Revoked.
    check(&by_grant, &asking, out, false);

    let observing = of(r#""enforceAllowlist": false"#);
    let observed = permit(&observing, "b.example.com:443");
    check(&observed, &observing, out, true);
    check(&observed, &of(""), out, false);
}
