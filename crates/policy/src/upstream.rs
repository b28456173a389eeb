//! Proxies of the user's own, to which permitted traffic is handed on.

use std::fmt;

use ipnet::IpNet;

use crate::address::parse_range;
use crate::{Host, NetworkPolicy, Origin, Permit, Target};

/// What passes on a flow, as far as the choice of a proxy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowKind {
    /// Requests that can be read: HTTP in plain text.
    PlainHttp,
    /// Everything else: CONNECT, SOCKS5, TCP.
    Tunnel,
}

/// A proxy of the user's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// An HTTP proxy, asked with CONNECT.
    Http {
        /// Where it listens.
        proxy: Target,
        /// It is spoken to by TLS, and its certificate has to be for that host.
        tls: bool,
        /// For `Proxy-Authorization: Basic` (RFC 7617).
        credentials: Option<Credentials>,
    },
    /// A SOCKS5 proxy (RFC 1928).
    Socks5 {
        /// Where it listens.
        proxy: Target,
        /// For its user name and password method (RFC 1929).
        credentials: Option<Credentials>,
    },
}

impl Upstream {
    /// Where it listens.
    pub fn proxy(&self) -> &Target {
        let (Self::Http { proxy, .. } | Self::Socks5 { proxy, .. }) = self;
        proxy
    }

    /// What it asks for, if the settings hold it.
    pub fn credentials(&self) -> Option<&Credentials> {
        let (Self::Http { credentials, .. } | Self::Socks5 { credentials, .. }) = self;
        credentials.as_ref()
    }
}

impl fmt::Display for Upstream {
    /// Its URL, with `***` for a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self {
            Self::Http { tls: true, .. } => "https",
            Self::Http { tls: false, .. } => "http",
            Self::Socks5 { .. } => "socks5",
        };
        match self.credentials() {
            Some(Credentials { user, .. }) => write!(f, "{scheme}://{user}:***@{}", self.proxy()),
            None => write!(f, "{scheme}://{}", self.proxy()),
        }
    }
}

/// A name and a password for a proxy. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("password", &"***")
            .finish()
    }
}

/// A proxy and the line that names it.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamRule {
    pub(crate) key: &'static str,
    pub(crate) upstream: Upstream,
    pub(crate) origin: Origin,
}

/// The proxies in force, and what goes past them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upstreams {
    pub(crate) plain: Option<UpstreamRule>,
    pub(crate) tunnel: Option<UpstreamRule>,
    pub(crate) exceptions: Vec<Exception>,
}

/// An entry of `noProxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exception {
    pub(crate) hosts: Excepted,
    pub(crate) port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Excepted {
    All,
    /// A name and everything below it.
    Domain(String),
    Range(IpNet),
}

impl Exception {
    /// Reads an entry: `*`, a name with or without a dot in front, an address or a range, with or without a port.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        // A range and a bare IPv6 have colons of their own, so they are tried before a port is split off.
        if let Some(range) = parse_range(text) {
            return Some(Self {
                hosts: Excepted::Range(range),
                port: None,
            });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, digits)) => (host, Some(parse_port(digits)?)),
            None => (text, None),
        };
        let hosts = if host == "*" {
            Excepted::All
        } else if let Some(range) = parse_range(host) {
            Excepted::Range(range)
        } else {
            let name = host.strip_prefix('*').unwrap_or(host);
            match Host::parse(name.strip_prefix('.').unwrap_or(host)).ok()? {
                Host::Name(name) => Excepted::Domain(name),
                Host::Ip(ip) => Excepted::Range(ip.into()),
            }
        };
        Some(Self { hosts, port })
    }

    fn covers(&self, target: &Target) -> bool {
        self.port.is_none_or(|port| port == target.port)
            && match (&self.hosts, &target.host) {
                (Excepted::All, _) => true,
                (Excepted::Domain(base), Host::Name(name)) => name
                    .strip_suffix(base.as_str())
                    .is_some_and(|front| front.is_empty() || front.ends_with('.')),
                (Excepted::Range(range), Host::Ip(ip)) => range.contains(ip),
                (Excepted::Domain(_), Host::Ip(_)) | (Excepted::Range(_), Host::Name(_)) => false,
            }
    }
}

/// A port in decimal digits, from 1.
pub(crate) fn parse_port(digits: &str) -> Option<u16> {
    digits
        .parse::<u16>()
        .ok()
        .filter(|port| *port > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

impl NetworkPolicy {
    /// The user's own proxy for a permitted flow, if the settings name one. Loopback targets have none: at the far
    /// end of a proxy, loopback would be another machine's. What `noProxy` names has none.
    pub fn upstream(&self, permit: &Permit, kind: FlowKind) -> Option<Upstream> {
        let target = &permit.target;
        let local = match &target.host {
            Host::Ip(ip) => ip.is_loopback(),
            Host::Name(name) => name == "localhost",
        };
        let upstreams = &self.upstreams;
        if local
            || upstreams
                .exceptions
                .iter()
                .any(|entry| entry.covers(target))
        {
            return None;
        }
        let rule = match kind {
            FlowKind::PlainHttp => &upstreams.plain,
            FlowKind::Tunnel => &upstreams.tunnel,
        };
        rule.as_ref().map(|rule| rule.upstream.clone())
    }
}
