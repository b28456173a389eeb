//! The tables: one file a group, one entry an attack.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::Deserialize;

/// A file of `tests/escape`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name in the printed table.
    pub group: String,
    /// What its attacks are after, in one sentence.
    pub about: String,
    /// The settings file of every case that has none of its own.
    pub policy: Option<String>,
    /// Run before each case's own `setup`.
    pub setup: Option<String>,
    /// What each case does inside before its attack, which must work there.
    pub first: Option<String>,
    /// A check on the host that it did, where a case has no `control` of its own.
    pub control: Option<String>,
    /// The attacks.
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
}

/// One attack. Scripts are for sh and see `WORK` (the project and working directory), `HOME`, `OUT` (a folder of the
/// host outside of both), `BIN` (our programs), `ETC` (settings files), `SOCKET` (the daemon's), `DNS` (the resolver's) and `A` (the attacker,
/// whose subcommands are `tests/escape/programs`).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Case {
    /// Its name, unique in its group.
    pub name: String,
    /// What it tries, in one sentence.
    pub tries: String,
    /// The settings file that governs the sandbox; `none` for no file at all. `$WORK`, `$HOME` and `$OUT` are
    /// replaced.
    pub policy: Option<String>,
    /// Where that file stands, if not in `ETC`.
    pub settings: Option<String>,
    /// More options of `srt`.
    #[serde(default)]
    pub options: Vec<String>,
    /// The program that runs the attack's script with `-c`, if not `sh`.
    pub program: Option<String>,
    /// Run on the host before, where `CANARY` is the secret of this run.
    pub setup: Option<String>,
    /// The attack. It calls `tried` right before its decisive step; without that it is tried from the beginning.
    pub attack: String,
    /// Run on the host at the same time, from when the attack is tried. `launch SETTINGS COMMAND…` starts another
    /// sandbox there (or, where the attack is shown bare, just the command); `ROUNDS` is how often to do it in a
    /// race. `settle` is `srtctl apply` for the server `NAME`, whose name in the daemon is the case's.
    pub beside: Option<String>,
    /// Starts the launch, which is `"$@"`: with another descriptor, on a terminal …
    pub around: Option<String>,
    /// A check on the host afterwards: status 0 if the attack succeeded. Without it the attack succeeded if the
    /// canary came out.
    pub succeeds: Option<String>,
    /// Run on the host at the end, whatever came of it: removes what is outside of the world's folder.
    pub finally: Option<String>,
    /// A check on the host, after that of the attack: what the policy allows was possible, so that a sandbox in which
    /// nothing works is no success.
    pub control: Option<String>,
    /// The attack succeeded if it says `IT WORKED`: for what cannot be seen from outside.
    #[serde(default)]
    pub worked: bool,
    /// Shown to succeed under this policy, for what would hurt the machine if it were run bare.
    pub allowed: Option<String>,
    /// Shown to succeed with this policy's sandbox left alone: `refused` says that refusing the launch is right, too.
    #[serde(default)]
    pub refused: bool,
    /// Names in a network of its own (`ADDRESS NAME`), in which everything on the host then lives.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// What a resolver of that network says (`ADDRESS[,ADDRESS…] NAME`, as `test-dns` reads it) of names that are not
    /// among `hosts`. What it was asked is in `$DNS/asked`.
    #[serde(default)]
    pub answers: Vec<String>,
    /// `root` or `user`: for whom it can be shown at all. Others leave it out.
    pub only: Option<String>,
    /// What is not there yet, without which it is known to succeed. It is tried all the same; the table says that it
    /// awaits this, and counts it neither as held nor as an escape.
    pub awaits: Option<String>,
    /// The processor that it is for.
    pub arch: Option<String>,
    /// Programs that it needs.
    #[serde(default)]
    pub needs: Vec<String>,
}

/// Reads the tables of a folder, in the order of their names.
///
/// # Errors
///
/// What is wrong in which file.
pub fn groups(folder: &Path) -> Result<Vec<Group>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "toml"));
    files.sort();
    let mut groups = Vec::new();
    let mut names = BTreeSet::new();
    for file in files {
        let fail = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let text = fs::read_to_string(&file).map_err(|error| fail(&error))?;
        let group: Group = toml::from_str(&text).map_err(|error| fail(&error))?;
        for case in &group.cases {
            if !names.insert(format!("{}/{}", group.group, case.name)) {
                return Err(fail(&format!("two cases are called {:?}", case.name)));
            }
            case.check()
                .map_err(|wrong| fail(&format!("{}: {wrong}", case.name)))?;
        }
        groups.push(group);
    }
    Ok(groups)
}

impl Case {
    fn check(&self) -> Result<(), &'static str> {
        if self.tries.is_empty() {
            return Err("it does not say what it tries");
        }
        if self.worked && self.succeeds.is_some() {
            return Err("it has two ways to succeed");
        }
        if !matches!(self.only.as_deref(), None | Some("root" | "user")) {
            return Err("only is \"root\" or \"user\"");
        }
        Ok(())
    }

    /// Whether it can be shown as who we are.
    pub(super) fn is_for(&self, root: bool) -> bool {
        match self.only.as_deref() {
            Some("root") => root,
            Some("user") => !root,
            _ => true,
        }
    }

    /// The policy's text, if there is one at all.
    pub(super) fn policy<'a>(&'a self, group: &'a Group) -> Option<&'a str> {
        let policy = self.policy.as_deref().or(group.policy.as_deref());
        policy.filter(|text| *text != "none")
    }
}
