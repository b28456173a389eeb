//! Pure rules: document → [`Policy`] → decision. No I/O, no clock, no tokio: time and facts are arguments.
//!
//! A [`Source`] is parsed with places (`document`), held against the table of keys (`keys`, `check`), and compiled
//! (`compile`) into a [`NetworkPolicy`], a [`FilesystemPolicy`] and an [`EnvironmentPolicy`], which decide, and into
//! what a launch is built by: [`Limits`], [`UnixSockets`], [`ProcessPolicy`], [`AuditPolicy`]. A [`ToolPolicy`] decides on
//! what a server offers, and [`DaemonSettings`] is what the user says of the daemon as a whole.

mod about;
mod address;
mod braces;
mod check;
mod commented;
mod compile;
mod compile_files;
mod compile_launch;
mod compile_network;
mod compile_requests;
mod compile_upstreams;
mod covers;
mod daemon_settings;
mod decision;
mod diagnostics;
mod diff;
mod directions;
mod document;
mod domains;
mod environment;
mod filesystem;
mod format;
mod gather;
mod glob;
mod guard;
mod host;
mod index;
mod keys;
mod launch;
mod layer;
mod limits;
mod lines;
mod merge;
mod migrate;
mod minimal;
mod moves;
mod names;
mod network;
mod paths;
mod pattern;
mod policy;
mod regex;
mod requests;
mod review;
mod schema;
mod shape;
mod sources;
mod stores;
mod suffix;
mod templates;
mod tighten;
mod tools;
mod upstream;
mod version;
mod write_guards;

pub use daemon_settings::{DaemonSettings, Otlp, Retain, USER_SETTINGS, daemon_settings};
pub use decision::{Checked, Decision, Denial, Grant, Permit, Question, RuleRef};
pub use diagnostics::{Diagnostic, InvalidPolicy, Origin, Severity, nearest};
pub use diff::{Difference, Effect};
pub use environment::{EnvSelection, EnvironmentPolicy};
pub use filesystem::{
    FileDecision, FileOverlay, FileRule, FileRuleKind, FilesystemMode, FilesystemPolicy,
};
pub use format::format;
pub use gather::gather;
pub use glob::Glob;
pub use host::{Host, HostError, Target};
pub use launch::{AuditPolicy, IgnoreRule, ProcessPolicy, SocketRule, UnixSockets};
pub use layer::{Layer, Layered, Profile};
pub use limits::{CpuQuota, Limits, Restart};
pub use lines::EffectiveLine;
pub use migrate::{Migrated, migrate};
pub use network::NetworkPolicy;
pub use paths::normalise;
pub use policy::{
    Compiled, Facts, Policy, Source, check_one, check_project, compile, compile_layers,
};
pub use requests::{AmbiguousTarget, RequestRules};
pub use review::{Check, Weight};
pub use schema::schema;
pub use templates::{TEMPLATES, nearest_template, template};
pub use tools::{McpAudit, ToolDenial, ToolPolicy, ToolRule};
pub use upstream::{Credentials, FlowKind, Upstream};
pub use version::NEWEST_VERSION;
