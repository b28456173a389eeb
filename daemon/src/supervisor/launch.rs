//! One launch: from a plan to a running server, its end, and what is recorded of both.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use srt_runtime::{LaunchError, LaunchRequest, Processes, RuntimeError, Stdio, Step};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::Shared;
use super::traffic;
use crate::audit::{Ended, Refusal, Started};
use crate::policies::{Generation, Loaded, PolicyError, shown};
use crate::store::{self, LogLine, StoreError, Stream};

/// What a server has to end by itself, twice: after its stdin was closed, and after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);
/// SIGTERM, the same number on every OS that we run on (signal(7)).
const SIGTERM: i32 = 15;

/// What is to be launched.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) command: Vec<String>,
    pub(crate) cwd: PathBuf,
    pub(crate) settings: Option<PathBuf>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) named: Vec<String>,
    pub(crate) restart: bool,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The environment holds secrets as often as not.
        f.debug_struct("Plan")
            .field("name", &self.name)
            .field("command", &self.command)
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}

/// Why nothing was launched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("cannot record the launch, so it was not begun: {0}")]
    Store(#[from] StoreError),
    #[error("cannot make the server's pipes: {0}\nhint: too many open files? see ulimit -n")]
    Pipes(#[from] io::Error),
    #[error("the daemon is stopping\nhint: try again in a moment")]
    Stopping,
}

impl Refused {
    /// The step that failed, as the audit log names it.
    fn step(&self) -> &'static str {
        match self {
            Self::Policy(_) => "policy",
            Self::Runtime(RuntimeError::Sandbox(error)) => {
                error.step().map_or("sandbox", Step::what)
            }
            Self::Runtime(_) => "sandbox",
            Self::Store(_) => "record",
            Self::Pipes(_) => "pipes",
            Self::Stopping => "stopping",
        }
    }

    /// The exit status that a client should end with.
    pub(crate) fn exit_code(&self) -> i32 {
        use srt_proto::exit;
        match self {
            Self::Policy(PolicyError::Store(_))
            | Self::Store(_)
            | Self::Pipes(_)
            | Self::Stopping => exit::ERROR,
            Self::Policy(_) => exit::POLICY_INVALID,
            // As a shell has it for what is not found and what cannot be executed.
            Self::Runtime(RuntimeError::Sandbox(LaunchError::Failed {
                step: Step::Exec,
                errno,
                ..
            })) => {
                if *errno == rustix::io::Errno::NOENT.raw_os_error() {
                    127
                } else {
                    126
                }
            }
            Self::Runtime(RuntimeError::WorkingDirectory { .. }) => exit::ERROR,
            Self::Runtime(_) => exit::DENIED,
        }
    }
}

/// How a launch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LaunchEnd {
    pub(crate) code: i32,
    pub(crate) signal: i32,
    pub(crate) reason: String,
    pub(crate) at: Timestamp,
}

/// A running launch as everybody may hold it.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    pub(crate) id: Uuid,
    pub(crate) since: Instant,
    pub(crate) generation: Generation,
    pub(crate) processes: Processes,
    stop: Arc<watch::Sender<Option<String>>>,
    ended: watch::Receiver<Option<LaunchEnd>>,
}

impl Control {
    /// Orders the end, once: stdin closed, then SIGTERM, then SIGKILL. The first reason stays.
    pub(crate) fn stop(&self, reason: &str) {
        self.stop.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(reason.to_owned());
            }
            first
        });
    }

    /// Waits until the end was ordered.
    pub(crate) async fn stopping(&self) {
        let _ = self.stop.subscribe().wait_for(Option::is_some).await;
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) -> LaunchEnd {
        let mut ended = self.ended.clone();
        let end = ended
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|end| end.clone());
        end.unwrap_or_else(|| LaunchEnd {
            code: 128 + 9,
            signal: 9,
            reason: "the daemon lost sight of it".into(),
            at: Timestamp::now(),
        })
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }
}

