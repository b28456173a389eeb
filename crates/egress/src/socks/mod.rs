//! The SOCKS5 proxy (RFC 1928): CONNECT only.

pub(crate) mod wire;

use std::io;
use std::sync::Arc;

use srt_policy::{Host, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::FrontEnd;
use crate::context::Context;
use crate::decide::{Failure, Refused};
use crate::refusal::unreadable;
use crate::relay::{Side, relay};
use wire::{Malformed, Reply, Wanted};

/// Serves one client.
pub(crate) async fn serve(context: Arc<Context>, mut client: TcpStream) {
    let mut buffer = Buffer::default();
    let cancel = context.cancel.clone();
    let opening = async {
        let asking = ask(&context, &mut client, &mut buffer);
        let target = timeout(context.bounds.handshake_timeout, asking)
            .await
            .ok()?
            .ok()??;
        let target = match target {
            Ok(target) => target,
            Err(error) => {
                context.denied(FrontEnd::Socks5, unreadable(&error)).await;
                refuse(&mut client, Reply::NotAllowed).await;
                return None;
            }
        };
        match context
            .connect(FrontEnd::Socks5, &target, Some(&client))
            .await
        {
            Ok(outbound) => {
                client.write_all(&Reply::Succeeded.bytes()).await.ok()?;
                Some(outbound)
            }
            Err(refused) => {
                refuse(&mut client, reply_to(&refused)).await;
                None
            }
        }
    };
    let Some(Some(mut outbound)) = cancel.run_until_cancelled(opening).await else {
        return;
    };
    let client = Side {
        stream: &mut client,
        early: buffer.held(),
    };
    let server = Side {
        stream: &mut outbound.stream,
        early: &[],
    };
    relay(&context, outbound.exchange, client, server).await;
}

/// The handshake up to the request: what is wanted, or `None` when that has been answered already.
async fn ask(
    context: &Context,
    client: &mut TcpStream,
    buffer: &mut Buffer,
) -> io::Result<Option<Result<Target, srt_policy::HostError>>> {
    let method = if context.token.is_some() {
        wire::PASSWORD
    } else {
        wire::NO_AUTH
    };
    let offered = loop {
        match wire::greeting(buffer.held(), method) {
            Ok(Some((offered, used))) => {
                buffer.consume(used);
                break offered;
            }
            Ok(None) => buffer.fill(client).await?,
            Err(_) => return Ok(None),
        }
    };
    if !offered {
        client.write_all(&[5, 0xff]).await?;
        return Ok(None);
    }
    client.write_all(&[5, method]).await?;
    if let Some(token) = &context.token {
        let admitted = loop {
            match wire::credentials(buffer.held()) {
                Ok(Some((user, password, used))) => {
                    let admitted = token.admits_password(user, password);
                    buffer.consume(used);
                    break admitted;
                }
                Ok(None) => buffer.fill(client).await?,
                Err(_) => return Ok(None),
            }
        };
        client.write_all(&[1, u8::from(!admitted)]).await?;
        if !admitted {
            return Ok(None);
        }
    }
    loop {
        match wire::request(buffer.held()) {
            Ok(Some((wanted, port, used))) => {
                let host = match wanted {
                    Wanted::Ip(ip) => Ok(Host::Ip(ip)),
                    Wanted::Name(name) => Host::parse(&String::from_utf8_lossy(name)),
                };
                buffer.consume(used);
                return Ok(Some(host.map(|host| context.target(host, port))));
            }
            Ok(None) => buffer.fill(client).await?,
            Err(malformed) => {
                let reply = match malformed {
                    Malformed::Command => Reply::CommandNotSupported,
                    Malformed::AddressKind => Reply::AddressNotSupported,
                    Malformed::Version | Malformed::NoMethods => return Ok(None),
                };
                refuse(client, reply).await;
                return Ok(None);
            }
        }
    }
}

/// Sends a reply that ends the conversation. A client that is gone already has no use for it.
async fn refuse(client: &mut TcpStream, reply: Reply) {
    let _ = client.write_all(&reply.bytes()).await;
    let _ = client.shutdown().await;
}

fn reply_to(refused: &Refused) -> Reply {
    let source = match refused {
        Refused::Denied(_) => return Reply::NotAllowed,
        Refused::Failed(Failure::Dial { source, .. }) => source,
        Refused::Failed(_) => return Reply::HostUnreachable,
    };
    match source.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
            Reply::ConnectionRefused
        }
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => Reply::NetworkUnreachable,
        _ => Reply::HostUnreachable,
    }
}

/// What has arrived and is not yet understood.
struct Buffer {
    bytes: [u8; wire::MOST],
    start: usize,
    end: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self {
            bytes: [0; wire::MOST],
            start: 0,
            end: 0,
        }
    }
}

impl Buffer {
    fn held(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn consume(&mut self, used: usize) {
        self.start += used;
    }

    async fn fill(&mut self, client: &mut TcpStream) -> io::Result<()> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        // No message needs more than the buffer holds, so it cannot be full here with one incomplete.
        match client.read(&mut self.bytes[self.end..]).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.end += read;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_their_reply() {
        let dial = |kind: io::ErrorKind| {
            Refused::Failed(Failure::Dial {
                address: ([127, 0, 0, 1], 1).into(),
                source: kind.into(),
            })
        };
        for (refused, expected) in [
            (
                dial(io::ErrorKind::ConnectionRefused),
                Reply::ConnectionRefused,
            ),
            (
                dial(io::ErrorKind::NetworkUnreachable),
                Reply::NetworkUnreachable,
            ),
            (dial(io::ErrorKind::HostUnreachable), Reply::HostUnreachable),
            (dial(io::ErrorKind::TimedOut), Reply::HostUnreachable),
            (
                Refused::Failed(Failure::NoAddress {
                    name: "a.test".into(),
                }),
                Reply::HostUnreachable,
            ),
        ] {
            assert_eq!(reply_to(&refused), expected, "{refused:?}");
        }
    }
}
