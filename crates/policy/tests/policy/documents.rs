//! What is wrong with a document is said with its place and its remedy.

use crate::support::{show, try_compile};

const TOP: &str = "$schema, version, extends, network, tls, strict, filesystem, credentials, runtime, limits, mcp, audit, git, ignoreViolations, enableWeakerNestedSandbox, enableWeakerNetworkIsolation, allowNestedUserNamespaces, allowAppleEvents, allowPty, mandatoryDenySearchDepth, bwrapPath, socatPath, ripgrep, seccomp, javaAgentJarPath, windows";

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let shown = match try_compile(text) {
        Ok(compiled) => show(&compiled.warnings),
        Err(invalid) => {
            assert!(
                invalid
                    .diagnostics
                    .iter()
                    .any(|d| d.severity == srt_policy::Severity::Error)
            );
            show(&invalid.diagnostics)
        }
    };
    assert_eq!(shown, expected, "{text}");
}

#[test]
fn comments_trailing_commas_and_a_byte_order_mark_are_accepted() {
    check("{}", &[]);
    check("\u{feff}{}", &[]);
    check(
        "// a\n{\r\n  /* b */ \"network\": {\"allowedDomains\": [\"a.com\",],},\n}\n",
        &[],
    );
}

#[test]
fn what_is_not_json_is_refused_with_its_place() {
    const HINT: &str = "settings are JSON; comments and trailing commas are accepted, names and strings stand in double quotes";
    check(
        "",
        &["1:1 error: the document is empty | write {} for the built-in default"],
    );
    check(
        "[]",
        &[
            "1:1 error: a settings file is one JSON object, not a list | begin with { and end with }",
        ],
    );
    check(
        "\n  null",
        &["2:3 error: a settings file is one JSON object, not null | begin with { and end with }"],
    );
    check(
        "{\"network\": {\n  \"é\": 1 \"b\": 2}}",
        &[&format!("2:9 error: not JSON: expected comma | {HINT}")],
    );
    check(
        "{network: {}}",
        &[&format!(
            "1:2 error: not JSON: expected string for object property | {HINT}"
        )],
    );
    check(
        "{'network': {}}",
        &[&format!(
            "1:2 error: not JSON: single-quoted strings are not allowed | {HINT}"
        )],
    );
    check(
        "{\"a\": ",
        &[&format!(
            "1:7 error: not JSON: expected value after colon in object property | {HINT}"
        )],
    );
    check(
        "{} {}",
        &[&format!(
            "1:4 error: not JSON: text cannot contain more than one JSON value | {HINT}"
        )],
    );
}

