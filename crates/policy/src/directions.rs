//! Of every key, which way is tighter: what a file inherits from the one above it, and what a project's file may say.

/// Which way a key's values are tighter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// A list that denies: more of it is tighter, so those of all files add up.
    Denies,
    /// A list that allows: less of it is tighter. Without the key nothing is allowed.
    Allows,
    /// A list that allows, without which everything is allowed: having one is tighter than having none.
    Narrows,
    /// True or false.
    Bool {
        /// The tighter of both.
        tighter: bool,
        /// What holds without the key.
        otherwise: Otherwise,
    },
    /// An amount: less is tighter.
    Smaller {
        /// What holds without the key; `None`: no limit.
        otherwise: Option<u64>,
    },
    /// One of a few words.
    Ordered {
        /// From the tightest to the loosest.
        words: &'static [&'static str],
        /// What holds in a file without the key.
        otherwise: &'static str,
    },
    /// No value of it is tighter than another, or it is no permission: it is not inherited, and not a project's to say.
    Neutral,
    /// About the daemon as a whole: it counts in the user's own file alone.
    Daemon,
    /// About the file itself (its version, which files count before it): read before anything is put together.
    OfFile,
}

/// What holds without a key that is true or false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Otherwise {
    /// What its tighter value says.
    Tighter,
    /// What its looser value says.
    Looser,
    /// Something between both.
    Between,
}

use Direction::{Allows, Daemon, Denies, Narrows, Neutral, OfFile, Smaller};

/// True is tighter, false holds without the key.
const TRUE: Direction = Direction::Bool {
    tighter: true,
    otherwise: Otherwise::Looser,
};
/// True is tighter, and holds without the key.
const TRUE_ALREADY: Direction = Direction::Bool {
    tighter: true,
    otherwise: Otherwise::Tighter,
};
/// False is tighter, and holds without the key.
const FALSE: Direction = Direction::Bool {
    tighter: false,
    otherwise: Otherwise::Tighter,
};
const LIMIT: Direction = Smaller { otherwise: None };

const fn words(words: &'static [&'static str], otherwise: &'static str) -> Direction {
    Direction::Ordered { words, otherwise }
}

