//! Rules about requests, TLS and the log, and the rules that allow more than they seem to.

use srt_policy::AmbiguousTarget;

use crate::support::{permit, policy, show, try_compile};

#[test]
fn request_rules_are_what_the_file_says() {
    let none = policy("{}").network;
    assert!(!none.requests().require_host_match && !none.requests().refuse_opaque_tunnels);
    assert_eq!(none.requests().ambiguous_target, AmbiguousTarget::Refuse);
    assert!(none.requests().strip_response_headers.is_empty());
    assert!(none.records_denials());
    let all = policy(
        r#"{"network": {"requireHostMatch": true, "refuseOpaqueTunnels": true, "logDroppedConnections": false,
        "stripResponseHeaders": ["Set-Cookie", "x_internal.id", "set_cookie"], "ambiguousRequestTarget": "asSpelled"}}"#,
    )
    .network;
    let rules = all.requests();
    assert!(rules.require_host_match && rules.refuse_opaque_tunnels && !all.records_denials());
    assert_eq!(
        rules.strip_response_headers,
        ["set-cookie", "x-internal-id"]
    );
    assert_eq!(rules.ambiguous_target, AmbiguousTarget::AsSpelled);
    for (header, stripped) in [
        ("set-cookie", true),
        ("SET_COOKIE", true),
        ("set.cookie", true),
        ("X-Internal-Id", true),
        ("set-cookie2", false),
        ("set-cooki", false),
        ("cookie", false),
        ("", false),
    ] {
        assert_eq!(rules.strips(header), stripped, "{header}");
    }
    let normal = policy(r#"{"network": {"ambiguousRequestTarget": "normalize"}}"#).network;
    assert_eq!(
        normal.requests().ambiguous_target,
        AmbiguousTarget::Normalise
    );
}

