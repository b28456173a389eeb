//! What may be moved, what may be made on the way to a rule, and links.

use std::path::{Path, PathBuf};

use crate::support::policy;

const PROJECT: &str = "/home/ada/project";

fn at(path: &str) -> PathBuf {
    Path::new(PROJECT).join(path)
}

#[test]
fn a_folder_moves_only_where_every_rule_goes_on_holding() {
    /// `None`: it may; else the rule in the way.
    #[track_caller]
    fn check(rules: &str, from: &str, to: &str, expected: Option<&str>) {
        let filesystem = policy(&format!("{{\"filesystem\": {{{rules}}}}}")).filesystem;
        let found = filesystem.moves(&at(from), &at(to), true);
        assert_eq!(
            found.err().map(|rule| rule.text.as_str()),
            expected,
            "{rules}: {from} to {to}"
        );
        // It is the same the other way round, and a file has nothing in it.
        assert_eq!(
            filesystem.moves(&at(to), &at(from), true).is_err(),
            expected.is_some()
        );
        assert!(filesystem.moves(&at(from), &at(to), false).is_ok());
    }
    let plain = r#""allowWrite": ["."]"#;
    check(plain, "a", "b", None);
    check(plain, "a", "b/c/d", None);
    check(plain, "a", "a", None);
    check(plain, "x", ".git", Some("**/.git/hooks"));
    check(plain, "x", "y/.GIT", Some("**/.git/hooks"));
    check(plain, "a/.git", "b/.git", None);
    check(
        plain,
        ".git/x",
        ".git/modules",
        Some("**/.git/modules/**/hooks"),
    );
    check(plain, ".git/modules/a", ".git/modules/b/c", None);
    check(plain, "a", ".claude", Some("**/.claude"));
    check(
        plain,
        "a",
        ".github",
        Some("**/.github/copilot-instructions.md"),
    );
    let denied = r#""allowWrite": ["."], "denyRead": ["secrets/key"]"#;
    check(denied, "secrets", "other", Some("secrets/key"));
    check(denied, "secrets/x", "other", None);
    check(denied, "sub", "secrets2", None);
    let patterns = r#""allowWrite": ["src/**/*.gen.ts"]"#;
    check(patterns, "src/a", "src/b", None);
    check(patterns, "src/a", "lib", Some("src/**/*.gen.ts"));
    check(r#""denyRead": ["**/.env"]"#, "a", "b/c", None);
    check(
        r#""denyRead": ["a/**/.env"]"#,
        "a/x",
        "b",
        Some("a/**/.env"),
    );
    check(
        r#""denyRead": ["conf*/key"]"#,
        "x",
        "config",
        Some("conf*/key"),
    );
    check(r#""denyRead": ["conf*/key"]"#, "conf1", "conf2", None);
    check(r#""denyRead": ["*/key"]"#, "x", "y", None);
    check(r#""denyRead": ["*/key"]"#, "x", "y/z", Some("*/key"));
    check(
        r#""allowWrite": ["."]"#,
        "x",
        "/home/ada/project",
        Some("/home/ada/project/.srt-settings.json"),
    );
}

#[test]
fn what_leads_to_a_rule_is_known() {
    #[track_caller]
    fn check(rules: &str, path: &str, expected: Option<&str>) {
        let filesystem = policy(&format!("{{\"filesystem\": {{{rules}}}}}")).filesystem;
        let found = filesystem.leads_to(&at(path));
        assert_eq!(
            found.map(|rule| rule.text.as_str()),
            expected,
            "{rules}: {path}"
        );
    }
    let plain = r#""allowWrite": ["."]"#;
    check(plain, "a", None);
    check(plain, "a/b/c", None);
    check(plain, ".git", Some("**/.git/hooks"));
    check(plain, "a/.Git", Some("**/.git/hooks"));
    check(plain, ".git/x", None);
    check(plain, ".git/modules", Some("**/.git/modules/**/hooks"));
    check(plain, ".git/modules/a", None);
    check(
        plain,
        ".git/worktrees",
        Some("**/.git/worktrees/*/commondir"),
    );
    // Below that, any name is as near as any other.
    check(plain, ".git/worktrees/a", None);
    // What is covered is refused by itself.
    check(plain, ".git/hooks", None);
    check(plain, ".git/hooks/x", None);
    for rule in ["denyRead", "denyWrite"] {
        let rules = format!("\"{rule}\": [\"conf/secret\"]");
        check(&rules, "conf", Some("conf/secret"));
        check(&rules, "conf/other", None);
        check(&rules, "config", None);
        check(
            &format!("\"{rule}\": [\"conf*/secret\"]"),
            "config",
            Some("conf*/secret"),
        );
        check(&format!("\"{rule}\": [\"*/secret\"]"), "config", None);
        check(
            &format!("\"{rule}\": [\"c/**/secret\"]"),
            "c",
            Some("c/**/secret"),
        );
        check(&format!("\"{rule}\": [\"c/**/secret\"]"), "c/d", None);
    }
    check(r#""allowWrite": ["conf/open"]"#, "conf", None);
    check("", "..", Some("/home/ada/.local/state/srt"));
    check("", "/home/ada/.config", Some("~/.config/git/credentials"));
}

#[test]
fn a_rule_stays_about_a_link_and_about_what_it_leads_to() {
    let text = r#"{"filesystem": {"allowWrite": ["."], "denyRead": ["link/**/*.pem"], "denyWrite": ["link"], "allowRead": ["link"]}}"#;
    let filesystem = policy(text).filesystem;
    let (link, target) = (at("link"), Path::new("/data/real"));
    let resolved = filesystem.resolved(|path| match path.strip_prefix(&link) {
        Ok(rest) => target.join(rest),
        Err(_) => path.to_owned(),
    });
    for folder in [link.as_path(), target] {
        assert!(
            !resolved.decide_read(&folder.join("a/b.pem")).allowed,
            "{folder:?}"
        );
        assert!(
            !resolved.decide_write(&folder.join("x")).allowed,
            "{folder:?}"
        );
    }
    assert!(
        !resolved.decide_write(&link).allowed,
        "the link itself cannot be replaced"
    );
    let aliases: Vec<&str> = resolved
        .rules()
        .iter()
        .filter(|rule| rule.alias)
        .map(|rule| rule.kind.key())
        .collect();
    assert_eq!(aliases, ["filesystem.denyRead", "filesystem.denyWrite"]);
    // Nothing is an alias where no link is.
    assert!(
        filesystem
            .resolved(Path::to_owned)
            .rules()
            .iter()
            .all(|rule| !rule.alias)
    );
    assert_eq!(
        filesystem.resolved(Path::to_owned).rules(),
        filesystem.rules()
    );
}
