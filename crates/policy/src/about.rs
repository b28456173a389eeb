//! What each key is for, in a line or two: what an editor shows beside it. docs/POLICY.md has the whole.

/// What a key is for; `None` where the key above it says enough.
pub(crate) fn about(path: &str) -> Option<&'static str> {
    ABOUT
        .iter()
        .find(|(known, _)| *known == path)
        .map(|(_, about)| *about)
}

#[rustfmt::skip]
const ABOUT: &[(&str, &str)] = &[
    ("$schema", "Where this schema is, for editors. Nothing else reads it."),
    ("version", "The version of this format: 1 (also where it is absent) is sandbox-runtime's own, 2 has one name for one thing."),
    ("extends", "Templates (\"@fetch\") and files (\"./base.json\", \"~/base.json\") that count before this file."),

    ("network", "Which hosts the server may reach. Without it: none."),
    ("network.allowedDomains", "What may be reached: \"example.com\", \"*.example.com\" (every name below it, not itself), \"192.0.2.1\", \"[2001:db8::1]\", \"localhost\", each with or without \":443\". Empty or absent: nothing."),
    ("network.deniedDomains", "What is refused, whatever allows it. Also \"*\" and \"*:25\"."),
    ("network.deniedDomainReasons", "Entry of deniedDomains, letter for letter → the reason that is shown when it refuses."),
    ("network.deniedResolvedAddresses", "Addresses and ranges (\"10.0.0.0/8\") that allowed names must not lead to, beside the built-in ones."),
    ("network.proxyConfig", "Allowed traffic goes on through this proxy of yours."),
    ("network.proxyConfig.http", "\"http://[USER:PASSWORD@]HOST:PORT\", or \"https://…\" where one speaks TLS to it; wins over socks."),
    ("network.proxyConfig.socks", "\"socks5://[USER:PASSWORD@]HOST:PORT\"."),
    ("network.enforceAllowlist", "false: what no rule names is let through and recorded as \"would be denied\". For finding out what a server needs."),
    ("network.strictAllowlist", "true: nobody is asked, and approvals do not count."),
    ("network.ask", "true: a person is asked about a host that no rule names (srtctl approvals)."),
    ("network.askTimeoutSeconds", "How long a connection is held for the answer: 1 to 600, by default 60."),
    ("network.logDroppedConnections", "false: refused connections are not recorded."),
    ("network.allowedUdp", "Datagrams to these are relayed: \"HOST:PORT\", one host and one port. All others are refused."),
    ("network.allowUnixSockets", "Unix sockets of the host, or folders of them, that the server may connect to."),
    ("network.allowAllUnixSockets", "true: every Unix socket that can be seen may be connected to."),
    ("network.allowLocalBinding", "Whether the server may listen on loopback."),
    ("network.allowMachLookup", "Mach services, on macOS."),
    ("network.httpProxyPort", "The same as proxyConfig.http, for a proxy at a port of this machine."),
    ("network.socksProxyPort", "The same as proxyConfig.socks, for a proxy at a port of this machine."),
    ("network.mitmProxy", "A proxy that reads encrypted traffic of some domains."),
    ("network.parentProxy", "Allowed traffic goes on through these proxies of yours, by kind of traffic and with exceptions."),
    ("network.parentProxy.http", "For HTTP in plain text: \"http://…\", \"https://…\" or \"socks5://…\"."),
    ("network.parentProxy.https", "For everything else; by default the same as http."),
    ("network.parentProxy.noProxy", "Names, addresses and ranges that are reached without it, with commas or spaces between."),
    ("network.tlsTerminate", "Decrypting traffic in the proxy."),
    ("network.allowPlaintextHeaderSet", "Nothing sets headers on requests here, so there is nothing to allow."),
    ("network.stripResponseHeaders", "Headers of responses in plain text that the server does not see."),
    ("network.refuseOpaqueTunnels", "true: only HTTP in plain text passes."),
    ("network.requireHostMatch", "true: a request in plain text that names another host than it goes to is answered 421."),
    ("network.ambiguousRequestTarget", "What becomes of a request target with two readings; by default \"refuse\"."),

    ("tls", "What is asked of TLS connections."),
    ("tls.requireSni", "Whether a TLS connection must name its server in the clear; by default where a wildcard allowed the name."),
    ("tls.ech", "What becomes of a ClientHello that hides a second one; by default \"allow\"."),

    ("strict", "true: rules that allow more than they seem to (a wildcard of a public suffix, enforceAllowlist: false) are errors, not warnings."),

    ("filesystem", "Which files the server may read and write. Paths are absolute, below ~, or relative to the working directory; *, ?, [ab] and ** are patterns."),
    ("filesystem.mode", "Where reading begins; by default \"shared\" in a file, \"minimal\" without one."),
    ("filesystem.overlay", "Folders that the server may change as it likes: the changes are kept apart until a person applies them (srtctl changes)."),
    ("filesystem.overlayMax", "How much the changes of one launch may hold."),
    ("filesystem.denyRead", "What cannot be read. An allowRead inside it opens again."),
    ("filesystem.allowRead", "What can be read, also inside of denyRead, of a credential store, and in minimal mode."),
    ("filesystem.allowWrite", "What may be written. Absent: nothing but the launch's temporary folder."),
    ("filesystem.denyWrite", "What is not written, whatever allows it."),
    ("filesystem.allowGitConfig", "true: .git/config may be written where allowWrite has it. Commands in it run outside of the sandbox."),
    ("filesystem.disabled", "No rules on files at all."),

    ("credentials", "Secrets that the server does not see."),
    ("credentials.files", "Files with secrets: as entries of filesystem.denyRead."),
    ("credentials.files[].path", "The file."),
    ("credentials.files[].mode", "\"deny\": it cannot be read."),
    ("credentials.envVars", "Variables with secrets: as entries of runtime.envStrip."),
    ("credentials.envVars[].name", "The variable's full name."),
    ("credentials.envVars[].mode", "\"deny\": it is not passed."),
    ("credentials.awsPairs", "Signing requests to AWS anew."),
    ("credentials.sigv4", "How requests to AWS are signed anew."),
    ("credentials.allowPlaintextInject", "Putting secrets into requests in plain text."),

    ("runtime", "The server's environment, its limits, and how it is supervised."),
    ("runtime.envStrip", "Variables that are not passed, even where --env names them: full names."),
    ("runtime.maxFileDescriptors", "Open files of each process."),
    ("runtime.maxProcesses", "Processes and threads at one time."),
    ("runtime.memoryMax", "Memory of all processes together: \"512M\". Beyond it they are killed."),
    ("runtime.maxFileSize", "How large a file may become: \"100M\"."),
    ("runtime.timeoutSeconds", "How long the server may take to its first answer; then it is ended."),
    ("runtime.restart", "Whether another launch follows one that ended by itself; by default \"on-failure\"."),
    ("runtime.healthTimeout", "How long, in seconds, the server may take to answer when it is asked whether it is still there; then it is replaced. 0, the default: it is not asked."),
    ("runtime.healthTimeoutSeconds", "How long the server may take to answer when it is asked whether it is still there; then it is replaced. 0, the default: it is not asked."),
    ("runtime.warm", "So many launches are kept ready for the next host that asks for the very same: 0 to 8."),
    ("runtime.limits", "What becomes of a launch with a limit that this machine cannot enforce; by default \"enforced\"."),
    ("runtime.cpuQuota", "CPU time of all processes together, in percent of one CPU: \"50%\", \"200%\"."),

    ("limits", "The same as runtime.limits."),

    ("mcp", "What of the server's tools the host's model may use."),
    ("mcp.tools", "Which tools are listed and may be called."),
    ("mcp.tools.allow", "Names or patterns (*, ?, [ab], {a,b}): only these. []: none. Absent: all that deny does not name."),
    ("mcp.tools.deny", "Names or patterns: not these, whatever allow says."),
    ("mcp.pinTools", "true: a tool whose description changes is refused until a person accepts it (srtctl tools NAME --accept TOOL)."),

    ("audit", "What is recorded."),
    ("audit.filesystem", "false: refused uses of files are not recorded. They are refused all the same."),
    ("audit.mcp", "What is recorded of requests between host and server; by default \"calls\"."),
    ("audit.retain", "How long the daemon keeps entries: an age (\"90d\"), or a number of entries. In the user's own file only."),
    ("audit.otlp", "Where entries go beside the log. In the user's own file only."),
    ("audit.otlp.endpoint", "An OpenTelemetry collector: \"https://collector.example.com:4318\"."),
    ("audit.otlp.headers", "Headers of the requests to it."),
    ("audit.anchor", "Where the end of the log is noted outside of the database. In the user's own file only."),
    ("audit.anchor.syslog", "true: also as a line to syslog."),

    ("git", "Git in the sandbox."),
    ("git.safeDirectories", "Folders of other owners that git may work in."),

    ("ignoreViolations", "Program, or * → paths whose refusals are not recorded. They are refused all the same."),
    ("enableWeakerNestedSandbox", "A weaker sandbox, for use in a container."),
    ("enableWeakerNetworkIsolation", "A weaker isolation of the network, on macOS."),
    ("allowNestedUserNamespaces", "true: the server may make user namespaces, which browsers need for a sandbox of their own."),
    ("allowAppleEvents", "Sending Apple events, on macOS."),
    ("allowPty", "A terminal of its own."),
    ("mandatoryDenySearchDepth", "How deep guarded files are searched for."),

    ("bwrapPath", "Another implementation's bubblewrap."),
    ("socatPath", "Another implementation's socat."),
    ("ripgrep", "Another implementation's ripgrep."),
    ("seccomp", "Another implementation's system call filter."),
    ("javaAgentJarPath", "Another implementation's agent for Java."),
    ("windows", "Windows."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{KEYS, Standing};

    #[test]
    fn every_key_is_told_about_and_nothing_else_is() {
        for key in KEYS {
            let part = key.standing == Standing::Part;
            assert!(
                part || about(key.path).is_some(),
                "{} has no line",
                key.path
            );
        }
        for (path, _) in ABOUT {
            assert!(KEYS.iter().any(|key| key.path == *path), "{path} is no key");
        }
    }
}
