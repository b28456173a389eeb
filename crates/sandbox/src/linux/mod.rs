//! The Linux backend: a helper prepares the network, bubblewrap the files, the helper again the process.

mod broker;
mod cgroup;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handshake;
#[cfg(test)]
mod interpreter;
mod jail;
mod landlock;
mod limits;
mod listeners;
mod mounts;
mod netns;
mod nft;
mod overlay;
pub mod probe;
pub mod process;
mod seccomp;
mod terminal;

use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio as ProcessStdio;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::process::Child;

pub use jail::jail_main;

/// Makes ready to limit launches, where this process's cgroup is delegated to it: moves into a leaf of its own, and
/// removes the cgroups of launches that a dead process left. To be called before a launch; without it the first that
/// needs a cgroup does the same. The names of those that were removed.
pub fn settle_limits() -> Vec<String> {
    match cgroup::ours() {
        Ok(delegation) => delegation.swept().to_vec(),
        Err(why) => {
            tracing::debug!(why, "memory and CPU cannot be limited");
            Vec::new()
        }
    }
}

pub use process::Processes;

use crate::{
    Access, Command, Exit, LaunchError, Limits, SandboxSpec, Sockets, Stdio, Step, Tools,
    UnixSockets, Violation, descriptors, spawner,
};
use handshake::{Go, Report, Setup};

/// How long one answer of the helper may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A sandbox that stands, its network included, and in which nothing runs yet.
///
/// Dropping it takes it down.
#[derive(Debug)]
pub struct Prepared {
    child: Child,
    stream: UnixStream,
    complaints: std::fs::File,
    sockets: Option<Sockets>,
    http: SocketAddr,
    socks: SocketAddr,
    writable: Vec<PathBuf>,
    spec: SandboxSpec,
    group: Option<cgroup::Group>,
    notes: Vec<String>,
}

/// The beginning of a sandbox: a helper that has made its namespaces and waits to be told what for.
///
/// Dropping it takes it down.
#[derive(Debug)]
pub struct Seed {
    child: Child,
    stream: UnixStream,
    complaints: std::fs::File,
}

impl Seed {
    /// Starts a helper. What goes wrong with its namespaces is told by [`Prepared::new`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn plant(tools: &Tools) -> Result<Self, LaunchError> {
        let spawn = |error: &io::Error| LaunchError::io(Step::Spawn, tools.jail.display(), error);
        let (ours, theirs) = UnixStream::pair().map_err(|error| spawn(&error))?;
        nix::sys::socket::setsockopt(&ours, nix::sys::socket::sockopt::PassCred, &true)
            .map_err(|error| spawn(&error.into()))?;
        ours.set_read_timeout(Some(PATIENCE))
            .map_err(|error| spawn(&error))?;
        ours.set_write_timeout(Some(PATIENCE))
            .map_err(|error| spawn(&error))?;
        let (complaints, complain) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
            .map_err(|error| spawn(&error.into()))?;
        let mut command = tokio::process::Command::new(&tools.jail);
        command
            .arg("outside")
            .env_clear()
            .current_dir("/")
            .stdin(ProcessStdio::from(OwnedFd::from(theirs)))
            .stdout(ProcessStdio::null())
            .stderr(ProcessStdio::from(complain))
            .kill_on_drop(true);
        let child = spawner::spawn(command)
            .await
            .map_err(|error| spawn(&error))?;
        Ok(Self {
            child,
            stream: ours,
            complaints: complaints.into(),
        })
    }
}

