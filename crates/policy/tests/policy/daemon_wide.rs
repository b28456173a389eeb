//! What counts in the user's own file alone.

use std::path::PathBuf;

use srt_policy::{Retain, Source, compile, daemon_settings};

use crate::support::{SETTINGS, facts, policy};

const ALL: &str = r#"{"audit": {
  "retain": "2w",
  "otlp": {"endpoint": "https://c.example.com:4318", "headers": {"authorization": "Bearer hidden"}},
  "anchor": {"syslog": true}
}}"#;

#[test]
fn the_users_file_says_it_and_the_secret_is_shown_nowhere() {
    let policy = policy(ALL);
    let daemon = &policy.daemon;
    assert_eq!(daemon.retain, Some(Retain::Hours(14 * 24)));
    assert!(daemon.anchor_syslog);
    let otlp = daemon.otlp.as_ref().expect("a collector");
    assert_eq!(otlp.endpoint, "https://c.example.com:4318");
    assert_eq!(
        otlp.headers,
        [("authorization".to_owned(), "Bearer hidden".to_owned())]
    );
    assert!(!format!("{daemon:?}").contains("hidden"));
    let lines: Vec<_> = policy
        .lines()
        .into_iter()
        .filter(|line| line.key.starts_with("audit."))
        .map(|line| format!("{}={} {}", line.key, line.value, line.origin))
        .collect();
    assert_eq!(
        lines,
        [
            format!("audit.retain=14d {SETTINGS}:2:13"),
            format!("audit.otlp.endpoint=https://c.example.com:4318 {SETTINGS}:3:24"),
            format!("audit.otlp.headers=authorization: (not shown) {SETTINGS}:3:66"),
            format!("audit.anchor.syslog=true {SETTINGS}:4:24"),
        ]
    );
}

#[test]
fn elsewhere_each_of_them_is_an_error_that_says_where_it_belongs() {
    let compiled = |path: &str, text: &str| {
        let source = Source {
            path: PathBuf::from(path),
            text: text.to_owned(),
        };
        compile(Some(&source), &facts())
    };
    // The same file by other names.
    for path in ["../.srt-settings.json", "/home/ada/x/../.srt-settings.json"] {
        assert!(compiled(path, ALL).is_ok(), "{path}");
    }
    for path in [
        "/home/ada/.config/srt/servers/git.json",
        ".srt-settings.json",
        "/home/ada/project/.srt.json",
    ] {
        let invalid = compiled(path, ALL).expect_err("it is the daemon's");
        let shown: Vec<_> = invalid
            .diagnostics
            .iter()
            .map(|finding| {
                assert_eq!(
                    finding.hint.as_deref(),
                    Some(
                        "write it in the user's own file, ~/.srt-settings.json, and remove it here"
                    )
                );
                format!("{}:{} {}", finding.line, finding.column, finding.message)
            })
            .collect();
        let about = "is about the daemon and all its servers: it does not count in this file";
        assert_eq!(
            shown,
            [
                format!("2:13 audit.retain {about}"),
                format!("3:24 audit.otlp.endpoint {about}"),
                format!("3:66 audit.otlp.headers {about}"),
                format!("4:24 audit.anchor.syslog {about}"),
            ],
            "{path}"
        );
    }
    // An empty section asks for nothing.
    assert!(compiled("/s.json", r#"{"audit": {"otlp": {}, "anchor": {}}}"#).is_ok());
}

#[test]
fn the_daemon_reads_them_from_that_file_alone_whatever_it_extends() {
    let read = |text: &str| {
        let source = Source {
            path: PathBuf::from(SETTINGS),
            text: text.to_owned(),
        };
        daemon_settings(&source, &facts().home)
    };
    let settings =
        read(r#"{"extends": ["./base.json"], "audit": {"retain": 1000}}"#).expect("fits");
    assert_eq!(settings.retain, Some(Retain::Entries(1000)));
    for wrong in [
        "",
        "{",
        r#"{"audit": {"retain": true}}"#,
        r#"{"audti": {}}"#,
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}
