//! The socket: in a folder of ours that nobody else may enter, itself 0600, and open to our own uid alone.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::{Stream, StreamExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;

use crate::lock::Lock;

/// A bound socket, its lock held; dropping it removes the socket's file.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    _lock: Lock,
}

impl Socket {
    /// Binds `path`.
    pub(crate) fn bind(path: &Path) -> anyhow::Result<(Self, UnixListener)> {
        let folder = path
            .parent()
            .with_context(|| format!("{} is not a place for a socket", path.display()))?;
        srt_proto::socket::prepare_folder(folder)?;
        let lock = Lock::take(&srt_proto::socket::lock_of(path), path)?;
        // We hold the lock: whatever is there was left by a daemon that died.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error)
                    .with_context(|| format!("cannot remove the old socket {}", path.display()));
            }
            _ => {}
        }
        let listener = UnixListener::bind(path)
            .with_context(|| format!("cannot listen on {}", path.display()))?;
        // Until here the folder's 0700 kept others out.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .with_context(|| format!("cannot set the mode of {}", path.display()))?;
        let socket = Self {
            path: path.to_owned(),
            _lock: lock,
        };
        Ok((socket, listener))
    }
}

impl Socket {
    /// Lets nobody come any more; the lock is kept.
    pub(crate) fn close(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.close();
    }
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