impl Prepared {
    /// Builds the sandbox that `spec` asks for.
    ///
    /// # Errors
    /// The step that failed, with its remedy. Nothing is left behind.
    pub async fn new(seed: Seed, spec: SandboxSpec, tools: &Tools) -> Result<Self, LaunchError> {
        let (group, notes) = cgroup::for_launch(&spec.limits)?;
        if let (Some(group), Some(pid)) = (&group, seed.child.id()) {
            // Before it starts anything: all that it starts is in it too.
            group
                .add(pid)
                .map_err(|error| LaunchError::io(Step::Limits, "the launch's cgroup", &error))?;
        }
        let arguments = mounts::arguments(
            &spec,
            mounts::kind,
            &mounts::name_files(&spec),
            &mounts::system_entries(),
        )?;
        let setup = Setup {
            network: spec.network.clone(),
            overlays: spec.overlays.clone(),
            bwrap: tools.bwrap.clone(),
            arguments,
        };
        let Seed {
            child,
            stream,
            mut complaints,
        } = seed;
        let (stream, complaints, report) = blocking(move || {
            let sent = handshake::send(&stream, &setup, &[]);
            // A helper that failed has said so before it went, and cannot be sent anything.
            let answer = match (handshake::receive::<Report>(&stream), sent) {
                (Ok(Some(received)), _) => Ok(received),
                (Ok(None), _) => Err(silence(Step::Handshake, &mut complaints)),
                (Err(_), Err(error)) | (Err(error), Ok(())) => Err(broken(&error)),
            };
            (stream, complaints, answer)
        })
        .await?;
        let received = report?;
        let (labels, partial) = match received.message {
            Report::Listening { labels, partial } => (labels, partial),
            other => return Err(unexpected(other)),
        };
        if let Some(why) = &partial {
            tracing::warn!(%why, "connections are captured on named ports only");
        }
        let Some((sockets, http, socks)) =
            listeners::sort(&labels, received.fds, partial.is_none())
        else {
            return Err(LaunchError::Failed {
                step: Step::Handshake,
                errno: 0,
                message: "the helper did not hand over its listeners".into(),
            });
        };
        let writable = spec
            .files
            .iter()
            .filter(|rule| rule.access == Access::ReadWrite)
            .map(|rule| rule.path.clone())
            .chain(spec.overlays.iter().map(|overlay| overlay.path.clone()))
            .chain(spec.own.folders.iter().map(|folder| folder.inside.clone()))
            .chain([spec.temp.inside.clone(), "/dev".into(), "/proc".into()])
            .collect();
        Ok(Self {
            child,
            stream,
            complaints,
            sockets: Some(sockets),
            http,
            socks,
            writable,
            spec,
            group,
            notes,
        })
    }

    /// What was asked for and is left out, where that is allowed, for a person.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The listeners, once.
    pub fn take_sockets(&mut self) -> Option<Sockets> {
        self.sockets.take()
    }

    /// Where the server finds the HTTP proxy.
    pub fn http_proxy(&self) -> SocketAddr {
        self.http
    }

    /// Where the server finds the SOCKS5 proxy.
    pub fn socks_proxy(&self) -> SocketAddr {
        self.socks
    }

    /// Runs `command` in it. Refused uses of files are told to `report`, from a thread of their own that must not
    /// be made to wait.
    ///
    /// # Errors
    /// The step that failed, with its remedy. Nothing is left behind.
    pub async fn start(
        self,
        command: Command,
        stdio: Stdio,
        report: impl Fn(Violation) + Send + 'static,
    ) -> Result<Sandbox, LaunchError> {
        let Self {
            child,
            stream,
            mut complaints,
            writable,
            spec,
            group,
            ..
        } = self;
        let go = Go {
            arguments: command.arguments,
            environment: command.environment.into_iter().collect(),
            cwd: command.cwd,
            expected: command.expected,
            umask: command.umask,
            limits: Limits {
                soft_file_descriptors: descriptors::soft_limit(),
                ..spec.limits
            },
            writable,
            seccomp: seccomp::Rules {
                unix: match &spec.unix_sockets {
                    UnixSockets::All => seccomp::Unix::All,
                    UnixSockets::Listed(_) if connects(&spec) => seccomp::Unix::Connected,
                    UnixSockets::Listed(_) => seccomp::Unix::None,
                },
                nested: spec.nested_user_namespaces,
            },
            stop: stop(&spec),
            judged: spec.judged.is_some() || connects(&spec),
            on_terminal: stdio.parts().map(|part| part.is_none()),
            terminal: stdio.terminal.clone(),
        };
        let inside = blocking(move || {
            let received = match handshake::receive::<Report>(&stream) {
                Ok(Some(received)) => received,
                Ok(None) => return Err(silence(Step::Mounts, &mut complaints)),
                Err(error) => return Err(broken(&error)),
            };
            let pid = match (received.message, received.pid) {
                (Report::Inside, Some(pid)) => pid,
                (other, _) => return Err(unexpected(other)),
            };
            tracing::debug!("the sandbox stands");
            // Before it runs anything of the server's: what is held now cannot be another's.
            let processes = u32::try_from(pid)
                .map_err(io::Error::other)
                .and_then(Processes::of)
                .map_err(|error| {
                    LaunchError::io(Step::Handshake, "the sandbox's processes", &error)
                })?;
            let fds: Vec<_> = stdio
                .parts()
                .into_iter()
                .flatten()
                .map(|fd| fd.as_raw_fd())
                .collect();
            handshake::send(&stream, &go, &fds).map_err(|error| broken(&error))?;
            let mut report = Some(report);
            let mut observer = None;
            let mut terminal = None;
            let mut executing = false;
            loop {
                match handshake::receive::<Report>(&stream) {
                    Ok(Some(received)) => match received.message {
                        Report::Terminal => terminal = received.fds.into_iter().next(),
                        Report::Executing => {
                            tracing::debug!("the server is about to run");
                            executing = true;
                            // At once: the server's first opening of a file waits for it.
                            observer = received
                                .fds
                                .into_iter()
                                .next()
                                .zip(report.take())
                                .map(|(listener, report)| watch(listener, &spec, report));
                        }
                        other => return Err(unexpected(other)),
                    },
                    Ok(None) if executing => {
                        return Ok((
                            processes,
                            observer.transpose().map_err(|error| {
                                LaunchError::io(Step::Spawn, "the observing thread", &error)
                            })?,
                            terminal,
                        ));
                    }
                    Ok(None) => return Err(silence(Step::Exec, &mut complaints)),
                    Err(error) => return Err(broken(&error)),
                }
            }
        })
        .await?;
        let (processes, observer, terminal) = inside?;
        Ok(Sandbox {
            child,
            processes,
            terminal,
            observer,
            group,
        })
    }
}

