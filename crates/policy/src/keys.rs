//! Every key of the settings format, in one table: its type, and what this version makes of it.
//!
//! A key that is missing here is an error in a document. Nothing is ignored without a word.

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// An object whose names are the rows below this one.
    Section,
    /// A list of such objects; their rows are below `key[]`.
    Sections,
    /// An object of strings.
    StringMap,
    /// An object of lists of strings.
    ListMap,
    /// A list of strings.
    Strings,
    /// A list of strings or `{"path": "…", "literal": true}`.
    Paths,
    String,
    Bool,
    /// A whole number, not negative.
    Number,
    /// A whole number from 1.
    Positive,
    /// Whatever it is: nothing reads it.
    Anything,
}

/// Which values of a key ask for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// All but `false`, 0 and what is empty.
    Something,
    /// `false`.
    False,
}

/// What this version makes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is enforced, or holds anyway.
    Enforced,
    /// It details a key that is reported as a whole.
    Part,
    /// An error when it asks for something: ignoring it would weaken the sandbox. With what the reader can do.
    Refused(Asks, &'static str),
    /// An error when it asks for something: it would loosen the sandbox, and who writes it counts on that. With what
    /// the reader can do.
    Unavailable(Asks, &'static str),
    /// A warning when it asks for something: without it the sandbox is as strict or stricter. With the reason.
    Stricter(Asks, &'static str),
    /// A warning when it asks for something: what is lost, and what the reader can do.
    Missing(&'static str, &'static str),
    /// A warning: it is plumbing of another implementation. With the reason.
    NoEffect(&'static str),
}

pub(crate) struct Key {
    pub(crate) path: &'static str,
    pub(crate) shape: Shape,
    pub(crate) standing: Standing,
}

const fn key(path: &'static str, shape: Shape, standing: Standing) -> Key {
    Key {
        path,
        shape,
        standing,
    }
}

use Asks::{False, Something};
use Shape::{
    Anything, Bool, ListMap, Number, Paths, Positive, Section, Sections, String, StringMap, Strings,
};
use Standing::{Enforced, Missing, NoEffect, Part, Refused, Stricter, Unavailable};

const OWN_PROXY: &str = "remove it and, to chain allowed traffic through that proxy, write \"network\": { \"proxyConfig\": { \"http\": \"http://127.0.0.1:PORT\" } } (or \"socks\": \"socks5://127.0.0.1:PORT\")";
const UNREAD: &str = "remove it to accept that encrypted traffic to allowed hosts passes unread, or take the hosts in question out of network.allowedDomains";
const NO_INJECTION: &str = "nothing is injected into requests here";

/// The table, in the order in which `policy show` prints.
#[rustfmt::skip]
pub(crate) const KEYS: &[Key] = &[
    key("network", Section, Enforced),
    key("network.allowedDomains", Strings, Enforced),
    key("network.deniedDomains", Strings, Enforced),
    key("network.deniedDomainReasons", StringMap, Enforced),
    key("network.deniedResolvedAddresses", Strings, Enforced),
    key("network.proxyConfig", Section, Enforced),
    key("network.proxyConfig.http", String, Enforced),
    key("network.proxyConfig.socks", String, Enforced),
    key("network.enforceAllowlist", Bool, Unavailable(False, "the allow-list is always enforced; remove the key, and list the hosts in network.allowedDomains")),
    key("network.strictAllowlist", Bool, Stricter(False, "nobody is asked about a host: what network.allowedDomains does not list is refused")),
    key("network.logDroppedConnections", Bool, Stricter(False, "every refused connection is recorded in the audit log")),
    key("network.allowUnixSockets", Strings, Stricter(Something, "no further Unix socket is opened for the server")),
    key("network.allowAllUnixSockets", Bool, Stricter(Something, "no further Unix socket is opened for the server")),
    key("network.allowLocalBinding", Bool, Stricter(Something, "on Linux a sandbox has a loopback of its own, where the server may listen anyway")),
    key("network.allowMachLookup", Strings, Stricter(Something, "no further Mach service is opened for the server")),
    key("network.httpProxyPort", Number, Refused(Something, OWN_PROXY)),
    key("network.socksProxyPort", Number, Refused(Something, OWN_PROXY)),
    key("network.mitmProxy", Section, Refused(Something, "remove it to accept that these domains are reached without that proxy, or take them out of network.allowedDomains")),
    key("network.mitmProxy.socketPath", String, Part),
    key("network.mitmProxy.domains", Strings, Part),
    key("network.parentProxy", Section, Refused(Something, "write \"proxyConfig\": { \"http\": \"http://HOST:PORT\" } in its place; there is no list of exceptions yet")),
    key("network.parentProxy.http", String, Part),
    key("network.parentProxy.https", String, Part),
    key("network.parentProxy.noProxy", Anything, Part),
    key("network.tlsTerminate", Section, Refused(Something, UNREAD)),
    key("network.tlsTerminate.caCertPath", String, Part),
    key("network.tlsTerminate.caKeyPath", String, Part),
    key("network.tlsTerminate.excludeDomains", Strings, Part),
    key("network.tlsTerminate.extraCaCertPaths", Strings, Part),
    key("network.tlsTerminate.maxTunnels", Number, Part),
    key("network.tlsTerminate.handshakeTimeoutMs", Number, Part),
    key("network.allowPlaintextHeaderSet", Bool, Stricter(Something, "no header is set on requests here, in plain text or otherwise")),
    key("network.stripResponseHeaders", Strings, Refused(Something, "remove it to accept that the server sees these headers of responses")),
    key("network.refuseOpaqueTunnels", Bool, Refused(Something, UNREAD)),
    key("network.requireHostMatch", Bool, Refused(Something, "remove it to accept that a request may name another host inside than the one it connects to")),
    key("network.ambiguousRequestTarget", String, Refused(Something, "remove it; a connection is decided on by the host and port that it is made to")),

    key("filesystem", Section, Enforced),
    key("filesystem.denyRead", Paths, Enforced),
    key("filesystem.allowRead", Paths, Enforced),
    key("filesystem.allowWrite", Paths, Enforced),
    key("filesystem.denyWrite", Paths, Enforced),
    key("filesystem.allowGitConfig", Bool, Stricter(Something, "git's configuration stays write-protected")),
    key("filesystem.disabled", Bool, Stricter(Something, "the rules on files stay in force; name what is to be written in filesystem.allowWrite")),

    key("credentials", Section, Enforced),
    key("credentials.files", Sections, Enforced),
    key("credentials.files[].path", String, Enforced),
    key("credentials.files[].mode", String, Enforced),
    key("credentials.files[].extract", Anything, Part),
    key("credentials.files[].onExtractNoMatch", Anything, Part),
    key("credentials.files[].decode", Anything, Part),
    key("credentials.files[].maskClaims", Strings, Part),
    key("credentials.files[].maskDuplicates", Bool, Part),
    key("credentials.files[].injectHosts", Strings, Part),
    key("credentials.envVars", Sections, Enforced),
    key("credentials.envVars[].name", String, Enforced),
    key("credentials.envVars[].mode", String, Enforced),
    key("credentials.envVars[].extract", Anything, Part),
    key("credentials.envVars[].onExtractNoMatch", Anything, Part),
    key("credentials.envVars[].decode", Anything, Part),
    key("credentials.envVars[].maskClaims", Strings, Part),
    key("credentials.envVars[].maskDuplicates", Bool, Part),
    key("credentials.envVars[].injectHosts", Strings, Part),
    key("credentials.awsPairs", Anything, Refused(Something, "remove it and deny the two variables: { \"name\": \"AWS_SECRET_ACCESS_KEY\", \"mode\": \"deny\" } in credentials.envVars; the server then cannot sign requests to AWS")),
    key("credentials.sigv4", Section, Stricter(Something, NO_INJECTION)),
    key("credentials.sigv4.streaming", Anything, Part),
    key("credentials.sigv4.presigned", Anything, Part),
    key("credentials.sigv4.sigv4a", Anything, Part),
    key("credentials.allowPlaintextInject", Anything, Stricter(Something, NO_INJECTION)),

    key("runtime", Section, Enforced),
    key("runtime.envStrip", Strings, Enforced),
    key("runtime.maxFileDescriptors", Positive, Enforced),
    key("runtime.cpuQuota", String, Missing("the server may use more CPU than asked", "to limit it for now, start the daemon under a limit of its own (systemd's CPUQuota=)")),

    key("git", Section, Enforced),
    key("git.safeDirectories", Strings, Stricter(Something, "git in the sandbox refuses folders of other owners, as it does outside")),

    key("ignoreViolations", ListMap, Stricter(Something, "it changes what is reported, never what is allowed; here every violation is reported")),
    key("enableWeakerNestedSandbox", Bool, Stricter(Something, "there is no weaker sandbox here: a launch that cannot have all of it fails with the reason")),
    key("enableWeakerNetworkIsolation", Bool, Stricter(Something, "the network stays isolated")),
    key("allowNestedUserNamespaces", Bool, Stricter(Something, "the server cannot make user namespaces")),
    key("allowAppleEvents", Bool, Stricter(Something, "the server cannot send Apple events")),
    key("allowPty", Bool, Stricter(Something, "the server gets no terminal of its own")),
    key("mandatoryDenySearchDepth", Number, Refused(Something, "files such as .bashrc and .git/hooks are not searched for; remove the key and name those below filesystem.allowWrite in filesystem.denyWrite")),

    key("bwrapPath", Anything, NoEffect("bubblewrap is found on PATH")),
    key("socatPath", Anything, NoEffect("socat is not used")),
    key("ripgrep", Anything, NoEffect("nothing is searched for at a launch")),
    key("seccomp", Anything, NoEffect("the system call filter is built in")),
    key("javaAgentJarPath", Anything, NoEffect("Java programs need no agent")),
    key("windows", Anything, NoEffect("Windows is not supported")),
];

/// The row of a dotted path.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The names that may stand directly below `parent` ("" for the top).
pub(crate) fn names_below(parent: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter_map(move |key| {
        let name = match parent {
            "" => key.path,
            _ => key.path.strip_prefix(parent)?.strip_prefix('.')?,
        };
        (!name.contains(['.', '['])).then_some(name)
    })
}
