//! What stays unwritable under every `allowWrite`: files that another program runs or obeys, so that writing one is
//! running something as the user. One place, each with its reason.
//!
//! Most hold at any depth, whatever the case of their letters, since a repository may be cloned anywhere and a file
//! system may not regard case. They hold for what is not there yet as for what is.
//!
//! Not guarded is what a person starts by name, and what a build or its packages are made of: `Makefile`,
//! `package.json`, `build.rs`, `.pnp.cjs`, `sitecustomize.py`, `.github/workflows`, scripts. A server that may write a
//! project may write its code, and its code is what a build runs.

use std::path::{Path, PathBuf};

use crate::{Facts, FileRule, FileRuleKind, Glob, Origin, paths};

const SHELL: &str = "a shell runs it when it starts";
const GIT: &str = "git runs what it names, or what is in it";
const EDITOR: &str = "an editor runs the tasks and settings in it";
const AGENT: &str = "an AI tool starts the servers and hooks that it names, or does what it says";
const SESSION: &str = "it is run when the user logs in";
const FOLDER: &str = "a tool runs it when somebody enters the folder";
const HOOKS: &str = "git's hooks run what is in it";
const LOGIN: &str = "it lets whoever it names log in";
const SCHEDULE: &str = "what it names is run at a time of its own";
const LOADER: &str = "an interpreter loads what it names when it starts";
const OURS: &str = "it is a policy that a launch may be governed by";

/// Below any folder, in any case.
#[rustfmt::skip]
const ANYWHERE: &[(&str, &str)] = &[
    (".bashrc", SHELL),
    (".bash_profile", SHELL),
    (".bash_login", SHELL),
    (".bash_logout", SHELL),
    (".bash_aliases", SHELL),
    (".profile", SHELL),
    (".zshrc", SHELL),
    (".zshenv", SHELL),
    (".zprofile", SHELL),
    (".zlogin", SHELL),
    (".zlogout", SHELL),
    (".kshrc", SHELL),
    (".cshrc", SHELL),
    (".tcshrc", SHELL),
    (".login", SHELL),
    (".inputrc", "a shell binds its keys to what it says"),

    (".git/hooks", GIT),
    (".git/commondir", "git looks for its hooks and configuration where it says"),
    (".git/worktrees/*/commondir", "git looks for its hooks and configuration where it says"),
    (".git/worktrees/*/gitdir", "git looks for a working tree where it says"),
    (".git/modules/**/hooks", GIT),
    (".git/modules/**/commondir", "git looks for its hooks and configuration where it says"),
    (".gitmodules", GIT),
    (".ripgreprc", "ripgrep runs the preprocessor that it names"),

    (".envrc", FOLDER),
    (".direnv", FOLDER),
    (".mise.toml", FOLDER),
    ("mise.toml", FOLDER),
    (".config/mise", FOLDER),
    (".husky", HOOKS),
    (".lefthook.yml", HOOKS),
    ("lefthook.yml", HOOKS),
    (".pre-commit-config.yaml", HOOKS),

    (".vscode", EDITOR),
    (".idea", EDITOR),
    (".zed", EDITOR),
    (".fleet", EDITOR),
    (".vimrc", EDITOR),
    (".exrc", EDITOR),
    (".nvim.lua", EDITOR),
    (".nvimrc", EDITOR),
    (".dir-locals.el", EDITOR),
    (".devcontainer", "an editor builds and starts the container that it describes"),
    (".devcontainer.json", "an editor builds and starts the container that it describes"),

    (".mcp.json", AGENT),
    (".claude", AGENT),
    (".claude.json", AGENT),
    (".codex", AGENT),
    (".cursor", AGENT),
    (".cursorrules", AGENT),
    (".gemini", AGENT),
    (".windsurf", AGENT),
    (".windsurfrules", AGENT),
    (".clinerules", AGENT),
    (".roo", AGENT),
    (".roomodes", AGENT),
    (".continue", AGENT),
    (".aider.conf.yml", AGENT),
    (".opencode", AGENT),
    ("opencode.json", AGENT),
    ("opencode.jsonc", AGENT),
    (".amazonq", AGENT),
    (".kiro", AGENT),
    (".junie", AGENT),
    (".github/copilot-instructions.md", AGENT),
    (".github/hooks", AGENT),
    (".vs/mcp.json", AGENT),

    (".gdbinit", "gdb runs it when it is started in the folder"),
    (".lldbinit", "lldb runs it when it is started in the folder"),
    (".pdbrc", "Python's debugger runs it"),
    (".npmrc", "npm asks the registry and runs the shell that it names"),
    (".yarnrc", "yarn runs the program that it names"),
    (".yarnrc.yml", "yarn runs the program and the plug-ins that it names"),
    (".cargo/config", "cargo runs the linker, wrapper and runner that it names"),
    (".cargo/config.toml", "cargo runs the linker, wrapper and runner that it names"),

    (".srt-settings.json", OURS),
    (".srt.json", OURS),
];

