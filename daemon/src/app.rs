//! The composition root: everything that a running daemon is made of, and the order in which it ends.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use srt_proto::socket::FolderError;
use srt_runtime::{Config, SandboxManager, Tools};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::Api;
use crate::audit::{Entry, Kind};
use crate::listen::{Socket, connections};
use crate::lock::Lock;
use crate::paths::Paths;
use crate::policies::Policies;
use crate::session::Sessions;
use crate::store::Store;
use crate::supervisor::{Shared, Supervisor};

/// How long an orderly end may take: two graces of a launch, and some.
const DEADLINE: Duration = Duration::from_secs(10);

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// What kept it from starting, or from ending in order.
pub async fn run(paths: Paths, tools: Tools) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    // Before anything is there that an abrupt end would leave behind.
    stop_on_signals(&shutdown)?;
    // The socket first: whoever waits for a daemon waits for it, and a second daemon must not touch the state.
    let (socket, listener) = Socket::bind(&paths.socket)?;
    private_folder(&paths.state)?;
    // There before any server could make it: what is in it is a server's next policy.
    if let Err(error) = private_folder(&paths.config.join("servers")) {
        tracing::warn!(%error, "cannot make the configuration folder");
    }
    let state_lock = Lock::take(&paths.state.join("srtd.lock"), &paths.state)?;
    let store = Store::open(&paths.database()).await?;
    Supervisor::sweep(&store).await?;
    let manager = SandboxManager::new(Config {
        tools,
        launches: paths.launches(),
        home: paths.home.clone(),
    })
    .with_context(|| format!("cannot clean up {}", paths.launches().display()))?;
    let shared = Arc::new(Shared {
        policies: Policies::new(paths.clone(), store.clone()),
        paths: paths.clone(),
        store: store.clone(),
        manager,
        tracker: TaskTracker::new(),
        shutdown,
    });
    let supervisor = Arc::new(Supervisor::new(shared.clone()));
    let router = Api {
        supervisor: supervisor.clone(),
        sessions: Arc::new(Sessions::default()),
        since: Instant::now(),
    }
    .router()
    .await?;
    let version = env!("CARGO_PKG_VERSION");
    store
        .record(Entry::new(Timestamp::now(), Kind::Daemon, "started").with("version", version))
        .await?;
    tracing::info!(socket = %paths.socket.display(), version, pid = std::process::id(), "ready");

    shared.manager.make_ready();
    let closing = CancellationToken::new();
    let serving = tokio::spawn(
        router
            .serve_with_incoming_shutdown(connections(listener), closing.clone().cancelled_owned()),
    );

    shared.shutdown.cancelled().await;
    tracing::info!("stopping");
    // Whoever comes from here on finds nobody, and waits for the lock to start a daemon anew.
    socket.close();
    shared.manager.stand_down();
    // Nothing new begins from here on; what runs is ended, and hosts are told.
    let stopped = tokio::time::timeout(
        DEADLINE,
        supervisor.stop_everything("the daemon is stopping"),
    )
    .await;
    closing.cancel();
    let drained = tokio::time::timeout(Duration::from_secs(2), serving).await;
    if drained.is_err() {
        tracing::warn!("a client kept its connection open past the deadline");
    }
    drop(supervisor);
    shared.tracker.close();
    let joined = tokio::time::timeout(DEADLINE, shared.tracker.wait()).await;
    if stopped.is_err() || joined.is_err() {
        tracing::error!("something did not end in time");
    }
    store
        .record(Entry::new(Timestamp::now(), Kind::Daemon, "stopped"))
        .await?;
    store.close().await?;
    // The socket's last: whoever waits for it to take our place needs the other, too.
    drop(state_lock);
    drop(socket);
    tracing::info!("stopped");
    Ok(())
}

/// Makes the state folder, or closes one of ours that others may enter: what is in it is for us alone.
fn private_folder(path: &Path) -> anyhow::Result<()> {
    match srt_proto::socket::prepare_folder(path) {
        Err(FolderError::TooOpen { .. }) => {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
                .with_context(|| format!("cannot set the mode of {}", path.display()))?;
            Ok(srt_proto::socket::check_folder(path)?)
        }
        other => Ok(other?),
    }
}

fn stop_on_signals(shutdown: &CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    // The terminal went away: what runs is to end in order then, too.
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
            () = shutdown.cancelled() => {}
        }
        shutdown.cancel();
    });
    Ok(())
}
