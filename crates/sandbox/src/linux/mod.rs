//! The Linux backend: a helper prepares the network, bubblewrap the files, the helper again the process.

mod handshake;
mod jail;
mod landlock;
mod listeners;
mod mounts;
mod netns;
mod nft;
pub mod probe;
pub mod process;
mod seccomp;

use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio as ProcessStdio;
use std::time::Duration;

use tokio::process::Child;

pub use jail::jail_main;
pub use process::Processes;

use crate::{
    Access, Command, Exit, LaunchError, SandboxSpec, Sockets, Stdio, Step, Tools, spawner,
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
}

impl Prepared {
    /// Builds the sandbox that `spec` asks for.
    ///
    /// # Errors
    /// The step that failed, with its remedy. Nothing is left behind.
    pub async fn new(spec: SandboxSpec, tools: &Tools) -> Result<Self, LaunchError> {
        let arguments = mounts::arguments(
            &spec,
            mounts::kind,
            mounts::resolv_conf().as_deref(),
            &mounts::system_entries(),
        )?;
        let setup = Setup {
            network: spec.network.clone(),
            bwrap: tools.bwrap.clone(),
            arguments,
        };
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
        let mut complaints = std::fs::File::from(complaints);

        let (stream, complaints, report) = blocking(move || {
            let answer = handshake::send(&ours, &setup, &[])
                .and_then(|()| handshake::receive::<Report>(&ours));
            let answer = match answer {
                Ok(Some(received)) => Ok(received),
                Ok(None) => Err(silence(Step::Handshake, &mut complaints)),
                Err(error) => Err(broken(&error)),
            };
            (ours, complaints, answer)
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
        })
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

    /// Runs `command` in it.
    ///
    /// # Errors
    /// The step that failed, with its remedy. Nothing is left behind.
    pub async fn start(self, command: Command, stdio: Stdio) -> Result<Sandbox, LaunchError> {
        let Self {
            child,
            stream,
            mut complaints,
            writable,
            spec,
            ..
        } = self;
        let go = Go {
            arguments: command.arguments,
            environment: command.environment.into_iter().collect(),
            cwd: command.cwd,
            umask: command.umask,
            limits: spec.limits,
            soft_files: crate::descriptors::servers_limit(),
            writable,
            allow_unix_sockets: spec.allow_unix_sockets,
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
            // Before it runs anything of the server's: what is held now cannot be another's.
            let processes = u32::try_from(pid)
                .map_err(io::Error::other)
                .and_then(Processes::of)
                .map_err(|error| {
                    LaunchError::io(Step::Handshake, "the sandbox's processes", &error)
                })?;
            let fds = [&stdio.stdin, &stdio.stdout, &stdio.stderr].map(|fd| fd.as_raw_fd());
            handshake::send(&stream, &go, &fds).map_err(|error| broken(&error))?;
            let mut executing = false;
            loop {
                match handshake::receive::<Report>(&stream) {
                    Ok(Some(received)) => match received.message {
                        Report::Executing => executing = true,
                        other => return Err(unexpected(other)),
                    },
                    Ok(None) if executing => return Ok(processes),
                    Ok(None) => return Err(silence(Step::Exec, &mut complaints)),
                    Err(error) => return Err(broken(&error)),
                }
            }
        })
        .await?;
        Ok(Sandbox {
            child,
            processes: inside?,
        })
    }
}

/// A running sandbox. Dropping it kills it.
#[derive(Debug)]
pub struct Sandbox {
    child: Child,
    processes: Processes,
}

impl Sandbox {
    /// Its processes, to signal and count.
    pub fn processes(&self) -> &Processes {
        &self.processes
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
        Exit {
            code,
            signal: (code > 128 && code <= 128 + 64).then_some(code - 128),
        }
    }
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
