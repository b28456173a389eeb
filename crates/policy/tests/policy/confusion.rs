//! Tricks by which one text is a host to one program and another host to the next. Each has one reading here, in a
//! request and in a pattern, or none.

use srt_policy::{Decision, Host, Target};

use crate::support::{network, permit, show, try_compile};

/// Text, and the host that it is.
const READ: &[(&str, &str)] = &[
    // Case and the dot at the end.
    ("EXAMPLE.com", "example.com"),
    ("example.com.", "example.com"),
    ("eXaMpLe.CoM.", "example.com"),
    ("LOCALHOST", "localhost"),
    ("localhost.", "localhost"),
    // Full stops that are no ASCII (UTS 46 takes U+3002, U+FF0E and U+FF61 for dots).
    ("example。com", "example.com"),
    ("example．com", "example.com"),
    ("example｡com", "example.com"),
    ("example.com。", "example.com"),
    ("EXAMPLE。COM。", "example.com"),
    ("localhost。", "localhost"),
    // Letters that are mapped to ASCII ones.
    ("ｅｘａｍｐｌｅ.com", "example.com"),
    ("Ａ.com", "a.com"),
    ("𝐞𝐱𝐚𝐦𝐩𝐥𝐞.com", "example.com"),
    ("\u{212a}.com", "k.com"),
    ("ﬁ.com", "fi.com"),
    ("ⅷ.com", "viii.com"),
    ("℡.com", "tel.com"),
    ("㏕.com", "mil.com"),
    // What cannot be seen.
    ("exam\u{ad}ple.com", "example.com"),
    ("exam\u{200b}ple.com", "example.com"),
    ("local\u{ad}host", "localhost"),
    ("\u{feff}example.com", "example.com"),
    ("example.com\u{feff}", "example.com"),
    // IDNA, non-transitional, in both forms.
    ("bücher.ch", "xn--bcher-kva.ch"),
    ("BÜCHER.CH", "xn--bcher-kva.ch"),
    ("XN--BCHER-KVA.CH", "xn--bcher-kva.ch"),
    ("xn--bcher-kva.ch.", "xn--bcher-kva.ch"),
    ("ß.de", "xn--zca.de"),
    ("xn--fa-hia.de", "xn--fa-hia.de"),
    ("ς.gr", "xn--3xa.gr"),
    ("σ.gr", "xn--4xa.gr"),
    ("a\u{301}.com", "xn--1ca.com"),
    ("á.com", "xn--1ca.com"),
    ("☃.net", "xn--n3h.net"),
    ("💩.la", "xn--ls8h.la"),
    ("xn--ls8h.la", "xn--ls8h.la"),
    ("א1.com", "xn--1-zhc.com"),
    ("a.א", "a.xn--4db"),
    // Letters that only look like others stay others.
    ("аррӏе.com", "xn--80ak6aa92e.com"),
    ("xn--80ak6aa92e.com", "xn--80ak6aa92e.com"),
    ("ı.com", "xn--cfa.com"),
    ("İ.com", "xn--i-9bb.com"),
    ("½.com", "xn--12-c6t.com"),
    // Underscores and hyphens resolve, so they are read.
    ("_dmarc.example.com", "_dmarc.example.com"),
    ("-a.com", "-a.com"),
    ("a-.com", "a-.com"),
    // IPv4 as inet_aton(3) reads it, in digits of any kind.
    ("127.0.0.1.", "127.0.0.1"),
    ("127.1", "127.0.0.1"),
    ("127.0.1", "127.0.0.1"),
    ("1.2.3", "1.2.0.3"),
    ("1.2.65535", "1.2.255.255"),
    ("2130706433", "127.0.0.1"),
    ("017700000001", "127.0.0.1"),
    ("0177.0.0.1", "127.0.0.1"),
    ("00000177.0.0.1", "127.0.0.1"),
    ("0127.0.0.1", "87.0.0.1"),
    ("0x7f000001", "127.0.0.1"),
    ("0X7F.0x0.0.1", "127.0.0.1"),
    ("127.0.0.0x1", "127.0.0.1"),
    ("0x.0x.0x.0x", "0.0.0.0"),
    ("0", "0.0.0.0"),
    ("１２７．１", "127.0.0.1"),
    ("127。0。0。1", "127.0.0.1"),
    ("127｡1", "127.0.0.1"),
    ("①②⑦.0.0.1", "127.0.0.1"),
    ("0ｘ7f.1", "127.0.0.1"),
    ("０x7f000001", "127.0.0.1"),
    ("12\u{ad}7.0.0.1", "127.0.0.1"),
    // Numbers in front of a name are labels, and so is what is no number.
    ("127.0.0.1.example.com", "127.0.0.1.example.com"),
    ("1e3.example.com", "1e3.example.com"),
    ("0b1.com", "0b1.com"),
    // IPv6; an IPv4 that is mapped into it is that IPv4.
    ("[::1]", "[::1]"),
    ("[0:0:0:0:0:0:0:1]", "[::1]"),
    ("[::]", "[::]"),
    ("[2001:DB8:0:0::1]", "[2001:db8::1]"),
    ("[::ffff:127.0.0.1]", "127.0.0.1"),
    ("[::FFFF:7F00:1]", "127.0.0.1"),
    ("[0:0:0:0:0:ffff:169.254.169.254]", "169.254.169.254"),
    ("[::127.0.0.1]", "[::7f00:1]"),
    ("[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]"),
    ("[2002:7f00:1::]", "[2002:7f00:1::]"),
];

