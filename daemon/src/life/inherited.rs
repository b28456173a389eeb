//! What whoever executed this program left to it: a service manager's socket (sd_listen_fds(3)), or all that the program
//! kept that was here before.

use std::os::fd::OwnedFd;

use anyhow::Context as _;

use super::Handover;

/// What this program begins with.
#[derive(Debug)]
pub enum Inherited {
    /// Nothing: the socket and the locks are to be made and taken.
    Nothing,
    /// A service manager listens for us; this is its socket, not looked at yet.
    Socket(OwnedFd),
    /// The program that was this process until a moment ago handed everything over.
    Handover(Box<Handover>),
}

impl Inherited {
    /// Takes it over. For the first lines of `main`, before anything is opened.
    ///
    /// # Errors
    /// When something was passed that a daemon cannot begin with.
    pub fn take() -> anyhow::Result<Self> {
        if let Some(handover) = Handover::take()? {
            return Ok(Self::Handover(Box::new(handover)));
        }
        let passed: Vec<_> = sd_notify::listen_fds()
            .context("cannot use the sockets that LISTEN_FDS announces")?
            .collect();
        if passed.len() > 1 {
            anyhow::bail!(
                "{} sockets were passed by LISTEN_FDS, and srtd serves one\nhint: one ListenStream= in the socket unit, as in systemd/srtd.socket",
                passed.len()
            );
        }
        let mut sockets = srt_runtime::inherit(&passed)
            .context("cannot take over the socket that LISTEN_FDS announces")?;
        Ok(sockets.pop().map_or(Self::Nothing, Self::Socket))
    }
}
