//! Domain patterns: what is accepted, what it matches, and what is decided.

use srt_policy::{Decision, FlowKind, Host, Upstream};

use crate::support::{denial, network, permit, policy, show, target, try_compile};

#[test]
fn patterns_match_what_they_say() {
    #[track_caller]
    fn check(pattern: &str, matched: &[&str], not: &[&str]) {
        let network = network(&format!("{pattern:?}"), "");
        for text in matched {
            assert!(
                matches!(network.decide(&target(text)), Decision::Allow(_)),
                "{pattern} allows {text}"
            );
        }
        for text in not {
            assert!(
                matches!(network.decide(&target(text)), Decision::Deny(_)),
                "{pattern} does not allow {text}"
            );
        }
    }
    check(
        "example.com",
        &["example.com:443", "example.com:1", "EXAMPLE.com.:80"],
        &[
            "www.example.com:443",
            "xexample.com:443",
            "example.com.evil.org:443",
        ],
    );
    check("Example.COM.", &["example.com:443"], &[]);
    check("example.com:443", &["example.com:443"], &["example.com:80"]);
    check(
        "*.example.com",
        &["a.example.com:443", "a.b.example.com:22"],
        &[
            "example.com:443",
            "xexample.com:443",
            "a.example.com.evil.org:443",
        ],
    );
    check(
        "*.example.com:443",
        &["a.example.com:443"],
        &["a.example.com:80"],
    );
    check(
        "bücher.ch",
        &["bücher.ch:443", "xn--bcher-kva.ch:443"],
        &["bucher.ch:443"],
    );
    check("*.bücher.ch", &["www.bücher.ch:443"], &[]);
    check(
        "localhost",
        &["localhost:3000", "127.0.0.1:3000", "127.1:1", "[::1]:3000"],
        &["127.0.0.2:3000", "[::2]:3000", "foo.localhost:3000"],
    );
    check(
        "localhost:3000",
        &["localhost:3000", "127.0.0.1:3000", "[::1]:3000"],
        &["localhost:3001", "127.0.0.1:3001", "[::1]:3001"],
    );
    check(
        "127.1",
        &[
            "127.0.0.1:80",
            "0x7f.1:80",
            "[::ffff:127.0.0.1]:80",
            "localhost:80",
        ],
        &["127.0.0.2:80", "[::1]:80", "foo.localhost:80"],
    );
    check(
        "[::1]:80",
        &["[::1]:80", "localhost:80"],
        &["127.0.0.1:80", "localhost:81"],
    );
    check("127.0.0.2:80", &["127.0.0.2:80"], &["localhost:80"]);
    check(
        "192.0.2.7:8080",
        &["192.0.2.7:8080"],
        &["192.0.2.7:80", "192.0.2.8:8080"],
    );
    check(
        "[2001:DB8::1]:443",
        &["[2001:db8:0::1]:443"],
        &["[2001:db8::1]:80", "[2001:db8::2]:443"],
    );
    check("[::ffff:192.0.2.7]", &["192.0.2.7:80"], &[]);
    check("my_host.example.com", &["my_host.example.com:443"], &[]);
    // Worth a warning, and no more: see `requests`.
    check("*.co.uk", &["bbc.co.uk:443"], &["co.uk:443"]);
}