/// Text that is no host, and why.
const REFUSED: &[(&str, &str)] = &[
    // Userinfo.
    ("user@example.com", "user name"),
    ("user:secret@example.com", "user name"),
    ("example.com@evil.com", "user name"),
    ("@", "user name"),
    ("a＠b.com", "internationalised"),
    // Escapes and zones.
    ("ex%61mple.com", "percent"),
    ("example%2ecom", "percent"),
    ("example.com%00.evil.com", "percent"),
    ("%31%32%37.0.0.1", "percent"),
    ("a％b.com", "internationalised"),
    ("fe80::1%eth0", "percent"),
    ("fe80::1%25eth0", "percent"),
    ("[fe80::1%eth0]", "zone"),
    ("[::1%25lo]", "zone"),
    // What ends a text for some.
    ("example.com\0", "NUL"),
    ("example.com\0.evil.com", "NUL"),
    ("\0", "NUL"),
    ("example.com\r\nHost: evil.com", "space"),
    ("example.com\n", "space"),
    (" example.com", "space"),
    ("example.com\t", "space"),
    ("a\u{a0}b.com", "space"),
    ("a\u{2028}b.com", "space"),
    ("a\u{3000}b.com", "space"),
    ("a\u{1}b.com", "control"),
    ("a\u{7f}b.com", "control"),
    ("a\u{85}b.com", "space"),
    // Parts of a URL.
    ("http://example.com", "URL"),
    ("//example.com", "URL"),
    ("example.com/", "URL"),
    ("example.com/.evil.com", "URL"),
    ("example.com?x", "URL"),
    ("example.com#x", "URL"),
    ("evil.com\\example.com", "URL"),
    ("evil.com／example.com", "internationalised"),
    ("http:example.com", "colon"),
    ("example.com:443", "colon"),
    ("example.com:", "colon"),
    ("a：80", "internationalised"),
    // Brackets.
    ("[::1", "bracket"),
    ("[::1]x", "bracket"),
    ("[::1]:443", "bracket"),
    ("[]", "brackets"),
    ("[[::1]]", "brackets"),
    ("[example.com]", "brackets"),
    ("[127.0.0.1]", "brackets"),
    ("[v1.fe80]", "brackets"),
    ("[::ffff:127.1]", "brackets"),
    ("[::ffff:0177.0.0.1]", "brackets"),
    ("::1]", "colon"),
    ("1::2::3", "colon"),
    ("12345::", "colon"),
    ("::ffff:256.0.0.1", "colon"),
    // Labels.
    ("a..b", "empty label"),
    (".example.com", "empty label"),
    ("example.com..", "empty label"),
    ("127..1", "empty label"),
    (".", "empty"),
    ("\u{ad}", "empty"),
    ("a․b.com", "internationalised"),
    ("a﹒b.com", "internationalised"),
    // Numbers that are no IPv4.
    ("256.0.0.1", "number"),
    ("1.2.3.256", "number"),
    ("1.2.65536", "number"),
    ("1.2.3.4.5", "number"),
    ("4294967296", "number"),
    ("0127.0.0.08", "number"),
    ("1e3.1", "number"),
    ("example.0x7f", "number"),
    ("example.１", "number"),
    ("+127.0.0.1", "character"),
    // Characters.
    ("*", "character"),
    ("*.example.com", "character"),
    ("a,b.com", "character"),
    ("a;b.com", "character"),
    ("a=b.com", "character"),
    ("a'b.com", "character"),
    ("a\"b.com", "character"),
    ("a{b}.com", "character"),
    ("a!b.com", "character"),
    ("a$b.com", "character"),
    ("a(b).com", "character"),
    ("a~b.com", "character"),
    ("a`b.com", "character"),
    ("a<b.com", "internationalised"),
    ("a|b.com", "internationalised"),
    ("a^b.com", "internationalised"),
    // IDNA that is none: joiners out of place, no Punycode, mixed directions.
    ("exam\u{200c}ple.com", "internationalised"),
    ("exam\u{200d}ple.com", "internationalised"),
    ("xn--.com", "internationalised"),
    ("xn--a.com", "internationalised"),
    ("xn--example-.com", "internationalised"),
    ("1א.com", "internationalised"),
    ("\u{202e}moc.elpmaxe", "internationalised"),
];