/// The direction of each key that has a value; in the order of the table of keys. What details another key
/// (`credentials.files[].path`) goes with it.
#[rustfmt::skip]
pub(crate) const DIRECTIONS: &[(&str, Direction)] = &[
    ("$schema", OfFile),
    ("version", OfFile),
    ("extends", OfFile),

    ("network.allowedDomains", Allows),
    ("network.deniedDomains", Denies),
    ("network.deniedDomainReasons", Denies),
    ("network.deniedResolvedAddresses", Denies),
    ("network.proxyConfig.http", Neutral),
    ("network.proxyConfig.socks", Neutral),
    ("network.enforceAllowlist", TRUE_ALREADY),
    ("network.strictAllowlist", TRUE),
    ("network.ask", FALSE),
    ("network.askTimeoutSeconds", Smaller { otherwise: Some(60) }),
    ("network.logDroppedConnections", TRUE_ALREADY),
    ("network.allowedUdp", Allows),
    ("network.allowUnixSockets", Allows),
    ("network.allowAllUnixSockets", FALSE),
    ("network.allowLocalBinding", FALSE),
    ("network.allowMachLookup", Allows),
    ("network.httpProxyPort", Neutral),
    ("network.socksProxyPort", Neutral),
    ("network.mitmProxy.socketPath", Neutral),
    ("network.mitmProxy.domains", Neutral),
    ("network.parentProxy.http", Neutral),
    ("network.parentProxy.https", Neutral),
    ("network.parentProxy.noProxy", Neutral),
    ("network.tlsTerminate.caCertPath", Neutral),
    ("network.tlsTerminate.caKeyPath", Neutral),
    ("network.tlsTerminate.excludeDomains", Neutral),
    ("network.tlsTerminate.extraCaCertPaths", Neutral),
    ("network.tlsTerminate.maxTunnels", Neutral),
    ("network.tlsTerminate.handshakeTimeoutMs", Neutral),
    ("network.allowPlaintextHeaderSet", FALSE),
    ("network.stripResponseHeaders", Denies),
    ("network.refuseOpaqueTunnels", TRUE),
    ("network.requireHostMatch", TRUE),
    ("network.ambiguousRequestTarget", words(&["refuse", "normalize", "asSpelled"], "refuse")),

    // Without it, a host that a wildcard allows needs the name, and one that is named does not.
    ("tls.requireSni", Direction::Bool { tighter: true, otherwise: Otherwise::Between }),
    ("tls.ech", words(&["refuse", "allow"], "allow")),

    ("strict", TRUE),

    ("filesystem.mode", words(&["minimal", "shared"], "shared")),
    ("filesystem.overlay", Allows),
    ("filesystem.overlayMax", Smaller { otherwise: Some(1 << 30) }),
    ("filesystem.denyRead", Denies),
    ("filesystem.allowRead", Allows),
    ("filesystem.allowWrite", Allows),
    ("filesystem.denyWrite", Denies),
    ("filesystem.allowGitConfig", FALSE),
    ("filesystem.disabled", FALSE),

    ("credentials.files", Denies),
    ("credentials.envVars", Denies),
    ("credentials.awsPairs", Neutral),
    ("credentials.allowPlaintextInject", Neutral),

    ("runtime.envStrip", Denies),
    ("runtime.maxFileDescriptors", LIMIT),
    ("runtime.maxProcesses", LIMIT),
    ("runtime.memoryMax", LIMIT),
    ("runtime.maxFileSize", LIMIT),
    ("runtime.timeoutSeconds", LIMIT),
    ("runtime.restart", Neutral),
    ("runtime.healthTimeoutSeconds", Neutral),
    ("runtime.warm", Neutral),
    ("runtime.limits", words(&["enforced", "best-effort"], "enforced")),
    ("runtime.cpuQuota", LIMIT),

    ("limits", words(&["enforced", "best-effort"], "enforced")),

    ("mcp.tools.allow", Narrows),
    ("mcp.tools.deny", Denies),
    ("mcp.pinTools", TRUE),

    ("audit.filesystem", TRUE_ALREADY),
    ("audit.mcp", Neutral),
    ("audit.retain", Daemon),
    ("audit.otlp.endpoint", Daemon),
    ("audit.otlp.headers", Daemon),
    ("audit.anchor.syslog", Daemon),

    ("git.safeDirectories", Allows),

    ("ignoreViolations", Allows),
    ("enableWeakerNestedSandbox", FALSE),
    ("enableWeakerNetworkIsolation", FALSE),
    ("allowNestedUserNamespaces", FALSE),
    ("allowAppleEvents", FALSE),
    ("allowPty", FALSE),
    ("mandatoryDenySearchDepth", Neutral),

    ("bwrapPath", Neutral),
    ("socatPath", Neutral),
    ("ripgrep", Neutral),
    ("seccomp", Neutral),
    ("javaAgentJarPath", Neutral),
    ("windows", Neutral),
];

/// The direction of a dotted key. A key that is missing in the table, which a test forbids, is nobody's to change.
pub(crate) fn direction(key: &str) -> Direction {
    DIRECTIONS
        .iter()
        .find(|(known, _)| *known == key)
        .map_or(Neutral, |(_, direction)| *direction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{KEYS, Shape};
    use crate::version::is_renamed;

    /// Whoever adds a key says which way it is tighter.
    #[test]
    fn every_key_with_a_value_has_a_direction() {
        let valued = KEYS
            .iter()
            .filter(|key| key.shape != Shape::Section && !is_renamed(key.path))
            .filter(|key| !key.path.contains("[]") && !key.path.starts_with("credentials.sigv4."));
        let keys: Vec<&str> = valued.map(|key| key.path).collect();
        let told: Vec<&str> = DIRECTIONS.iter().map(|(key, _)| *key).collect();
        assert_eq!(told, keys);
    }

    #[test]
    fn what_holds_without_a_key_is_one_of_its_words() {
        for (key, direction) in DIRECTIONS {
            if let Direction::Ordered { words, otherwise } = direction {
                assert!(words.contains(otherwise), "{key}");
            }
        }
    }
}
