//! Datagrams to the targets of `network.allowedUdp`, for the few programs that need them.
//!
//! Where nothing is named nobody listens, and the kernel itself refuses a datagram at once (ICMP port unreachable). At a
//! port that is named, one socket hears what is sent to every address; each pair of a client's socket and the address it
//! asked gets a socket of its own outside, connected, so that nobody but the target can answer.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use srt_policy::{Decision, Denial, Host};
use tokio::net::UdpSocket;

use crate::FrontEnd;
use crate::context::Context;
use crate::decide::Permitted;
use crate::flows::Counters;
use crate::pktinfo::{Path, receive, try_send};
use crate::relay::{silence, with_buffer};

/// The longest payload of IPv4, and of IPv6 without jumbograms.
const MOST: usize = 65_535;

/// Datagrams kept while a name is being resolved: those of a first exchange.
const EARLY: usize = 4;

/// A client's socket, and the address that it asked.
type Pair = (SocketAddr, IpAddr);

/// What is under way between a pair.
enum Way {
    /// The target is being looked up; what has come meanwhile.
    Opening(Vec<Vec<u8>>),
    /// Datagrams pass.
    Open(Arc<UdpSocket>, Arc<Counters>),
}

/// The pairs of one listening socket.
#[derive(Default)]
struct Ways(Mutex<HashMap<Pair, Way>>);

impl Ways {
    fn lock(&self) -> MutexGuard<'_, HashMap<Pair, Way>> {
        // Nothing that is done under it can leave the map half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Relays what arrives at one port, for as long as the sandbox lives.
pub(crate) async fn serve(context: Arc<Context>, socket: UdpSocket) {
    let Ok(port) = socket.local_addr().map(|address| address.port()) else {
        return;
    };
    let cancel = context.cancel.clone();
    let socket = Arc::new(socket);
    let ways = Arc::new(Ways::default());
    let listening = async {
        let mut buffer = vec![0; MOST];
        loop {
            match receive(&socket, &mut buffer).await {
                Ok((length, path)) => {
                    take(&context, &socket, &ways, port, &buffer[..length], path).await;
                }
                Err(error) => {
                    // An ICMP error about an earlier reply, say; nothing that ends the service.
                    tracing::debug!(%error, "cannot receive a datagram");
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            }
        }
    };
    let _ = cancel.run_until_cancelled(listening).await;
}

/// Passes on one datagram of a client, or drops it.
async fn take(
    context: &Arc<Context>,
    socket: &Arc<UdpSocket>,
    ways: &Arc<Ways>,
    port: u16,
    datagram: &[u8],
    path: Path,
) {
    let (Some(peer), Some(asked)) = (path.peer(), path.asked()) else {
        return;
    };
    let pair = (peer, asked);
    match ways.lock().get_mut(&pair) {
        Some(Way::Open(outside, counters)) => {
            // What finds no room is lost, as it is on the way.
            if outside.try_send(datagram).is_ok() {
                counters.add_out(datagram.len());
            }
            return;
        }
        Some(Way::Opening(early)) => {
            if early.len() < EARLY {
                early.push(datagram.to_vec());
            }
            return;
        }
        None => {}
    }
    let target = context.target(Host::Ip(asked), port);
    let policy = context.policy();
    let refused = match policy.decide_udp(&target) {
        Decision::Allow(permit) => match Arc::clone(&context.datagrams).try_acquire_owned() {
            Ok(slot) => {
                let permitted = Permitted { policy, permit };
                ways.lock()
                    .insert(pair, Way::Opening(vec![datagram.to_vec()]));
                let (context, socket, ways) =
                    (Arc::clone(context), Arc::clone(socket), Arc::clone(ways));
                context.tasks.clone().spawn(async move {
                    let cancel = context.cancel.clone();
                    let carrying = carry(&context, &socket, &ways, &permitted, pair, path);
                    let _ = cancel.run_until_cancelled(carrying).await;
                    ways.lock().remove(&pair);
                    drop(slot);
                });
                return;
            }
            Err(_) => Denial {
                generation: permit.generation(),
                subject: target.to_string(),
                reason: format!(
                    "datagrams between {} pairs of sockets pass already",
                    context.bounds.datagram_flows
                ),
                rule: None,
                remedy: None,
            },
        },
        Decision::Deny(denial) => denial,
        // Datagrams are never asked about.
        Decision::Ask(question) => question.denial().clone(),
    };
    if let Some(denial) = context.told.first(FrontEnd::Udp, refused) {
        context.denied(FrontEnd::Udp, denial).await;
    }
}

/// Opens a way and carries the answers, until both sides are silent or policy takes the permit back.
async fn carry(
    context: &Arc<Context>,
    socket: &UdpSocket,
    ways: &Ways,
    permitted: &Permitted,
    pair: Pair,
    path: Path,
) {
    context.room().await;
    // Recorded already where it fails.
    let Ok((outside, exchange)) = context.open_datagrams(permitted).await else {
        return;
    };
    // Until it has been told so once, the runtime takes a new socket for one that is not ready.
    if outside.writable().await.is_err() {
        return;
    }
    let outside = Arc::new(outside);
    let counters = Arc::clone(exchange.counters());
    {
        let mut ways = ways.lock();
        let way = Way::Open(Arc::clone(&outside), Arc::clone(&counters));
        if let Some(Way::Opening(early)) = ways.insert(pair, way) {
            for datagram in early {
                if outside.try_send(&datagram).is_ok() {
                    counters.add_out(datagram.len());
                }
            }
        }
    }
    let answers = answer(socket, &outside, &path, &counters);
    tokio::select! {
        biased;
        _denial = exchange.refused() => {}
        ended = answers => {
            if let Err(error) = ended {
                tracing::debug!(target = %exchange.target(), %error, "datagrams are not taken");
            }
        }
        () = silence(&counters, context.bounds.datagram_idle) => {}
    }
    // Before the flow is recorded: not a datagram may pass after.
    ways.lock().remove(&pair);
}

/// Hands every answer to the client, as from the address that it asked.
async fn answer(
    socket: &UdpSocket,
    outside: &UdpSocket,
    path: &Path,
    counters: &Counters,
) -> io::Result<()> {
    loop {
        outside.readable().await?;
        let answered = with_buffer(|buffer| {
            let length = outside.try_recv(buffer)?;
            if try_send(socket, &buffer[..length], path).is_ok() {
                counters.add_in(length);
            }
            Ok::<_, io::Error>(())
        });
        match answered {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => other?,
        }
    }
}
