//! A running launch: what everybody may hold of it, and the task that waits for its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use srt_runtime::Processes;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::Shared;
use crate::audit::Ended;
use crate::policies::Generation;
use crate::store::{self, Stream};

/// What a server has to end by itself, twice: after its stdin was closed, and after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);
/// How long a launch's last words may take to be read.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// SIGTERM, the same number on every OS that we run on (signal(7)).
const SIGTERM: i32 = 15;

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
    pub(super) stop: Arc<watch::Sender<Option<String>>>,
    pub(super) ended: watch::Receiver<Option<LaunchEnd>>,
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
    /// What came on standard error from the very beginning; `None` once it was given up for want of a host.
    pub(crate) early: Option<mpsc::Receiver<Bytes>>,
    pub(crate) stderr: Tap,
    pub(crate) notices: Vec<String>,
}

/// Where a server's standard error goes beside the log: to a session, while there is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tap(Arc<Mutex<TapState>>);

#[derive(Debug, Default)]
struct TapState {
    session: Option<mpsc::Sender<Bytes>>,
    /// Standard error is at its end.
    over: bool,
}

impl Tap {
    /// What comes from now on, in order, bounded; it ends with the server's standard error.
    pub(crate) fn open(&self) -> mpsc::Receiver<Bytes> {
        let (sender, receiver) = mpsc::channel(4);
        let mut state = self.lock();
        if !state.over {
            state.session = Some(sender);
        }
        receiver
    }

    fn close(&self) {
        *self.lock() = TapState {
            session: None,
            over: true,
        };
    }

    fn session(&self) -> Option<mpsc::Sender<Bytes>> {
        self.lock().session.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, TapState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A launch and all that must be waited for.
pub(super) struct Watched {
    pub(super) launch: srt_runtime::Launch,
    pub(super) control: Control,
    /// Where the end is ordered, with the reason.
    pub(super) ordered: watch::Receiver<Option<String>>,
    /// Where the end is told.
    pub(super) end: watch::Sender<Option<LaunchEnd>>,
    pub(super) traffic: JoinHandle<()>,
    pub(super) complaints: JoinHandle<()>,
}

/// Waits for the end, asked for or not, and leaves nothing behind.
pub(super) async fn watch_over(shared: Arc<Shared>, name: String, watched: Watched) {
    let Watched {
        mut launch,
        control,
        mut ordered,
        end,
        traffic,
        complaints,
    } = watched;
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
    let _ = traffic.await;
    // So that the log ends with the end; but a host that does not read its standard error holds up nobody else.
    let _ = tokio::time::timeout(LAST_WORDS, complaints).await;
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
pub(super) async fn stderr_lines(
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
        if let Some(session) = tap.session() {
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

pub(super) async fn record_end(
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
