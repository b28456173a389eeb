//! What policy says of a target, and the proofs that it said yes.

use std::net::SocketAddr;

use crate::{Origin, Target};

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

/// Proof that policy allows a target. Only [`NetworkPolicy::decide`](crate::NetworkPolicy::decide) makes one, and it
/// is worth something to that same policy only: after a reload, decide again.
#[derive(Clone, Debug)]
pub struct Permit {
    pub(crate) target: Target,
    pub(crate) rule: RuleRef,
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
/// [`NetworkPolicy::check`](crate::NetworkPolicy::check) and
/// [`NetworkPolicy::check_upstream`](crate::NetworkPolicy::check_upstream) make one.
#[derive(Clone, Debug)]
pub struct Checked {
    pub(crate) permit: Permit,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) upstream: Option<Upstream>,
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
