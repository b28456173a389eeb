//! What every table needs.

use std::path::PathBuf;

use srt_policy::{
    Compiled, Decision, Denial, Diagnostic, Facts, Host, InvalidPolicy, NetworkPolicy, Permit,
    Policy, Source, Target, compile,
};

pub(crate) const SETTINGS: &str = "/home/ada/.srt-settings.json";

pub(crate) fn facts() -> Facts {
    Facts {
        home: PathBuf::from("/home/ada"),
        cwd: PathBuf::from("/home/ada/project"),
        protected: vec![
            PathBuf::from("/home/ada/.local/state/srt"),
            PathBuf::from("/home/ada/project/.srt-settings.json"),
        ],
        program: Vec::new(),
        macos: false,
    }
}

pub(crate) fn try_compile(text: &str) -> Result<Compiled, InvalidPolicy> {
    let source = Source {
        path: PathBuf::from(SETTINGS),
        text: text.to_owned(),
    };
    compile(Some(&source), &facts())
}

pub(crate) fn policy(text: &str) -> Policy {
    try_compile(text)
        .unwrap_or_else(|invalid| panic!("{text} must compile: {invalid:#?}"))
        .policy
}

/// A network policy from the insides of the two lists.
pub(crate) fn network(allowed: &str, denied: &str) -> NetworkPolicy {
    policy(&format!(
        r#"{{"network": {{"allowedDomains": [{allowed}], "deniedDomains": [{denied}]}}}}"#
    ))
    .network
}

pub(crate) fn target(text: &str) -> Target {
    let (host, port) = text.rsplit_once(':').expect("host:port");
    Target {
        host: Host::parse(host).expect("a host"),
        port: port.parse().expect("a port"),
    }
}

pub(crate) fn permit(network: &NetworkPolicy, text: &str) -> Permit {
    match network.decide(&target(text)) {
        Decision::Allow(permit) => permit,
        other => panic!("{text} must be allowed: {other:?}"),
    }
}

pub(crate) fn denial(network: &NetworkPolicy, text: &str) -> Denial {
    match network.decide(&target(text)) {
        Decision::Deny(denial) => denial,
        other => panic!("{text} must be refused: {other:?}"),
    }
}

/// `line:column severity message | hint`.
pub(crate) fn show(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics
        .iter()
        .map(|diagnostic| {
            assert_eq!(diagnostic.path, PathBuf::from(SETTINGS));
            let hint = diagnostic.hint.as_deref().map(|hint| format!(" | {hint}"));
            format!(
                "{}:{} {}: {}{}",
                diagnostic.line,
                diagnostic.column,
                diagnostic.severity,
                diagnostic.message,
                hint.unwrap_or_default()
            )
        })
        .collect()
}
