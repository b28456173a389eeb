//! One launch: from a plan to a running server, its end, and what is recorded of both.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use srt_policy::Profile;
use srt_runtime::{LaunchError, LaunchRequest, RuntimeError, Stdio, Step};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::direct::{Direct, Handed, Mode};
use super::running::{Control, Running, Watched, record_end, stderr_lines, watch_over};
use super::traffic;
use super::{Shared, Tap, record_refusal};
use crate::audit::Started;
use crate::layered::Choice;
use crate::live::{Beginning, LaunchGate, Seen, keep};
use crate::policies::{Loaded, PolicyError, shown};
use crate::session::Activity;
use crate::store::{self, EndKind, StoreError, Stream};

/// What is to be launched.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) command: Vec<String>,
    pub(crate) cwd: PathBuf,
    /// Device and inode of `cwd`, as the host found it.
    pub(crate) cwd_identity: Option<(u64, u64)>,
    pub(crate) settings: Option<PathBuf>,
    pub(crate) profile: Option<Profile>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) named: Vec<String>,
    pub(crate) umask: u32,
    pub(crate) restart: bool,
    /// What its last launch ran by, where this is another one: settings that cannot be used change nothing.
    pub(crate) last_good: Option<Arc<Loaded>>,
}

impl Plan {
    /// Which settings are asked for.
    pub(crate) fn choice(&self) -> Choice {
        Choice::new(
            self.settings.clone(),
            self.profile.clone(),
            &self.environment,
        )
    }

    /// Whether a launch of the other one would be the same as one of this.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let key = |plan: &'_ Self| {
            (
                plan.name.clone(),
                plan.command.clone(),
                plan.cwd.clone(),
                plan.cwd_identity,
                plan.settings.clone(),
                plan.profile.clone(),
                plan.named.clone(),
                plan.umask,
            )
        };
        key(self) == key(other) && self.environment == other.environment
    }
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

