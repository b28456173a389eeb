//! The composition root: everything that a running daemon is made of, and the order in which it ends.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
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
use crate::life::{self, Ending, Handover, Inherited, Kept, Successor};
use crate::listen::{DirectSocket, Socket, connections};
use crate::live::Live;
use crate::lock::Lock;
use crate::metrics::{self, Metrics};
use crate::otlp::Shipping;
use crate::paths::Paths;
use crate::policies::Policies;
use crate::session::{Books, Sessions};
use crate::settings::Settings;
use crate::store::{Prefer, Store};
use crate::supervisor::{Shared, Supervisor, Transitions};

/// How long an orderly end may take: two graces of a launch, and some.
const DEADLINE: Duration = Duration::from_secs(10);

/// Runs the daemon until it is told to stop. Metrics are served where `metrics` says, if it does. The program that is to
/// take its place then, if there is one.
///
/// # Errors
/// What kept it from starting, or from ending in order.
pub async fn run(
    mut paths: Paths,
    tools: Tools,
    inherited: Inherited,
    metrics: Option<&metrics::Place>,
) -> anyhow::Result<Option<Successor>> {
    let shutdown = CancellationToken::new();
    // Before anything is there that an abrupt end would leave behind.
    stop_on_signals(&shutdown)?;
    // The socket first: whoever waits for a daemon waits for it, and a second daemon must not touch the state.
    let Begun {
        socket,
        state_lock,
        before,
    } = Begun::with(inherited, &paths)?;
    // A service manager may have chosen another place than we would.
    socket.path().clone_into(&mut paths.socket);
    let (direct_socket, direct_listener) = DirectSocket::bind(&socket)?;
    private_folder(&paths.state)?;
    // There before any server could make it: what is in it is a server's next policy.
    if let Err(error) = private_folder(&paths.config.join("servers")) {
        tracing::warn!(%error, "cannot make the configuration folder");
    }
    let state_lock = match state_lock {
        Some(lock) => lock,
        None => Lock::take(&paths.state.join("srtd.lock"), &paths.state)?,
    };
    let (store, quarantined) =
        Store::open_or_quarantine(&paths.database(), Prefer::Keyring).await?;
    for quarantined in &quarantined {
        life::sweep::left(&quarantined.unfinished).await;
    }
    life::sweep::launches(&store).await?;
    let manager = SandboxManager::new(Config {
        tools,
        launches: paths.launches(),
        layers: paths.layers(),
        home: paths.home.clone(),
    })
    .with_context(|| format!("cannot clean up {}", paths.state.display()))?;
    life::sweep::tell(&store, &manager).await?;
    let shared = Arc::new(Shared {
        policies: Policies::new(paths.clone(), store.clone()),
        settings: Settings::open(&paths),
        shipping: Shipping::new(None),
        paths: paths.clone(),
        store: store.clone(),
        manager,
        live: Arc::new(Live::open(&store).await?),
        books: Books::default(),
        tally: Arc::default(),
        metrics: Metrics::default(),
        transitions: Transitions::default(),
        tracker: TaskTracker::new(),
        shutdown,
        ending: Ending::default(),
        hands_over: CancellationToken::new(),
    });
    let supervisor = Arc::new(Supervisor::new(shared.clone()));
    let upgrades = before.as_ref().map_or(0, |before| before.upgrades);
    let api = Api {
        supervisor: supervisor.clone(),
        sessions: Sessions::open(&shared).await?,
        since: Instant::now(),
        program: program(),
        upgrades,
        upgrade_error: before.as_ref().and_then(|before| before.failed.clone()),
    };
    let router = api.clone().router().await?;
    if let Some(place) = metrics {
        metrics::serve(&supervisor, place).await?;
    }
    let version = env!("CARGO_PKG_VERSION");
    store.record(started(before.as_ref())).await?;
    tracing::info!(socket = %paths.socket.display(), version, pid = std::process::id(), "ready");

    shared.manager.make_ready();
    shared.tracker.spawn(crate::live::watch(shared.clone()));
    shared
        .tracker
        .spawn(crate::settings::follow(shared.clone()));
    shared.tracker.spawn(crate::otlp::ship(shared.clone()));
    shared.tracker.spawn(crate::syslog::follow(shared.clone()));
    shared
        .tracker
        .spawn(crate::enabled::start(supervisor.clone()));
    let closing = CancellationToken::new();
    let direct = api.serve_direct(connections(direct_listener), shared.shutdown.clone());
    shared.tracker.spawn(direct);
    let incoming = connections(socket.listener()?);
    let mut serving = tokio::spawn(
        router.serve_with_incoming_shutdown(incoming, closing.clone().cancelled_owned()),
    );
    life::notify::ready("ready");
    let watch = tokio::spawn({
        let supervisor = supervisor.clone();
        async move { life::keep_watch(&supervisor).await }
    });

    tokio::select! {
        () = shared.shutdown.cancelled() => {}
        // A daemon that nobody can reach is none.
        ended = &mut serving => {
            tracing::error!(?ended, "the socket is no longer served");
            shared.shutdown.cancel();
        }
    }
    // The next program makes its own; whoever comes in between tries again.
    direct_socket.close();
    let successor = shared.ending.successor().cloned();
    match &successor {
        // Whoever comes from here on waits in the socket's queue for the next program.
        Some(next) => {
            tracing::info!(program = %next.program.display(), version = next.version, "making room for another program");
            life::notify::reloading("making room for another program");
            closing.cancel();
        }
        // Whoever comes from here on finds nobody, and waits for the lock to start a daemon anew.
        None => {
            tracing::info!("stopping");
            life::notify::stopping();
            socket.close();
        }
    }
    shared.manager.stand_down();
    // Nothing new begins from here on; what runs is ended, and hosts are told.
    let reason = shared.ending.reason();
    let stopped = tokio::time::timeout(DEADLINE, supervisor.stop_everything(reason)).await;
    closing.cancel();
    let drained = match serving.is_finished() {
        true => Ok(()),
        false => tokio::time::timeout(Duration::from_secs(2), serving)
            .await
            .map(|_served| ()),
    };
    if drained.is_err() {
        tracing::warn!("a client kept its connection open past the deadline");
    }
    watch.abort();
    let _ = watch.await;
    drop(supervisor);
    shared.tracker.close();
    let joined = tokio::time::timeout(DEADLINE, shared.tracker.wait()).await;
    if stopped.is_err() || joined.is_err() {
        tracing::error!("something did not end in time");
    }
    let last = match &successor {
        Some(next) => Entry::new(Timestamp::now(), Kind::Daemon, "upgrade")
            .with("from", version)
            .with("to", next.version.as_str())
            .with("program", next.program.display().to_string()),
        None => Entry::new(Timestamp::now(), Kind::Daemon, "stopped"),
    };
    // Where it cannot be written, closing says how much else is lost.
    let recorded = store.record(last).await;
    crate::syslog::tell_last(&shared).await;
    store.close().await?;
    recorded?;
    let Some(next) = successor else {
        // The socket's last: whoever waits for it to take our place needs the other, too.
        drop(state_lock);
        drop(socket);
        tracing::info!("stopped");
        return Ok(None);
    };
    let (place, activated) = (socket.path().to_owned(), socket.is_activated());
    let (listener, socket_lock) = socket
        .into_parts()
        .context("cannot keep the socket for the next program")?;
    let state_lock = state_lock
        .descriptor()
        .context("cannot keep the lock for the next program")?;
    Ok(Some(Successor {
        program: next.program,
        kept: Kept {
            listener,
            socket_lock,
            state_lock,
            socket: place,
            activated,
        },
        upgrades: upgrades + 1,
    }))
}