#[test]
fn input_is_bounded() {
    let long = format!("{{\"x\": \"{}\"}}", "a".repeat(1 << 20));
    check(
        &long,
        &[&format!(
            "1:1 error: the document has {} bytes, more than 1048576 | split it into one file per server",
            long.len()
        )],
    );
    let deep = format!(
        "{{\"ripgrep\": {}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let invalid = try_compile(&deep).expect_err("too deep");
    assert!(show(&invalid.diagnostics)[0].contains("maximum nesting depth exceeded"));
    // Many findings on one long line stay cheap to place, and are cut off.
    let many = format!(
        "{{\"network\": {{\"allowedDomains\": [{}]}}}}",
        vec!["\"\""; 200_000].join(",")
    );
    let invalid = try_compile(&many).expect_err("empty names");
    assert_eq!(invalid.diagnostics.len(), 201);
    let last = invalid.diagnostics.last().expect("a last one");
    assert_eq!(last.message, "199800 more findings are not shown");
}

#[test]
fn unknown_keys_name_their_nearest() {
    check(
        r#"{"filesystem": {"denyread": []}}"#,
        &["1:17 error: unknown key filesystem.denyread | did you mean \"denyRead\"?"],
    );
    check(
        r#"{"netwrok": {}}"#,
        &["1:2 error: unknown key netwrok | did you mean \"network\"?"],
    );
    check(
        r#"{"allowedDomains": []}"#,
        &["1:2 error: unknown key allowedDomains | \"allowedDomains\" belongs in \"network\""],
    );
    check(
        r#"{"network": {"allowPty": true}}"#,
        &["1:14 error: unknown key network.allowPty | \"allowPty\" belongs at the top of the file"],
    );
    check(
        r#"{"envstrip": []}"#,
        &["1:2 error: unknown key envstrip | did you mean \"runtime.envStrip\"?"],
    );
    check(
        r#"{"runtime": {"zzzzzzzz": 1}}"#,
        &[
            "1:14 error: unknown key runtime.zzzzzzzz | known here: envStrip, maxFileDescriptors, maxProcesses, memoryMax, maxFileSize, timeoutSeconds, restart, healthTimeout, warm, limits, cpuQuota",
        ],
    );
    check(
        r#"{"network.allowedDomains": []}"#,
        &[&format!(
            "1:2 error: unknown key network.allowedDomains | known here: {TOP}"
        )],
    );
    check(
        r#"{"network": {"tlsTerminate": {"caCert": ""}}}"#,
        &[
            "1:14 error: network.tlsTerminate is not enforced yet: ignoring it would weaken the sandbox | remove it to accept that encrypted traffic to allowed hosts passes unread, or take the hosts in question out of network.allowedDomains",
            "1:31 error: unknown key network.tlsTerminate.caCert | did you mean \"caCertPath\"?",
        ],
    );
    check(
        r#"{"credentials": {"envVars": [{"nam": "X", "mode": "deny"}]}}"#,
        &[
            "1:30 error: an entry of credentials.envVars has no \"name\"",
            "1:31 error: unknown key credentials.envVars[].nam | did you mean \"name\"?",
        ],
    );
    check(
        r#"{"filesystem": {"denyRead": [{"path": "/x", "glob": true}, {}]}}"#,
        &[
            "1:45 error: unknown key filesystem.denyRead[].glob | write \"PATH\" or { \"path\": \"PATH\", \"literal\": true }",
            "1:60 error: an entry of filesystem.denyRead has no \"path\" | write \"PATH\" or { \"path\": \"PATH\", \"literal\": true }",
        ],
    );
}

#[test]
fn unknown_values_name_their_nearest() {
    check(
        r#"{"filesystem": {"mode": "Minmal"}}"#,
        &["1:25 error: \"Minmal\" is no value of filesystem.mode | did you mean \"minimal\"?"],
    );
    check(
        r#"{"filesystem": {"mode": "private"}}"#,
        &[
            "1:25 error: \"private\" is no value of filesystem.mode | write \"shared\" (what is not denied can be read) or \"minimal\" (what is not named cannot)",
        ],
    );
    check(
        r#"{"runtime": {"restart": "onfailure", "limits": "besteffort", "cpuQuota": 50}, "audit": {"mcp": "call"}}"#,
        &[
            "1:25 error: \"onfailure\" is no value of runtime.restart | did you mean \"on-failure\"?",
            "1:48 error: \"besteffort\" is no value of runtime.limits | did you mean \"best-effort\"?",
            "1:74 error: \"50\" is no value of runtime.cpuQuota | write whole percents of one CPU, such as \"50%\", or \"200%\" for two CPUs",
            "1:96 error: \"call\" is no value of audit.mcp | did you mean \"calls\"?",
        ],
    );
    check(
        r#"{"credentials": {"files": [{"path": "/x", "mode": "deny_"}]}, "strict": "ture"}"#,
        &[
            "1:51 error: \"deny_\" is no value of credentials.files[].mode | did you mean \"deny\"?",
            "1:73 error: strict must be true or false, not a string | write true without the quotes",
        ],
    );
    check(
        r#"{"network": {"allowedDomains": ["locahost:80", "*.github.con:443", "api.corp.lan"]}}"#,
        &[
            "1:33 error: \"locahost:80\" in network.allowedDomains is a single label | did you mean \"localhost:80\"?",
            "1:48 warning: \"*.github.con:443\" in network.allowedDomains has a top-level domain that does not exist | did you mean \"*.github.com:443\"?",
        ],
    );
}

#[test]
fn wrong_types_say_what_would_be_right() {
    check(
        r#"{"network": []}"#,
        &["1:13 error: network must be an object, not a list"],
    );
    check(
        r#"{"network": null}"#,
        &[
            "1:13 error: network must be an object, not null | remove the key: absent means its default",
        ],
    );
    check(
        r#"{"network": {"allowedDomains": "a.com"}}"#,
        &[
            "1:32 error: network.allowedDomains must be a list of strings, not a string | write [\"a.com\"]",
        ],
    );
    check(
        r#"{"network": {"allowedDomains": ["a.com", 1]}}"#,
        &["1:42 error: an entry of network.allowedDomains must be a string, not a number"],
    );
    check(
        r#"{"network": {"enforceAllowlist": "true"}}"#,
        &[
            "1:34 error: network.enforceAllowlist must be true or false, not a string | write true without the quotes",
        ],
    );
    check(
        r#"{"runtime": {"maxFileDescriptors": "1024"}}"#,
        &[
            "1:36 error: runtime.maxFileDescriptors must be a whole number, not a string | write 1024 without the quotes",
        ],
    );
    check(
        r#"{"runtime": {"maxFileDescriptors": 0}}"#,
        &["1:36 error: runtime.maxFileDescriptors must be a whole number from 1, not 0"],
    );
    check(
        r#"{"runtime": {"maxFileDescriptors": -1.5}}"#,
        &["1:36 error: runtime.maxFileDescriptors must be a whole number from 1, not -1.5"],
    );
    check(
        r#"{"filesystem": {"allowRead": "~"}}"#,
        &["1:30 error: filesystem.allowRead must be a list of paths, not a string | write [\"~\"]"],
    );
    check(
        r#"{"filesystem": {"allowRead": [true]}}"#,
        &[
            "1:31 error: an entry of filesystem.allowRead must be a path, not true or false | write \"PATH\" or { \"path\": \"PATH\", \"literal\": true }",
        ],
    );
    check(
        r#"{"filesystem": {"allowRead": [{"path": 1, "literal": "yes"}]}}"#,
        &[
            "1:40 error: filesystem.allowRead[].path must be a string, not a number",
            "1:54 error: filesystem.allowRead[].literal must be true or false, not a string | write true without the quotes",
        ],
    );
    check(
        r#"{"credentials": {"files": ["x"]}}"#,
        &["1:28 error: an entry of credentials.files must be an object, not a string"],
    );
    check(
        r#"{"ignoreViolations": {"*": "x"}}"#,
        &[
            "1:28 error: ignoreViolations for \"*\" must be a list of strings, not a string | write [\"x\"]",
        ],
    );
}

#[test]
fn repeated_keys_are_refused() {
    const KEEP: &str = "keep one of them, with the values of both";
    check(
        r#"{"network": {}, "network": {}}"#,
        &[&format!("1:17 error: network is given twice | {KEEP}")],
    );
    check(
        r#"{"network": {"allowedDomains": [], "allowedDomains": []}}"#,
        &[&format!(
            "1:36 error: network.allowedDomains is given twice | {KEEP}"
        )],
    );
    check(
        r#"{"network": {"deniedDomains": ["a.com"], "deniedDomainReasons": {"a.com": "x", "a.com": "y"}}}"#,
        &[&format!(
            "1:80 error: network.deniedDomainReasons for \"a.com\" is given twice | {KEEP}"
        )],
    );
    check(
        r#"{"filesystem": {"denyRead": [{"path": "a", "path": "b"}]}}"#,
        &[&format!(
            "1:44 error: filesystem.denyRead[].path is given twice | {KEEP}"
        )],
    );
}

#[test]
fn all_findings_come_in_the_order_of_the_document() {
    check(
        "{\n  \"filesystem\": { \"denyRead\": [\"*.pem\"] },\n  // ünïcode\n  \"nétwork\": 1,\n  \"network\": { \"allowedDomains\": [\"é é\", \"*\"] }\n}",
        &[
            "2:32 warning: \"*.pem\" in filesystem.denyRead is about the working directory alone, not about the folders in it | write \"**/*.pem\" for any depth, or \"./*.pem\" if this is what you want",
            "4:3 error: unknown key \"nétwork\" | did you mean \"network\"?",
            "5:35 error: \"é é\" in network.allowedDomains contains a space or control character | write one host per entry, without spaces",
            "5:42 error: \"*\" in network.allowedDomains would allow every host | name the hosts, such as \"example.com\" or \"*.example.com\"; \"*\" is accepted in network.deniedDomains only",
        ],
    );
}

#[test]
fn the_first_finding_is_the_errors_text() {
    let invalid = try_compile("{\n \"netwrok\": {}}").expect_err("unknown key");
    assert_eq!(
        invalid.to_string(),
        "/home/ada/.srt-settings.json:2:2: unknown key netwrok"
    );
    // A warning in front does not hide it.
    let invalid = try_compile("{\"allowPty\": true,\n \"netwrok\": {}}").expect_err("unknown key");
    assert_eq!(
        invalid.to_string(),
        "/home/ada/.srt-settings.json:2:2: unknown key netwrok"
    );
}

#[test]
fn places_are_right_far_into_a_long_line() {
    let text = format!("/* {} */ {{\"x\": 1}}", "é".repeat(5000));
    check(
        &format!("\n{text}"),
        &[&format!(
            "2:{} error: unknown key x | known here: {}",
            5009, TOP
        )],
    );
}

#[test]
fn a_finding_prints_as_compilers_do() {
    let invalid = try_compile("{\"netwrok\": {}}").expect_err("unknown key");
    let printed: Vec<String> = invalid
        .diagnostics
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        printed,
        [
            "/home/ada/.srt-settings.json:1:2: error: unknown key netwrok\nhint: did you mean \"network\"?"
        ]
    );
}

