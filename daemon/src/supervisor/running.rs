//! A running launch: what everybody may hold of it, and the task that waits for its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use srt_runtime::{FlowsHandle, Processes};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::state::Outcome;
use super::{Mode, Shared, Tap};
use crate::audit::Ended;
use crate::live::{Rules, Seat, withdraw};
use crate::policies::Generation;
use crate::session::Activity;
use crate::store::{self, EndKind, Stream};

/// What a server has to end by itself, twice: after its stdin was closed, and after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);
/// How long a launch's last words may take to be read.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// SIGCONT (signal(7)).
const SIGCONT: i32 = if cfg!(target_os = "macos") { 19 } else { 18 };

/// How a launch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LaunchEnd {
    pub(crate) code: i32,
    pub(crate) signal: i32,
    pub(crate) reason: String,
    pub(crate) kind: EndKind,
    pub(crate) at: Timestamp,
}

/// Why it is to end: for a person, and as a kind.
#[derive(Clone, Debug)]
pub(super) struct Order {
    reason: String,
    kind: EndKind,
}

/// A running launch as everybody may hold it.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    pub(crate) id: Uuid,
    /// How whoever it serves is connected to it.
    pub(crate) mode: Mode,
    pub(crate) since: Instant,
    pub(crate) generation: Generation,
    pub(crate) processes: Processes,
    /// What its traffic is decided by.
    pub(crate) rules: Arc<Rules>,
    /// What leaves its sandbox at this moment.
    pub(crate) flows: FlowsHandle,
    /// What goes on in its conversation.
    pub(crate) activity: Arc<Activity>,
    /// What its host said of the end.
    pub(super) host: Arc<Host>,
    pub(super) stop: Arc<watch::Sender<Option<Order>>>,
    pub(super) ended: watch::Receiver<Option<LaunchEnd>>,
}

impl Control {
    /// Orders the end, once: stdin closed, then SIGTERM, then SIGKILL. The first reason stays.
    pub(crate) fn stop(&self, reason: &str) {
        self.end(reason, EndKind::Stopped);
    }

