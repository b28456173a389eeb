//! Finding the daemon: every place where one of this user may listen, and the checks before a byte is sent.

use crate::errors::Failure;
use hyper_util::rt::TokioIo;
use srt_proto::exit;
use srt_proto::socket::{self, Environment, FolderError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// HTTP/2 windows: they bound what the daemon may send ahead of a host that does not read, and are large
/// enough to keep a local socket busy.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// How long a daemon may take to accept while others queue.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to a daemon, and where it listens.
#[derive(Clone, Debug)]
pub struct Connection {
    /// For the generated clients.
    pub channel: Channel,
    /// The socket that answered.
    pub socket: PathBuf,
}

/// Tries each candidate; `Ok(None)` when nobody answers at any of them.
///
/// # Errors
/// When nobody answers and the first place cannot be used or trusted. Nothing has been sent there then.
pub async fn find(environment: &Environment) -> Result<Option<Connection>, Failure> {
    let mut first = None;
    for (index, place) in environment.candidates(Path::is_dir).iter().enumerate() {
        match connect(place).await {
            Ok(Some(connection)) => return Ok(Some(connection)),
            // A place that cannot be used hides no good daemon at the next. Only the first one's failure counts
            // in the end: that is where a daemon of ours would have to listen.
            Err(failure) if index == 0 => first = Some(failure),
            Ok(None) | Err(_) => {}
        }
    }
    first.map_or(Ok(None), Err)
}

/// As [`find`], and a failure with its remedy when nobody answers.
///
/// # Errors
/// Exit status 5.
pub async fn existing(environment: &Environment) -> Result<Connection, Failure> {
    find(environment).await?.ok_or_else(|| {
        let places: Vec<_> = environment
            .candidates(Path::is_dir)
            .iter()
            .map(|place| place.display().to_string())
            .collect();
        Failure::new(
            exit::UNREACHABLE,
            format!(
                "the daemon is not running: nobody answers at {}",
                places.join(" or ")
            ),
        )
        .hint("srtctl daemon start")
    })
}

/// Connects to the socket at `place`, unless nobody listens there.
///
/// # Errors
/// As [`find`].
pub async fn connect(place: &Path) -> Result<Option<Connection>, Failure> {
    let Some(stream) = checked(place).await? else {
        return Ok(None);
    };
    let channel = over(stream).await.map_err(|error| {
        Failure::new(
            exit::UNREACHABLE,
            format!("cannot talk to the daemon at {}: {error}", place.display()),
        )
    })?;
    Ok(Some(Connection {
        channel,
        socket: place.into(),
    }))
}

/// The direct sockets of [`find`]'s places: the first at which somebody answers.
///
/// # Errors
/// As [`find`].
pub async fn find_direct(environment: &Environment) -> Result<Option<UnixStream>, Failure> {
    let mut first = None;
    for (index, place) in environment.candidates(Path::is_dir).iter().enumerate() {
        match direct(place).await {
            Ok(Some(stream)) => return Ok(Some(stream)),
            Err(failure) if index == 0 => first = Some(failure),
            Ok(None) | Err(_) => {}
        }
    }
    first.map_or(Ok(None), Err)
}

/// Connects to the direct socket beside the one at `place`, unless nobody listens there.
///
/// # Errors
/// As [`find`].
pub async fn direct(place: &Path) -> Result<Option<UnixStream>, Failure> {
    checked(&socket::direct_of(place)).await
}

/// A connection to the socket at `place`, and that it is ours; `None` where nobody listens.
async fn checked(place: &Path) -> Result<Option<UnixStream>, Failure> {
    let folder = place.parent().unwrap_or(Path::new("/"));
    match socket::check_folder(folder) {
        Ok(()) => {}
        Err(FolderError::Io { source, .. }) if absent(&source) => return Ok(None),
        Err(error) => return Err(Failure::from_text(exit::UNREACHABLE, &error.to_string())),
    }
    let stream = match patient_connect(place).await {
        Ok(stream) => stream,
        Err(error) if absent(&error) => return Ok(None),
        Err(error) => {
            return Err(Failure::new(
                exit::UNREACHABLE,
                format!("cannot connect to {}: {error}", place.display()),
            ));
        }
    };
    check_peer(&stream, place)?;
    Ok(Some(stream))
}

/// Connects, and tries again for a while where the listener's queue is full: Linux answers EAGAIN then, once many
/// shims come at the same moment, and would have waited only on a blocking socket.
async fn patient_connect(place: &Path) -> io::Result<UnixStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match UnixStream::connect(place).await {
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline =>
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            done => return done,
        }
    }
}

/// Whether an error means "nobody there": no file, a file left by a daemon that died, or a folder on the way
/// that is missing or a file.
fn absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory
    )
}

/// The folder's mode says that only we could have made the socket; the kernel's word on who listens says it again.
fn check_peer(stream: &UnixStream, place: &Path) -> Result<(), Failure> {
    let us = rustix::process::getuid().as_raw();
    let peer = stream.peer_cred().map_err(|error| {
        Failure::new(
            exit::UNREACHABLE,
            format!("cannot tell who listens at {}: {error}", place.display()),
        )
    })?;
    if peer.uid() == us {
        return Ok(());
    }
    Err(Failure::new(
        exit::UNREACHABLE,
        format!(
            "{} is served by uid {}, not by us (uid {us})",
            place.display(),
            peer.uid()
        ),
    )
    .hint("point SRT_SOCKET to a socket of your own"))
}

/// A channel over this one stream. It never reconnects: a new connection would be to an unchecked peer.
async fn over(stream: UnixStream) -> Result<Channel, tonic::transport::Error> {
    let once = Arc::new(Mutex::new(Some(stream)));
    let connector = tower::service_fn(move |_| {
        let stream = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::future::ready(
            stream
                .map(TokioIo::new)
                .ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionReset)),
        )
    });
    Endpoint::from_static("http://srtd.localhost")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect_with_connector(connector)
        .await
}
