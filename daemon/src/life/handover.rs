//! Another program in the same process (execve(2)): the listening socket and the locks stay as they are, so that whoever
//! connects meanwhile waits in the socket's queue, and no other daemon can step in.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::io::FdFlags;
use rustix::process::WaitOptions;
use serde::{Deserialize, Serialize};

/// Where a program finds what the one before it says. Looked at only where the pid in it is ours.
const VARIABLE: &str = "SRTD_HANDOVER";
/// A service manager's words about sockets: what they said of the first program is not true of the next.
const PASSED: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];
/// How long children that were killed may take to go.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the program before says to the next. Both sides must agree on it for as long as one can replace the other: fields are
/// added, never taken away.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Note {
    pid: u32,
    listener: RawFd,
    socket_lock: RawFd,
    state_lock: RawFd,
    socket: PathBuf,
    /// A service manager made the socket: its file is not ours to remove.
    activated: bool,
    /// How many times the program was replaced.
    upgrades: u32,
    /// The version that was replaced.
    from: String,
    /// Why the one that was asked for is not this one.
    #[serde(default)]
    failed: Option<String>,
}

/// What stays open from one program to the next.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) listener: OwnedFd,
    pub(crate) socket_lock: OwnedFd,
    pub(crate) state_lock: OwnedFd,
    pub(crate) socket: PathBuf,
    pub(crate) activated: bool,
}

/// What this program was handed by the one before it.
#[derive(Debug)]
pub struct Handover {
    pub(crate) kept: Kept,
    pub(crate) upgrades: u32,
    pub(crate) from: String,
    pub(crate) failed: Option<String>,
}

impl Handover {
    pub(super) fn take() -> anyhow::Result<Option<Self>> {
        let Ok(text) = std::env::var(VARIABLE) else {
            return Ok(None);
        };
        let note: Note = serde_json::from_str(&text).with_context(|| {
            format!("cannot read {VARIABLE}, by which a program of srtd tells the next what it keeps open")
        })?;
        if note.pid != std::process::id() {
            return Ok(None);
        }
        let numbers = [note.listener, note.socket_lock, note.state_lock];
        let taken = srt_runtime::inherit(&numbers)
            .context("cannot take over what the program before kept open")?;
        let Ok([listener, socket_lock, state_lock]) = <[OwnedFd; 3]>::try_from(taken) else {
            anyhow::bail!("cannot take over what the program before kept open");
        };
        Ok(Some(Self {
            kept: Kept {
                listener,
                socket_lock,
                state_lock,
                socket: note.socket,
                activated: note.activated,
            },
            upgrades: note.upgrades,
            from: note.from,
            failed: note.failed,
        }))
    }
}

/// The program that is to take our place, once nothing of ours runs any more.
#[derive(Debug)]
pub struct Successor {
    pub(crate) program: PathBuf,
    pub(crate) kept: Kept,
    /// How many times the program will have been replaced.
    pub(crate) upgrades: u32,
}

impl Successor {
    /// Executes it. Where that fails our own program begins anew in its place, and says why.
    ///
    /// For the last line of `main`: no other thread may be doing anything.
    ///
    /// # Errors
    /// Only where our own program cannot be executed again either; it always returns one.
    pub fn execute(self) -> anyhow::Error {
        reap();
        if let Err(error) = srt_runtime::restore_descriptor_limit() {
            tracing::warn!(%error, "cannot restore the limit of open files for the next program");
        }
        let kept = &self.kept;
        for descriptor in [&kept.listener, &kept.socket_lock, &kept.state_lock] {
            if let Err(error) = keep_open(descriptor.as_fd()) {
                // Without it the next would begin without a socket or a lock.
                return anyhow::Error::new(error)
                    .context("cannot keep the socket and the locks open");
            }
        }
        let mut note = Note {
            pid: std::process::id(),
            listener: kept.listener.as_raw_fd(),
            socket_lock: kept.socket_lock.as_raw_fd(),
            state_lock: kept.state_lock.as_raw_fd(),
            socket: kept.socket.clone(),
            activated: kept.activated,
            upgrades: self.upgrades,
            from: env!("CARGO_PKG_VERSION").to_owned(),
            failed: None,
        };
        let error = replace(&self.program, self.program.as_os_str(), &note);
        let failed = format!("cannot execute {}: {error}", self.program.display());
        tracing::error!("{failed}; going on with the program that is here");
        note.failed = Some(failed.clone());
        let name = std::env::args_os().next().unwrap_or_default();
        let again = replace(&ourselves(), &name, &note);
        anyhow::anyhow!("{failed}; nor can the old program begin again: {again}")
    }
}

/// The program that runs now, whatever its file's name leads to meanwhile.
fn ourselves() -> PathBuf {
    let running = Path::new("/proc/self/exe");
    if running.exists() {
        return running.to_owned();
    }
    std::env::current_exe().unwrap_or_else(|_| "srtd".into())
}

/// Executes `program` in this process with our own arguments. Returns only when that fails.
fn replace(program: &Path, name: &OsStr, note: &Note) -> anyhow::Error {
    let text = match serde_json::to_string(note) {
        Ok(text) => text,
        Err(error) => return error.into(),
    };
    let mut command = Command::new(program);
    command
        .arg0(name)
        .args(arguments(std::env::args_os().skip(1)))
        .env(VARIABLE, text);
    for name in PASSED {
        command.env_remove(name);
    }
    command.exec().into()
}

/// We left the terminal's session at the first start: doing so again would close what is kept open.
fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    given
        .filter(|argument| argument != "--background")
        .collect()
}

fn keep_open(descriptor: BorrowedFd<'_>) -> rustix::io::Result<()> {
    rustix::io::fcntl_setfd(descriptor, FdFlags::empty())
}

/// Waits for the children that are left, all of which were told to go: the next program does not know them.
fn reap() {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => std::thread::sleep(Duration::from_millis(2)),
            // No child is left.
            Err(_) => return,
        }
    }
    tracing::warn!("a helper of a launch did not end in time");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_program_gets_our_arguments_and_stays_in_its_session() {
        let given = ["--log-format", "json", "--background"].map(OsString::from);
        assert_eq!(arguments(given.into_iter()), ["--log-format", "json"]);
    }

    #[test]
    fn a_note_of_an_older_program_can_be_read() {
        let text = r#"{"pid":1,"listener":7,"socket_lock":8,"state_lock":9,"socket":"/s","activated":true,"upgrades":1,"from":"0.1.0"}"#;
        let note: Note = serde_json::from_str(text).unwrap();
        assert_eq!((note.listener, note.failed), (7, None));
    }
}