/// Git's configuration, as above; `filesystem.allowGitConfig` lifts these.
#[rustfmt::skip]
const GIT_CONFIG: &[(&str, &str)] = &[
    (".gitconfig", GIT),
    (".git/config", GIT),
    (".git/config.worktree", GIT),
    (".git/worktrees/*/config.worktree", GIT),
    (".git/modules/**/config", GIT),
    (".git/modules/**/config.worktree", GIT),
];

/// Below the home folder.
#[rustfmt::skip]
const HOME: &[(&str, &str)] = &[
    (".config/fish", SHELL),
    (".config/nushell", SHELL),
    (".config/elvish", SHELL),
    (".config/powershell", SHELL),
    (".config/zsh", SHELL),
    (".config/starship.toml", "a shell's prompt runs the commands in it"),
    (".oh-my-zsh", SHELL),
    (".zsh", SHELL),
    (".vim", EDITOR),
    (".emacs", EDITOR),
    (".emacs.d", EDITOR),
    (".config/emacs", EDITOR),
    (".config/nvim", EDITOR),
    (".config/Code/User", EDITOR),
    (".config/zed", EDITOR),
    (".tmux.conf", "tmux runs the commands in it"),
    (".config/tmux", "tmux runs the commands in it"),
    (".screenrc", "screen runs the commands in it"),
    (".ssh/authorized_keys", LOGIN),
    (".ssh/authorized_keys2", LOGIN),
    (".ssh/config", "ssh runs the proxy command that it names"),
    (".ssh/rc", "it is run when the user logs in over ssh"),
    (".ssh/environment", SESSION),
    (".rhosts", LOGIN),
    (".shosts", LOGIN),
    (".k5login", LOGIN),
    (".forward", "a mail server runs what it names"),
    (".config/autostart", SESSION),
    (".config/autostart-scripts", SESSION),
    (".config/plasma-workspace/env", SESSION),
    (".config/systemd", SESSION),
    (".local/share/systemd", SESSION),
    (".config/environment.d", SESSION),
    (".local/share/applications", "the desktop runs what it names"),
    (".local/share/dbus-1/services", "the session's bus starts what it names"),
    (".config/hypr", SESSION),
    (".config/sway", SESSION),
    (".config/i3", SESSION),
    (".i3", SESSION),
    (".xprofile", SESSION),
    (".xinitrc", SESSION),
    (".xsession", SESSION),
    (".xsessionrc", SESSION),
    (".pam_environment", SESSION),
    (".local/share/direnv", "direnv trusts the files that it lists"),
    (".local/bin", "a shell finds programs in it before the system's"),
    ("bin", "a shell finds programs in it before the system's"),
    ("Library/LaunchAgents", SESSION),
    ("Library/LaunchDaemons", SESSION),
];

/// Git's configuration below the home folder; `filesystem.allowGitConfig` lifts it.
const HOME_GIT_CONFIG: &[(&str, &str)] = &[(".config/git", GIT)];

