//! Ends the process within 100 ms of a signal, whatever the relay is doing.
//!
//! A host that stops a server sends SIGINT and, a tenth of a second later, worse; and it may do so while our
//! stdout is full and every thread of the relay waits. So signals have a thread, a runtime and, when it comes to
//! it, a connection of their own: HTTP/2's connection window may be used up by a stdin that nobody reads, and
//! Sessions.Signal must not wait behind it.

use super::Ended;
use crate::connect;
use crate::errors::Failure;
use srt_proto::exit;
use srt_proto::v1::SignalRequest;
use srt_proto::v1::sessions_client::SessionsClient;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long the daemon may take to take the signal. When it does not, the lost stream tells it to stop.
const BOUND: Duration = Duration::from_millis(60);

/// The signals, with the numbers that they have on every system we run on.
const WATCHED: [(SignalKind, i32); 3] = [
    (SignalKind::hangup(), 1),
    (SignalKind::interrupt(), 2),
    (SignalKind::terminate(), 15),
];

/// Which attachment the signals go to, while there is one.
#[derive(Clone, Default)]
pub(super) struct Attachment(Arc<Mutex<Option<(PathBuf, String)>>>);

impl Attachment {
    pub(super) fn set(&self, socket: PathBuf, id: String) {
        *self.lock() = Some((socket, id));
    }

    /// It is gone.
    pub(super) fn clear(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<(PathBuf, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the thread. From here on no signal ends us by its default action.
pub(super) fn watch() -> Result<Attachment, Ended> {
    let failed = |error: std::io::Error| {
        Failure::new(exit::ERROR, format!("cannot watch for signals: {error}"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let signals = {
        let _context = runtime.enter();
        let mut signals = Vec::with_capacity(WATCHED.len());
        for (kind, number) in WATCHED {
            signals.push((signal(kind).map_err(failed)?, number));
        }
        signals
    };
    let attachment = Attachment::default();
    let target = attachment.clone();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let number = runtime.block_on(async {
                let number = first(signals).await;
                let _ = tokio::time::timeout(BOUND, deliver(&target, number)).await;
                number
            });
            std::process::exit(128 + number);
        })
        .map_err(failed)?;
    Ok(attachment)
}

async fn first(signals: Vec<(Signal, i32)>) -> i32 {
    let waits = signals.into_iter().map(|(mut signal, number)| {
        Box::pin(async move {
            signal.recv().await;
            number
        })
    });
    futures_util::future::select_all(waits).await.0
}

async fn deliver(target: &Attachment, signal: i32) {
    let Some((socket, id)) = target.lock().clone() else {
        // None is open: dropping the stream is all there is to say.
        return;
    };
    let Ok(Some(connection)) = connect::connect(&socket).await else {
        return;
    };
    let request = SignalRequest {
        attachment: id,
        signal,
    };
    // A daemon that refuses still sees the stream go.
    let _ = SessionsClient::new(connection.channel)
        .signal(request)
        .await;
}
