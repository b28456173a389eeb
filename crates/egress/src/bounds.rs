//! How much one sandbox may ask of the daemon.

use std::time::Duration;

/// Bounds on one sandbox's egress. The defaults suit an MCP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections open at once over all front ends; further ones wait in the listeners' queues.
    pub connections: usize,
    /// Connections that wait at the gate for a person's answer; further ones are refused.
    pub held: usize,
    /// Names being resolved on the host at once: a lookup occupies a thread that the whole daemon shares.
    pub lookups: usize,
    /// Bytes of an HTTP request's head.
    pub header_bytes: usize,
    /// Streams open at once on one HTTP/2 connection; each counts as a connection, too.
    pub streams: u32,
    /// How long an HTTP client may take to send a request's head, the wait between two requests included.
    pub header_timeout: Duration,
    /// How long a SOCKS5 handshake may take.
    pub handshake_timeout: Duration,
    /// How long resolving may take, and again reaching the first address that answers.
    pub dial_timeout: Duration,
    /// How long a tunnel may be silent in both directions, and a server may think about a response.
    pub idle_timeout: Duration,
    /// Pairs of a client's socket and a target between which datagrams are relayed at once.
    pub datagram_flows: usize,
    /// How long such a pair may be silent.
    pub datagram_idle: Duration,
    /// Names that may hold a synthetic address; 131,072 at most.
    pub names: usize,
    /// Idle connections to HTTP servers kept for reuse.
    pub pooled: usize,
    /// How long an idle connection to an HTTP server is kept.
    pub pool_timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 1024,
            held: 64,
            lookups: 16,
            header_bytes: 64 * 1024,
            streams: 64,
            header_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            datagram_flows: 256,
            datagram_idle: Duration::from_secs(60),
            names: 16 * 1024,
            pooled: 128,
            pool_timeout: Duration::from_secs(30),
        }
    }
}