    /// As [`Self::stop`], with what kind of end that is.
    pub(crate) fn end(&self, reason: &str, kind: EndKind) {
        self.stop.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                let reason = reason.to_owned();
                *current = Some(Order { reason, kind });
            }
            first
        });
    }

    /// Its host closed its side, sent a signal or went away: whatever its end is then, it is what the host wants.
    pub(crate) fn host_ends(&self) {
        self.host.ends.store(true, Ordering::Relaxed);
    }

    /// Whether its host did so.
    pub(super) fn is_ended_by_host(&self) -> bool {
        self.host.ends.load(Ordering::Relaxed)
    }

    /// From now on it is looked out for the first word of either side.
    pub(super) fn falls_silent(&self) {
        self.host.words.send_replace(Words::NoneYet);
    }

    /// Whether no word was said yet, of those that are looked out for.
    pub(crate) fn is_silent(&self) -> bool {
        *self.host.words.borrow() == Words::NoneYet
    }

    /// One is about to be said. False where the host has left meanwhile.
    pub(crate) fn speaks(&self) -> bool {
        self.next_word(Words::Said) == Words::Said
    }

    /// The host leaves. False where a word was said: then that is an end as any other.
    pub(crate) fn leaves(&self) -> bool {
        self.next_word(Words::Left) == Words::Left
    }

    fn next_word(&self, next: Words) -> Words {
        self.host.words.send_if_modified(|words| {
            let first = *words == Words::NoneYet;
            if first {
                *words = next;
            }
            first
        });
        *self.host.words.borrow()
    }

    /// Waits until the host has left without a word.
    pub(crate) async fn left(&self) {
        let mut words = self.host.words.subscribe();
        let _ = words.wait_for(|words| *words == Words::Left).await;
    }

    /// Asks the host to go on in another launch: when nothing is under way, or now. Nothing follows where no host is.
    pub(crate) fn renew(&self, renewal: Renewal) {
        self.host.renew.send_if_modified(|asked| {
            let news = asked.as_ref() != Some(&renewal);
            *asked = Some(renewal);
            news
        });
    }

    /// Whether the host was asked to go on in another launch.
    pub(super) fn is_renewed(&self) -> bool {
        self.host.renew.borrow().is_some()
    }

    /// What the host is to be told of another launch, once its conversation can be carried there.
    pub(crate) async fn renewal(&self, asked: &mut watch::Receiver<Option<Renewal>>) -> Renewal {
        loop {
            let renewal = asked.borrow_and_update().clone();
            let told = match renewal {
                Some(renewal) if self.is_ready().await => Some(renewal),
                _ => None,
            };
            if let Some(renewal) = told {
                return renewal;
            }
            if asked.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// To be told what [`Self::renew`] asks for.
    pub(crate) fn renewals(&self) -> watch::Receiver<Option<Renewal>> {
        let mut asked = self.host.renew.subscribe();
        asked.mark_changed();
        asked
    }

    /// Waits until its conversation is ready; false where it ended before.
    pub(super) async fn is_ready(&self) -> bool {
        let mut standing = self.activity.subscribe();
        tokio::select! {
            // One that answered and ended at once was ready.
            biased;
            ready = standing.wait_for(|standing| standing.ready) => ready.is_ok(),
            _ = self.ended() => false,
        }
    }

    /// How its end is to be judged.
    pub(super) fn outcome(&self, end: &LaunchEnd) -> Outcome {
        let asked = self.activity.standing().asked;
        match end.kind {
            EndKind::Stopped => Outcome::Asked,
            EndKind::Exited | EndKind::Signal if self.is_ended_by_host() => Outcome::Asked,
            EndKind::Exited if end.code == 0 && asked == 0 => Outcome::Well,
            _ => Outcome::Failure,
        }
    }

    /// Whether the end was ordered.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.borrow().is_some()
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
            kind: EndKind::Lost,
            at: Timestamp::now(),
        })
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }
}

/// What passes between a launch's host and its supervisor beside the bytes.
#[derive(Debug, Default)]
pub(super) struct Host {
    ends: AtomicBool,
    renew: watch::Sender<Option<Renewal>>,
    words: watch::Sender<Words>,
}

/// How far a conversation has come that the next host may have in this one's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Words {
    /// One was said, or nobody looks out for it.
    #[default]
    Said,
    NoneYet,
    /// The host left before there was one.
    Left,
}

/// The wish that a session goes on in another launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Renewal {
    /// What changed, for a person.
    pub(crate) reason: String,
    /// At once, as opposed to when nothing is under way.
    pub(crate) now: bool,
}

