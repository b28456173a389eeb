//! The socket: in a folder of ours that nobody else may enter, itself 0600, and open to our own uid alone.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::{Stream, StreamExt as _};
use rustix::net::{SocketType, sockopt};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;

use crate::lock::Lock;

/// A listening socket, its lock held; dropping it removes the socket's file where that is ours.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    /// Somebody else made the file and listens on after us: a service manager, or the program that takes our place.
    leave: bool,
    activated: bool,
    listener: StdListener,
    lock: Lock,
}

/// The socket for direct mode, beside the other, whose lock is its own, too; dropping it removes its file.
#[derive(Debug)]
pub(crate) struct DirectSocket {
    path: PathBuf,
}

impl DirectSocket {
    /// Binds the place beside `socket`.
    pub(crate) fn bind(socket: &Socket) -> anyhow::Result<(Self, UnixListener)> {
        let path = srt_proto::socket::direct_of(&socket.path);
        let listener = bind_at(&path)?;
        listener.set_nonblocking(true)?;
        Ok((Self { path }, UnixListener::from_std(listener)?))
    }

    /// Lets nobody come any more.
    pub(crate) fn close(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Drop for DirectSocket {
    fn drop(&mut self) {
        self.close();
    }
}

impl Socket {
    /// Binds `path`.
    pub(crate) fn bind(path: &Path) -> anyhow::Result<Self> {
        let folder = path
            .parent()
            .with_context(|| format!("{} is not a place for a socket", path.display()))?;
        srt_proto::socket::prepare_folder(folder)?;
        let lock = Lock::take(&srt_proto::socket::lock_of(path), path)?;
        let listener = bind_at(path)?;
        Ok(Self {
            path: path.to_owned(),
            leave: false,
            activated: false,
            listener,
            lock,
        })
    }

    /// Takes over a socket on which a service manager listens for us.
    pub(crate) fn adopt(passed: OwnedFd) -> anyhow::Result<Self> {
        let (listener, path) = examine(passed).context(
            "cannot use the socket that was passed by LISTEN_FDS\nhint: it must be like the one of systemd/srtd.socket",
        )?;
        let lock = Lock::take(&srt_proto::socket::lock_of(&path), &path)?;
        Ok(Self {
            path,
            leave: true,
            activated: true,
            listener,
            lock,
        })
    }

    /// Goes on with the socket of the program that was here before.
    pub(crate) fn keep(path: PathBuf, activated: bool, listener: OwnedFd, lock: OwnedFd) -> Self {
        Self {
            path,
            leave: activated,
            activated,
            listener: listener.into(),
            lock: Lock::keep(lock),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a service manager made it.
    pub(crate) fn is_activated(&self) -> bool {
        self.activated
    }

    /// To accept on. The socket listens on when it is dropped, for as long as we are there.
    pub(crate) fn listener(&self) -> io::Result<UnixListener> {
        let listener = self.listener.try_clone()?;
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener)
    }

    /// Lets nobody come any more, where the file is ours; the lock is kept.
    pub(crate) fn close(&self) {
        if !self.leave {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// What the next program needs; the file stays.
    pub(crate) fn into_parts(mut self) -> io::Result<(OwnedFd, OwnedFd)> {
        self.leave = true;
        Ok((self.listener.try_clone()?.into(), self.lock.descriptor()?))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.close();
    }
}

/// Listens at `path`, which nobody else has: the lock is held.
fn bind_at(path: &Path) -> anyhow::Result<StdListener> {
    // Whatever is there was left by a daemon that died.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error)
                .with_context(|| format!("cannot remove the old socket {}", path.display()));
        }
        _ => {}
    }
    let listener =
        StdListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    // Until here the folder's 0700 kept others out.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot set the mode of {}", path.display()))?;
    Ok(listener)
}

/// Whether a descriptor is a listening Unix stream socket in a folder that nobody else may enter, and where.
fn examine(passed: OwnedFd) -> anyhow::Result<(StdListener, PathBuf)> {
    let kind = sockopt::socket_type(&passed).context("it is not a socket")?;
    let listener = StdListener::from(passed);
    let address = listener.local_addr().context("it is not a Unix socket")?;
    if kind != SocketType::STREAM {
        anyhow::bail!("it is not a stream socket: ListenStream= makes one");
    }
    // macOS does not tell, and has no service manager that passes sockets this way.
    #[cfg(not(target_os = "macos"))]
    if !sockopt::socket_acceptconn(&listener)? {
        anyhow::bail!("nobody listens on it: Accept=no passes the socket itself, not a connection");
    }
    let path = match address.as_pathname() {
        Some(path) if path.is_absolute() => path.to_owned(),
        Some(path) => anyhow::bail!("its path {} is not absolute", path.display()),
        None => anyhow::bail!(
            "it has no path: any user of this machine can connect to an abstract name"
        ),
    };
    let folder = path.parent().unwrap_or(Path::new("/"));
    srt_proto::socket::check_folder(folder)?;
    Ok((listener, path))
}

/// Connections of our own user; others are turned away and logged.
pub(crate) fn connections(listener: UnixListener) -> impl Stream<Item = io::Result<UnixStream>> {
    let us = rustix::process::getuid().as_raw();
    UnixListenerStream::new(listener).filter_map(move |connection| async move {
        match connection {
            Ok(stream) => match stream.peer_cred() {
                Ok(peer) if peer.uid() == us => Some(Ok(stream)),
                Ok(peer) => {
                    tracing::warn!(uid = peer.uid(), "turned away a connection of another user");
                    None
                }
                Err(error) => {
                    tracing::warn!(%error, "turned away a connection without credentials");
                    None
                }
            },
            Err(error) => {
                // Out of descriptors, for instance: the next may work, and one that cannot be accepted is not
                // the end of the others. It needs a moment, or this would spin and fill the log.
                tracing::error!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                None
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[track_caller]
    fn refused(passed: impl Into<OwnedFd>, why: &str) {
        let error = format!("{:#}", Socket::adopt(passed.into()).unwrap_err());
        assert!(error.contains(why) && error.contains("hint:"), "{error}");
    }

    fn private() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    #[test]
    fn a_passed_descriptor_is_not_trusted_to_be_what_it_should_be() {
        let folder = private();
        let place = |name: &str| folder.path().join(name);
        refused(std::fs::File::open("/dev/null").unwrap(), "not a socket");
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        refused(tcp, "not a Unix socket");
        refused(UnixDatagram::bind(place("d")).unwrap(), "not a stream");
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        refused(one, "nobody listens");
        #[cfg(target_os = "linux")]
        {
            use std::os::linux::net::SocketAddrExt as _;
            let name = std::os::unix::net::SocketAddr::from_abstract_name(b"srt-listen").unwrap();
            refused(StdListener::bind_addr(&name).unwrap(), "no path");
        }
        let listener = StdListener::bind(place("open")).unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        refused(listener, "others may enter");
    }

    #[tokio::test]
    async fn a_passed_socket_serves_and_its_file_stays() {
        let folder = private();
        let path = folder.path().join("s");
        let listener = StdListener::bind(&path).unwrap();
        let socket = Socket::adopt(listener.into()).unwrap();
        assert_eq!((socket.path(), socket.is_activated()), (&*path, true));
        let mut incoming = Box::pin(connections(socket.listener().unwrap()));
        let _client = UnixStream::connect(&path).await.unwrap();
        incoming.next().await.unwrap().unwrap();
        socket.close();
        drop(socket);
        assert!(path.exists());
    }
}