/// Of the system.
const SYSTEM: &[(&str, &str)] = &[
    ("/etc/cron.d", SCHEDULE),
    ("/etc/cron.hourly", SCHEDULE),
    ("/etc/cron.daily", SCHEDULE),
    ("/etc/cron.weekly", SCHEDULE),
    ("/etc/cron.monthly", SCHEDULE),
    ("/etc/crontab", SCHEDULE),
    ("/etc/profile.d", SHELL),
    ("/etc/systemd", SESSION),
    ("/etc/xdg/autostart", SESSION),
    ("/etc/ld.so.preload", LOADER),
    ("/etc/sudoers", "it says who may become root"),
    ("/etc/sudoers.d", "it says who may become root"),
    ("/var/spool/cron", SCHEDULE),
    ("/var/spool/at", SCHEDULE),
    ("/usr/lib/cron/tabs", SCHEDULE),
];

/// The rules. `git_config`: git's configuration may be written (`filesystem.allowGitConfig`).
pub(crate) fn guards(facts: &Facts, git_config: bool) -> Vec<FileRule> {
    let rule = |path: PathBuf, pattern, text: String, reason| FileRule {
        kind: FileRuleKind::DenyWrite,
        path: paths::normalise(&path),
        pattern,
        alias: false,
        text,
        origin: Origin::BuiltIn(reason),
    };
    let unless_lifted = |table| if git_config { &[][..] } else { table };
    let anywhere = ANYWHERE
        .iter()
        .chain(unless_lifted(GIT_CONFIG))
        .map(|(name, reason)| {
            let pattern = Glob::at_any_depth(name);
            rule("/".into(), Some(pattern), format!("**/{name}"), *reason)
        });
    // Those of other profiles.
    let ours = [
        ("/", "**/.[sS][rR][tT].*.json"),
        ("~", ".srt-settings.*.json"),
    ];
    let ours = ours.into_iter().filter_map(|(folder, name)| {
        let root = if folder == "~" {
            facts.home.clone()
        } else {
            folder.into()
        };
        let (_, pattern) = Glob::parse(name.split('/')).ok()?;
        Some(rule(root, pattern, name.to_owned(), OURS))
    });
    let home = HOME
        .iter()
        .chain(unless_lifted(HOME_GIT_CONFIG))
        .map(|(name, reason)| {
            let pattern = Glob::any_case(name);
            rule(
                facts.home.clone(),
                Some(pattern),
                format!("~/{name}"),
                *reason,
            )
        });
    let system = SYSTEM
        .iter()
        .map(|(path, reason)| rule(path.into(), None, (*path).to_owned(), *reason));
    anywhere.chain(ours).chain(home).chain(system).collect()
}

/// The rules that a settings file is not written, and that nothing is put beside it which a profile would put in its place:
/// `policy.*.json` beside `policy.json`.
pub(crate) fn governing(file: &Path, facts: &Facts) -> Vec<FileRule> {
    let file = paths::normalise(&facts.cwd.join(file));
    let rule = |path: &Path, pattern, text: String| FileRule {
        kind: FileRuleKind::DenyWrite,
        path: path.to_owned(),
        pattern,
        alias: false,
        text,
        origin: Origin::BuiltIn(OURS),
    };
    let mut rules = vec![rule(&file, None, file.display().to_string())];
    let name = file.file_name().and_then(|name| name.to_str());
    let stem = name.and_then(|name| name.strip_suffix(".json"));
    if let (Some(stem), Some(folder)) = (stem, file.parent()) {
        let mut name = String::new();
        for character in stem.chars() {
            // What has a meaning in a pattern.
            if "*?[]{}!\\".contains(character) {
                name.push('\\');
            }
            name.push(character);
        }
        name += ".*.json";
        if let Ok((_, pattern @ Some(_))) = Glob::parse(std::iter::once(name.as_str())) {
            rules.push(rule(folder, pattern, name));
        }
    }
    rules
}
