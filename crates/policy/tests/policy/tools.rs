//! Which tools may be listed and called.

use srt_policy::{McpAudit, Origin};

use crate::support::policy;

fn check(rules: &str, table: &[(&str, bool)]) {
    let tools = policy(&format!("{{\"mcp\": {{\"tools\": {rules}}}}}")).tools;
    assert!(tools.judges());
    for (name, allowed) in table {
        assert_eq!(tools.decide(name).is_ok(), *allowed, "{rules} of {name:?}");
    }
}

#[test]
fn an_entry_is_a_pattern_of_the_whole_name_and_deny_wins() {
    check(
        r#"{"allow": ["read_*", "get{,_all}", "x?", "a[bc]", "ns/*"]}"#,
        &[
            ("read_file", true),
            ("read_", true),
            ("Read_file", false),
            ("unread_file", false),
            ("get", true),
            ("get_all", true),
            ("get_some", false),
            ("xy", true),
            ("xyz", false),
            ("ab", true),
            ("ad", false),
            ("ns/a/b", true),
            ("", false),
        ],
    );
    check(
        r#"{"allow": ["*"], "deny": ["*_secret", "drop"]}"#,
        &[("get", true), ("get_secret", false), ("drop", false)],
    );
    check(r#"{"allow": []}"#, &[("anything", false)]);
}

#[test]
fn a_denied_tool_is_denied_under_names_that_are_read_the_same() {
    check(
        r#"{"deny": ["delete_file", "rm*"]}"#,
        &[
            ("delete_file", false),
            ("DELETE_file", false),
            (" delete_file", false),
            ("delete_file\t", false),
            ("Rmdir", false),
            ("delete_files", true),
            ("repo: read", true),
            // Full width, a letter of another alphabet, what is not seen.
            ("ｄelete_file", false),
            ("dеlete_file", false),
            ("delete_file\u{200b}", false),
            ("größe", false),
        ],
    );
    check(
        r#"{"allow": ["*"], "deny": ["LÖSCH[EA]", "drop\\*"]}"#,
        &[
            ("lösche", false),
            ("LöschA", false),
            ("löscho", true),
            ("DROP*", false),
            ("dropx", true),
        ],
    );
    // Whoever allows it has seen it.
    check(
        r#"{"allow": ["größe"], "deny": ["delete_file"]}"#,
        &[("größe", true)],
    );
}

#[test]
fn a_denial_names_its_rule_and_where_it_is_written() {
    let tools = policy("{\"mcp\": {\"tools\": {\"deny\": [\n \"drop\"]}}}").tools;
    let denial = tools.decide("Drop").expect_err("it is denied");
    assert_eq!(denial.reason, "mcp.tools.deny has \"drop\"");
    let Some((key, text, Origin::File { line: 2, .. })) = denial.rule else {
        panic!("{denial:?}")
    };
    assert_eq!((key, text.as_str()), ("mcp.tools.deny", "drop"));
    let tools = policy("{\"mcp\": {\"tools\": {\"allow\": [\"a\"]}}}").tools;
    let denial = tools.decide("b").expect_err("it is not allowed");
    assert_eq!(denial.rule, None);
    assert!(denial.reason.contains("mcp.tools.allow"), "{denial:?}");
}

#[test]
fn without_rules_nothing_is_judged_and_calls_are_recorded_without_contents() {
    let plain = policy("{}");
    assert!(!plain.tools.judges());
    assert!(plain.tools.decide("größe\u{200b}").is_ok());
    assert_eq!(plain.audit.mcp, McpAudit::Calls);
    assert!(policy("{\"mcp\": {\"pinTools\": true}}").tools.judges());
    for (word, audit) in [("off", McpAudit::Off), ("full", McpAudit::Full)] {
        let policy = policy(&format!("{{\"audit\": {{\"mcp\": {word:?}}}}}"));
        assert_eq!(policy.audit.mcp, audit);
    }
    let shown: Vec<String> = policy(
        "{\"mcp\": {\"tools\": {\"allow\": [], \"deny\": [\"b\", \"a\"]}, \"pinTools\": true}, \"audit\": {\"mcp\": \"off\"}}",
    )
    .lines()
    .iter()
    .filter(|line| line.key.contains("mcp"))
    .map(|line| format!("{}={}", line.key, line.value))
    .collect();
    assert_eq!(
        shown,
        [
            "mcp.tools.allow=(none)",
            "mcp.tools.deny=a",
            "mcp.tools.deny=b",
            "mcp.pinTools=true",
            "audit.mcp=off",
        ]
    );
}
