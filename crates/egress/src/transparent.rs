//! Connections of programs that know of no proxy: Node's fetch, database drivers, git over ssh.

use std::net::SocketAddr;
use std::sync::Arc;

use srt_policy::Host;
use tokio::net::TcpStream;

use crate::FrontEnd;
use crate::context::Context;
use crate::relay::{Side, relay};

/// Connects a captured connection to where it was going.
pub(crate) async fn serve(context: Arc<Context>, mut client: TcpStream) {
    let Ok(destination) = destination(&client) else {
        return;
    };
    let target = context.target(Host::Ip(destination.ip()), destination.port());
    let opened = tokio::select! {
        biased;
        () = context.cancel.cancelled() => return,
        opened = context.connect(FrontEnd::Tcp, &target) => opened,
    };
    match opened {
        Ok(mut outbound) => {
            let client = Side {
                stream: &mut client,
                early: &[],
            };
            let server = Side {
                stream: &mut outbound.stream,
                early: &[],
            };
            relay(&context, &outbound.exchange, client, server).await;
        }
        // A reset, so that the client fails at once instead of taking the end for an empty answer.
        Err(_recorded) => {
            let _ = client.set_zero_linger();
        }
    }
}

fn destination(client: &TcpStream) -> std::io::Result<SocketAddr> {
    let local = client.local_addr()?;
    #[cfg(target_os = "linux")]
    let local = crate::original_dst::original_destination(client, local).unwrap_or(local);
    Ok(SocketAddr::new(local.ip().to_canonical(), local.port()))
}
