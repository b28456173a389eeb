//! The only place that opens a connection to the outside, or a socket for datagrams. It takes nothing but a [`Checked`], so an address that
//! policy has not seen cannot be reached.

use std::io;
use std::net::SocketAddr;
#[cfg(target_os = "linux")]
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use srt_policy::Checked;
use tokio::net::TcpStream;
#[cfg(target_os = "linux")]
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use crate::decide::Failure;

/// Connects to the first address that answers. `limit` is for all of them: each gets an equal share of what is
/// left, so that a first address that swallows packets does not use up the time of a second that works.
pub(crate) async fn dial(
    checked: &Checked,
    limit: Duration,
) -> Result<(TcpStream, SocketAddr), Failure> {
    let deadline = Instant::now() + limit;
    let mut failure = Failure::NoAddress {
        name: checked.permit().target().to_string(),
    };
    for (index, &address) in checked.addresses().iter().enumerate() {
        let left = u32::try_from(checked.addresses().len() - index).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        let source = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small writes of a relayed protocol must not wait for acknowledgements; a refusal only costs speed.
                let _ = stream.set_nodelay(true);
                return Ok((stream, address));
            }
            Ok(Err(source)) => source,
            Err(_elapsed) => io::ErrorKind::TimedOut.into(),
        };
        failure = Failure::Dial { address, source };
    }
    Err(failure)
}

/// A socket for datagrams to and from the first address alone, since none of them answers to a connection.
#[cfg(target_os = "linux")]
pub(crate) async fn dial_datagrams(checked: &Checked) -> Result<(UdpSocket, SocketAddr), Failure> {
    let Some(&address) = checked.addresses().first() else {
        return Err(Failure::NoAddress {
            name: checked.permit().target().to_string(),
        });
    };
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let open = async {
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(address).await?;
        Ok(socket)
    };
    match open.await {
        Ok(socket) => Ok((socket, address)),
        Err(source) => Err(Failure::Dial { address, source }),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// No other module of the crate opens a socket, tests' own helpers aside.
    #[test]
    fn nothing_else_connects() {
        let mut seen = 0;
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                seen += 1;
                let text = std::fs::read_to_string(&path).unwrap();
                // What follows is the file's own tests.
                let text = text.split("#[cfg(test)]").next().unwrap_or_default();
                // Two ends in this process lead nowhere else.
                let text = text.replace("UnixStream::pair()", "");
                if path.ends_with("src/dial.rs") {
                    assert!(
                        text.contains("TcpStream::connect("),
                        "the search finds nothing"
                    );
                    continue;
                }
                for opening in [
                    "Stream::connect",
                    "TcpSocket",
                    "UdpSocket::bind",
                    "socket::socket(",
                    "net::connect",
                    "socket::connect",
                    "UnixStream",
                    "connect_timeout",
                ] {
                    assert!(!text.contains(opening), "{} has {opening}", path.display());
                }
            }
        }
        assert!(seen > 15, "only {seen} files searched");
    }
}