/// The socket that is served, and what else was there before this program.
struct Begun {
    socket: Socket,
    state_lock: Option<Lock>,
    before: Option<Before>,
}

/// What is known of the program that was here before.
struct Before {
    upgrades: u32,
    from: String,
    failed: Option<String>,
}

impl Begun {
    fn with(inherited: Inherited, paths: &Paths) -> anyhow::Result<Self> {
        let fresh = |socket| Self {
            socket,
            state_lock: None,
            before: None,
        };
        match inherited {
            Inherited::Nothing => Socket::bind(&paths.socket).map(fresh),
            Inherited::Socket(passed) => {
                let socket = Socket::adopt(passed)?;
                if socket.path() != paths.socket {
                    tracing::warn!(
                        passed = %socket.path().display(),
                        expected = %paths.socket.display(),
                        "the socket is not where srt and srtctl look first: set SRT_SOCKET for them"
                    );
                }
                Ok(fresh(socket))
            }
            Inherited::Handover(handover) => {
                let Handover {
                    kept,
                    upgrades,
                    from,
                    failed,
                } = *handover;
                if let Some(failed) = &failed {
                    tracing::error!("this is the program that was to be replaced: {failed}");
                }
                Ok(Self {
                    socket: Socket::keep(
                        kept.socket,
                        kept.activated,
                        kept.listener,
                        kept.socket_lock,
                    ),
                    state_lock: Some(Lock::keep(kept.state_lock)),
                    before: Some(Before {
                        upgrades,
                        from,
                        failed,
                    }),
                })
            }
        }
    }
}

fn started(before: Option<&Before>) -> Entry {
    let entry = Entry::new(Timestamp::now(), Kind::Daemon, "started")
        .with("version", env!("CARGO_PKG_VERSION"));
    match before {
        None => entry,
        Some(Before {
            failed: Some(failed),
            ..
        }) => entry.with("upgrade_failed", failed.as_str()),
        Some(before) => entry.with("upgraded_from", before.from.as_str()),
    }
}

/// The file that an upgrade without a name executes: by the name by which this program was started, where that is a whole
/// one. What stands there may be another file meanwhile, and a link there may lead elsewhere: that is what it is for.
fn program() -> PathBuf {
    let name = std::env::args_os().next().map(PathBuf::from);
    name.filter(|name| name.is_absolute())
        .or_else(|| std::env::current_exe().ok())
        .unwrap_or_default()
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
