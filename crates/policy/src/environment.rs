//! What a server's environment may hold.

use std::collections::BTreeMap;

use crate::Origin;

/// What is passed without being named: what a program needs to find its user, its tools and its language, none of
/// which is a secret. Every other variable may be one.
pub(crate) const BASELINE: &[&str] = &[
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "LC_*", "TZ", "TMPDIR",
];

/// A name that policy takes away, and the key that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StripRule {
    pub(crate) key: &'static str,
    pub(crate) name: String,
    pub(crate) origin: Origin,
}

/// What a server's environment may hold.
#[derive(Clone, Debug, Default)]
pub struct EnvironmentPolicy {
    pub(crate) strip: Vec<StripRule>,
}

/// An environment after policy.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EnvSelection {
    /// What is passed on.
    pub passed: BTreeMap<String, String>,
    /// Names that were offered and not passed, sorted.
    pub left_out: Vec<String>,
}

impl std::fmt::Debug for EnvSelection {
    /// Names only: a value may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvSelection")
            .field("passed", &self.passed.keys().collect::<Vec<_>>())
            .field("left_out", &self.left_out)
            .finish()
    }
}

impl EnvironmentPolicy {
    /// Chooses from `offered` the baseline (PATH HOME USER LOGNAME SHELL TERM LANG LC_* TZ TMPDIR) and the names in
    /// `named`, less `runtime.envStrip` and the variables that `credentials.envVars` denies. A name that policy
    /// strips is left out even where it is named. What execve(2) could not carry (an empty name, `=` in a name, NUL
    /// anywhere) is left out too.
    pub fn select(&self, offered: &BTreeMap<String, String>, named: &[String]) -> EnvSelection {
        let mut selection = EnvSelection::default();
        for (name, value) in offered {
            let wanted = is_baseline(name) || named.contains(name);
            let stripped = self.strip.iter().any(|rule| rule.name == *name);
            if wanted && !stripped && is_name(name) && !value.contains('\0') {
                selection.passed.insert(name.clone(), value.clone());
            } else {
                selection.left_out.push(name.clone());
            }
        }
        selection
    }
}

fn is_baseline(name: &str) -> bool {
    BASELINE.iter().any(|entry| match entry.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == *entry,
    })
}

/// Whether an environment can hold a variable of this name.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}
