//! Pure rules: document → [`Policy`] → decision. No I/O, no clock, no tokio: time and facts are arguments.
//!
//! A [`Source`] is parsed with places (`document`), held against the table of keys (`keys`, `check`), and compiled
//! (`compile`) into a [`NetworkPolicy`], a [`FilesystemPolicy`] and an [`EnvironmentPolicy`], which decide.

mod address;
mod check;
mod compile;
mod compile_network;
mod decision;
mod diagnostics;
mod document;
mod environment;
mod filesystem;
mod guard;

mod host;
mod keys;
mod lines;
mod network;
mod paths;
mod pattern;
mod policy;
mod shape;
mod stores;
mod write_guards;

pub use decision::{Checked, Decision, Denial, Permit, RuleRef, Upstream};
pub use diagnostics::{Diagnostic, InvalidPolicy, Origin, Severity};
pub use environment::{EnvSelection, EnvironmentPolicy};
pub use filesystem::{FileDecision, FileRule, FileRuleKind, FilesystemPolicy};
pub use host::{Host, HostError, Target};
pub use lines::EffectiveLine;
pub use network::NetworkPolicy;
pub use policy::{Compiled, Facts, Limits, Policy, Source, compile};
