//! Carrying bytes both ways between a sandbox and what it was permitted to reach.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::context::{Context, Counters, Exchange};

const BUFFER: usize = 16 * 1024;

/// After this many bytes in one direction its relay goes over to splice(2): a short exchange, and most are short,
/// is not worth a pipe.
#[cfg(target_os = "linux")]
const SPLICE_AFTER: u64 = 128 * 1024;

/// One side of a tunnel, and what has already been read from it.
pub(crate) struct Side<'a> {
    pub(crate) stream: &'a mut TcpStream,
    pub(crate) early: &'a [u8],
}

/// Relays until both sides have finished, one fails, neither says anything for the idle timeout, or the sandbox
/// ends. The counters are right at any moment, so being dropped half-way loses nothing.
pub(crate) async fn relay(
    context: &Context,
    exchange: &Exchange,
    client: Side<'_>,
    server: Side<'_>,
) {
    let counters = exchange.counters();
    let out = |bytes| counters.add_out(bytes);
    let into = |bytes| counters.add_in(bytes);
    let (client_read, client_write) = client.stream.split();
    let (server_read, server_write) = server.stream.split();
    let both = async {
        tokio::try_join!(
            pump(client_read, server_write, client.early, &out),
            pump(server_read, client_write, server.early, &into),
        )
    };
    tokio::select! {
        biased;
        () = context.cancel.cancelled() => {}
        ended = both => {
            if let Err(error) = ended {
                tracing::debug!(target = %exchange.target(), %error, "tunnel broke");
            }
        }
        () = silence(counters, context.bounds.idle_timeout) => {
            tracing::debug!(target = %exchange.target(), "tunnel was idle for too long");
        }
    }
}

/// Returns after between one and one and a half `limit` without a byte.
async fn silence(counters: &Counters, limit: Duration) {
    let mut ticks = tokio::time::interval(limit / 2);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut seen = counters.sum();
    let mut quiet = 0;
    ticks.tick().await;
    while quiet < 2 {
        ticks.tick().await;
        let sum = counters.sum();
        quiet = if sum == seen { quiet + 1 } else { 0 };
        seen = sum;
    }
}

/// Carries one direction to its end and passes that end on (half-close).
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    early: &[u8],
    count: &impl Fn(usize),
) -> io::Result<()> {
    if !early.is_empty() {
        to.write_all(early).await?;
        count(early.len());
    }
    let mut buffer = vec![0; BUFFER];
    #[cfg(target_os = "linux")]
    let mut moved = 0_u64;
    loop {
        let bytes = from.read(&mut buffer).await?;
        if bytes == 0 {
            break;
        }
        to.write_all(&buffer[..bytes]).await?;
        count(bytes);
        #[cfg(target_os = "linux")]
        {
            moved += bytes as u64;
            if moved >= SPLICE_AFTER {
                // Without a pipe (too many open files) the buffer goes on serving; asking again can wait as long.
                match crate::splice::Pipe::new() {
                    Ok(pipe) => {
                        drop(buffer);
                        pipe.pump(from.as_ref(), to.as_ref(), count).await?;
                        break;
                    }
                    Err(_) => moved = 0,
                }
            }
        }
    }
    to.shutdown().await
}
