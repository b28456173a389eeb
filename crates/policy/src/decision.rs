//! What policy says of a target, and the proofs that it said yes.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::{Host, Origin, Target, Upstream};

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
    /// No rule speaks of it, and a person may be asked (`network.ask`).
    Ask(Question),
}

/// An unknown target under `network.ask`. Without an answer it is its denial.
#[derive(Clone, Debug)]
pub struct Question {
    pub(crate) target: Target,
    pub(crate) denial: Box<Denial>,
}

impl Question {
    /// What is asked for.
    pub fn target(&self) -> &Target {
        &self.target
    }
    /// What it is if nobody says yes.
    pub fn denial(&self) -> &Denial {
        &self.denial
    }
}

/// A recorded approval, as the daemon's store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its number or name in the store.
    pub id: String,
    /// The host.
    pub host: Host,
    /// The port; every one where there is none.
    pub port: Option<u16>,
}

/// Proof that policy allows a target. Only [`NetworkPolicy`](crate::NetworkPolicy) makes one, and it is worth
/// something to that same policy only: after a reload, ask [`keeps`](crate::NetworkPolicy::keeps) or decide again.
#[derive(Clone, Debug)]
pub struct Permit {
    pub(crate) target: Target,
    pub(crate) rule: Arc<RuleRef>,
    pub(crate) ground: Ground,
    pub(crate) requires_sni: bool,
    pub(crate) refuses_ech: bool,
    pub(crate) generation: Option<u64>,
}

/// Why a permit was given.
#[derive(Clone, Debug)]
pub(crate) enum Ground {
    /// A rule about connections.
    Rule,
    /// `network.enforceAllowlist` is false; what it would be otherwise.
    Observed(Box<Denial>),
    /// A person's answer for one connection.
    Once,
    /// A rule about datagrams.
    Datagrams,
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
    /// The number of the policy that allowed it, where it has one ([`Policy::numbered`](crate::Policy::numbered)).
    pub fn generation(&self) -> Option<u64> {
        self.generation
    }
    /// Under `network.enforceAllowlist: false`: the denial that would have been.
    pub fn would_be_denied(&self) -> Option<&Denial> {
        match &self.ground {
            Ground::Observed(denial) => Some(denial),
            Ground::Rule | Ground::Once | Ground::Datagrams => None,
        }
    }
    /// TLS on this flow must name its server (SNI): `tls.requireSni`, by default where a wildcard allowed it. Never
    /// for an address, which SNI cannot name (RFC 6066, section 3).
    pub fn requires_sni(&self) -> bool {
        self.requires_sni
    }
    /// TLS on this flow must not carry an encrypted ClientHello: `tls.ech: "refuse"`.
    pub fn refuses_ech(&self) -> bool {
        self.refuses_ech
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
    /// The number of the policy that refused it, where it has one ([`Policy::numbered`](crate::Policy::numbered)).
    pub generation: Option<u64>,
}