/// A running sandbox. Dropping it kills it.
#[derive(Debug)]
pub struct Sandbox {
    child: Child,
    processes: Processes,
    terminal: Option<OwnedFd>,
    observer: Option<JoinHandle<()>>,
    group: Option<cgroup::Group>,
}

impl Sandbox {
    /// Its processes, to signal and count.
    pub fn processes(&self) -> &Processes {
        &self.processes
    }

    /// The other side of the server's own terminal (pts(4), the master), once, where it has one. When it is closed, the
    /// server's side is hung up.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Waits until the server has ended and no process of the sandbox is left. Cancel safe.
    pub async fn wait(&mut self) -> Exit {
        let code = match self.child.wait().await {
            // bubblewrap ends as its child did, with 128 + N for a signal (bwrap(1)).
            Ok(status) => status.code().unwrap_or(128 + libc::SIGKILL),
            Err(_) => 128 + libc::SIGKILL,
        };
        self.processes.kill();
        self.processes.gone().await;
        if let Some(observer) = self.observer.take() {
            // Nobody is left to observe: it is at its end.
            let _ = tokio::task::spawn_blocking(move || observer.join()).await;
        }
        let group = self.group.take();
        let out_of_memory = group.as_ref().and_then(cgroup::Group::out_of_memory);
        if group.is_some() {
            // Removing it may wait for the kernel.
            let _ = tokio::task::spawn_blocking(move || drop(group)).await;
        }
        Exit {
            code,
            signal: (code > 128 && code <= 128 + 64).then_some(code - 128),
            out_of_memory,
        }
    }
}

/// Which calls of a launch stop for the broker.
fn stop(spec: &SandboxSpec) -> Option<broker::Stop> {
    let reads = spec.judged.as_ref().is_some_and(|judged| judged.reads);
    let connects = connects(spec);
    (spec.observe || spec.judged.is_some() || connects).then_some(broker::Stop {
        reads: spec.observe || reads,
        connects,
        looks: reads,
    })
}

/// Whether connections are carried out, because some Unix sockets may be reached and others not.
fn connects(spec: &SandboxSpec) -> bool {
    matches!(&spec.unix_sockets, UnixSockets::Listed(paths) if !paths.is_empty())
}

/// Starts the thread that serves a launch's files.
fn watch(
    listener: OwnedFd,
    spec: &SandboxSpec,
    report: impl Fn(Violation) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let spec = spec.clone();
    std::thread::Builder::new()
        .name("srt-broker".into())
        .stack_size(128 * 1024)
        .spawn(move || broker::serve(listener, &spec, &report))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LaunchError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| LaunchError::io(Step::Handshake, "handshake", &io::Error::other(error)))
}

/// The helper, or bubblewrap in its place, ended without a word on the handshake: what it wrote to standard error
/// is the reason.
fn silence(step: Step, complaints: &mut std::fs::File) -> LaunchError {
    let mut text = Vec::new();
    let _ = complaints.take(4096).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    let message = match text.trim() {
        "" => "the helper ended without a word".to_owned(),
        text => text.trim_start_matches("bwrap: ").to_owned(),
    };
    LaunchError::Failed {
        step,
        errno: 0,
        message,
    }
}

fn broken(error: &io::Error) -> LaunchError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => LaunchError::TimedOut {
            seconds: PATIENCE.as_secs(),
        },
        _ => LaunchError::io(Step::Handshake, "srt-jail", error),
    }
}

fn unexpected(report: Report) -> LaunchError {
    match report {
        Report::Failed {
            step,
            errno,
            message,
        } => LaunchError::Failed {
            step,
            errno,
            message,
        },
        other => LaunchError::Failed {
            step: Step::Handshake,
            errno: 0,
            message: format!("the helper said {other:?} out of turn"),
        },
    }
}
