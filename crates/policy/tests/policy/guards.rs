//! What stays write-protected, wherever it is and however it is written.

use std::path::Path;

use srt_policy::{FileRuleKind, Origin};

use crate::support::{policy, show, try_compile};

#[test]
fn guards_hold_at_any_depth_and_in_any_case() {
    #[track_caller]
    fn check(rules: &str, table: &[(&str, bool)]) {
        let filesystem = policy(&format!("{{\"filesystem\": {{{rules}}}}}")).filesystem;
        for (path, writable) in table {
            let path = Path::new("/home/ada/project").join(path);
            let decision = filesystem.decide_write(&path);
            assert_eq!(decision.allowed, *writable, "{rules}: {}", path.display());
            if let Some(rule) = decision.rule.filter(|_| !writable) {
                assert_eq!(rule.kind, FileRuleKind::DenyWrite, "{rule:?}");
                assert!(matches!(rule.origin, Origin::BuiltIn(reason) if !reason.is_empty()));
            }
        }
    }
    let everything = r#""allowWrite": ["/", "."], "allowRead": ["~/.ssh", "~/.claude", "~/.claude.json", "~/.npmrc"]"#;
    check(
        everything,
        &[
            ("src/main.rs", true),
            (".git/index", true),
            (".git/objects/ab/cd", true),
            (".git", true),
            (".gitignore", true),
            ("package.json", true),
            ("Makefile", true),
            (".github/workflows/ci.yml", true),
            (".venv/lib/python3/site-packages/sitecustomize.py", true),
            ("node_modules/.bin/x", true),
            (".env", true),
            ("hooks/x", true),
            ("bin/x", true),
            (".config/fish/config.fish", true),
            (".git/hooks", false),
            (".git/hooks/pre-commit", false),
            ("a/b/.git/hooks/pre-commit", false),
            ("a/b/.GIT/Hooks/pre-commit", false),
            ("a/.g\u{200c}it/hooks/x", false),
            (".git/config", false),
            (".git/config.lock", true),
            (".git/config.worktree", false),
            (".git/commondir", false),
            (".git/worktrees/w/commondir", false),
            (".git/worktrees/w/HEAD", true),
            (".git/worktrees/w/config.worktree", false),
            (".git/modules/a/hooks/x", false),
            (".git/modules/a/b/c/config", false),
            (".git/modules/a/b/index", true),
            (".gitmodules", false),
            ("sub/.gitmodules", false),
            ("sub/.bashrc", false),
            ("sub/.BashRC", false),
            ("sub/.envrc", false),
            ("sub/.vscode/settings.json", false),
            ("sub/.idea/x", false),
            ("sub/.mcp.json", false),
            ("sub/.claude/settings.json", false),
            ("sub/.cursor/mcp.json", false),
            ("sub/.codex/config.toml", false),
            ("sub/.gemini/settings.json", false),
            ("sub/.devcontainer/devcontainer.json", false),
            ("sub/.husky/pre-commit", false),
            ("sub/.npmrc", false),
            ("sub/.cargo/config.toml", false),
            ("sub/.cargo/other", true),
            ("sub/mise.toml", false),
            ("sub/.srt.json", false),
            ("sub/.srt-settings.json", false),
            ("/home/ada/.config/fish/config.fish", false),
            ("/home/ada/.config/Fish/config.fish", false),
            ("/home/ada/.ssh/authorized_keys", false),
            ("/home/ada/.ssh/known_hosts", true),
            ("/home/ada/.config/autostart/x.desktop", false),
            ("/home/ada/.config/systemd/user/x.service", false),
            ("/home/ada/.config/environment.d/x.conf", false),
            ("/home/ada/.local/bin/ls", false),
            ("/home/ada/.local/share/x", true),
            ("/home/bob/.bashrc", false),
            ("/etc/cron.d/x", false),
            ("/etc/crontab", false),
            ("/var/spool/cron/crontabs/ada", false),
            ("/etc/hosts", true),
        ],
    );
    check(
        r#""allowWrite": ["."], "allowGitConfig": true"#,
        &[
            (".git/config", true),
            ("a/.git/modules/b/config", true),
            (".gitconfig", true),
            (".git/hooks/x", false),
            (".git/commondir", false),
            (".gitmodules", false),
        ],
    );
    check(
        r#""allowWrite": ["."], "allowGitConfig": false"#,
        &[(".git/config", false)],
    );
}

#[test]
fn naming_a_guarded_path_does_not_open_it_and_says_so() {
    let compiled = try_compile(
        r#"{"filesystem": {"allowWrite": [".vscode", "a/.git/hooks", ".git/**/*", "src"]}}"#,
    )
    .expect("compiles");
    assert_eq!(
        show(&compiled.warnings),
        [
            "1:32 warning: this entry of filesystem.allowWrite has no effect: **/.vscode stays write-protected under every allowWrite: an editor runs the tasks and settings in it",
            "1:43 warning: this entry of filesystem.allowWrite has no effect: **/.git/hooks stays write-protected under every allowWrite: git runs what it names, or what is in it",
        ]
    );
}
