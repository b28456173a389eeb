//! What shim and daemon hold at most while a great many messages pass.

use std::fs;

use anyhow::Context as _;

use super::peer::Peer;
use crate::Effort;
use crate::daemon::PrivateDaemon;
use crate::how::{How, Programs};
use crate::stats::{Table, mib};

const BYTES: usize = 1024 * 1024 * 1024;

pub(super) fn run(
    programs: &Programs,
    daemon: &PrivateDaemon,
    effort: Effort,
) -> anyhow::Result<()> {
    let mut table = Table::new(&[
        "messages",
        "shim before",
        "at most",
        "daemon before",
        "at most",
    ]);
    let bytes = effort.scaled(BYTES);
    for (name, size, from_server) in [
        ("from server, 1 KiB each", 1024, true),
        ("to server, 1 KiB each", 1024, false),
        ("from server, 1 MiB each", 1024 * 1024, true),
        ("to server, 1 MiB each", 1024 * 1024, false),
    ] {
        let mut peer = Peer::start(programs.helper(How::Srt, None, &["mcp"]))?;
        peer.echo(1024)?;
        let pids = [peer.pid(), daemon.pid()];
        let mut before = Vec::new();
        for pid in pids {
            forget_peak(pid)?;
            before.push(peak(pid)?);
        }
        let count = (bytes / size).max(1) as u64;
        if from_server {
            peer.flood(count, size)?;
        } else {
            peer.tell(count, size)?;
        }
        table.row([
            name.to_owned(),
            mib(before[0]),
            mib(peak(pids[0])?),
            mib(before[1]),
            mib(peak(pids[1])?),
        ]);
        peer.end()?;
    }
    table.print(&format!(
        "Session, memory: {} of messages on one session, resident at most (aim: bounded)",
        mib(bytes as f64)
    ));
    Ok(())
}

/// The most that a process ever held of memory, in bytes, since it was last made to forget.
fn peak(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes: f64 = kibibytes.context("the kernel does not tell")?.parse()?;
    Ok(kibibytes * 1024.0)
}

/// Makes the peak what is resident now (proc_pid_clear_refs(5)).
fn forget_peak(pid: u32) -> anyhow::Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    fs::write(&path, "5").with_context(|| path.clone())
}