impl Renewal {
    /// Because these keys of its settings changed.
    pub(crate) fn of(keys: &[String], now: bool) -> Self {
        let reason = format!("its settings have changed: {}", keys.join(", "));
        Self { reason, now }
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
    /// It goes on with a session that another launch was ready for.
    pub(crate) goes_on: bool,
    /// How long the first answer may take.
    pub(crate) timeout: Option<Duration>,
}

/// A launch and all that must be waited for.
pub(super) struct Watched {
    pub(super) launch: srt_runtime::Launch,
    pub(super) control: Control,
    /// Keeps its rules up to date.
    pub(super) seat: Seat,
    /// Where the end is ordered, with the reason.
    pub(super) ordered: watch::Receiver<Option<Order>>,
    /// Where the end is told.
    pub(super) end: watch::Sender<Option<LaunchEnd>>,
    pub(super) traffic: JoinHandle<()>,
    /// Reads its standard error, where that is ours.
    pub(super) complaints: Option<JoinHandle<()>>,
}

/// Waits for the end, asked for or not, and leaves nothing behind.
pub(super) async fn watch_over(shared: Arc<Shared>, name: String, watched: Watched) {
    let Watched {
        mut launch,
        control,
        seat,
        mut ordered,
        end,
        traffic,
        complaints,
    } = watched;
    let id = control.id;
    tracing::info!(server = name, launch = %id, pid = control.processes.pid(), "launched");
    note_processes(&shared, &control).await;
    shared
        .tracker
        .spawn(end_overfull(launch.overfull(), control.clone()));
    let exit = tokio::select! {
        exit = launch.wait() => exit,
        () = told_to_end(&shared, &control, &mut ordered) => {
            asked_to_end(&mut launch, &control).await
        }
    };
    launch.close().await;
    drop(seat);
    withdraw(&shared, &control.rules).await;
    let _ = traffic.await;
    // So that the log ends with the end; but a host that does not read its standard error holds up nobody else.
    if let Some(complaints) = complaints {
        let _ = tokio::time::timeout(LAST_WORDS, complaints).await;
    }
    let (reason, kind) = match ordered.borrow().as_ref() {
        Some(order) => (format!("{}; {exit}", order.reason), order.kind),
        None if exit.out_of_memory.is_some() => (exit.to_string(), EndKind::OutOfMemory),
        None if exit.signal.is_some() => (exit.to_string(), EndKind::Signal),
        None => (exit.to_string(), EndKind::Exited),
    };
    tracing::info!(server = name, launch = %id, %reason, "ended");
    let code = exit.signal.is_none().then_some(exit.code);
    shared.metrics.ended(&name, kind);
    record_end(&shared, &name, id, code, exit.signal, &reason, kind).await;
    shared
        .log(&name, Some(id), Stream::Daemon, format!("ended: {reason}"))
        .await;
    end.send_replace(Some(LaunchEnd {
        code: exit.code,
        signal: exit.signal.unwrap_or(0),
        reason,
        kind,
        at: Timestamp::now(),
    }));
}

/// Asks a launch to end, and makes it.
async fn asked_to_end(launch: &mut srt_runtime::Launch, control: &Control) -> srt_runtime::Exit {
    for request in control.mode.polite() {
        // Otherwise whoever holds stdin has closed it on the same order.
        if let Some(signal) = request {
            control.processes.signal_all(signal);
            // What is stopped takes no other.
            control.processes.signal_all(SIGCONT);
        }
        if let Ok(exit) = tokio::time::timeout(GRACE, launch.wait()).await {
            return exit;
        }
    }
    control.processes.kill();
    launch.wait().await
}

/// Ends a launch that fills the disk with what it changes of an overlaid folder. It is given no grace.
async fn end_overfull(overfull: impl Future<Output = String>, control: Control) {
    tokio::select! {
        why = overfull => {
            control.end(&why, EndKind::DiskFull);
            control.processes.kill();
        }
        _ = control.ended() => {}
    }
}

/// Waits for the order to end: to this launch, or to the daemon, which may have been given while this launch was
/// between beginning and being known to its server.
async fn told_to_end(
    shared: &Shared,
    control: &Control,
    ordered: &mut watch::Receiver<Option<Order>>,
) {
    tokio::select! {
        _ = ordered.wait_for(Option::is_some) => {}
        () = shared.shutdown.cancelled() => control.stop(shared.ending.reason()),
    }
}

/// Tells the store which processes a sweep would have to end.
async fn note_processes(shared: &Shared, control: &Control) {
    let processes = store::Processes {
        pid: control.processes.pid(),
        pid_start: control.processes.start_time(),
        init_pid: control.processes.init().map(|(pid, _)| pid),
        init_start: control.processes.init().map(|(_, start)| start),
        boot_id: crate::life::sweep::boot_id(),
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
        tokio::select! {
            read = stderr.read_buf(&mut buffer) => match read {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            },
            note = tap.noted() => {
                tap.say(&note, !line.is_empty()).await;
                continue;
            }
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
    let within_line = !line.is_empty();
    if within_line {
        keep_line(&shared, &name, id, &mut line).await;
    }
    tap.finish(within_line).await;
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
    kind: EndKind,
) {
    let at = Timestamp::now();
    let exit = store::Exit {
        at,
        code,
        signal,
        reason: reason.to_owned(),
        kind: Some(kind),
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