/// How long to wait after each refusal that may pass, where a session depends on it. Together well below the 30 s for
/// which its shim holds the host's requests.
const AGAIN: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(3),
];

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

    /// Whether it may pass by itself: settings that are being saved, a sandbox that lost a file or was killed in the
    /// making. A command that is not there stays away.
    fn may_pass(&self) -> bool {
        match self {
            Self::Policy(error) => error.is_of_the_file(),
            Self::Runtime(RuntimeError::Sandbox(LaunchError::Failed { step, .. })) => {
                *step != Step::Exec
            }
            Self::Runtime(RuntimeError::Sandbox(_)) => true,
            Self::Runtime(_) | Self::Store(_) | Self::Pipes(_) | Self::Stopping => false,
        }
    }

    /// The exit status that a client should end with.
    pub(crate) fn exit_code(&self) -> i32 {
        use srt_proto::exit;
        match self {
            Self::Policy(PolicyError::Store(_)) | Self::Store(_) | Self::Pipes(_) => exit::ERROR,
            // As if it were gone already: the next one may be asked.
            Self::Stopping => exit::UNREACHABLE,
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

/// Launches for a session that goes on, which a refusal would end: one that may pass is waited for.
pub(crate) async fn launch_again(shared: &Arc<Shared>, plan: Plan) -> Result<Running, Refused> {
    for wait in AGAIN {
        match launch(shared, plan.clone()).await {
            Err(refused) if refused.may_pass() => {}
            result => return result,
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shared.shutdown.cancelled() => return Err(Refused::Stopping),
        }
    }
    launch(shared, plan).await
}

/// Launches with pipes, whose other ends are the caller's. What is refused is recorded and told in the server's log.
pub(crate) async fn launch(shared: &Arc<Shared>, plan: Plan) -> Result<Running, Refused> {
    let streams = || {
        let (stdin, stdin_inside) = pipe::pipe()?;
        let (stdout_inside, stdout) = pipe::pipe()?;
        let (stderr_inside, stderr) = pipe::pipe()?;
        let stdio = Stdio::of(
            stdin_inside.into_blocking_fd()?,
            stdout_inside.into_blocking_fd()?,
            stderr_inside.into_blocking_fd()?,
        );
        Ok((stdio, Some(stderr), (stdin, stdout)))
    };
    let (begun, (stdin, stdout)) = recorded(shared, &plan, Mode::Session, streams).await?;
    Ok(Running {
        control: begun.control,
        stdin,
        stdout,
        early: begun.early,
        stderr: begun.tap,
        notices: begun.notices,
        goes_on: plan.restart,
        timeout: begun.timeout,
    })
}

/// Launches with descriptors that were handed over.
pub(crate) async fn launch_direct(
    shared: &Arc<Shared>,
    plan: Plan,
    handed: Handed,
    client_pid: Option<u32>,
) -> Result<Direct, Refused> {
    let Handed { stdio, told } = handed;
    let terminal = stdio.has_terminal();
    let mode = Mode::Direct {
        terminal,
        told,
        client_pid,
    };
    let (begun, ()) = recorded(shared, &plan, mode, || Ok((stdio, None, ()))).await?;
    Ok(Direct {
        control: begun.control,
        terminal: begun.terminal,
        notes: begun.tap,
        notices: begun.notices,
    })
}

/// Launches; what is refused is recorded.
async fn recorded<T>(
    shared: &Arc<Shared>,
    plan: &Plan,
    mode: Mode,
    streams: impl FnOnce() -> io::Result<(Stdio, Option<pipe::Receiver>, T)>,
) -> Result<(Begun, T), Refused> {
    let begun = Instant::now();
    let mut generation = None;
    let result = attempt(shared, plan, mode, streams, &mut generation).await;
    if result.is_ok() {
        let metrics = &shared.metrics;
        metrics.launched(&plan.name, plan.restart, begun.elapsed());
    }
    if let Err(refused) = &result {
        let reason = refused.to_string();
        record_refusal(shared, plan, refused.step(), &reason, generation).await;
    }
    result
}

/// A launch that runs, whatever its streams are.
struct Begun {
    control: Control,
    tap: Tap,
    early: Option<mpsc::Receiver<Bytes>>,
    notices: Vec<String>,
    timeout: Option<Duration>,
    terminal: Option<OwnedFd>,
}

/// `streams` gives what the server gets, the other end of its standard error where that is ours, and the caller's.
async fn attempt<T>(
    shared: &Arc<Shared>,
    plan: &Plan,
    mode: Mode,
    streams: impl FnOnce() -> io::Result<(Stdio, Option<pipe::Receiver>, T)>,
    decided_by: &mut Option<u64>,
) -> Result<(Begun, T), Refused> {
    if shared.shutdown.is_cancelled() {
        return Err(Refused::Stopping);
    }
    let program = shared
        .policies
        .program(&plan.command, &plan.environment, &plan.cwd);
    let id = Uuid::now_v7();
    let choice = plan.choice();
    let beginning = Beginning {
        launch: id,
        server: plan.name.clone(),
        choice: choice.clone(),
        cwd: plan.cwd.clone(),
        program: program.clone(),
        seen: Seen::at(&shared.policies.candidates(&plan.name, &choice, &plan.cwd)),
    };
    let loaded = shared
        .policies
        .load(&plan.name, &choice, &plan.cwd, program)
        .await;
    let (loaded, trouble) = match (loaded, &plan.last_good) {
        (Err(error), Some(last)) if error.is_of_the_file() => ((**last).clone(), Some(error)),
        (loaded, _) => (loaded?, None),
    };
    *decided_by = Some(loaded.generation.number);
    let seat = shared.live.add(beginning, &loaded);
    let generations = &shared.policies.generations;
    generations.note(seat.rules.place(), &loaded).await?;
    if let Some(error) = trouble {
        keep(shared, &seat.rules, &error).await;
    }
    let Loaded {
        policy,
        warnings,
        notes,
        generation,
    } = loaded;

    let timeout = policy.limits.timeout_seconds.map(Duration::from_secs);
    let tap = Tap::default();
    let begun = Instant::now();
    let step =
        |what: &str| tracing::debug!(launch = %id, micros = begun.elapsed().as_micros(), "{what}");
    let (events, received) = mpsc::channel(1024);
    let (denials, refused) = mpsc::unbounded_channel();
    let selected = policy.environment.select(&plan.environment, &plan.named);
    let mut variables: Vec<&str> = plan.named.iter().map(String::as_str).collect();
    variables.retain(|name| selected.passed.contains_key(*name));
    variables.sort_unstable();
    variables.dedup();
    let request = LaunchRequest {
        id,
        server: plan.name.clone(),
        policy,
        command: plan.command.clone(),
        cwd: plan.cwd.clone(),
        cwd_identity: plan.cwd_identity,
        offered: plan.environment.clone(),
        named: plan.named.clone(),
        umask: plan.umask,
        events,
        denials,
        gate: Some(Arc::new(LaunchGate {
            shared: shared.clone(),
            rules: seat.rules.clone(),
            tap: tap.clone(),
        })),
    };
    let now = Timestamp::now();
    let cwd = plan.cwd.display().to_string();
    let started = Started {
        command: &plan.command,
        cwd: &cwd,
        generation: generation.number,
        restart: plan.restart,
        stdio: mode.told(),
        variables: &variables,
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
        async {
            let recorded = shared
                .store
                .begin_launch(row, started.entry(now, &plan.name, id))
                .await;
            step("recorded");
            recorded
        },
        async {
            let prepared = shared.manager.prepare(request).await;
            step("prepared");
            prepared
        },
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
    let mut notices: Vec<String> = warnings
        .iter()
        .map(|finding| format!("warning: {}", shown(finding)))
        .collect();
    notices.extend(notes);
    notices.extend(prepared.notes().iter().cloned());
    if !prepared.left_out().is_empty() {
        notices.push(format!(
            "environment: not passed on: {} (--env NAME passes one on)",
            prepared.left_out().join(", ")
        ));
    }

    let (stdio, stderr, theirs) = match streams() {
        Ok(streams) => streams,
        Err(error) => {
            prepared.abandon().await;
            not_begun(shared, plan, id).await;
            return Err(error.into());
        }
    };
    // With the grants that hold, and with whatever changed while the sandbox was built.
    seat.rules.enforce(prepared.network());
    let recorder = traffic::Recorder::new(shared.clone(), seat.rules.clone(), tap.clone());
    let traffic = shared.tracker.spawn(recorder.run(received, refused));
    let mut launch = match prepared.start(stdio).await {
        Ok(launch) => launch,
        Err(error) => {
            let _ = traffic.await;
            not_begun(shared, plan, id).await;
            return Err(error.into());
        }
    };
    step("started");
    shared.manager.make_ready();
    let processes = launch.processes().clone();
    let (stop, ordered) = watch::channel(None);
    let (end, ended) = watch::channel(None);
    let terminal = launch.take_terminal();
    let control = Control {
        id,
        mode,
        since: Instant::now(),
        generation,
        processes,
        rules: seat.rules.clone(),
        flows: launch.flows(),
        activity: Arc::new(Activity::new(shared.tally.clone())),
        host: Arc::default(),
        stop: Arc::new(stop),
        ended,
    };
    // Before the first byte can come: none of them is the log's alone.
    let early = stderr.is_some().then(|| tap.open());
    let complaints = stderr.map(|stderr| {
        shared.tracker.spawn(stderr_lines(
            shared.clone(),
            plan.name.clone(),
            id,
            stderr,
            tap.clone(),
        ))
    });
    let watched = Watched {
        launch,
        control: control.clone(),
        seat,
        ordered,
        end,
        traffic,
        complaints,
    };
    shared
        .tracker
        .spawn(watch_over(shared.clone(), plan.name.clone(), watched));
    for notice in &notices {
        shared
            .log(&plan.name, Some(id), Stream::Daemon, notice.clone())
            .await;
    }
    let begun = Begun {
        control,
        tap,
        early,
        notices,
        timeout,
        terminal,
    };
    Ok((begun, theirs))
}

/// Records the end of a launch whose beginning was recorded and whose server never ran.
async fn not_begun(shared: &Shared, plan: &Plan, id: Uuid) {
    let kind = EndKind::Refused;
    record_end(shared, &plan.name, id, None, None, "not begun", kind).await;
}
