//! What every program of ours runs on.

use crate::errors::Failure;
use srt_proto::exit;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// A runtime on this thread, in a process that learns how its children end.
///
/// # Errors
/// When the system has no room for it.
pub fn runtime() -> Result<Runtime, Failure> {
    let failed =
        |error: std::io::Error| Failure::new(exit::ERROR, format!("cannot start: {error}"));
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    // Whoever started us may ignore SIGCHLD, which an exec hands on: then wait(2) knows of no child. A handler stays.
    let inside = runtime.enter();
    let _ = signal(SignalKind::child()).map_err(failed)?;
    drop(inside);
    Ok(runtime)
}
