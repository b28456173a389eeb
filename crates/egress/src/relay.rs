//! Carrying bytes both ways between a sandbox and what it was permitted to reach.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::SetOnce;
use tokio::time::{Instant, timeout, timeout_at};

use crate::FrontEnd;
use crate::context::Context;
use crate::flows::{Counters, Exchange};
use crate::screen::requests::{MOST_ANSWER, Requests, Step, switches};
use crate::screen::{self, Judged, Refusal};

const BUFFER: usize = 64 * 1024;

thread_local! {
    /// What passes is held only between one read and the write after it, so a thread needs one buffer, however many
    /// tunnels it serves; a tunnel has memory of its own only while the other side does not take what was read.
    static BUFFERS: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// After this many bytes in one direction its relay goes over to splice(2): a short exchange, and most are short,
/// is not worth a pipe.
#[cfg(target_os = "linux")]
const SPLICE_AFTER: u64 = 128 * 1024;

/// How long the words of a refusal may take to reach the client.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// One side of a tunnel, and what has already been read from it.
pub(crate) struct Side<'a> {
    pub(crate) stream: &'a mut TcpStream,
    pub(crate) early: &'a [u8],
}

/// Why a tunnel ended early.
enum Broken {
    Io(io::Error),
    Refused(Box<Refusal>),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Relays until both sides have finished, one fails, neither says anything for the idle timeout, policy takes the permit
/// back, or the sandbox ends. The counters are right at any moment, so being dropped half-way loses nothing.
///
/// Nothing that the client says passes before its first words are judged; what the server says does, since in many
/// protocols it speaks first.
pub(crate) async fn relay(
    context: &Context,
    exchange: Exchange,
    client: Side<'_>,
    server: Side<'_>,
) {
    let refusal = carry(
        context,
        &exchange,
        &mut *client.stream,
        client.early,
        server,
    )
    .await;
    let Some(refusal) = refusal else { return };
    let Refusal { denial, reply } = *refusal;
    let front_end = exchange.front_end();
    if exchange.counters().sum() == 0 {
        // Not a byte has passed: it is a refusal, and no flow.
        exchange.forget();
    } else {
        drop(exchange);
    }
    context.denied(front_end, denial).await;
    let saying = async {
        client.stream.write_all(&reply).await?;
        client.stream.shutdown().await
    };
    let _ = context
        .cancel
        .run_until_cancelled(timeout(LAST_WORDS, saying))
        .await;
}

async fn carry(
    context: &Context,
    exchange: &Exchange,
    client: &mut TcpStream,
    early: &[u8],
    server: Side<'_>,
) -> Option<Box<Refusal>> {
    let counters = exchange.counters();
    let out = |bytes| counters.add_out(bytes);
    let into = |bytes| counters.add_in(bytes);
    let (client_read, client_write) = client.split();
    let (server_read, server_write) = server.stream.split();
    // Whether the server's first response switches protocols, once that is known: who screens requests waits for it.
    let switched = SetOnce::new();
    let screens = exchange.front_end() != FrontEnd::Http;
    let both = async {
        let outward = async {
            if !screens {
                // The request that became this tunnel has been judged.
                return pump(client_read, server_write, early, &out).await;
            }
            match first_words(context, exchange, client_read.as_ref(), early).await? {
                First::Anything(first) => pump(client_read, server_write, &first, &out).await,
                First::Requests(first) => {
                    carry_requests(exchange, client_read, server_write, first, &switched, &out)
                        .await
                }
            }
        };
        let inward = async {
            let mut client_write = client_write;
            if screens && context.policy().requests().require_host_match {
                first_answer(server_read.as_ref(), &mut client_write, &switched, &into).await?;
            }
            // Nobody need wait for what is not looked at.
            let _ = switched.set(false);
            pump(server_read, client_write, server.early, &into).await
        };
        tokio::try_join!(outward, inward)
    };
    tokio::select! {
        biased;
        () = context.cancel.cancelled() => {}
        _denial = exchange.refused() => {}
        ended = both => match ended {
            Ok(((), ())) => {}
            Err(Broken::Refused(refusal)) => return Some(refusal),
            Err(Broken::Io(error)) => {
                tracing::debug!(target = %exchange.target(), %error, "tunnel broke");
            }
        },
        () = silence(counters, context.bounds.idle_timeout) => {
            tracing::debug!(target = %exchange.target(), "tunnel was idle for too long");
        }
    }
    None
}

/// Returns after between one and one and a half `limit` without a byte.
pub(crate) async fn silence(counters: &Counters, limit: Duration) {
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

/// The client's first bytes, once they may pass. They have [`Bounds::handshake_timeout`](crate::Bounds) from the first
/// on, and no bound before: who waits for the server to speak says nothing yet.
async fn first_words(
    context: &Context,
    exchange: &Exchange,
    client: &TcpStream,
    early: &[u8],
) -> Result<First, Broken> {
    let mut held = early.to_vec();
    let mut deadline = None;
    loop {
        let policy = context.policy();
        if !held.is_empty() {
            match screen::judge(&held, exchange.permit(), policy.requests()) {
                Judged::Pass => return Ok(First::Anything(held)),
                Judged::Request(_) => return Ok(First::Requests(held)),
                Judged::Refused(refusal) => return Err(Broken::Refused(refusal)),
                Judged::More => {}
            }
            deadline.get_or_insert_with(|| Instant::now() + context.bounds.handshake_timeout);
        }
        let room = screen::MOST.saturating_sub(held.len());
        let more = read_some(client, room, &mut held);
        let read = match deadline {
            None => more.await?,
            Some(deadline) => timeout_at(deadline, more).await.unwrap_or(Ok(0))?,
        };
        if read == 0 {
            return match screen::unfinished(&held, exchange.permit()) {
                Judged::Refused(refusal) => Err(Broken::Refused(refusal)),
                Judged::More | Judged::Pass | Judged::Request(_) => Ok(First::Anything(held)),
            };
        }
    }
}

/// The first words of a client, which may pass.
enum First {
    /// And so may all that follows.
    Anything(Vec<u8>),
    /// They are requests, each of which is to be judged.
    Requests(Vec<u8>),
}

/// Carries requests in plain HTTP to their end, each when it has been judged.
async fn carry_requests(
    exchange: &Exchange,
    from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut held: Vec<u8>,
    switched: &SetOnce<bool>,
    count: &impl Fn(usize),
) -> Result<(), Broken> {
    let mut requests = Requests::new();
    loop {
        let mut passed = 0;
        let next = loop {
            match requests.step(&held[passed..], exchange.permit()) {
                Ok(Step::Pass(bytes)) => passed += bytes,
                Ok(next) => break next,
                Err(refusal) => return Err(Broken::Refused(refusal)),
            }
        };
        to.write_all(&held[..passed]).await?;
        count(passed);
        held.drain(..passed);
        if next == Step::Switch {
            if *switched.wait().await {
                return pump(from, to, &held, count).await;
            }
            requests.stays();
            continue;
        }
        if held.is_empty() {
            held = Vec::new();
        }
        if read_some(from.as_ref(), BUFFER, &mut held).await? == 0 {
            return Ok(to.shutdown().await?);
        }
    }
}

/// Carries what a server says until it is known whether its first response switches protocols, and tells.
async fn first_answer(
    from: &TcpStream,
    to: &mut WriteHalf<'_>,
    switched: &SetOnce<bool>,
    count: &impl Fn(usize),
) -> Result<(), Broken> {
    let mut said = Vec::new();
    while said.len() < MOST_ANSWER {
        let before = said.len();
        if read_some(from, BUFFER, &mut said).await? == 0 {
            break;
        }
        to.write_all(&said[before..]).await?;
        count(said.len() - before);
        if let Some(answer) = switches(&said) {
            let _ = switched.set(answer);
            break;
        }
    }
    Ok(())
}

/// Lends a buffer of 64 KiB; what it holds at first is nothing in particular.
#[cfg(target_os = "linux")]
pub(crate) fn with_buffer<T>(lend: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFERS.with_borrow_mut(|buffer| lend(buffer))
}

/// Appends at most `most` bytes of what has arrived.
async fn read_some(from: &TcpStream, most: usize, held: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        from.readable().await?;
        let read = BUFFERS.with_borrow_mut(|buffer| {
            let most = most.min(buffer.len());
            let read = from.try_read(&mut buffer[..most])?;
            held.extend_from_slice(&buffer[..read]);
            Ok::<_, io::Error>(read)
        });
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}

/// Carries one direction to its end and passes that end on (half-close).
async fn pump(
    from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    early: &[u8],
    count: &impl Fn(usize),
) -> Result<(), Broken> {
    if !early.is_empty() {
        to.write_all(early).await?;
        count(early.len());
    }
    #[cfg(target_os = "linux")]
    let mut moved = 0_u64;
    loop {
        from.as_ref().readable().await?;
        let (written, rest) = match hand_over(from.as_ref(), to.as_ref()) {
            Ok(Some(handed)) => handed,
            Ok(None) => break,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        };
        count(written);
        if !rest.is_empty() {
            to.write_all(&rest).await?;
            count(rest.len());
        }
        #[cfg(target_os = "linux")]
        {
            moved += (written + rest.len()) as u64;
            if moved >= SPLICE_AFTER {
                drop(rest);
                // Without a pipe (too many open files) the buffer goes on serving; asking again can wait as long.
                if crate::splice::pump(from.as_ref(), to.as_ref(), count).await? {
                    break;
                }
                moved = 0;
            }
        }
    }
    Ok(to.shutdown().await?)
}

/// Reads once and writes once, neither waiting: how many bytes went over, and those that the other side had no room
/// for. `None` at the end.
fn hand_over(from: &TcpStream, to: &TcpStream) -> io::Result<Option<(usize, Vec<u8>)>> {
    BUFFERS.with_borrow_mut(|buffer| {
        let read = from.try_read(buffer)?;
        if read == 0 {
            return Ok(None);
        }
        let written = match to.try_write(&buffer[..read]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            other => other?,
        };
        Ok(Some((written, buffer[written..read].to_vec())))
    })
}
