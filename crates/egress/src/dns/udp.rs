//! DNS over UDP.

use std::io;
use std::sync::Arc;

use tokio::net::UdpSocket;

use super::{MOST_QUERY, answer};
use crate::FrontEnd;
use crate::context::Context;

#[cfg(target_os = "linux")]
use crate::pktinfo::{prepare, receive, send};

/// Takes over a bound socket.
pub(crate) fn take(socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    prepare(&socket)?;
    UdpSocket::from_std(socket)
}

/// Answers queries for as long as the sandbox lives.
pub(crate) async fn serve(context: Arc<Context>, socket: UdpSocket) {
    let cancel = context.cancel.clone();
    let talk = async {
        let mut buffer = vec![0; MOST_QUERY];
        loop {
            let (length, path) = match receive(&socket, &mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    // An ICMP error about an earlier reply, say; nothing that ends the service.
                    tracing::debug!(%error, "cannot receive a query");
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                    continue;
                }
            };
            let policy = context.policy();
            let answer = answer(&buffer[..length], &policy, &context.names);
            if let Some(denial) = answer.denial
                && let Some(denial) = context.told.first(FrontEnd::Dns, denial)
            {
                context.denied(FrontEnd::Dns, denial).await;
            }
            if let Some(reply) = answer.reply
                && let Err(error) = send(&socket, &reply, &path).await
            {
                tracing::debug!(%error, "cannot send a reply");
            }
        }
    };
    let _ = cancel.run_until_cancelled(talk).await;
}

#[cfg(not(target_os = "linux"))]
use plain::{prepare, receive, send};

/// Elsewhere the sockets are bound to the very address that clients ask, so the kernel answers from it.
#[cfg(not(target_os = "linux"))]
mod plain {
    use std::io;
    use std::net::SocketAddr;

    use tokio::net::UdpSocket;

    #[allow(clippy::unnecessary_wraps, reason = "the signature of its Linux twin")]
    pub(super) fn prepare(_socket: &std::net::UdpSocket) -> io::Result<()> {
        Ok(())
    }
    pub(super) async fn receive(
        socket: &UdpSocket,
        buffer: &mut [u8],
    ) -> io::Result<(usize, SocketAddr)> {
        socket.recv_from(buffer).await
    }
    pub(super) async fn send(
        socket: &UdpSocket,
        reply: &[u8],
        peer: &SocketAddr,
    ) -> io::Result<()> {
        socket.send_to(reply, peer).await.map(|_sent| ())
    }
}
