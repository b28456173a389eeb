//! Proxies of the user's own: how they are named, what goes through which, and what goes past them.

use srt_policy::{Credentials, FlowKind, NetworkPolicy, Upstream};

use crate::support::{permit, policy, show, target, try_compile};

const ALLOWED: &str = r#""allowedDomains": ["example.com", "*.example.com", "example.org", "localhost", "127.0.0.1",
    "192.0.2.1", "10.1.2.3", "[2001:db8::1]"]"#;

fn of(network: &str) -> NetworkPolicy {
    policy(&format!(r#"{{"network": {{{ALLOWED}, {network}}}}}"#)).network
}

/// The proxies' URLs for plain HTTP and for the rest, as they print.
fn chosen(network: &NetworkPolicy, text: &str) -> [String; 2] {
    let permit = permit(network, text);
    [FlowKind::PlainHttp, FlowKind::Tunnel].map(|kind| {
        network
            .upstream(&permit, kind)
            .map_or_else(|| "direct".to_owned(), |upstream| upstream.to_string())
    })
}

#[test]
fn which_proxy_carries_what() {
    #[track_caller]
    fn check(network: &str, plain: &str, tunnel: &str) {
        assert_eq!(
            chosen(&of(network), "example.com:443"),
            [plain, tunnel],
            "{network}"
        );
    }
    check(r#""proxyConfig": {}"#, "direct", "direct");
    check(
        r#""proxyConfig": {"http": "http://a.test:1"}"#,
        "http://a.test:1",
        "http://a.test:1",
    );
    check(
        r#""proxyConfig": {"http": "http://a.test:1", "socks": "socks5://b.test:2"}"#,
        "http://a.test:1",
        "http://a.test:1",
    );
    check(
        r#""proxyConfig": {"socks": "SOCKS5H://b.test:2/"}"#,
        "socks5://b.test:2",
        "socks5://b.test:2",
    );
    check(
        r#""httpProxyPort": 8080"#,
        "http://127.0.0.1:8080",
        "http://127.0.0.1:8080",
    );
    check(
        r#""socksProxyPort": 1080"#,
        "socks5://127.0.0.1:1080",
        "socks5://127.0.0.1:1080",
    );
    check(
        r#""httpProxyPort": 8080, "socksProxyPort": 1080"#,
        "http://127.0.0.1:8080",
        "http://127.0.0.1:8080",
    );
    // As curl and sandbox-runtime have it: the proxy for https is not asked for http, the other way round it is.
    check(
        r#""parentProxy": {"http": "http://a.test:1"}"#,
        "http://a.test:1",
        "http://a.test:1",
    );
    check(
        r#""parentProxy": {"https": "http://b.test:2"}"#,
        "direct",
        "http://b.test:2",
    );
    check(
        r#""parentProxy": {"http": "socks5://a.test:1", "https": "http://b.test:2"}"#,
        "socks5://a.test:1",
        "http://b.test:2",
    );
    let network = of(r#""parentProxy": {"http": "http://a.test:1"}"#);
    for local in ["localhost:80", "127.0.0.1:80"] {
        assert_eq!(chosen(&network, local), ["direct", "direct"], "{local}");
    }
}

#[test]
fn what_goes_past_the_proxy() {
    #[track_caller]
    fn check(list: &str, direct: &[&str], through: &[&str]) {
        let network = of(&format!(
            r#""parentProxy": {{"http": "http://a.test:1", "noProxy": {list:?}}}"#
        ));
        for text in direct {
            assert_eq!(
                chosen(&network, text),
                ["direct", "direct"],
                "{list:?} {text}"
            );
        }
        for text in through {
            assert_eq!(
                chosen(&network, text)[0],
                "http://a.test:1",
                "{list:?} {text}"
            );
        }
    }
    check("", &[], &["example.com:443", "192.0.2.1:80"]);
    check(
        "*",
        &["example.com:443", "192.0.2.1:80", "[2001:db8::1]:1"],
        &[],
    );
    // curl: a name covers what is below it, with or without a dot in front.
    for list in [
        "example.com",
        ".example.com",
        "*.example.com",
        "EXAMPLE.com.",
    ] {
        check(
            list,
            &["example.com:443", "a.example.com:80", "a.b.example.com:80"],
            &["example.org:443", "192.0.2.1:80"],
        );
    }
    check(
        "a.example.com",
        &["a.example.com:80"],
        &["example.com:80", "b.example.com:80"],
    );
    check("ample.com", &[], &["example.com:443"]);
    check(
        "example.com:8080",
        &["example.com:8080", "a.example.com:8080"],
        &["example.com:443"],
    );
    check("*:22", &["example.com:22"], &["example.com:443"]);
    check(
        "192.0.2.1",
        &["192.0.2.1:80"],
        &["10.1.2.3:80", "example.com:80"],
    );
    check("192.0.2.1:80", &["192.0.2.1:80"], &["192.0.2.1:81"]);
    check("192.0.2.0/24", &["192.0.2.1:80"], &["10.1.2.3:80"]);
    check("10.0.0.0/8:443", &["10.1.2.3:443"], &["10.1.2.3:80"]);
    for list in [
        "2001:db8::1",
        "[2001:db8::1]",
        "2001:db8::/32",
        "[2001:db8::1]:443",
    ] {
        check(list, &["[2001:db8::1]:443"], &["192.0.2.1:443"]);
    }
    check("[2001:db8::1]:443", &[], &["[2001:db8::1]:80"]);
    check(
        " example.org ,, 10.0.0.0/8\tlocalhost",
        &["example.org:1", "10.1.2.3:1", "localhost:1"],
        &["example.com:1"],
    );
}

#[test]
fn an_exception_that_is_none_is_an_error() {
    #[track_caller]
    fn check(list: &str, named: &str) {
        let text = format!(r#"{{"network": {{"parentProxy": {{"noProxy": {list:?}}}}}}}"#);
        let shown = show(&try_compile(&text).expect_err(list).diagnostics);
        assert!(
            shown[0].contains(&format!(
                "{named:?} in network.parentProxy.noProxy is no host"
            )),
            "{shown:?}"
        );
    }
    check("a..b", "a..b");
    check("example.com, 10.0.0.0/33", "10.0.0.0/33");
    check("example.com:0", "example.com:0");
    check("example.com:http", "example.com:http");
    check("http://example.com", "http://example.com");
    check("a.*.com", "a.*.com");
    check(".", ".");
    let list = r#"{"network": {"parentProxy": {"noProxy": ["example.com"]}}}"#;
    let shown = show(&try_compile(list).expect_err("a list").diagnostics);
    assert!(
        shown[0].contains("must be a string, not a list"),
        "{shown:?}"
    );
}

#[test]
fn credentials_are_decoded_and_never_printed() {
    let parents = r#""parentProxy": {"http": "http://ada%40corp:hunter%3a2%2F@a.test:1", "https": "socks5://bob:hunter2@b.test:2"}"#;
    let network = of(parents);
    let http = network.upstream(&permit(&network, "example.com:80"), FlowKind::PlainHttp);
    assert_eq!(
        http,
        Some(Upstream::Http {
            proxy: target("a.test:1"),
            tls: false,
            credentials: Some(Credentials {
                user: "ada@corp".to_owned(),
                password: "hunter:2/".to_owned(),
            }),
        })
    );
    let compiled = try_compile(&format!(r#"{{"network": {{{parents}}}}}"#)).unwrap();
    let printed = format!("{http:?} {network:?} {compiled:?}");
    assert!(!printed.contains("hunter"), "{printed}");
    assert_eq!(
        chosen(&network, "example.com:443"),
        ["http://ada@corp:***@a.test:1", "socks5://bob:***@b.test:2"]
    );
    // By TLS.
    let tls = of(r#""parentProxy": {"http": "HTTPS://ada:hunter2@a.test:1"}"#);
    let http = tls.upstream(&permit(&tls, "example.com:80"), FlowKind::PlainHttp);
    assert!(
        matches!(http, Some(Upstream::Http { tls: true, .. })),
        "{http:?}"
    );
    assert_eq!(
        chosen(&tls, "example.com:443"),
        ["https://ada:***@a.test:1"; 2]
    );
    // A name alone is a name with an empty password, for HTTP.
    let name = of(r#""proxyConfig": {"http": "http://token@a.test:1"}"#);
    let http = name.upstream(&permit(&name, "example.com:80"), FlowKind::Tunnel);
    let credentials = http.as_ref().and_then(Upstream::credentials);
    assert_eq!(
        credentials.map(|both| (both.user.as_str(), both.password.as_str())),
        Some(("token", ""))
    );
}

#[test]
fn what_names_no_proxy_is_an_error_that_holds_no_secret() {
    #[track_caller]
    fn check(key: &str, url: &str, why: &str) {
        let (section, name) = key.split_once('.').expect("a section");
        let text = format!(r#"{{"network": {{"{section}": {{"{name}": {url:?}}}}}}}"#);
        let shown = show(&try_compile(&text).expect_err(url).diagnostics);
        assert!(
            shown[0].contains(&format!("network.{key} "))
                && shown[0].contains(why)
                && shown[0].contains(" | "),
            "{url}: {shown:?}"
        );
        assert!(!shown.concat().contains("hunter"), "{shown:?}");
    }
    for key in ["proxyConfig.http", "parentProxy.http", "parentProxy.https"] {
        check(key, "10.0.0.1:8080", "is no URL");
        check(key, "", "is no URL");
        check(key, "https://proxy.example", "port");
        check(key, "ftp://proxy.example:1", "scheme");
        check(key, "socks4://proxy.example:1", "scheme");
        check(key, "http://proxy.example", "port");
        check(key, "http://proxy.example:0", "port");
        check(key, "http://proxy.example:80/path", "port");
        check(key, "http://proxy.example:+80", "port");
        check(key, "http://::1:80", "brackets");
        check(key, "http://a..b:80", "host");
        check(key, "http://a b:80", "host");
        check(key, "http://hunter2@:80", "host");
        check(key, "http://:hunter2@a.test:80", "no user name");
        check(key, "http://ada:hunter%2@a.test:80", "no escape");
        check(key, "http://ada:hunter%zz@a.test:80", "no escape");
        check(key, "http://ada:hunter%ff@a.test:80", "UTF-8");
        check(
            key,
            "http://ada:hunter%0d%0aX: y@a.test:80",
            "control character",
        );
        check(key, "http://ada:hunter%00@a.test:80", "control character");
        check(key, "http://ada:hunter/2@a.test:80", "must be escaped");
        check(key, "http://ada:hunter@2@a.test:80", "must be escaped");
        check(
            key,
            "http://ada%3aB:hunter2@a.test:80",
            "colon in its user name",
        );
    }
    check("proxyConfig.http", "socks5://proxy.example:1", "scheme");
    for key in ["proxyConfig.socks", "parentProxy.http"] {
        check(key, "socks5://ada@a.test:80", "SOCKS5 cannot carry");
        check(
            key,
            &format!("socks5://ada:{}@a.test:80", "h".repeat(256)),
            "SOCKS5 cannot carry",
        );
    }
    check("proxyConfig.socks", "http://proxy.example:1", "scheme");
    for (key, value) in [
        ("httpProxyPort", "0"),
        ("socksProxyPort", "65536"),
        ("httpProxyPort", "99999999999"),
    ] {
        let text = format!(r#"{{"network": {{"{key}": {value}}}}}"#);
        let shown = show(&try_compile(&text).expect_err(key).diagnostics);
        assert!(
            shown[0].contains(&format!("network.{key} must be from 1 to 65535")),
            "{shown:?}"
        );
    }
}

#[test]
fn one_key_names_the_proxy() {
    for (members, first, second) in [
        (
            r#""proxyConfig": {"http": "http://a.test:1"}, "parentProxy": {"https": "http://b.test:2"}"#,
            "proxyConfig.http",
            "parentProxy.https",
        ),
        (
            r#""httpProxyPort": 1, "proxyConfig": {"socks": "socks5://b.test:2"}"#,
            "proxyConfig.socks",
            "httpProxyPort",
        ),
        (
            r#""socksProxyPort": 1, "parentProxy": {"http": "http://b.test:2"}"#,
            "socksProxyPort",
            "parentProxy.http",
        ),
    ] {
        let shown = show(
            &try_compile(&format!(r#"{{"network": {{{members}}}}}"#))
                .expect_err(members)
                .diagnostics,
        );
        let expected = format!("network.{first} and network.{second} both name the proxy");
        assert!(shown[0].contains(&expected), "{shown:?}");
    }
}
