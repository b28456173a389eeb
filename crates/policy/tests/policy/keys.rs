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
            "network.enforceAllowlist: false",
            "network.httpProxyPort: 8080",
            "network.socksProxyPort: 1080",
            "network.mitmProxy: {\"socketPath\": \"/x\", \"domains\": [\"a.com\"]}",
            "network.parentProxy: {\"http\": \"http://proxy:1\"}",
            "network.tlsTerminate: {\"caCertPath\": \"/x\"}",
            "network.stripResponseHeaders: [\"set-cookie\"]",
            "network.refuseOpaqueTunnels: true",
            "network.requireHostMatch: true",
            "network.ambiguousRequestTarget: \"refuse\"",
            "credentials.files: [{\"path\": \"/x\", \"mode\": \"mask\"}]",
            "credentials.files: [{\"path\": \"/x\"}]",
            "credentials.files: [{\"path\": \"/x\", \"mode\": \"hide\"}]",
            "credentials.envVars: [{\"name\": \"X\", \"mode\": \"mask\", \"injectHosts\": [\"a.com\"]}]",
            "credentials.awsPairs: [{}]",
            "mandatoryDenySearchDepth: 5",
        ],
    );
    check(
        "warning",
        &[
            "network.strictAllowlist: false",
            "network.logDroppedConnections: false",
            "network.allowUnixSockets: [\"/x\"]",
            "network.allowAllUnixSockets: true",
            "network.allowLocalBinding: true",
            "network.allowMachLookup: [\"com.apple.*\"]",
            "network.allowPlaintextHeaderSet: true",
            "network.deniedDomainReasons: {\"a.com\": \"x\"}",
            "filesystem.allowGitConfig: true",
            "filesystem.disabled: true",
            "credentials.sigv4: {\"streaming\": true}",
            "credentials.allowPlaintextInject: true",
            "runtime.cpuQuota: \"50%\"",
            "git.safeDirectories: [\"/x\"]",
            "ignoreViolations: {\"*\": [\"/usr/bin\"]}",
            "enableWeakerNestedSandbox: true",
            "enableWeakerNetworkIsolation: true",
            "allowNestedUserNamespaces: true",
            "allowAppleEvents: true",
            "allowPty: true",
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
            "network.allowAllUnixSockets: false",
            "network.allowLocalBinding: false",
            "network.mitmProxy: {}",
            "network.parentProxy: {}",
            "network.tlsTerminate: {}",
            "network.stripResponseHeaders: []",
            "network.refuseOpaqueTunnels: false",
            "network.requireHostMatch: false",
            "network.allowPlaintextHeaderSet: false",
            "filesystem.disabled: false",
            "filesystem.allowGitConfig: false",
            "credentials.files: [{\"path\": \"/x\", \"mode\": \"deny\"}]",
            "credentials.files: []",
            "credentials.awsPairs: []",
            "runtime.maxFileDescriptors: 64",
            "ignoreViolations: {}",
            "allowPty: false",
            "mandatoryDenySearchDepth: 0",
        ],
    );
}

#[test]
fn proxies_are_urls_without_secrets() {
    #[track_caller]
    fn check(member: &str, why: &str) {
        let (found, shown) = outcome(member);
        assert_eq!(found, "error", "{member}");
        assert!(
            shown[0].contains(why) && !shown[0].contains("hunter2"),
            "{shown:?}"
        );
    }
    check("network.proxyConfig.http: \"10.0.0.1:8080\"", "is no URL");
    check("network.proxyConfig.http: \"\"", "is no URL");
    check(
        "network.proxyConfig.http: \"https://proxy.example:443\"",
        "TLS to the proxy",
    );
    check(
        "network.proxyConfig.http: \"socks5://proxy.example:1080\"",
        "scheme",
    );
    check(
        "network.proxyConfig.socks: \"socks4://proxy.example:1080\"",
        "scheme",
    );
    check(
        "network.proxyConfig.http: \"http://ada:hunter2@proxy.example:80\"",
        "user name or password",
    );
    check("network.proxyConfig.http: \"http://proxy.example\"", "port");
    check(
        "network.proxyConfig.http: \"http://proxy.example:0\"",
        "port",
    );
    check(
        "network.proxyConfig.http: \"http://proxy.example:80/path\"",
        "port",
    );
    check("network.proxyConfig.http: \"http://::1:80\"", "brackets");
    check("network.proxyConfig.http: \"http://a..b:80\"", "host");
    check("network.proxyConfig.ftp: \"x\"", "unknown key");
}

#[test]
fn an_allowed_entry_that_is_taken_back_is_worth_a_warning() {
    let compiled = try_compile(
        r#"{"network": {"allowedDomains": ["a.example.com", "*.example.com", "b.com:22", "c.com"], "deniedDomains": ["*.example.com", "*:22"]}}"#,
    )
    .expect("compiles");
    assert_eq!(
        show(&compiled.warnings),
        [
            "1:33 warning: \"a.example.com\" has no effect: network.deniedDomains has \"*.example.com\", which comes first",
            "1:50 warning: \"*.example.com\" has no effect: network.deniedDomains has \"*.example.com\", which comes first",
            "1:67 warning: \"b.com:22\" has no effect: network.deniedDomains has \"*:22\", which comes first",
        ]
    );
}

#[test]
fn a_loosening_is_not_called_a_weakening() {
    let (_, shown) = outcome("network.enforceAllowlist: false");
    assert_eq!(
        shown,
        [
            "1:14 error: network.enforceAllowlist: false is not available | the allow-list is always enforced; remove the key, and list the hosts in network.allowedDomains",
        ]
    );
}