#[test]
fn a_host_has_one_reading() {
    assert!(READ.len() + REFUSED.len() >= 160);
    for (text, expected) in READ {
        let host = Host::parse(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(host.to_string(), *expected, "{text:?}");
        assert_eq!(Host::parse(expected), Ok(host), "{text:?} reads back");
    }
    for (text, why) in REFUSED {
        match Host::parse(text) {
            Ok(host) => panic!("{text:?} was read as {host}"),
            Err(error) => assert!(error.why.contains(why), "{text:?}: {error}"),
        }
    }
    // Lengths: 63 in a label and 253 in all, counted in ASCII.
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    for (text, good) in [
        (longest.clone(), true),
        (format!("{longest}."), true),
        (format!("{longest}a"), false),
        (format!("{label}a.com"), false),
        (format!("{}.com", "ü".repeat(60)), false),
        (format!("{}.com", "\u{ad}".repeat(200)), false),
        (format!("{}a.com", "\u{ad}".repeat(200)), true),
        ("a.".repeat(126) + "a", true),
        ("a.".repeat(127) + "a", false),
    ] {
        assert_eq!(Host::parse(&text).is_ok(), good, "{text:?}");
    }
}

/// The same texts as entries of the lists: what is read means that host in both, what is not is an error in both.
#[test]
fn a_pattern_means_the_host_that_its_text_is() {
    let mut entries = 0;
    for (text, expected) in READ {
        let target = format!("{expected}:443");
        let single = !expected.contains(['.', ':']) && *expected != "localhost";
        if single || text.chars().any(char::is_control) {
            continue;
        }
        entries += 1;
        for entry in [(*text).to_owned(), format!("{text}:443")] {
            permit(&network(&json(&entry), ""), &target);
            let denied = network(&json(expected), &json(&entry));
            let host = Host::parse(expected).expect("a host");
            let decision = denied.decide(&Target { host, port: 443 });
            assert!(matches!(decision, Decision::Deny(_)), "{entry:?}");
        }
        if !expected.contains(':')
            && expected.parse::<std::net::Ipv4Addr>().is_err()
            && expected.contains('.')
        {
            entries += 1;
            let below = format!("a.{expected}:443");
            permit(&network(&json(&format!("*.{text}")), ""), &below);
        }
    }
    assert!(entries > 100, "{entries}");
    for (text, _) in REFUSED {
        for list in ["allowedDomains", "deniedDomains"] {
            // Some are patterns, with a port or an asterisk.
            if text.contains('*') || ["example.com:443", "[::1]:443"].contains(text) {
                continue;
            }
            let entry = json(text);
            let document = format!(r#"{{"network": {{"{list}": [{entry}]}}}}"#);
            match try_compile(&document) {
                Ok(_) => panic!("{text:?} was taken for a pattern of {list}"),
                Err(invalid) => {
                    let shown = show(&invalid.diagnostics);
                    assert!(shown.len() == 1 && shown[0].contains(" | "), "{shown:?}");
                }
            }
        }
    }
}

/// The text as a JSON string.
fn json(text: &str) -> String {
    let escaped: String = text
        .encode_utf16()
        .map(|unit| format!("\\u{unit:04x}"))
        .collect();
    format!("\"{escaped}\"")
}

/// `Host::parse` of what a host prints is that host, over texts put together from the pieces above.
#[test]
fn reading_twice_is_reading_once() {
    let pieces: Vec<&str> = READ
        .iter()
        .chain(REFUSED)
        .map(|(text, _)| *text)
        .chain([
            ".", "-", "xn--", "0x", "[", "]", "::", "ffff:", "%", "\u{ad}", "。", "１", "a",
        ])
        .collect();
    // A linear congruential generator (Knuth's constants): the same texts in every run.
    let mut seed = 5_u64;
    let mut draw = |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("31 bits") % below
    };
    let mut read = 0;
    for _ in 0..20_000 {
        let text: String = (0..=draw(4)).map(|_| pieces[draw(pieces.len())]).collect();
        if let Ok(host) = Host::parse(&text) {
            read += 1;
            let shown = host.to_string();
            assert_eq!(
                Host::parse(&shown),
                Ok(host),
                "{text:?} was read as {shown}"
            );
        }
    }
    assert!(read > 1000, "{read} texts were read");
}
