//! A host as asked for has one reading.

use srt_policy::Host;

#[test]
fn hosts_have_one_form() {
    fn check(text: &str, expected: &str) {
        match Host::parse(text) {
            Ok(host) => {
                assert_eq!(host.to_string(), expected, "{text:?}");
                assert_eq!(
                    Host::parse(expected).as_ref(),
                    Ok(&host),
                    "{expected:?} reads back"
                );
            }
            Err(error) => panic!("{text:?} is a host: {error}"),
        }
    }
    // Names.
    check("example.com", "example.com");
    check("EXAMPLE.Com", "example.com");
    check("example.com.", "example.com");
    check("localhost", "localhost");
    check("my_service.example.com", "my_service.example.com");
    check("a--b.example.com", "a--b.example.com");
    check("bücher.ch", "xn--bcher-kva.ch");
    check("BÜCHER.ch", "xn--bcher-kva.ch");
    check("xn--bcher-kva.ch", "xn--bcher-kva.ch");
    check("faß.de", "xn--fa-hia.de");
    check("example。com", "example.com"); // U+3002, a full stop to UTS 46
    check("ｅｘａｍｐｌｅ.com", "example.com");
    check("1.2.3.4.example.com", "1.2.3.4.example.com");
    check("0x7f.example", "0x7f.example");
    check("1a", "1a");
    check(
        &format!("{}.com", "a".repeat(63)),
        &format!("{}.com", "a".repeat(63)),
    );
    // inet_aton(3).
    for loopback in [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "0x7f.1",
        "0X7F.0.0.1",
        "017700000001",
        "0177.0.0.01",
        "2130706433",
        "0x7f000001",
        "127.0.0.1.",
        "１２７.0.0.1",
        "0x7f.0x0.0x0.0x1",
    ] {
        check(loopback, "127.0.0.1");
    }
    check("0", "0.0.0.0");
    check("0x", "0.0.0.0");
    check("1.0xffffff", "1.255.255.255");
    check("4294967295", "255.255.255.255");
    // IPv6.
    check("::1", "[::1]");
    check("[::1]", "[::1]");
    check("[2001:DB8:0:0::1]", "[2001:db8::1]");
    check("::ffff:127.0.0.1", "127.0.0.1");
    check("[::ffff:7f00:1]", "127.0.0.1");
    check("64:ff9b::7f00:1", "[64:ff9b::7f00:1]");
}

#[test]
fn what_is_no_host_is_refused() {
    fn check(text: &str, why: &str) {
        match Host::parse(text) {
            Ok(host) => panic!("{text:?} is no host, and was read as {host}"),
            Err(error) => assert!(
                error.why.contains(why),
                "{text:?}: {:?} does not say {why:?}",
                error.why
            ),
        }
    }
    check("", "empty");
    check(".", "empty");
    check("..", "empty");
    check("a..b", "empty label");
    check(".example.com", "empty label");
    check("example.com..", "empty label");
    check("a b.com", "space");
    check(" example.com", "space");
    check("example.com\n", "space");
    check("exam\u{1}ple.com", "control");
    check("example.com\0.evil.com", "NUL");
    check("user@example.com", "user name");
    check("user:pass@example.com", "user name");
    check("example.com:443", "port");
    check("[::1]:443", "bracket");
    check("[::1", "bracket");
    check("[example.com]", "brackets");
    check("[127.0.0.1]", "brackets");
    check("fe80::1%eth0", "percent");
    check("[fe80::1%25eth0]", "zone");
    check("ex%61mple.com", "percent");
    check("http://example.com", "URL");
    check("example.com/path", "URL");
    check("example.com\\x", "URL");
    check("example.com#x", "URL");
    check("*.example.com", "character");
    check("ex!ample.com", "character");
    check("a,b.com", "character");
    check("xn--\u{e4}.com", "internationalised");
    check(&format!("{}.com", "a".repeat(64)), "63");
    check(&["a"; 128].join("."), "253");
    check(&"a".repeat(5000), "253");
    // A number at the end makes it an address or nothing (WHATWG URL).
    for number in [
        "256.0.0.1",
        "1.2.3.4.5",
        "example.1",
        "example.0x1",
        "1.2.3.08",
        "99999999999",
        "0x1ffffffff",
        "4294967296",
        "1.16777216",
        "a.b.0x",
    ] {
        check(number, "number");
    }
}

#[test]
fn a_host_error_is_short() {
    let error = Host::parse(&"a".repeat(100_000)).expect_err("too long");
    assert!(error.to_string().len() < 200);
}
