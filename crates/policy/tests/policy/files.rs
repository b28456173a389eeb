//! Which file rule decides.

use std::path::{Path, PathBuf};

use srt_policy::{FileRuleKind, Origin, compile};

use crate::support::{facts, policy, show, try_compile};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum May {
    Nothing,
    Read,
    Write,
}
pub(crate) use May::{Nothing, Read, Write};

#[track_caller]
pub(crate) fn check(settings: &str, table: &[(&str, May)]) {
    let filesystem = policy(settings).filesystem;
    for (path, expected) in table {
        let path = Path::new(path);
        let read = filesystem.decide_read(path);
        let write = filesystem.decide_write(path);
        let may = match (read.allowed, write.allowed) {
            (false, false) => Nothing,
            (true, false) => Read,
            (true, true) => Write,
            (false, true) => panic!("{} may be written and not read", path.display()),
        };
        assert_eq!(
            may,
            *expected,
            "{settings}: {}: read by {:?}, write by {:?}",
            path.display(),
            read.rule,
            write.rule
        );
    }
}

#[test]
fn without_rules_nothing_is_written_and_no_credential_read() {
    check(
        "{}",
        &[
            ("/usr/bin/env", Read),
            ("/home/ada/project/x", Read),
            ("/tmp/x", Read),
            ("/home/ada/.ssh", Nothing),
            ("/home/ada/.ssh/id_ed25519", Nothing),
            ("/home/ada/project/../.ssh/id_ed25519", Nothing),
            ("/home/ada/.sshx", Read),
            ("/home/ada/.config/gh/hosts.yml", Nothing),
            ("/home/ada/.config/google-chrome/Default/Cookies", Nothing),
            ("/home/ada/.local/share/keyrings/login.keyring", Nothing),
            ("/home/ada/.local/state/srt/srt.db", Nothing),
            ("relative", Nothing),
        ],
    );
    let built_in = compile(None, &facts())
        .expect("the default compiles")
        .policy;
    assert!(
        !built_in
            .filesystem
            .decide_read(Path::new("/home/ada/.ssh/id"))
            .allowed
    );
    assert!(
        !built_in
            .filesystem
            .decide_write(Path::new("/home/ada/project"))
            .allowed
    );
    assert!(!built_in.network.allows_anything());
    let macos = srt_policy::Facts {
        macos: true,
        home: PathBuf::from("/Users/ada"),
        ..facts()
    };
    let source = srt_policy::Source {
        path: PathBuf::from("/Users/ada/.srt-settings.json"),
        text: "{}".to_owned(),
    };
    let macos = compile(Some(&source), &macos)
        .expect("it compiles")
        .policy
        .filesystem;
    assert!(
        !macos
            .decide_read(Path::new("/Users/ada/Library/Keychains/login.keychain-db"))
            .allowed
    );
    assert!(!macos.decide_read(Path::new("/Users/ada/.ssh/id")).allowed);
    assert!(macos.decide_read(Path::new("/Users/ada/.mozilla")).allowed);
}

#[test]
fn the_longest_rule_decides_on_reading() {
    check(
        r#"{"filesystem": {"allowRead": ["~"]}}"#,
        &[("/home/ada/.ssh/id", Nothing), ("/home/ada/x", Read)],
    );
    check(
        r#"{"filesystem": {"allowRead": ["/"]}}"#,
        &[("/home/ada/.ssh/id", Nothing)],
    );
    check(
        r#"{"filesystem": {"allowRead": ["~/.ssh"]}}"#,
        &[("/home/ada/.ssh/id", Read), ("/home/ada/.aws/x", Nothing)],
    );
    check(
        r#"{"filesystem": {"allowRead": ["~/.ssh/known_hosts"]}}"#,
        &[
            ("/home/ada/.ssh/known_hosts", Read),
            ("/home/ada/.ssh/id", Nothing),
        ],
    );
    check(
        r#"{"filesystem": {"denyRead": ["/home", "~/project/secret"], "allowRead": ["."]}}"#,
        &[
            ("/home/ada/project/x", Read),
            ("/home/ada/project/secret/x", Nothing),
            ("/home/ada/x", Nothing),
            ("/home", Nothing),
            ("/etc/hosts", Read),
        ],
    );
    check(
        r#"{"filesystem": {"denyRead": ["/data"], "allowRead": ["/data/"]}}"#,
        &[("/data/x", Read)],
    );
    check(
        r#"{"filesystem": {"allowRead": ["~/.local/state/srt", "~/.local/state/srt/srt.db"], "allowWrite": ["~"]}}"#,
        &[
            ("/home/ada/.local/state/srt/srt.db", Nothing),
            ("/home/ada/.local/state/other", Write),
        ],
    );
    check(
        r#"{"credentials": {"files": [{"path": "~/token", "mode": "deny"}]}}"#,
        &[("/home/ada/token", Nothing)],
    );
}

