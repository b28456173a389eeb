//! One launch: from a plan to a running server, its end, and what is recorded of both.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use srt_runtime::{LaunchError, LaunchRequest, RuntimeError, Stdio, Step};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::Shared;
use super::running::{Control, Running, Tap, Watched, record_end, stderr_lines, watch_over};
use super::traffic;
use crate::audit::{Refusal, Started};
use crate::policies::{Loaded, PolicyError, shown};
use crate::store::{self, LogLine, StoreError, Stream};

/// What is to be launched.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) command: Vec<String>,
    pub(crate) cwd: PathBuf,
    pub(crate) settings: Option<PathBuf>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) named: Vec<String>,
    pub(crate) umask: u32,
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
    let begun = Instant::now();
    let step =
        |what: &str| tracing::debug!(launch = %id, micros = begun.elapsed().as_micros(), "{what}");
    let (events, received) = mpsc::channel(1024);
    let (denials, refused) = mpsc::unbounded_channel();
    let request = LaunchRequest {
        id,
        policy,
        command: plan.command.clone(),
        cwd: plan.cwd.clone(),
        offered: plan.environment.clone(),
        named: plan.named.clone(),
        umask: plan.umask,
        events,
        denials,
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
        refused,
    ));
    let launch = match prepared.start(stdio).await {
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
    let control = Control {
        id,
        since: Instant::now(),
        generation,
        processes,
        stop: Arc::new(stop),
        ended,
    };
    let tap = Tap::default();
    // Before the first byte can come: none of them is the log's alone.
    let early = Some(tap.open());
    let complaints = shared.tracker.spawn(stderr_lines(
        shared.clone(),
        plan.name.clone(),
        id,
        stderr,
        tap.clone(),
    ));
    let watched = Watched {
        launch,
        control: control.clone(),
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
    Ok(Running {
        control,
        stdin,
        stdout,
        early,
        stderr: tap,
        notices,
    })
}

/// Records the end of a launch whose beginning was recorded and whose server never ran.
async fn not_begun(shared: &Shared, plan: &Plan, id: Uuid) {
    record_end(shared, &plan.name, id, None, None, "not begun").await;
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
