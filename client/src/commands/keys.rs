//! Single keys from the terminal, and its being given back as it was.

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use std::io::{IsTerminal as _, Read as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// The terminal at standard input gives each key at once and shows none, until this is dropped. Ctrl-C stays what it
/// is.
pub(super) struct Keys {
    keys: mpsc::Receiver<u8>,
    before: Termios,
}

impl Keys {
    /// `None` where standard input is no terminal.
    pub(super) fn open() -> Option<Self> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = rustix::termios::tcgetattr(&stdin).ok()?;
        let mut single = before.clone();
        single
            .local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO);
        single.special_codes[SpecialCodeIndex::VMIN] = 1;
        single.special_codes[SpecialCodeIndex::VTIME] = 0;
        rustix::termios::tcsetattr(&stdin, OptionalActions::Now, &single).ok()?;
        let (sender, keys) = mpsc::channel(16);
        // A thread of its own, which reads until we end: O_NONBLOCK would be set for whoever else has this terminal.
        std::thread::spawn(move || {
            let mut stdin = std::io::stdin().lock();
            let mut key = [0];
            while matches!(stdin.read(&mut key), Ok(1)) {
                if sender.blocking_send(key[0]).is_err() {
                    return;
                }
            }
        });
        Some(Self { keys, before })
    }

    /// The next key; `None` once there will be none. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<u8> {
        self.keys.recv().await
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = rustix::termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Waits until somebody wants us to end: Ctrl-C, SIGTERM, or a terminal that went away. From the first call on, these
/// signals no longer end the process by themselves.
pub(super) async fn interrupted() {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let mut signals: Vec<Signal> = kinds
        .into_iter()
        .filter_map(|kind| signal(kind).ok())
        .collect();
    let any = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
    if any.len() == 0 {
        return std::future::pending().await;
    }
    futures_util::future::select_all(any).await;
}
