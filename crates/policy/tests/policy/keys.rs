//! What each key that is not enforced yet comes to.

use crate::support::{show, try_compile};

/// "error", "warning" or "" for a document with this one member.
fn outcome(member: &str) -> (String, Vec<String>) {
    // `a.b: v` stands for {"a": {"b": v}}.
    let (path, value) = member.split_once(": ").expect("a path and a value");
    let mut text = value.to_owned();
    for name in path.rsplit('.') {
        text = format!("{{\"{name}\": {text}}}");
    }
    let shown = match try_compile(&text) {
        Ok(compiled) => show(&compiled.warnings),
        Err(invalid) => show(&invalid.diagnostics),
    };
    let worst = ["error", "warning"].into_iter().find(|word| {
        shown
            .iter()
            .any(|line| line.contains(&format!(" {word}: ")))
    });
    (worst.unwrap_or_default().to_owned(), shown)
}

#[test]
fn ignoring_a_key_never_weakens_in_silence() {
    #[track_caller]
    fn check(expected: &str, members: &[&str]) {
        for member in members {
            let (found, shown) = outcome(member);
            assert_eq!(found, expected, "{member}: {shown:#?}");
            assert!(
                shown.iter().all(|line| line.contains(" | ")),
                "{member}: each finding has a hint: {shown:?}"
            );
        }
    }
    check(
        "error",
        &[
            "network.mitmProxy: {\"socketPath\": \"/x\", \"domains\": [\"a.com\"]}",
            "network.tlsTerminate: {\"caCertPath\": \"/x\"}",
            "credentials.files: [{\"path\": \"/x\", \"mode\": \"mask\"}]",
            "credentials.files: [{\"path\": \"/x\"}]",
            "credentials.files: [{\"path\": \"/x\", \"mode\": \"hide\"}]",
            "credentials.envVars: [{\"name\": \"X\", \"mode\": \"mask\", \"injectHosts\": [\"a.com\"]}]",
            "credentials.awsPairs: [{}]",
            "audit.mcp: \"everything\"",
            "audit.retain: \"90 days\"",
            "audit.retain: \"0d\"",
            "audit.otlp: {\"endpoint\": \"collector:4318\"}",
            "audit.otlp: {\"endpoint\": \"https://me:secret@collector\"}",
            "audit.otlp: {\"headers\": {\"x-a\": \"b\"}}",
            "audit.otlp: {\"endpoint\": \"https://c\", \"headers\": {\"x a\": \"b\"}}",
            "audit.otlp: {\"endpoint\": \"https://c\", \"headers\": {\"x\": \"a\\r\\ny: b\"}}",
            "mcp.tools: {\"deny\": [\"[a\"]}",
        ],
    );
    check(
        "warning",
        &[
            "network.allowLocalBinding: true",
            "network.enforceAllowlist: false",
            "network.stripResponseHeaders: [\"set-cookie\"]",
            "network.refuseOpaqueTunnels: true",
            "network.requireHostMatch: true",
            "network.allowMachLookup: [\"com.apple.*\"]",
            "audit.otlp: {\"endpoint\": \"http://collector.example.com:4318\"}",
            "network.deniedDomainReasons: {\"a.com\": \"x\"}",
            "network.askTimeoutSeconds: 5",
            "network.parentProxy: {\"noProxy\": \"a.com\"}",
            "filesystem.disabled: true",
            "credentials.sigv4: {\"streaming\": true}",
            "credentials.allowPlaintextInject: true",
            "git.safeDirectories: [\"/x\"]",
            "enableWeakerNestedSandbox: true",
            "enableWeakerNetworkIsolation: true",
            "allowAppleEvents: true",
            "allowPty: true",
            "mandatoryDenySearchDepth: 5",
            "bwrapPath: \"/usr/bin/bwrap\"",
            "socatPath: \"/usr/bin/socat\"",
            "ripgrep: {\"command\": \"rg\"}",
            "seccomp: {}",
            "javaAgentJarPath: \"/x.jar\"",
            "windows: {}",
        ],
    );
    check(
        "",
        &[
            "network.enforceAllowlist: true",
            "network.strictAllowlist: true",
            "network.logDroppedConnections: true",
            "network.allowUnixSockets: []",
            "network.allowUnixSockets: [\"/x\"]",
            "network.allowAllUnixSockets: true",
            "network.allowAllUnixSockets: false",
            "network.allowLocalBinding: false",
            "network.mitmProxy: {}",
            "network.parentProxy: {}",
            "network.tlsTerminate: {}",
            "network.stripResponseHeaders: []",
            "network.refuseOpaqueTunnels: false",
            "network.httpProxyPort: 8080",
            "network.ask: true",
            "network.allowedUdp: [\"a.example.com:123\"]",
            "network.parentProxy: {\"https\": \"http://proxy:1\"}",
            "network.ambiguousRequestTarget: \"normalize\"",
            "network.allowPlaintextHeaderSet: true",
            "network.logDroppedConnections: false",
            "network.strictAllowlist: false",
            "tls.requireSni: false",
            "strict: true",
            "network.requireHostMatch: false",
            "network.allowPlaintextHeaderSet: false",
            "filesystem.disabled: false",
            "filesystem.allowGitConfig: false",
            "filesystem.allowGitConfig: true",
            "credentials.files: [{\"path\": \"/x\", \"mode\": \"deny\"}]",
            "credentials.files: []",
            "credentials.awsPairs: []",
            "runtime.maxFileDescriptors: 64",
            "runtime.maxProcesses: 64",
            "allowNestedUserNamespaces: true",
            "runtime.memoryMax: \"512M\"",
            "runtime.maxFileSize: 4096",
            "runtime.timeoutSeconds: 60",
            "runtime.cpuQuota: \"50%\"",
            "ignoreViolations: {}",
            "allowPty: false",
            "audit.filesystem: true",
            "audit.mcp: \"full\"",
            "audit.retain: \"90d\"",
            "audit.retain: 1000000",
            "audit.otlp: {\"endpoint\": \"https://c.example.com\", \"headers\": {\"x-a\": \"b\"}}",
            "audit.anchor: {\"syslog\": true}",
            "mcp.tools: {\"allow\": [\"read_*\"], \"deny\": [\"*\"]}",
            "mcp.tools: {\"allow\": []}",
            "mcp.pinTools: true",
            "mcp.pinTools: false",
            "filesystem.mode: \"shared\"",
            "filesystem.mode: \"minimal\"",
            "runtime.limits: \"enforced\"",
            "runtime.limits: \"best-effort\"",
            "limits: \"best-effort\"",
            "mandatoryDenySearchDepth: 0",
        ],
    );
}

#[test]
fn an_allowed_entry_that_is_taken_back_is_worth_a_warning() {
    let compiled = try_compile(
        r#"{"network": {"allowedDomains": ["a.example.com", "*.example.com", "b.com:22", "c.com"], "deniedDomains": ["*.example.com", "*:22"],
        "allowedUdp": ["a.example.com:9", "b.com:22", "c.com:9"]}}"#,
    )
    .expect("compiles");
    assert_eq!(
        show(&compiled.warnings),
        [
            "1:33 warning: \"a.example.com\" has no effect: network.deniedDomains has \"*.example.com\", which comes first",
            "1:50 warning: \"*.example.com\" has no effect: network.deniedDomains has \"*.example.com\", which comes first",
            "1:67 warning: \"b.com:22\" has no effect: network.deniedDomains has \"*:22\", which comes first",
            "2:24 warning: \"a.example.com:9\" has no effect: network.deniedDomains has \"*.example.com\", which comes first",
            "2:43 warning: \"b.com:22\" has no effect: network.deniedDomains has \"*:22\", which comes first",
        ]
    );
}