#[test]
fn what_could_never_match_is_no_pattern() {
    #[track_caller]
    fn check(pattern: &str, why: &str, hint: &str) {
        for list in ["allowedDomains", "deniedDomains"] {
            let text = format!(r#"{{"network": {{"{list}": [{pattern:?}]}}}}"#);
            let invalid = try_compile(&text)
                .err()
                .unwrap_or_else(|| panic!("{pattern:?} in {list} must be refused"));
            let shown = show(&invalid.diagnostics);
            assert_eq!(shown.len(), 1, "{shown:?}");
            assert!(
                shown[0].contains(why) && shown[0].contains(hint),
                "{}\n  does not say {why:?} and {hint:?}",
                shown[0]
            );
            assert!(
                shown[0].starts_with(&format!("1:{}", 19 + list.len())),
                "{}",
                shown[0]
            );
        }
    }
    check("", "empty", "\"example.com\"");
    check("intranet", "single label", "\"intranet.example.com\"");
    check("com", "single label", "full name");
    check("*.com", "everything below \"com\"", "\"*.example.com\"");
    check("*.localhost", "everything below", "");
    check("a.*.com", "not its whole first label", "\"*.example.com\"");
    check("*a.com", "not its whole first label", "");
    check("*.*.com", "more than one asterisk", "every depth");
    check("**.com", "not its whole first label", "");
    check("*.", "empty", "");
    check(
        "*.1.2.3",
        "asterisk before an address",
        "the address itself",
    );
    check("a b.com", "space", "one host per entry");
    check("a..b", "empty label", "");
    check("10.0.0.0/8", "range", "deniedResolvedAddresses");
    check("https://example.com/x", "URL", "\"example.com\"");
    check("example.com/x", "path", "\"example.com\"");
    check("user@example.com", "user name", "\"example.com\"");
    check(
        "https://ada:hunter2@example.com/x",
        "\"https://ada:***@example.com/x\" in",
        "write the host alone: \"example.com\"",
    );
    check("ada:hunter2@example.com", "\"ada:***@example.com\" in", "");
    check("::1", "without brackets", "\"[::1]\"");
    check("::1:443", "without brackets", "");
    check("[::1", "not closed", "");
    check("[::1]443", "after the bracket", "");
    check("a:b:c", "more than one colon", "");
    check("example.com:0", "port", "1 to 65535");
    check("example.com:65536", "port", "1 to 65535");
    check("example.com:", "port", "every port");
    check("example.com:+80", "port", "");
    check("example.com:080", "port", "");
    check("example.com:https", "port", "");
    check("1.2.3.4.5", "number", "");
    check("-.com%20", "percent", "");
}

#[test]
fn everything_is_denied_at_once_but_never_allowed_at_once() {
    for pattern in ["*", "*:443"] {
        let invalid = try_compile(&format!(
            r#"{{"network": {{"allowedDomains": ["{pattern}"]}}}}"#
        ))
        .expect_err("too wide");
        let shown = show(&invalid.diagnostics);
        assert!(
            shown[0].contains("would allow every host") && shown[0].contains("deniedDomains only"),
            "{}",
            shown[0]
        );
    }
    let all = network(r#""example.com", "192.0.2.1""#, r#""*""#);
    assert!(!all.allows_anything());
    denial(&all, "example.com:443");
    denial(&all, "192.0.2.1:443");
    let ssh = network(r#""example.com", "192.0.2.1""#, r#""*:22""#);
    assert!(ssh.allows_anything());
    denial(&ssh, "example.com:22");
    denial(&ssh, "192.0.2.1:22");
    permit(&ssh, "example.com:443");
}

#[test]
fn denials_say_why_and_what_would_help() {
    #[track_caller]
    fn check(network: &srt_policy::NetworkPolicy, text: &str, reason: &str, remedy: Option<&str>) {
        let denial = denial(network, text);
        assert_eq!(denial.reason, reason);
        let line =
            remedy.map(|entry| format!("\"network\": {{ \"allowedDomains\": [\"{entry}\"] }}"));
        assert_eq!(denial.remedy, line);
        assert_eq!(denial.subject, target(text).to_string());
    }
    let none = network("", "");
    assert!(!none.allows_anything());
    check(
        &none,
        "example.com:443",
        "network.allowedDomains is empty, so no host can be reached",
        Some("example.com:443"),
    );
    let some = network(
        r#""github.com:443", "*.github.com", "192.0.2.1""#,
        r#""gist.github.com", "*.evil.github.com""#,
    );
    check(
        &some,
        "Example.com.:443",
        "no rule in network.allowedDomains matches",
        Some("example.com:443"),
    );
    check(
        &some,
        "github.com:22",
        "no rule in network.allowedDomains matches; \"github.com:443\" is for another port",
        Some("github.com:22"),
    );
    check(
        &some,
        "gist.github.com:443",
        "network.deniedDomains has \"gist.github.com\"",
        None,
    );
    check(
        &some,
        "a.evil.github.com:443",
        "network.deniedDomains has \"*.evil.github.com\"",
        None,
    );
    check(
        &some,
        "intranet:80",
        "no rule in network.allowedDomains matches; a name of a single label cannot be allowed, its full name or its address can",
        None,
    );
    check(
        &some,
        "198.51.100.1:80",
        "no rule in network.allowedDomains matches; an address is allowed only by naming it, never through a domain",
        Some("198.51.100.1:80"),
    );
    check(
        &some,
        "[::1]:80",
        "no rule in network.allowedDomains matches; the address is loopback: services that listen on this machine trust whoever reaches them",
        Some("[::1]:80"),
    );
    let wild = network(r#""*.github.com""#, "");
    check(
        &wild,
        "github.com:443",
        "no rule in network.allowedDomains matches; \"*.github.com\" covers subdomains, not the domain itself",
        Some("github.com:443"),
    );

    let rule = denial(&some, "gist.github.com:443")
        .rule
        .expect("a rule refused it");
    assert_eq!(
        (rule.key.as_str(), rule.pattern.as_str()),
        ("network.deniedDomains", "gist.github.com")
    );
    let rule = permit(&some, "github.com:443").rule().clone();
    assert_eq!(
        (rule.key.as_str(), rule.pattern.as_str()),
        ("network.allowedDomains", "github.com:443")
    );

    let reasons = policy(
        r#"{"network": {"allowedDomains": ["*.example.com"], "deniedDomains": ["old.example.com"],
        "deniedDomainReasons": {"old.example.com": "moved to new.example.com"}}}"#,
    );
    check(
        &reasons.network,
        "old.example.com:443",
        "network.deniedDomains has \"old.example.com\": moved to new.example.com",
        None,
    );
}

#[test]
fn a_remedy_is_a_line_that_works() {
    let closed = network("", "");
    for text in [
        "example.com:443",
        "[::1]:80",
        "127.0.0.1:3000",
        "localhost:3000",
        "bücher.ch:443",
        "a_b.example.com:1",
    ] {
        let remedy = denial(&closed, text).remedy.expect("a remedy");
        let opened = policy(&format!("{{{remedy}}}"));
        permit(&opened.network, text);
    }
}

#[test]
fn lookups_are_answered_if_some_port_could_be_reached() {
    #[track_caller]
    fn check(allowed: &str, denied: &str, host: &str, expected: bool) {
        let answer = network(allowed, denied).decide_lookup(&Host::parse(host).expect("a host"));
        assert_eq!(
            answer.is_ok(),
            expected,
            "{allowed} less {denied}: {host}: {answer:?}"
        );
    }
    check(r#""example.com:443""#, "", "example.com", true);
    check(r#""example.com""#, "", "www.example.com", false);
    check(r#""*.example.com""#, "", "www.example.com", true);
    check(r#""example.com""#, r#""example.com""#, "example.com", false);
    check(
        r#""example.com""#,
        r#""example.com:22""#,
        "example.com",
        true,
    );
    check(
        r#""example.com:22""#,
        r#""example.com:22""#,
        "example.com",
        false,
    );
    check(
        r#""example.com:22", "example.com:80""#,
        r#""example.com:22""#,
        "example.com",
        true,
    );
    check(r#""example.com:22""#, r#""*:22""#, "example.com", false);
    check(r#""example.com""#, r#""*""#, "example.com", false);
    check("", "", "example.com", false);
    let denial = network(r#""a.com""#, "")
        .decide_lookup(&Host::parse("b.com").expect("a host"))
        .expect_err("refused");
    assert_eq!(
        denial.remedy.as_deref(),
        Some(r#""network": { "allowedDomains": ["b.com"] }"#)
    );
    let denial = network(r#""a.com""#, r#""b.com""#)
        .decide_lookup(&Host::parse("b.com").expect("a host"))
        .expect_err("refused");
    assert_eq!(
        (denial.reason.as_str(), denial.remedy),
        ("network.deniedDomains has \"b.com\"", None)
    );
}

#[test]
fn loopback_listeners_are_the_loopback_literals_with_a_port() {
    let network = network(
        r#""127.0.0.1:3000", "[::1]:3001", "localhost:3002", "127.0.0.1", "192.0.2.1:80", "127.0.0.9:1", "localhost:7",
            "localhost:8", "127.0.0.1:9""#,
        r#""localhost:7", "127.0.0.1:8", "localhost:9""#,
    );
    let listeners: Vec<String> = network
        .loopback_listeners()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        listeners,
        [
            "127.0.0.1:3000",
            "127.0.0.1:3002",
            "127.0.0.9:1",
            "[::1]:8",
            "[::1]:3001",
            "[::1]:3002"
        ]
    );
}

#[test]
fn permitted_traffic_is_chained_through_the_users_proxy() {
    let network = policy(
        r#"{"network": {"allowedDomains": ["example.com", "localhost:80", "127.0.0.1:3"],
        "proxyConfig": {"http": "http://10.0.0.1:8080/", "socks": "socks5://[::1]:1080"}}}"#,
    )
    .network;
    let upstream = network
        .upstream(&permit(&network, "example.com:443"), FlowKind::Tunnel)
        .expect("an upstream");
    let http = Upstream::Http {
        proxy: target("10.0.0.1:8080"),
        tls: false,
        credentials: None,
    };
    assert_eq!(upstream, http);
    for local in ["localhost:80", "127.0.0.1:3"] {
        let permit = permit(&network, local);
        assert_eq!(network.upstream(&permit, FlowKind::Tunnel), None);
        assert_eq!(network.upstream(&permit, FlowKind::PlainHttp), None);
    }
    let address = ["10.0.0.1".parse().expect("an address")];
    let checked = network
        .check_upstream(
            permit(&network, "example.com:443"),
            upstream.clone(),
            &address,
        )
        .expect("checked");
    assert_eq!(
        checked.addresses(),
        ["10.0.0.1:8080".parse().expect("an address")]
    );
    assert_eq!(checked.upstream(), Some(&upstream));
    assert_eq!(checked.permit().target(), &target("example.com:443"));
    let none = network
        .check_upstream(permit(&network, "example.com:443"), upstream, &[])
        .expect_err("no address");
    assert!(none.reason.contains("10.0.0.1:8080"), "{}", none.reason);
    let socks = policy(r#"{"network": {"allowedDomains": ["example.com"], "proxyConfig": {"socks": "socks5://proxy.example:1080"}}}"#).network;
    assert_eq!(
        socks.upstream(&permit(&socks, "example.com:1"), FlowKind::PlainHttp),
        Some(Upstream::Socks5 {
            proxy: target("proxy.example:1080"),
            credentials: None
        })
    );
}

/// `cargo test --release -p srt-policy --test policy cost -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn cost_of_a_connection() {
    let list = |count: usize| -> String {
        let entries: Vec<String> = (0..count)
            .map(|n| match n % 3 {
                0 => format!("\"host{n}.example.com:443\""),
                1 => format!("\"*.zone{n}.example.org\""),
                _ => format!("\"192.0.{}.{}\"", n / 256, n % 256),
            })
            .collect();
        entries.join(", ")
    };
    for count in [3, 600, 6000] {
        let text = list(count);
        let network = network(&text, &text.replace("example", "denied"));
        for text in [
            "host0.example.com:443",
            "a.b.c.zone1.example.org:443",
            "192.0.0.2:443",
            "host0.denied.com:443",
            "nobody.example.net:443",
            "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.example.com:443",
        ] {
            let target = target(text);
            let times = 100_000;
            let started = std::time::Instant::now();
            for _ in 0..times {
                drop(std::hint::black_box(network.decide(&target)));
            }
            println!("{count} entries, {text}: {:?}", started.elapsed() / times);
        }
    }
}