/// Every prefix of real settings, and many damaged ones: a finding or a policy, never a panic.
#[test]
fn no_document_panics() {
    const TEXT: &str = r#"{"network": {"allowedDomains": ["é.com:1", "*.b.com", "[::1]:3"], "proxyConfig": {"http": "http://[::1]:8"}},
        "filesystem": {"denyRead": ["~/a/**", {"path": "/b[", "literal": true}]}, "credentials": {"files": [{"path": "~"}]}} // x"#;
    for (end, _) in TEXT.char_indices() {
        drop(try_compile(&TEXT[..end]));
    }
    let alphabet: Vec<char> = "{}[]\",:*/.~-0é\\ \u{0}\u{feff}\n".chars().collect();
    // A linear congruential generator (Knuth's constants): the same damage in every run.
    let mut seed = 1_u64;
    let mut draw = |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("31 bits") % below
    };
    for _ in 0..3000 {
        let mut characters: Vec<char> = TEXT.chars().collect();
        for _ in 0..=draw(4) {
            let at = draw(characters.len());
            characters[at] = alphabet[draw(alphabet.len())];
        }
        let text: String = characters.into_iter().collect();
        match try_compile(&text) {
            Ok(compiled) => drop(compiled.policy.lines()),
            Err(invalid) => assert!(!invalid.to_string().is_empty(), "{text}"),
        }
    }
}

/// A megabyte of the worst kind takes about as long as a megabyte of any other.
#[test]
fn hostile_documents_are_not_costly() {
    let started = std::time::Instant::now();
    let unknown: String = (0..90_000).map(|n| format!("\"{n}\":1,")).collect();
    let invalid = try_compile(&format!("{{{unknown}}}")).expect_err("unknown keys");
    assert_eq!(invalid.diagnostics.len(), 201);
    let domains: String = (0..30_000).map(|n| format!("\"a{n}.com\",")).collect();
    let reasons: String = (0..30_000).map(|n| format!("\"b{n}.com\":\"\",")).collect();
    let compiled = try_compile(&format!(
        "{{\"network\":{{\"deniedDomains\":[{domains}],\"deniedDomainReasons\":{{{reasons}}}}}}}"
    ))
    .expect("warnings only");
    assert_eq!(compiled.warnings.len(), 201);
    let writes: String = (0..30_000).map(|n| format!("\"~/.ssh/{n}\",")).collect();
    drop(try_compile(&format!(
        "{{\"filesystem\":{{\"allowWrite\":[{writes}]}}}}"
    )));
    // Far above what it takes, and far below what a square would.
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
