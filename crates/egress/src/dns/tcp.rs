//! DNS over TCP: messages with two bytes of length before them.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{MOST_QUERY, answer};
use crate::FrontEnd;
use crate::context::Context;

/// Answers a client's queries until it leaves, falls silent or sends what cannot be a query.
pub(crate) async fn serve(context: Arc<Context>, mut client: TcpStream) {
    let cancel = context.cancel.clone();
    let talk = async {
        while let Ok(Ok(Some(query))) =
            timeout(context.bounds.handshake_timeout, read(&mut client)).await
        {
            let policy = context.policy();
            let answer = answer(&query, &policy, &context.names);
            if let Some(denial) = answer.denial
                && let Some(denial) = context.told.first(FrontEnd::Dns, denial)
            {
                context.denied(FrontEnd::Dns, denial).await;
            }
            let Some(reply) = answer.reply else { return };
            let Ok(length) = u16::try_from(reply.len()) else {
                return;
            };
            let framed = [&length.to_be_bytes()[..], &reply].concat();
            if client.write_all(&framed).await.is_err() {
                return;
            }
        }
    };
    let _ = cancel.run_until_cancelled(talk).await;
}

async fn read(client: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = usize::from(client.read_u16().await?);
    if length > MOST_QUERY {
        return Ok(None);
    }
    let mut query = vec![0; length];
    client.read_exact(&mut query).await?;
    Ok(Some(query))
}