#[test]
fn what_makes_no_request_rule_is_refused() {
    #[track_caller]
    fn check(member: &str, why: &str) {
        let (section, member) = member.split_once('.').expect("a section");
        let text = format!(r#"{{"{section}": {{{member}}}}}"#);
        let shown = show(&try_compile(&text).expect_err(&text).diagnostics);
        assert!(
            shown.iter().any(|line| line.contains(" error: ")
                && line.contains(why)
                && line.contains(" | ")),
            "{shown:?}"
        );
    }
    for framing in [
        "content-length",
        "Content_Length",
        "transfer-encoding",
        "Connection",
        "keep-alive",
        "trailer",
        "upgrade",
        "te",
        "proxy-connection",
    ] {
        check(
            &format!(r#"network."stripResponseHeaders": ["{framing}"]"#),
            "where a response ends",
        );
    }
    for none in ["", "set cookie", "set-cookie:", "a\\nb", "a,b", "é", "(x)"] {
        check(
            &format!(r#"network."stripResponseHeaders": ["{none}"]"#),
            "no name of a header",
        );
    }
    check(
        r#"network."ambiguousRequestTarget": "asspelled""#,
        r#"did you mean "asSpelled"?"#,
    );
    check(r#"network."ambiguousRequestTarget": """#, "no value of");
    check(
        r#"network."requireHostMatch": "true""#,
        "without the quotes",
    );
    check(
        r#"tls."ech": "deny""#,
        r#"write "allow" (it passes) or "refuse" (a ClientHello"#,
    );
    check(r#"tls."requireSni": "yes" , "x": 1"#, "unknown key tls.x");
}

#[test]
fn what_tls_hides_is_said() {
    let compiled = try_compile(
        r#"{"network": {"requireHostMatch": true, "stripResponseHeaders": ["set-cookie"], "refuseOpaqueTunnels": true}}"#,
    )
    .expect("compiles");
    let shown = show(&compiled.warnings);
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert!(
        shown[0]
            .starts_with("1:34 warning: network.requireHostMatch holds for requests in plain text")
    );
    assert!(shown[1].contains("network.stripResponseHeaders holds for responses in plain text"));
    assert!(shown[2].contains("only HTTP in plain text passes"));
    for quiet in [
        r#""requireHostMatch": false, "stripResponseHeaders": [], "refuseOpaqueTunnels": false"#,
        r#""ambiguousRequestTarget": "refuse", "allowPlaintextHeaderSet": true"#,
    ] {
        let compiled = try_compile(&format!(r#"{{"network": {{{quiet}}}}}"#)).expect(quiet);
        assert!(compiled.warnings.is_empty(), "{quiet}");
    }
}

#[test]
fn tls_must_name_its_server_where_a_wildcard_allowed_it() {
    #[track_caller]
    fn check(tls: &str, text: &str, sni: bool, refuses_ech: bool) {
        let network = policy(&format!(
            r#"{{"network": {{"allowedDomains": ["*.example.com", "a.example.org", "192.0.2.1"]}}, "tls": {{{tls}}}}}"#
        ))
        .network;
        let permit = permit(&network, text);
        assert_eq!(permit.requires_sni(), sni, "{tls} {text}");
        assert_eq!(permit.refuses_ech(), refuses_ech, "{tls} {text}");
    }
    check("", "a.example.com:443", true, false);
    check("", "a.example.org:443", false, false);
    check("", "192.0.2.1:443", false, false);
    check(r#""requireSni": true"#, "a.example.org:443", true, false);
    // RFC 6066 has no SNI for addresses.
    check(r#""requireSni": true"#, "192.0.2.1:443", false, false);
    check(r#""requireSni": false"#, "a.example.com:443", false, false);
    check(r#""ech": "refuse""#, "a.example.org:443", false, true);
    check(r#""ech": "allow""#, "a.example.com:443", true, false);
}

#[test]
fn a_wildcard_of_a_public_suffix_is_worth_a_warning() {
    #[track_caller]
    fn check(entry: &str, why: &str, hint: &str) {
        let text =
            |strict: &str| format!(r#"{{{strict}"network": {{"allowedDomains": [{entry:?}]}}}}"#);
        let compiled = try_compile(&text("")).expect("a warning alone");
        let shown = show(&compiled.warnings);
        assert_eq!(shown.len(), 1, "{entry}: {shown:?}");
        let expected = format!("{entry:?} in network.allowedDomains covers a public suffix, {why}");
        assert_eq!(shown[0], format!("1:33 warning: {expected} | {hint}"));
        let strict = try_compile(&text(r#""strict": true, "#)).expect_err("strict");
        assert_eq!(
            show(&strict.diagnostics),
            [format!(
                "1:49 error: {expected}; with \"strict\": true that is an error | {hint}"
            )]
        );
        let lax = try_compile(&text(r#""strict": false, "#)).expect("a warning alone");
        assert_eq!(lax.warnings.len(), 1);
        // Denying everybody's is nobody's loss.
        let denied = text("").replace("allowed", "denied");
        assert!(try_compile(&denied).expect("compiles").warnings.is_empty());
    }
    const REGISTRY: &str = "below which anybody can register a name";
    const COMPANY: &str = "below which a company gives out names to anybody";
    check(
        "*.co.uk",
        REGISTRY,
        r#"name the domain that you mean, such as "*.example.co.uk""#,
    );
    check(
        "*.CO.UK.:443",
        REGISTRY,
        r#"name the domain that you mean, such as "*.example.co.uk:443""#,
    );
    check(
        "*.github.io",
        COMPANY,
        r#"name the one that you mean, such as "example.github.io""#,
    );
    check(
        "*.s3.amazonaws.com",
        COMPANY,
        r#"name the one that you mean, such as "example.s3.amazonaws.com""#,
    );
    for narrow in [
        "*.example.com",
        "*.bbc.co.uk",
        "*.ada.github.io",
        "github.io",
        "ada.github.io",
        "*.corp.internal",
    ] {
        let text = format!(r#"{{"strict": true, "network": {{"allowedDomains": [{narrow:?}]}}}}"#);
        let compiled = try_compile(&text).expect(narrow);
        assert!(compiled.warnings.is_empty(), "{narrow}");
    }
    let observed = try_compile(r#"{"strict": true, "network": {"enforceAllowlist": false}}"#)
        .expect_err("everything is more than any suffix");
    let shown = show(&observed.diagnostics);
    assert!(
        shown[0].contains("error: with network.enforceAllowlist: false")
            && shown[0].contains("\"strict\""),
        "{shown:?}"
    );
}

#[test]
fn policy_show_has_a_line_for_each() {
    let shown: Vec<(String, String)> = policy(
        r#"{"strict": true, "tls": {"requireSni": true, "ech": "refuse"}, "network": {
        "ask": true, "askTimeoutSeconds": 5, "logDroppedConnections": false, "allowedUdp": ["a.example.com:123"],
        "parentProxy": {"http": "http://ada:hunter2@proxy.example:3128", "noProxy": "localhost, .example"},
        "requireHostMatch": true, "stripResponseHeaders": ["Set-Cookie"], "ambiguousRequestTarget": "refuse"}}"#,
    )
    .lines()
    .into_iter()
    .filter(|line| !matches!(line.origin, srt_policy::Origin::BuiltIn(_)))
    .map(|line| (line.key.to_owned(), line.value))
    .collect();
    let expected = [
        (
            "network.parentProxy.http",
            "http://ada:***@proxy.example:3128",
        ),
        ("network.parentProxy.noProxy", "localhost, .example"),
        ("network.ask", "true"),
        ("network.askTimeoutSeconds", "5"),
        ("network.logDroppedConnections", "false"),
        ("network.allowedUdp", "a.example.com:123"),
        ("network.stripResponseHeaders", "Set-Cookie"),
        ("network.requireHostMatch", "true"),
        ("network.ambiguousRequestTarget", "refuse"),
        ("tls.requireSni", "true"),
        ("tls.ech", "refuse"),
        ("strict", "true"),
    ];
    for (key, value) in expected {
        assert!(
            shown.contains(&(key.to_owned(), value.to_owned())),
            "{key} {value}: {shown:#?}"
        );
    }
    assert_eq!(shown.len(), expected.len(), "{shown:#?}");
}
