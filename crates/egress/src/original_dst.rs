//! Where a redirected connection was meant to go, as the kernel's connection tracking remembers it.

use std::net::SocketAddr;

use nix::sys::socket::{SockaddrIn, SockaddrIn6, getsockopt, sockopt};
use tokio::net::TcpStream;

/// The destination before nft's redirect; `None` where none happened (or tracking is off).
pub(crate) fn original_destination(stream: &TcpStream, local: SocketAddr) -> Option<SocketAddr> {
    // A v4 connection on a v6 socket is tracked as v4, and asked for at the v4 level.
    if local.ip().to_canonical().is_ipv4() {
        let raw = getsockopt(stream, sockopt::OriginalDst).ok()?;
        Some(SocketAddr::V4(SockaddrIn::from(raw).into()))
    } else {
        let raw = getsockopt(stream, sockopt::Ip6tOriginalDst).ok()?;
        Some(SocketAddr::V6(SockaddrIn6::from(raw).into()))
    }
}