#[test]
fn a_denied_write_wins_and_a_hidden_path_is_not_written() {
    check(
        r#"{"filesystem": {"allowWrite": ["."], "denyWrite": [".env", "config"]}}"#,
        &[
            ("/home/ada/project/src/x", Write),
            ("/home/ada/project/.env", Read),
            ("/home/ada/project/config/x", Read),
            ("/home/ada/project/.srt-settings.json", Nothing),
            ("/home/ada/x", Read),
        ],
    );
    check(
        r#"{"filesystem": {"allowWrite": ["~", "~/.ssh", "/v/w"], "denyWrite": ["/v"], "denyRead": ["~/hidden"]}}"#,
        &[
            ("/home/ada/x", Write),
            ("/home/ada/.ssh/authorized_keys", Nothing),
            ("/home/ada/hidden/x", Nothing),
            ("/v/w/x", Read),
        ],
    );
    check(
        r#"{"filesystem": {"allowWrite": ["~/.ssh/known_hosts"], "allowRead": ["~/.ssh/known_hosts"]}}"#,
        &[
            ("/home/ada/.ssh/known_hosts", Write),
            ("/home/ada/.ssh/id", Nothing),
        ],
    );
}

#[test]
fn paths_mean_what_they_say() {
    #[track_caller]
    fn check(entry: &str, expected: &str) {
        let filesystem =
            policy(&format!(r#"{{"filesystem": {{"denyRead": [{entry}]}}}}"#)).filesystem;
        let rule = filesystem.rules().last().expect("a rule");
        assert_eq!(
            (rule.kind, rule.path.as_path()),
            (FileRuleKind::DenyRead, Path::new(expected)),
            "{entry}"
        );
        assert!(
            matches!(
                rule.origin,
                Origin::File {
                    line: 1,
                    column: 30,
                    ..
                }
            ),
            "{:?}",
            rule.origin
        );
    }
    check(r#""~""#, "/home/ada");
    check(r#""~/x/../y/""#, "/home/ada/y");
    check(r#""~//etc""#, "/home/ada/etc");
    check(r#"".""#, "/home/ada/project");
    check(r#""..""#, "/home/ada");
    check(r#""a//b/./c""#, "/home/ada/project/a/b/c");
    check(r#""/../../etc""#, "/etc");
    check(r#""/srv/**""#, "/srv");
    check(r#""/**""#, "/");
    check(r#""./**""#, "/home/ada/project");
    check(r#"{"path": "/srv/[id]/*", "literal": true}"#, "/srv/[id]/*");
    check(r#"{"path": "~/x"}"#, "/home/ada/x");
}

#[test]
fn paths_that_would_not_hold_are_refused() {
    #[track_caller]
    fn check(entry: &str, why: &str, hint: &str) {
        for key in ["denyRead", "allowRead", "allowWrite", "denyWrite"] {
            let invalid = try_compile(&format!(r#"{{"filesystem": {{"{key}": [{entry:?}]}}}}"#))
                .expect_err(entry);
            let shown = show(&invalid.diagnostics);
            assert!(
                shown.len() == 1 && shown[0].contains(why) && shown[0].contains(hint),
                "{shown:?}"
            );
        }
    }
    check("", "is empty", "\".\"");
    check("~bob/x", "another user's home", "absolute path");
    check("$HOME/.ssh", "shell variable", "\"~\"");
    check(" ~/.ssh", "space", "without it");
    let invalid =
        try_compile("{\"filesystem\": {\"denyRead\": [\"a\\u0000b\"]}}").expect_err("NUL");
    assert!(show(&invalid.diagnostics)[0].contains("NUL"));
}

#[test]
fn writes_that_cannot_happen_are_worth_a_warning() {
    let compiled = try_compile(
        r#"{"filesystem": {"allowWrite": ["~/.ssh", "/tmp/x", "ok"], "denyWrite": ["/tmp"]}}"#,
    )
    .expect("compiles");
    assert_eq!(
        show(&compiled.warnings),
        [
            "1:32 warning: this entry of filesystem.allowWrite has no effect: ~/.ssh is unreadable (private SSH keys), and what cannot be read cannot be written | add \"~/.ssh\" to filesystem.allowRead to open it",
            "1:42 warning: this entry of filesystem.allowWrite has no effect: filesystem.denyWrite has \"/tmp\"",
        ]
    );
}

#[test]
fn what_other_programs_run_stays_write_protected() {
    let document = r#"{"filesystem": {"allowWrite": ["~", ".", ".git/hooks", ".vscode/x"]}}"#;
    let filesystem = policy(document).filesystem;
    for (path, allowed) in [
        ("/home/ada/project/src/main.rs", true),
        ("/home/ada/project/.git/index", true),
        ("/home/ada/project/.git/hooks/pre-commit", false),
        ("/home/ada/project/.git/config", false),
        ("/home/ada/project/.vscode/x", false),
        ("/home/ada/project/.mcp.json", false),
        ("/home/ada/project/.claude/settings.json", false),
        ("/home/ada/.bashrc", false),
        ("/home/ada/.config/autostart/x.desktop", false),
        ("/home/ada/project/.config/autostart/x.desktop", true),
    ] {
        let decision = filesystem.decide_write(Path::new(path));
        assert_eq!(decision.allowed, allowed, "{path}");
        if !allowed {
            let rule = decision.rule.unwrap();
            assert!(
                matches!(rule.origin, Origin::BuiltIn(reason) if !reason.is_empty()),
                "{path}"
            );
        }
        assert!(
            filesystem.decide_read(Path::new(path)).allowed || path.contains(".claude"),
            "{path}"
        );
    }
    // Where nothing can be written there is nothing to guard, and nothing to list.
    let nothing = policy(r#"{"filesystem": {"allowRead": ["."]}}"#).filesystem;
    assert!(
        nothing
            .rules()
            .iter()
            .all(|rule| rule.kind != FileRuleKind::DenyWrite)
    );
}

#[test]
fn links_are_resolved_by_the_caller() {
    let filesystem = policy(r#"{"filesystem": {"allowWrite": ["/var/run"]}}"#).filesystem;
    let resolved = filesystem.resolved(|path| match path.strip_prefix("/var/run") {
        Ok(rest) => Path::new("/run").join(rest),
        Err(_) => path.to_owned(),
    });
    assert_eq!(resolved.rules().len(), filesystem.rules().len());
    assert!(resolved.decide_write(Path::new("/run/x")).allowed);
    assert!(!resolved.decide_write(Path::new("/var/run/x")).allowed);
    assert_eq!(
        resolved.rules().last().map(|rule| rule.text.as_str()),
        Some("/var/run")
    );
}

#[test]
fn every_store_has_a_reason_and_comes_first() {
    let filesystem = policy(r#"{"filesystem": {"denyRead": ["/x"]}}"#).filesystem;
    let (last, built_in) = filesystem.rules().split_last().expect("rules");
    assert!(matches!(last.origin, Origin::File { .. }));
    for rule in built_in {
        assert!(
            matches!(rule.origin, Origin::BuiltIn(reason) if !reason.is_empty()),
            "{rule:?}"
        );
        assert!(rule.path.is_absolute());
    }
    for store in [
        ".ssh",
        ".gnupg",
        ".aws",
        ".config/gcloud",
        ".kube",
        ".docker",
        ".netrc",
        ".git-credentials",
        ".claude",
        ".codex",
        ".config/gh",
        ".mozilla",
        ".config/chromium",
        ".local/share/keyrings",
    ] {
        assert!(
            !filesystem
                .decide_read(&Path::new("/home/ada").join(store))
                .allowed,
            "{store}"
        );
    }
}

#[test]
fn a_link_into_a_store_opens_nothing() {
    #[track_caller]
    fn check(allow: &str, link: (&str, &str), path: &str, readable: bool) {
        let filesystem = policy(&format!(
            r#"{{"filesystem": {{"allowRead": ["{allow}"]}}}}"#
        ))
        .filesystem;
        let resolved = filesystem.resolved(|path| match path.strip_prefix(link.0) {
            Ok(rest) if rest.as_os_str().is_empty() => PathBuf::from(link.1),
            Ok(rest) => Path::new(link.1).join(rest),
            Err(_) => path.to_owned(),
        });
        assert_eq!(
            resolved.decide_read(Path::new(path)).allowed,
            readable,
            "{allow} with {link:?}"
        );
    }
    // Planted: the settings name a folder, the link makes it a store.
    let planted = ("/home/ada/project/data", "/home/ada/.ssh");
    check("data", planted, "/home/ada/.ssh/id", false);
    check("data/id", planted, "/home/ada/.ssh/id", false);
    // The store itself is a link: named by its own name or by where it is.
    let moved = ("/home/ada/.ssh", "/data/ssh");
    check("~/.ssh/known_hosts", moved, "/data/ssh/known_hosts", true);
    check(
        "/data/ssh/known_hosts",
        moved,
        "/data/ssh/known_hosts",
        true,
    );
    check("/data", moved, "/data/ssh/id", false);
    check("/data", moved, "/data/x", true);
}
