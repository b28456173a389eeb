//! A daemon for this run alone, in a temporary home.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use rustix::process::{Pid, Signal, kill_process};

use crate::how::Programs;

const READY: Duration = Duration::from_secs(15);
const GONE: Duration = Duration::from_secs(15);

/// The running daemon; ended when dropped.
#[derive(Debug)]
pub(crate) struct PrivateDaemon {
    child: Child,
    log: PathBuf,
}

impl PrivateDaemon {
    /// Starts `srtd` and waits until it accepts connections.
    pub(crate) fn start(programs: &Programs) -> anyhow::Result<Self> {
        let log = programs.home().join("srtd.log");
        let child = programs
            .command(&programs.srtd())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).with_context(|| format!("cannot make {}", log.display()))?)
            .spawn()
            .with_context(|| format!("cannot start {}", programs.srtd().display()))?;
        let mut daemon = Self { child, log };
        let deadline = Instant::now() + READY;
        while UnixStream::connect(programs.socket()).is_err() {
            if let Some(status) = daemon.child.try_wait()? {
                return Err(daemon.with_log(anyhow!("srtd ended at once: {status}")));
            }
            if Instant::now() > deadline {
                return Err(daemon.with_log(anyhow!("srtd does not listen after {READY:?}")));
            }
            sleep(Duration::from_millis(10));
        }
        Ok(daemon)
    }

    /// Its process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory in bytes (`VmRSS`, proc_pid_status(5)).
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes: u64 = kibibytes.context("the kernel does not tell")?.parse()?;
        Ok(kibibytes * 1024)
    }

    /// Ends the daemon. What was measured, or why it failed with what the daemon said of it.
    pub(crate) fn end<T>(mut self, measured: anyhow::Result<T>) -> anyhow::Result<T> {
        let ended = self.terminate();
        let measured = measured.map_err(|error| self.with_log(error))?;
        ended?;
        Ok(measured)
    }

    fn terminate(&mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("cannot end srtd")?;
        let deadline = Instant::now() + GONE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Err(anyhow!("srtd does not end within {GONE:?} of SIGTERM"));
            }
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn with_log(&self, error: anyhow::Error) -> anyhow::Error {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(20)..].join("\n");
        anyhow!("{error:#}\nthe end of srtd's log:\n{tail}")
    }
}

impl Drop for PrivateDaemon {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
