//! A socket for what has none of its own (a stream of HTTP/2, a connection inside TLS), so that all tunnels are one kind to
//! whoever looks into them, counts and closes them.

use std::io;
use std::os::fd::OwnedFd;

use tokio::net::TcpStream;

/// Two sockets that are connected to each other.
///
/// # Errors
///
/// The kernel's, for want of descriptors.
pub(crate) fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let (one, other) = std::os::unix::net::UnixStream::pair()?;
    // To the kernel connected stream sockets like any other; nothing asks them for an address.
    let taken = |end: OwnedFd| {
        let end = std::net::TcpStream::from(end);
        end.set_nonblocking(true)?;
        TcpStream::from_std(end)
    };
    Ok((taken(one.into())?, taken(other.into())?))
}
