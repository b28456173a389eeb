//! Starting the daemon: however many shims find none at once, one of them starts one and all of them wait for it.

use crate::connect::{self, Connection};
use crate::errors::{Failure, HINT};
use crate::programs;
use srt_proto::exit;
use srt_proto::socket::{self, Environment};
use srt_proto::v1::DaemonStatusRequest;
use srt_proto::v1::daemon_client::DaemonClient;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;

/// How long a started daemon may take to answer.
pub const BOUND: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
/// How long to leave a daemon alone that is on its way out.
const TURN: Duration = Duration::from_millis(100);

/// The variables that a daemon gets from whoever starts it. It outlives that host and serves every other one,
/// so it must not carry one project's tokens: what a server needs comes with its own session.
const KEPT: [&str; 14] = [
    "HOME",
    "PATH",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "TZ",
    "TMPDIR",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "DBUS_SESSION_BUS_ADDRESS",
    "NO_COLOR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
const KEPT_PREFIXES: [&str; 3] = ["LC_", "XDG_", "SRT_"];

/// Connects to the daemon; starts one if nobody answers.
///
/// # Errors
/// Exit status 5, with what srtd said where it ended at once.
pub async fn connect_or_start(environment: &Environment) -> Result<Connection, Failure> {
    if let Some(connection) = connect::find(environment).await? {
        return Ok(connection);
    }
    let lock = open_lock(environment)?;
    let deadline = Instant::now() + BOUND;
    let mut started: Option<Started> = None;
    loop {
        // Lock first, look second: whoever held it before us may have just succeeded.
        let ours = started.is_none() && try_lock(&lock)?;
        if let Some(connection) = connect::find(environment).await? {
            let Some(mut begun) = started else {
                return Ok(connection);
            };
            // It listens before it has opened its state: one that cannot says why, and is asked no further.
            let mut client = DaemonClient::new(connection.channel.clone());
            let answer = client.status(DaemonStatusRequest {}).await;
            let lost = |status| Failure::from(status).code == exit::UNREACHABLE;
            if answer.is_err_and(lost)
                && let Some((code, failure)) = begun.gone().await
                && code != Some(exit::TAKEN)
            {
                return Err(failure);
            }
            begun.release();
            return Ok(connection);
        }
        if ours {
            started = Some(Started::spawn(environment)?);
        }
        let ended = match &mut started {
            Some(started) => started.ended(),
            None => None,
        };
        if let Some((code, failure)) = ended {
            if let Some(connection) = connect::find(environment).await? {
                return Ok(connection);
            }
            // Another one has the socket and does not answer: it is on its way out, and then it is our turn.
            if code != Some(exit::TAKEN) || Instant::now() >= deadline {
                return Err(failure);
            }
            started = None;
            tokio::time::sleep(TURN).await;
            continue;
        }
        if Instant::now() >= deadline {
            return Err(too_slow(started));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The lock lies in the folder of the socket that a new daemon will take; whoever can open it could also have
/// bound the socket. It is released when its descriptor closes, which the daemon does not inherit.
fn open_lock(environment: &Environment) -> Result<File, Failure> {
    let place = environment
        .candidates(Path::is_dir)
        .into_iter()
        .next()
        .ok_or_else(|| {
            Failure::new(
                exit::UNREACHABLE,
                "there is no place for the daemon's socket: HOME is not set",
            )
            .hint("set HOME, XDG_RUNTIME_DIR or SRT_SOCKET in the environment of srt")
        })?;
    let folder = place.parent().unwrap_or(Path::new("/"));
    socket::prepare_folder(folder)
        .map_err(|error| Failure::from_text(exit::UNREACHABLE, &error.to_string()))?;
    let path = folder.join(".start.lock");
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| lock_failed(&format!("cannot open {}: {error}", path.display())))
}

fn try_lock(lock: &File) -> Result<bool, Failure> {
    match lock.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(lock_failed(&format!("cannot lock: {error}"))),
    }
}

fn lock_failed(why: &str) -> Failure {
    Failure::new(exit::UNREACHABLE, format!("cannot start the daemon: {why}"))
}

fn too_slow(started: Option<Started>) -> Failure {
    let seconds = BOUND.as_secs();
    match started {
        Some(started) => Failure::new(
            exit::UNREACHABLE,
            format!("the daemon srtd was started but does not answer after {seconds} s"),
        )
        .hint(started.log.hint()),
        None => Failure::new(
            exit::UNREACHABLE,
            format!(
                "another client is starting the daemon, which does not answer after {seconds} s"
            ),
        )
        .hint("srtctl daemon start"),
    }
}

/// A daemon that we started and that does not answer yet.
struct Started {
    child: Child,
    log: Log,
}

impl Started {
    fn spawn(environment: &Environment) -> Result<Self, Failure> {
        let program = programs::srtd()?;
        let log = Log::open(environment);
        let mut command = Command::new(&program);
        command
            .arg("--background")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.stdio())
            // Out of the host's process group, whose signals are not meant for it. A group's leader cannot make
            // a session of its own (setsid(2), EPERM), and needs none: hang-ups go to foreground groups.
            .process_group(0)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(kept)));
        if let Some(socket) = &environment.socket {
            // Resolved against our working directory, which the daemon does not share.
            command.env("SRT_SOCKET", socket);
        }
        match command.spawn() {
            Ok(child) => Ok(Self { child, log }),
            Err(error) => Err(Failure::new(
                exit::UNREACHABLE,
                format!("cannot start {}: {error}", program.display()),
            )
            .hint("srtctl doctor")),
        }
    }

    /// As [`Self::ended`], for one that is about to end.
    async fn gone(&mut self) -> Option<(Option<i32>, Failure)> {
        let deadline = Instant::now() + BOUND;
        loop {
            let ended = self.ended();
            if ended.is_some() || Instant::now() >= deadline {
                return ended;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Its exit status and the failure, if the daemon is already gone.
    fn ended(&mut self) -> Option<(Option<i32>, Failure)> {
        let status = self.child.try_wait().ok().flatten()?;
        let (said, hint) = self.log.said();
        let why = if !said.is_empty() {
            format!("{status}: {said}")
        } else if let Some(mute) = self.log.is_mute() {
            // What keeps it from saying why is most likely what kept it from starting.
            format!("{status}, and could not say why: {mute}")
        } else {
            status.to_string()
        };
        let failure = Failure::new(
            exit::UNREACHABLE,
            format!("the daemon srtd ended at once, {why}"),
        );
        // Its own remedy is nearer than where to look.
        let hint = hint.unwrap_or_else(|| self.log.hint());
        Some((status.code(), failure.hint(hint)))
    }

    /// Leaves the daemon to itself, but reaps it should it end before us: a shim may live for weeks.
    fn release(mut self) {
        std::thread::spawn(move || self.child.wait());
    }
}

fn kept(name: &str) -> bool {
    KEPT.contains(&name) || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Where srtd's stderr goes until, and unless, it logs elsewhere.
struct Log {
    file: Option<(File, PathBuf, u64)>,
}

impl Log {
    /// A daemon without a log is better than none: what cannot be opened is left out.
    fn open(environment: &Environment) -> Self {
        let file = environment.state_dir().and_then(|folder| {
            if let Some(parent) = folder.parent() {
                std::fs::create_dir_all(parent).ok()?;
            }
            match DirBuilder::new().mode(0o700).create(&folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return None,
                _ => {}
            }
            let path = folder.join("srtd.log");
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .read(true)
                .mode(0o600)
                .open(&path)
                .ok()?;
            let before = file.metadata().ok()?.len();
            Some((file, path, before))
        });
        Self { file }
    }

    fn stdio(&self) -> Stdio {
        match self.file.as_ref().map(|(file, ..)| file.try_clone()) {
            Some(Ok(file)) => file.into(),
            _ => Stdio::null(),
        }
    }

    fn hint(&self) -> String {
        match &self.file {
            Some((_, path, _)) => format!("see {}, or run srtctl doctor", path.display()),
            None => "run srtd in a terminal to see why, or srtctl doctor".to_owned(),
        }
    }

    /// Why nothing can be written to it, where that is so: the disk is full, say.
    fn is_mute(&mut self) -> Option<String> {
        let (file, path, _) = self.file.as_mut()?;
        let error = file.write_all(b"\n").err()?;
        Some(format!("cannot write {}: {error}", path.display()))
    }

    /// The error that was written since we opened it, and its hint, else the last line; at most 2 KiB.
    fn said(&mut self) -> (String, Option<String>) {
        let Some((file, _, before)) = &mut self.file else {
            return Default::default();
        };
        let mut text = Vec::new();
        let length = file.metadata().map_or(*before, |meta| meta.len());
        let from = length.saturating_sub(2048).max(*before);
        if file.seek(SeekFrom::Start(from)).is_err() || file.read_to_end(&mut text).is_err() {
            return Default::default();
        }
        told(&String::from_utf8_lossy(&text))
    }
}

/// The last error in a log, and the hint that follows it; else the last line.
fn told(log: &str) -> (String, Option<String>) {
    const ERROR: &str = "error: ";
    let lines: Vec<&str> = log.lines().map(str::trim).collect();
    let Some(at) = lines.iter().rposition(|line| line.starts_with(ERROR)) else {
        let last = lines.iter().rev().find(|line| !line.is_empty());
        return (last.copied().unwrap_or_default().to_owned(), None);
    };
    let hint = lines[at..].iter().find_map(|line| line.strip_prefix(HINT));
    let said = &lines[at][ERROR.len()..];
    (said.to_owned(), hint.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::{kept, told};

    #[test]
    fn what_a_daemon_said_last_is_told_with_its_own_remedy() {
        let told = |log| {
            let (said, hint) = told(log);
            (said, hint.unwrap_or_default())
        };
        let pair = |said: &str, hint: &str| (said.to_owned(), hint.to_owned());
        assert_eq!(told(""), pair("", ""));
        assert_eq!(told("ready\nkilled\n\n"), pair("killed", ""));
        let log = "error: old\nhint: never\n2026 INFO\nerror: the key is gone\nhint: put it back\n2026 INFO\n";
        assert_eq!(told(log), pair("the key is gone", "put it back"));
        assert_eq!(
            told("error: old\nhint: never\nerror: new\n"),
            pair("new", "")
        );
    }

    #[test]
    fn a_daemon_does_not_inherit_one_projects_secrets() {
        for name in [
            "HOME",
            "LC_ALL",
            "XDG_RUNTIME_DIR",
            "SRT_SOCKET",
            "RUST_LOG",
        ] {
            assert!(kept(name), "{name}");
        }
        for name in [
            "GITHUB_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "NODE_OPTIONS",
            "LD_PRELOAD",
        ] {
            assert!(!kept(name), "{name}");
        }
    }
}
