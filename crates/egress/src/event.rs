//! What happened, told to whoever keeps the audit log.

use std::net::SocketAddr;
use std::time::Duration;

use srt_policy::{Denial, RuleRef, Target};

/// How a connection left its sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrontEnd {
    /// An absolute-form request to the HTTP proxy.
    Http,
    /// A CONNECT tunnel through the HTTP proxy.
    Connect,
    /// A SOCKS5 tunnel.
    Socks5,
    /// A connection that knew of no proxy.
    Tcp,
    /// A name lookup.
    Dns,
    /// Datagrams, where `network.allowedUdp` names their target.
    Udp,
}

impl FrontEnd {
    /// Its stable name, as stored in the audit log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Connect => "connect",
            Self::Socks5 => "socks5",
            Self::Tcp => "tcp",
            Self::Dns => "dns",
            Self::Udp => "udp",
        }
    }
}

impl std::fmt::Display for FrontEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a flow ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowEnd {
    /// One of its sides finished or broke it, it was silent for too long, or the sandbox ended.
    Done,
    /// It was closed, because the policy that is now in force does not permit it.
    NoLongerPermitted(Denial),
}

/// One thing that happened to a sandbox's traffic.
#[allow(
    clippy::large_enum_variant,
    reason = "an event is moved a few times and kept nowhere"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A permitted exchange ended, for whatever reason.
    Flow {
        /// How it left.
        front_end: FrontEnd,
        /// What was asked for.
        target: Target,
        /// What was connected to; the user's own proxy where there is one.
        address: SocketAddr,
        /// The rule that allowed it.
        rule: RuleRef,
        /// Bytes from the sandbox: of the body for [`FrontEnd::Http`], of the tunnel or the datagrams otherwise.
        bytes_out: u64,
        /// Bytes to the sandbox, likewise.
        bytes_in: u64,
        /// From the connection (or the reuse of one) to the last byte.
        duration: Duration,
        /// Under `network.enforceAllowlist: false`: the denial that would have been.
        would_be_denied: Option<Denial>,
        /// Why it ended.
        ended: FlowEnd,
        /// The number of the policy that allowed it, where it has one.
        generation: Option<u64>,
    },
    /// Something was refused.
    Denied {
        /// Where it was asked.
        front_end: FrontEnd,
        /// The refusal.
        denial: Denial,
    },
    /// Something permitted could not be reached.
    Failed {
        /// Where it was asked.
        front_end: FrontEnd,
        /// What was asked for.
        target: Target,
        /// What went wrong, causes included.
        error: String,
        /// The number of the policy that allowed it, where it has one.
        generation: Option<u64>,
    },
}
