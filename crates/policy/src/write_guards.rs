//! What stays unwritable under every `allowWrite`: files that another program runs or obeys, so that writing one is
//! running something as the user. One place, each with its reason.
//!
//! They hold in the working directory and in the home folder, for what is there when a launch begins.

use std::path::PathBuf;

use crate::{Facts, FileRule, FileRuleKind, Origin, paths};

const SHELL: &str = "a shell runs it when it starts";
const GIT: &str = "git runs what it names, or what is in it";
const EDITOR: &str = "an editor runs the tasks and settings in it";
const AGENT: &str = "an AI tool starts the servers and hooks that it names";
const SESSION: &str = "it is run when the user logs in";

/// In the working directory and in the home folder.
const EVERYWHERE: &[(&str, &str)] = &[
    (".bashrc", SHELL),
    (".bash_profile", SHELL),
    (".bash_login", SHELL),
    (".bash_logout", SHELL),
    (".profile", SHELL),
    (".zshrc", SHELL),
    (".zshenv", SHELL),
    (".zprofile", SHELL),
    (".zlogin", SHELL),
    (".zlogout", SHELL),
    (".envrc", SHELL),
    (".ripgreprc", "ripgrep runs the preprocessor that it names"),
    (".gitconfig", GIT),
    (".gitmodules", GIT),
    (".git/hooks", GIT),
    (".git/config", GIT),
    (".vscode", EDITOR),
    (".idea", EDITOR),
    (".mcp.json", AGENT),
    (".claude", AGENT),
    (".codex", AGENT),
    (".cursor", AGENT),
    (".gemini", AGENT),
];

/// In the home folder alone.
const HOME: &[(&str, &str)] = &[
    (".config/fish", SHELL),
    (".config/git", GIT),
    (".ssh/authorized_keys", "it lets whoever it names log in"),
    (".config/autostart", SESSION),
    (".config/systemd/user", SESSION),
    (".config/environment.d", SESSION),
    (".xprofile", SESSION),
    (".xsessionrc", SESSION),
    (".pam_environment", SESSION),
    ("Library/LaunchAgents", SESSION),
];

/// The rules.
pub(crate) fn guards(facts: &Facts) -> Vec<FileRule> {
    let inside = |text: String, path: PathBuf, reason| FileRule {
        kind: FileRuleKind::DenyWrite,
        path: paths::normalise(&path),
        text,
        origin: Origin::BuiltIn(reason),
    };
    let mut rules: Vec<FileRule> = EVERYWHERE
        .iter()
        .chain(HOME)
        .map(|(name, reason)| inside(format!("~/{name}"), facts.home.join(name), *reason))
        .collect();
    if paths::normalise(&facts.cwd) != paths::normalise(&facts.home) {
        let here = EVERYWHERE
            .iter()
            .map(|(name, reason)| inside((*name).to_owned(), facts.cwd.join(name), *reason));
        rules.extend(here);
    }
    rules
}
