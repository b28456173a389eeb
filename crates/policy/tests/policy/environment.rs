//! Which variables are passed on.

use std::collections::BTreeMap;

use crate::support::{policy, show, try_compile};

#[test]
fn only_the_baseline_and_what_is_named_passes() {
    #[track_caller]
    fn check(settings: &str, offered: &[&str], named: &[&str], passed: &[&str], left_out: &[&str]) {
        let offered: BTreeMap<String, String> = offered
            .iter()
            .map(|name| ((*name).to_owned(), format!("value of {name}")))
            .collect();
        let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
        let selection = policy(settings).environment.select(&offered, &named);
        assert_eq!(selection.passed.keys().collect::<Vec<_>>(), passed);
        assert_eq!(selection.left_out, left_out);
        assert!(
            selection
                .passed
                .iter()
                .all(|(name, value)| *value == format!("value of {name}"))
        );
        assert!(
            !format!("{selection:?}").contains("value of"),
            "Debug shows no value"
        );
    }
    let all = [
        "HOME", "LANG", "LC_ALL", "LC_TIME", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ",
        "USER",
    ];
    check("{}", &all, &[], &all, &[]);
    check(
        "{}",
        &["PATH", "API_KEY", "LCX", "Path"],
        &[],
        &["PATH"],
        &["API_KEY", "LCX", "Path"],
    );
    check(
        "{}",
        &["PATH", "API_KEY"],
        &["API_KEY", "ABSENT"],
        &["API_KEY", "PATH"],
        &[],
    );
    let strip = r#"{"runtime": {"envStrip": ["API_KEY", "TZ"]}, "credentials": {"envVars": [{"name": "TOKEN", "mode": "deny"}]}}"#;
    check(
        strip,
        &["API_KEY", "PATH", "TOKEN", "TZ"],
        &["API_KEY", "TOKEN"],
        &["PATH"],
        &["API_KEY", "TOKEN", "TZ"],
    );
    check("{}", &["", "A=B"], &["", "A=B"], &[], &["", "A=B"]);
}

#[test]
fn names_that_would_strip_nothing_are_refused() {
    for name in ["", "AWS_*", "$TOKEN", "A=B", " A"] {
        let invalid = try_compile(&format!(r#"{{"runtime": {{"envStrip": ["{name}"]}}}}"#))
            .expect_err("no name");
        let shown = show(&invalid.diagnostics);
        assert!(shown[0].contains("is no name of a variable"), "{shown:?}");
    }
}
