//! Every key of the settings format, in one table: its type, and what this version makes of it.
//!
//! A key that is missing here is an error in a document. Nothing is ignored without a word.

use crate::version::{NEWEST_VERSION, Version};

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
    /// One of these words, each with what it means. A word without a meaning is known, and refused with words of its
    /// own.
    Word(&'static [(&'static str, &'static str)]),
    /// Percents as text, such as `50%`.
    Percent,
    Bool,
    /// A whole number, not negative.
    Number,
    /// A whole number from 1.
    Positive,
    /// An amount of bytes: a whole number from 1, or text such as `512M`.
    Size,
    /// An age such as `90d`, or a whole number of entries from 1.
    Retention,
    /// A version of the format.
    Version,
    /// Whatever it is: nothing reads it.
    Anything,
}

/// What this version makes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is enforced, or holds anyway.
    Enforced,
    /// It details a key that is reported as a whole.
    Part,
    /// An error when it asks for something: ignoring it would weaken the sandbox. With what the reader can do.
    Refused(&'static str),
    /// A warning when it asks for something: without it the sandbox is as strict or stricter. With the reason.
    Stricter(&'static str),
    /// A warning: it is plumbing of another implementation. With the reason.
    NoEffect(&'static str),
}

pub(crate) struct Key {
    pub(crate) path: &'static str,
    pub(crate) shape: Shape,
    pub(crate) standing: Standing,
    /// The versions of the format that have it.
    first: Version,
    last: Version,
}

impl Key {
    /// Whether documents of this version have it.
    pub(crate) fn is_of(&self, version: Version) -> bool {
        (self.first..=self.last).contains(&version)
    }

    const fn since(self, first: Version) -> Self {
        Self { first, ..self }
    }

    const fn until(self, last: Version) -> Self {
        Self { last, ..self }
    }
}

const fn key(path: &'static str, shape: Shape, standing: Standing) -> Key {
    Key {
        path,
        shape,
        standing,
        first: 1,
        last: NEWEST_VERSION,
    }
}

use Shape::{
    Anything, Bool, ListMap, Number, Paths, Percent, Positive, Retention, Section, Sections, Size,
    String, StringMap, Strings, Word,
};
use Standing::{Enforced, NoEffect, Part, Refused, Stricter};

const UNREAD: &str = "remove it to accept that encrypted traffic to allowed hosts passes unread, or take the hosts in question out of network.allowedDomains";
const MODES: Shape = Word(&[
    ("shared", "what is not denied can be read"),
    ("minimal", "what is not named cannot"),
]);
const TARGETS: Shape = Word(&[
    ("refuse", "the request is answered 400"),
    ("asSpelled", "it goes out as the client spelled it"),
    ("normalize", "it goes out normalised"),
]);
const ECH: Shape = Word(&[
    ("allow", "it passes"),
    (
        "refuse",
        "a ClientHello that may hide another one is refused",
    ),
]);
const CREDENTIAL: Shape = Word(&[("deny", "the server does not see it at all"), ("mask", "")]);
const RESTARTS: Shape = Word(&[
    ("never", "no launch follows one that ended"),
    ("on-failure", "one does after a failure"),
    ("always", "one does after every end"),
]);
const BEST_EFFORT: (&str, &str) = (
    "best-effort",
    "a limit that this machine cannot enforce is left out, with a note",
);
const LIMITS: Shape = Word(&[("enforced", "such a launch is refused"), BEST_EFFORT]);
const RECORDED: Shape = Word(&[
    ("off", "nothing"),
    ("calls", "methods, tools, durations, outcomes and sizes"),
    ("full", "contents, too"),
]);
const NO_INJECTION: &str = "nothing is injected into requests here";

/// The table, in the order in which `policy show` prints.
#[rustfmt::skip]
pub(crate) const KEYS: &[Key] = &[
    key("$schema", String, Enforced),
    key("version", Shape::Version, Enforced),
    key("extends", Strings, Enforced),

    key("network", Section, Enforced),
    key("network.allowedDomains", Strings, Enforced),
    key("network.deniedDomains", Strings, Enforced),
    key("network.deniedDomainReasons", StringMap, Enforced),
    key("network.deniedResolvedAddresses", Strings, Enforced),
    key("network.proxyConfig", Section, Enforced),
    key("network.proxyConfig.http", String, Enforced),
    key("network.proxyConfig.socks", String, Enforced),
    key("network.enforceAllowlist", Bool, Enforced),
    key("network.strictAllowlist", Bool, Enforced),
    key("network.ask", Bool, Enforced),
    key("network.askTimeoutSeconds", Positive, Enforced),
    key("network.logDroppedConnections", Bool, Enforced),
    key("network.allowedUdp", Strings, Enforced),
    key("network.allowUnixSockets", Strings, Enforced),
    key("network.allowAllUnixSockets", Bool, Enforced),
    key("network.allowLocalBinding", Bool, Stricter("on Linux a sandbox has a loopback of its own, where the server may listen anyway")),
    key("network.allowMachLookup", Strings, Stricter("no further Mach service is opened for the server")),
    key("network.httpProxyPort", Number, Enforced),
    key("network.socksProxyPort", Number, Enforced),
    key("network.mitmProxy", Section, Refused("remove it to accept that these domains are reached without that proxy, or take them out of network.allowedDomains")),
    key("network.mitmProxy.socketPath", String, Part),
    key("network.mitmProxy.domains", Strings, Part),
    key("network.parentProxy", Section, Enforced),
    key("network.parentProxy.http", String, Enforced),
    key("network.parentProxy.https", String, Enforced),
    key("network.parentProxy.noProxy", String, Enforced),
    key("network.tlsTerminate", Section, Refused(UNREAD)),
    key("network.tlsTerminate.caCertPath", String, Part),
    key("network.tlsTerminate.caKeyPath", String, Part),
    key("network.tlsTerminate.excludeDomains", Strings, Part),
    key("network.tlsTerminate.extraCaCertPaths", Strings, Part),
    key("network.tlsTerminate.maxTunnels", Number, Part),
    key("network.tlsTerminate.handshakeTimeoutMs", Number, Part),
    key("network.allowPlaintextHeaderSet", Bool, Enforced),
    key("network.stripResponseHeaders", Strings, Enforced),
    key("network.refuseOpaqueTunnels", Bool, Enforced),
    key("network.requireHostMatch", Bool, Enforced),
    key("network.ambiguousRequestTarget", TARGETS, Enforced),

    key("tls", Section, Enforced),
    key("tls.requireSni", Bool, Enforced),
    key("tls.ech", ECH, Enforced),

    key("strict", Bool, Enforced),

    key("filesystem", Section, Enforced),
    key("filesystem.mode", MODES, Enforced),
    key("filesystem.overlay", Paths, Enforced),
    key("filesystem.overlayMax", Size, Enforced),
    key("filesystem.denyRead", Paths, Enforced),
    key("filesystem.allowRead", Paths, Enforced),
    key("filesystem.allowWrite", Paths, Enforced),
    key("filesystem.denyWrite", Paths, Enforced),
    key("filesystem.allowGitConfig", Bool, Enforced),
    key("filesystem.disabled", Bool, Stricter("the rules on files stay in force; name what is to be written in filesystem.allowWrite")),

    key("credentials", Section, Enforced),
    key("credentials.files", Sections, Enforced),
    key("credentials.files[].path", String, Enforced),
    key("credentials.files[].mode", CREDENTIAL, Enforced),
    key("credentials.files[].extract", Anything, Part),
    key("credentials.files[].onExtractNoMatch", Anything, Part),
    key("credentials.files[].decode", Anything, Part),
    key("credentials.files[].maskClaims", Strings, Part),
    key("credentials.files[].maskDuplicates", Bool, Part),
    key("credentials.files[].injectHosts", Strings, Part),
    key("credentials.envVars", Sections, Enforced),
    key("credentials.envVars[].name", String, Enforced),
    key("credentials.envVars[].mode", CREDENTIAL, Enforced),
    key("credentials.envVars[].extract", Anything, Part),
    key("credentials.envVars[].onExtractNoMatch", Anything, Part),
    key("credentials.envVars[].decode", Anything, Part),
    key("credentials.envVars[].maskClaims", Strings, Part),
    key("credentials.envVars[].maskDuplicates", Bool, Part),
    key("credentials.envVars[].injectHosts", Strings, Part),
    key("credentials.awsPairs", Anything, Refused("remove it and deny the two variables: { \"name\": \"AWS_SECRET_ACCESS_KEY\", \"mode\": \"deny\" } in credentials.envVars; the server then cannot sign requests to AWS")),
    key("credentials.sigv4", Section, Stricter(NO_INJECTION)),
    key("credentials.sigv4.streaming", Anything, Part),
    key("credentials.sigv4.presigned", Anything, Part),
    key("credentials.sigv4.sigv4a", Anything, Part),
    key("credentials.allowPlaintextInject", Anything, Stricter(NO_INJECTION)),

    key("runtime", Section, Enforced),
    key("runtime.envStrip", Strings, Enforced),
    key("runtime.maxFileDescriptors", Positive, Enforced),
    key("runtime.maxProcesses", Positive, Enforced),
    key("runtime.memoryMax", Size, Enforced),
    key("runtime.maxFileSize", Size, Enforced),
    key("runtime.timeoutSeconds", Positive, Enforced),
    key("runtime.restart", RESTARTS, Enforced),
    key("runtime.healthTimeout", Number, Enforced).until(1),
    key("runtime.healthTimeoutSeconds", Number, Enforced).since(2),
    key("runtime.warm", Number, Enforced),
    key("runtime.limits", LIMITS, Enforced),
    key("runtime.cpuQuota", Percent, Enforced),

    key("limits", Word(&[BEST_EFFORT]), Enforced).until(1),

    key("mcp", Section, Enforced),
    key("mcp.tools", Section, Enforced),
    key("mcp.tools.allow", Strings, Enforced),
    key("mcp.tools.deny", Strings, Enforced),
    key("mcp.pinTools", Bool, Enforced),

    key("audit", Section, Enforced),
    key("audit.filesystem", Bool, Enforced),
    key("audit.mcp", RECORDED, Enforced),
    key("audit.retain", Retention, Enforced),
    key("audit.otlp", Section, Enforced),
    key("audit.otlp.endpoint", String, Enforced),
    key("audit.otlp.headers", StringMap, Enforced),
    key("audit.anchor", Section, Enforced),
    key("audit.anchor.syslog", Bool, Enforced),

    key("git", Section, Enforced),
    key("git.safeDirectories", Strings, Stricter("git in the sandbox refuses folders of other owners, as it does outside")),

    key("ignoreViolations", ListMap, Enforced),
    key("enableWeakerNestedSandbox", Bool, Stricter("there is no weaker sandbox here: a launch that cannot have all of it fails with the reason")).until(1),
    key("enableWeakerNetworkIsolation", Bool, Stricter("the network stays isolated")).until(1),
    key("allowNestedUserNamespaces", Bool, Enforced),
    key("allowAppleEvents", Bool, Stricter("the server cannot send Apple events")),
    key("allowPty", Bool, Stricter("the server gets no terminal of its own")),
    key("mandatoryDenySearchDepth", Number, Stricter("remove it: files such as .bashrc and .git/hooks are guarded at every depth, without a search")).until(1),

    key("bwrapPath", Anything, NoEffect("bubblewrap is found on PATH")).until(1),
    key("socatPath", Anything, NoEffect("socat is not used")).until(1),
    key("ripgrep", Anything, NoEffect("nothing is searched for at a launch")).until(1),
    key("seccomp", Anything, NoEffect("the system call filter is built in")).until(1),
    key("javaAgentJarPath", Anything, NoEffect("Java programs need no agent")).until(1),
    key("windows", Anything, NoEffect("Windows is not supported")).until(1),
];

/// The row of a dotted path in a document of this version.
pub(crate) fn find(path: &str, version: Version) -> Option<&'static Key> {
    KEYS.iter()
        .find(|key| key.path == path && key.is_of(version))
}

/// The names that may stand directly below `parent` ("" for the top) in a document of this version.
pub(crate) fn names_below(parent: &str, version: Version) -> impl Iterator<Item = &'static str> {
    let rows = KEYS.iter().filter(move |key| key.is_of(version));
    rows.filter_map(move |key| {
        let name = match parent {
            "" => key.path,
            _ => key.path.strip_prefix(parent)?.strip_prefix('.')?,
        };
        (!name.contains(['.', '['])).then_some(name)
    })
}
