//! The effective policy, line by line.

use srt_policy::{Origin, compile};

use crate::support::{facts, policy};

#[test]
fn lines_come_in_the_order_of_the_keys_with_their_origin() {
    let policy = policy(
        "{\"runtime\": {\"envStrip\": [\"B\", \"A\"], \"maxFileDescriptors\": 64},\n \"filesystem\": {\"denyRead\": [\"/x\"]},\n \"network\": {\"allowedDomains\": [\"b.com\", \"a.com\"]}}",
    );
    let own: Vec<String> = policy
        .lines()
        .iter()
        .filter_map(|line| match &line.origin {
            Origin::File {
                line: row, column, ..
            } => Some(format!("{}={} @{row}:{column}", line.key, line.value)),
            Origin::BuiltIn(_) | Origin::Grant { .. } => None,
        })
        .collect();
    assert_eq!(
        own,
        [
            "network.allowedDomains=a.com @3:42",
            "network.allowedDomains=b.com @3:33",
            "filesystem.denyRead=/x @2:30",
            "runtime.envStrip=A @1:32",
            "runtime.envStrip=B @1:27",
            "runtime.maxFileDescriptors=64 @1:60",
        ]
    );
    let lines = policy.lines();
    for (key, value) in [
        ("filesystem.denyRead", "~/.ssh"),
        ("filesystem.allowWrite", "(none)"),
        ("network.deniedResolvedAddresses", "169.254.0.0/16"),
        ("built-in.protected", "/home/ada/.local/state/srt"),
        ("built-in.environment", "LC_*"),
    ] {
        assert!(
            lines.iter().any(|line| line.key == key
                && line.value == value
                && matches!(line.origin, Origin::BuiltIn(_))),
            "{key} {value}"
        );
    }
}

#[test]
fn a_digest_names_the_text() {
    let default = compile(None, &facts())
        .expect("the default compiles")
        .policy;
    assert_eq!(
        default.digest(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    assert_eq!((default.text(), default.source()), ("", None));
    assert!(!default.lines().is_empty());
    let empty = policy("{}");
    assert_eq!(
        empty.digest(),
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    );
    assert_eq!(empty.text(), "{}");
    assert_eq!(
        empty.source(),
        Some(std::path::Path::new(crate::support::SETTINGS))
    );
}
