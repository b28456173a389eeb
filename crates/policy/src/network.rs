//! Which hosts a server may reach.

use std::net::{IpAddr, SocketAddr};

use crate::Origin;

/// A host as asked for, in the one form in which it is compared: a lower-case IDNA-ASCII name without a
/// trailing dot, or an address (IPv4 in decimal, octal, hex or short form and IPv4-mapped IPv6 become IPv4).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name.
    Name(String),
    /// An address.
    Ip(IpAddr),
}

/// Why a text is not a host.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a host name or address: {why}")]
pub struct HostError {
    /// The text, shortened.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Host {
    /// Reads a host from a request: a name, an IPv4 in any of the forms of `inet_aton(3)`, an IPv6 with or
    /// without brackets. No port, no userinfo, no zone.
    ///
    /// # Errors
    /// When the text is none of these.
    pub fn parse(_text: &str) -> Result<Self, HostError> {
        todo!()
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(v4)) => write!(f, "{v4}"),
            Self::Ip(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

/// What a server asked to reach.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The host.
    pub host: Host,
    /// The TCP port.
    pub port: u16,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The rule that decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRef {
    /// Dotted key, "network.allowedDomains"; "built-in" for the default refusal and address classes.
    pub key: String,
    /// The pattern as written, or the class's name ("loopback", "link-local", "cloud metadata").
    pub pattern: String,
    /// Where it is written.
    pub origin: Origin,
}

/// What policy says of a target.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It may be reached, once its addresses are checked.
    Allow(Permit),
    /// It may not.
    Deny(Denial),
}

/// Proof that policy allows a target. Only [`NetworkPolicy::decide`] makes one.
#[derive(Clone, Debug)]
pub struct Permit {
    target: Target,
    rule: RuleRef,
}

impl Permit {
    /// The permitted target.
    pub fn target(&self) -> &Target {
        &self.target
    }
    /// The rule that allowed it.
    pub fn rule(&self) -> &RuleRef {
        &self.rule
    }
}

/// A permit whose addresses passed the resolved-address check: all that `dial` takes. Only
/// [`NetworkPolicy::check`] and [`NetworkPolicy::check_upstream`] make one.
#[derive(Clone, Debug)]
pub struct Checked {
    permit: Permit,
    addresses: Vec<SocketAddr>,
    upstream: Option<Upstream>,
}

impl Checked {
    /// The permit that was checked.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }
    /// The addresses to dial, in order; never empty. Those of the upstream proxy where there is one.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
    /// The user's own proxy through which the target is reached.
    pub fn upstream(&self) -> Option<&Upstream> {
        self.upstream.as_ref()
    }
}

/// A proxy of the user's own (`network.proxyConfig`), to which permitted traffic is handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// An HTTP proxy, asked with CONNECT.
    Http(Target),
    /// A SOCKS5 proxy.
    Socks5(Target),
}

/// A refusal, worded for the person (or model) who meets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// What was asked for, in canonical form: "example.com:443".
    pub subject: String,
    /// Why: "no rule in network.allowedDomains matches", "network.deniedDomains has \"*.example.com\"".
    pub reason: String,
    /// The deciding rule; `None` when nothing allowed it.
    pub rule: Option<RuleRef>,
    /// The settings line that would allow it: `"network": { "allowedDomains": ["example.com:443"] }`; absent
    /// where no line would.
    pub remedy: Option<String>,
}

/// The network half of a policy.
#[derive(Clone, Debug, Default)]
pub struct NetworkPolicy {}

impl NetworkPolicy {
    /// Decides on a connection: denied domains first, then allowed ones, then no.
    pub fn decide(&self, _target: &Target) -> Decision {
        todo!()
    }

    /// Decides on a name lookup: `Ok` if some port of the name could be allowed.
    ///
    /// # Errors
    /// The denial, when no port of the name could be.
    pub fn decide_lookup(&self, _host: &Host) -> Result<(), Denial> {
        todo!()
    }

    /// Checks the addresses that a permitted target resolved to (pure: the addresses and this host's own
    /// addresses are facts). Addresses of the denied classes are dropped, unless a literal in `allowedDomains`
    /// names that very address (and port, if it has one) or the rule is `localhost` and the address is loopback.
    ///
    /// # Errors
    /// The denial, naming the class, when none is left.
    pub fn check(
        &self,
        _permit: Permit,
        _resolved: &[IpAddr],
        _own: &[IpAddr],
    ) -> Result<Checked, Denial> {
        todo!()
    }

    /// The user's own proxy for a permitted target, if the settings name one.
    pub fn upstream(&self, _permit: &Permit) -> Option<Upstream> {
        todo!()
    }

    /// Turns a permit into a dialable one through `upstream`, whose addresses are a fact. They are the user's
    /// own choice and so not checked against the denied classes.
    ///
    /// # Errors
    /// The denial, when the proxy has no address.
    pub fn check_upstream(
        &self,
        _permit: Permit,
        _upstream: Upstream,
        _resolved: &[IpAddr],
    ) -> Result<Checked, Denial> {
        todo!()
    }

    /// Loopback literals with a port in `allowedDomains` (`127.0.0.1:3000`, `[::1]:3000`, and both of them for
    /// `localhost:3000`): a sandbox has a loopback of its own, so the transparent front end must listen at
    /// exactly these.
    pub fn loopback_listeners(&self) -> Vec<SocketAddr> {
        todo!()
    }

    /// Whether any host at all can be allowed.
    pub fn allows_anything(&self) -> bool {
        todo!()
    }
}