/// A running launch and its streams: whoever holds this is its host.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) control: Control,
    pub(crate) stdin: pipe::Sender,
    pub(crate) stdout: pipe::Receiver,
    pub(crate) stderr: Tap,
    pub(crate) notices: Vec<String>,
}

/// Where a server's standard error goes beside the log: to a session, once there is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tap(Arc<Mutex<Option<mpsc::Sender<Bytes>>>>);

impl Tap {
    /// What comes from now on, in order, bounded; it ends with the server's standard error.
    pub(crate) fn open(&self) -> mpsc::Receiver<Bytes> {
        let (sender, receiver) = mpsc::channel(4);
        *self.lock() = Some(sender);
        receiver
    }

    fn close(&self) {
        *self.lock() = None;
    }

    fn current(&self) -> Option<mpsc::Sender<Bytes>> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<mpsc::Sender<Bytes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Launches. What is refused is recorded and told in the server's log.
pub(crate) async fn launch(shared: &Arc<Shared>, plan: Plan) -> Result<Running, Refused> {
    let result = attempt(shared, &plan).await;
    if let Err(refused) = &result {
        let reason = refused.to_string();
        tracing::warn!(server = plan.name, %reason, "refused a launch");
        let refusal = Refusal {
            step: refused.step(),
            reason: &reason,
        };
        let entry = refusal.entry(Timestamp::now(), &plan.name, &plan.command);
        if let Err(error) = shared.store.submit(entry).await {
            tracing::error!(%error, "cannot record a refused launch");
        }
        shared
            .log(
                &plan.name,
                None,
                Stream::Daemon,
                format!("refused: {reason}"),
            )
            .await;
    }
    result
}

async fn attempt(shared: &Arc<Shared>, plan: &Plan) -> Result<Running, Refused> {
    if shared.shutdown.is_cancelled() {
        return Err(Refused::Stopping);
    }
    let Loaded {
        policy,
        warnings,
        generation,
    } = shared
        .policies
        .load(&plan.name, plan.settings.as_deref(), &plan.cwd)
        .await?;

    let id = Uuid::now_v7();
    let (events, received) = mpsc::channel(1024);
    let request = LaunchRequest {
        id,
        policy,
        command: plan.command.clone(),
        cwd: plan.cwd.clone(),
        offered: plan.environment.clone(),
        named: plan.named.clone(),
        events,
    };
    let now = Timestamp::now();
    let cwd = plan.cwd.display().to_string();
    let started = Started {
        command: &plan.command,
        cwd: &cwd,
        generation: generation.number,
        restart: plan.restart,
    };
    let row = store::Launch {
        id,
        server: plan.name.clone(),
        generation: generation.number,
        restart: plan.restart,
        temp_dir: Some(
            shared
                .paths
                .launches()
                .join(id.to_string())
                .display()
                .to_string(),
        ),
        started_at: now,
    };
    // The sandbox is built while the entry becomes durable; the server starts when both are done.
    let (recorded, prepared) = tokio::join!(
        shared
            .store
            .begin_launch(row, started.entry(now, &plan.name, id)),
        shared.manager.prepare(request),
    );
    let prepared = match (recorded, prepared) {
        (Ok(_), Ok(prepared)) => prepared,
        (Err(error), prepared) => {
            if let Ok(prepared) = prepared {
                prepared.abandon().await;
            }
            return Err(error.into());
        }
        (Ok(_), Err(error)) => {
            not_begun(shared, plan, id).await;
            return Err(error.into());
        }
    };
    let mut notices: Vec<String> = warnings.iter().map(shown).collect();
    notices.extend(prepared.notes().iter().cloned());
    if !prepared.left_out().is_empty() {
        notices.push(format!(
            "environment: not passed on: {} (--env NAME passes one on)",
            prepared.left_out().join(", ")
        ));
    }

    let streams = (|| {
        let (stdin, stdin_inside) = pipe::pipe()?;
        let (stdout_inside, stdout) = pipe::pipe()?;
        let (stderr_inside, stderr) = pipe::pipe()?;
        let stdio = Stdio {
            stdin: stdin_inside.into_blocking_fd()?,
            stdout: stdout_inside.into_blocking_fd()?,
            stderr: stderr_inside.into_blocking_fd()?,
        };
        Ok::<_, io::Error>((stdio, stdin, stdout, stderr))
    })();
    let (stdio, stdin, stdout, stderr) = match streams {
        Ok(streams) => streams,
        Err(error) => {
            prepared.abandon().await;
            not_begun(shared, plan, id).await;
            return Err(error.into());
        }
    };
    let traffic = shared.tracker.spawn(traffic::record(
        shared.clone(),
        plan.name.clone(),
        id,
        received,
    ));
    let launch = match prepared.start(stdio).await {
        Ok(launch) => launch,
        Err(error) => {
            let _ = traffic.await;
            not_begun(shared, plan, id).await;
            return Err(error.into());
        }
    };
    let processes = launch.processes().clone();
    let (stop, ordered) = watch::channel(None);
    let (end, ended) = watch::channel(None);
    let control = Control {
        id,
        since: Instant::now(),
        generation,
        processes,
        stop: Arc::new(stop),
        ended,
    };
    let tap = Tap::default();
    let complaints = shared.tracker.spawn(stderr_lines(
        shared.clone(),
        plan.name.clone(),
        id,
        stderr,
        tap.clone(),
    ));
    shared.tracker.spawn(watch_over(
        shared.clone(),
        plan.name.clone(),
        launch,
        control.clone(),
        ordered,
        end,
        [traffic, complaints],
    ));
    for notice in &notices {
        shared
            .log(&plan.name, Some(id), Stream::Daemon, notice.clone())
            .await;
    }
    Ok(Running {
        control,
        stdin,
        stdout,
        stderr: tap,
        notices,
    })
}

/// Records the end of a launch whose beginning was recorded and whose server never ran.
async fn not_begun(shared: &Shared, plan: &Plan, id: Uuid) {
    record_end(shared, &plan.name, id, None, None, "not begun").await;
}

async fn record_end(
    shared: &Shared,
    name: &str,
    id: Uuid,
    code: Option<i32>,
    signal: Option<i32>,
    reason: &str,
) {
    let at = Timestamp::now();
    let exit = store::Exit {
        at,
        code,
        signal,
        reason: reason.to_owned(),
    };
    let entry = Ended {
        code,
        signal,
        reason,
    }
    .entry(at, name, id);
    if let Err(error) = shared.store.end_launch(id, exit, entry).await {
        tracing::error!(%error, server = name, launch = %id, "cannot record the end of a launch");
    }
}

/// Waits for the end, asked for or not, and leaves nothing behind.
async fn watch_over(
    shared: Arc<Shared>,
    name: String,
    mut launch: srt_runtime::Launch,
    control: Control,
    mut ordered: watch::Receiver<Option<String>>,
    end: watch::Sender<Option<LaunchEnd>>,
    tasks: [tokio::task::JoinHandle<()>; 2],
) {
    let id = control.id;
    tracing::info!(server = name, launch = %id, pid = control.processes.pid(), "launched");
    note_processes(&shared, &control).await;
    let exit = tokio::select! {
        exit = launch.wait() => exit,
        () = told_to_end(&shared, &control, &mut ordered) => {
            // Whoever holds stdin has closed it on the same signal.
            match tokio::time::timeout(GRACE, launch.wait()).await {
                Ok(exit) => exit,
                Err(_) => {
                    control.processes.signal_all(SIGTERM);
                    match tokio::time::timeout(GRACE, launch.wait()).await {
                        Ok(exit) => exit,
                        Err(_) => {
                            control.processes.kill();
                            launch.wait().await
                        }
                    }
                }
            }
        }
    };
    launch.close().await;
    finish(tasks, &shared, &control, &mut ordered).await;
    let reason = match ordered.borrow().as_deref() {
        Some(why) => format!("{why}; {exit}"),
        None => exit.to_string(),
    };
    tracing::info!(server = name, launch = %id, %reason, "ended");
    let code = exit.signal.is_none().then_some(exit.code);
    record_end(&shared, &name, id, code, exit.signal, &reason).await;
    shared
        .log(&name, Some(id), Stream::Daemon, format!("ended: {reason}"))
        .await;
    end.send_replace(Some(LaunchEnd {
        code: exit.code,
        signal: exit.signal.unwrap_or(0),
        reason,
        at: Timestamp::now(),
    }));
}

/// Waits until the launch's traffic is recorded and its standard error handed over. Who ordered the end does not wait
/// for a host that does not read it.
async fn finish(
    tasks: [tokio::task::JoinHandle<()>; 2],
    shared: &Shared,
    control: &Control,
    ordered: &mut watch::Receiver<Option<String>>,
) {
    for mut task in tasks {
        let impatient = async {
            told_to_end(shared, control, ordered).await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            _ = &mut task => {}
            () = impatient => task.abort(),
        }
    }
}

/// Waits for the order to end: to this launch, or to the daemon, which may have been given while this launch was
/// between beginning and being known to its server.
async fn told_to_end(
    shared: &Shared,
    control: &Control,
    ordered: &mut watch::Receiver<Option<String>>,
) {
    tokio::select! {
        _ = ordered.wait_for(Option::is_some) => {}
        () = shared.shutdown.cancelled() => control.stop("the daemon is stopping"),
    }
}

/// Tells the store which processes a sweep would have to end.
async fn note_processes(shared: &Shared, control: &Control) {
    let processes = store::Processes {
        pid: control.processes.pid(),
        pid_start: control.processes.start_time(),
        init_pid: None,
        boot_id: super::boot_id(),
    };
    if let Err(error) = shared.store.launch_runs(control.id, processes).await {
        tracing::error!(%error, launch = %control.id, "cannot record the processes of a launch");
    }
}

/// The longest line of standard error that is kept whole; the store cuts there too.
const LONGEST_LINE: usize = 16 * 1024;

/// Copies standard error to the log, line by line, and to the session, byte by byte.
async fn stderr_lines(
    shared: Arc<Shared>,
    name: String,
    id: Uuid,
    mut stderr: pipe::Receiver,
    tap: Tap,
) {
    let mut buffer = BytesMut::with_capacity(srt_proto::CHUNK);
    let mut line = Vec::new();
    loop {
        buffer.reserve(srt_proto::CHUNK);
        match stderr.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let chunk = buffer.split().freeze();
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST_LINE.saturating_sub(line.len());
            line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                keep_line(&shared, &name, id, &mut line).await;
            }
        }
        if let Some(session) = tap.current() {
            // A session that is gone has no use for it.
            let _ = session.send(chunk).await;
        }
    }
    if !line.is_empty() {
        keep_line(&shared, &name, id, &mut line).await;
    }
    tap.close();
}

async fn keep_line(shared: &Shared, name: &str, id: Uuid, line: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\n', '\r']).to_owned();
    line.clear();
    shared.log(name, Some(id), Stream::Stderr, text).await;
}

impl Shared {
    /// Adds a line to a server's log.
    pub(crate) async fn log(
        &self,
        server: &str,
        launch: Option<Uuid>,
        stream: Stream,
        line: String,
    ) {
        let line = LogLine {
            at: Timestamp::now(),
            server: server.to_owned(),
            stream,
            launch,
            line,
        };
        if let Err(error) = self.store.log_line(line).await {
            tracing::error!(%error, server, "cannot keep a log line");
        }
    }
}
