//! The compiled policy and what it says of files and environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::NetworkPolicy;

/// A settings document as read.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its path as shown to a person.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// What a document cannot know and its meaning depends on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `~`.
    pub home: PathBuf,
    /// The launch's working directory: what relative paths are relative to.
    pub cwd: PathBuf,
    /// Paths that no policy can open: the daemon's socket folder, state and configuration, and the settings
    /// files in force.
    pub protected: Vec<PathBuf>,
    /// macOS rather than Linux: chooses the places of browsers' profiles and keyrings.
    pub macos: bool,
}

/// Where a line of policy comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Built in, with the reason.
    BuiltIn(&'static str),
    /// A document, 1-based.
    File {
        /// The document's path.
        path: PathBuf,
        /// Its line, from 1.
        line: u32,
        /// Its column in characters, from 1.
        column: u32,
    },
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The document means what it says, but perhaps not what was wanted.
    Warning,
    /// The document cannot be used.
    Error,
}

/// One finding about a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The document's path.
    pub path: PathBuf,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

/// A document that cannot be used; at least one diagnostic is an error.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", diagnostics.first().map_or_else(String::new, |first| format!("{}:{}:{}: {}", first.path.display(), first.line, first.column, first.message)))]
pub struct InvalidPolicy {
    /// All findings, in the order of the document.
    pub diagnostics: Vec<Diagnostic>,
}

/// A policy and the warnings met on the way to it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The policy.
    pub policy: Policy,
    /// Warnings only.
    pub warnings: Vec<Diagnostic>,
}

/// Compiles a document, or the built-in default where there is none.
///
/// # Errors
/// When the document is not JSON, has unknown or ill-typed keys, or asks for what would have to be ignored at
/// the price of a weaker sandbox.
pub fn compile(_source: Option<&Source>, _facts: &Facts) -> Result<Compiled, InvalidPolicy> {
    todo!()
}

/// Compiled and immutable.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Hosts.
    pub network: NetworkPolicy,
    /// Files.
    pub filesystem: FilesystemPolicy,
    /// Environment.
    pub environment: EnvironmentPolicy,
    /// Limits.
    pub limits: Limits,
}

impl Policy {
    /// Path of the document, `None` for the built-in default.
    pub fn source(&self) -> Option<&Path> {
        todo!()
    }
    /// The document's text; empty for the built-in default.
    pub fn text(&self) -> &str {
        todo!()
    }
    /// Lower-case hexadecimal SHA-256 of the document's text.
    pub fn digest(&self) -> &str {
        todo!()
    }
    /// Every line in force, built-in ones included, in the order of the format's keys, then by value.
    pub fn lines(&self) -> Vec<EffectiveLine> {
        todo!()
    }
}

/// A line of the effective policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveLine {
    /// Dotted key.
    pub key: &'static str,
    /// The value as written.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// What a file rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileRuleKind {
    /// Built in: neither readable nor writable under any policy.
    Protected,
    /// `filesystem.denyRead`, or a built-in credential store.
    DenyRead,
    /// `filesystem.allowRead`.
    AllowRead,
    /// `filesystem.allowWrite`.
    AllowWrite,
    /// `filesystem.denyWrite`.
    DenyWrite,
}

/// One file rule: it covers its path and everything below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRule {
    /// What it does.
    pub kind: FileRuleKind,
    /// Absolute, normalised lexically.
    pub path: PathBuf,
    /// As written.
    pub text: String,
    /// Where.
    pub origin: Origin,
}

/// The filesystem half of a policy.
#[derive(Clone, Debug, Default)]
pub struct FilesystemPolicy {
    rules: Vec<FileRule>,
}

/// What policy says of a path.
#[derive(Clone, Debug)]
pub struct FileDecision<'a> {
    /// The answer.
    pub allowed: bool,
    /// The deciding rule; `None` for the default (reads allowed, writes refused).
    pub rule: Option<&'a FileRule>,
}

impl FilesystemPolicy {
    /// Every rule, built-in ones first.
    pub fn rules(&self) -> &[FileRule] {
        &self.rules
    }

    /// The same rules with each path replaced by `resolve(path)`: how a launch, which may look at the disk,
    /// replaces links by what they point to.
    pub fn resolved(&self, _resolve: impl Fn(&Path) -> PathBuf) -> Self {
        todo!()
    }

    /// May `path` (absolute, without links) be read? The longest covering rule of Protected, DenyRead and
    /// AllowRead decides; AllowRead wins over DenyRead at the same path; Protected always wins.
    pub fn decide_read(&self, _path: &Path) -> FileDecision<'_> {
        todo!()
    }

    /// May `path` be written? Any covering Protected or DenyWrite refuses; else a covering AllowWrite allows.
    pub fn decide_write(&self, _path: &Path) -> FileDecision<'_> {
        todo!()
    }
}

/// What a server's environment may hold.
#[derive(Clone, Debug, Default)]
pub struct EnvironmentPolicy {}

/// An environment after policy.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EnvSelection {
    /// What is passed on.
    pub passed: BTreeMap<String, String>,
    /// Names that were offered and not passed, sorted.
    pub left_out: Vec<String>,
}

impl EnvironmentPolicy {
    /// Chooses from `offered` the baseline (PATH HOME USER LOGNAME SHELL TERM LANG LC_* TZ TMPDIR) and the names in
    /// `named`, less `runtime.envStrip`.
    pub fn select(&self, _offered: &BTreeMap<String, String>, _named: &[String]) -> EnvSelection {
        todo!()
    }
}

/// Limits on a launch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `runtime.maxFileDescriptors`: RLIMIT_NOFILE.
    pub max_file_descriptors: Option<u64>,
}
