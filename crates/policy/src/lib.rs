//! Pure rules: document → [`Policy`] → decision. No I/O, no clock, no tokio: time and facts are arguments.

mod network;
mod policy;

pub use network::{
    Checked, Decision, Denial, Host, HostError, NetworkPolicy, Permit, RuleRef, Target, Upstream,
};
pub use policy::{
    Compiled, Diagnostic, EffectiveLine, EnvSelection, EnvironmentPolicy, Facts, FileDecision,
    FileRule, FileRuleKind, FilesystemPolicy, InvalidPolicy, Limits, Origin, Policy, Severity,
    Source, compile,
};
