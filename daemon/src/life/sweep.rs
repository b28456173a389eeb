//! What a daemon that died left behind, found and settled before anything is launched: processes, rows, folders, cgroups,
//! layers. Each is told in the daemon's log and has an entry in the audit log.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use srt_runtime::{SandboxManager, process};

use crate::audit::{Entry, Kind};
use crate::store::{Processes, Store, StoreError, Unfinished};

/// How long processes that were killed may take to go, all together.
const PATIENCE: Duration = Duration::from_secs(5);

/// Settles launches without an end: what still runs of them is killed, and each gets an `exit` entry that says `lost`.
///
/// First of all: the folders of a launch are not removed while it could write in them.
///
/// # Errors
/// When the store fails.
pub(crate) async fn launches(store: &Store) -> Result<(), StoreError> {
    let now = Timestamp::now();
    let mut dying = Vec::new();
    for unfinished in store.unfinished_launches().await? {
        let killed = kill(&unfinished);
        let reason = match killed.as_slice() {
            [] => "its daemon died, and it with it".to_owned(),
            some => {
                let pids: Vec<_> = some.iter().map(|(pid, _)| pid.to_string()).collect();
                format!(
                    "its daemon died; ended by the sweep (pid {})",
                    pids.join(", ")
                )
            }
        };
        dying.extend(killed);
        tracing::info!(server = unfinished.launch.server, launch = %unfinished.launch.id, reason, "settled a launch");
        store.settle(&unfinished.launch, now, &reason).await?;
    }
    gone(&dying).await;
    // The shims of the others may come back.
    store.close_tokenless_sessions(now).await
}

/// Ends what still runs of launches that a damaged database knew, and that the new one does not.
pub(crate) async fn left(launches: &[Unfinished]) {
    let dying: Vec<_> = launches.iter().flat_map(kill).collect();
    for (pid, _) in &dying {
        tracing::info!(
            pid,
            "ended a process of a launch that the damaged database knew"
        );
    }
    gone(&dying).await;
}

/// Kills what still runs of a launch: whatever its pid belongs to now, nothing else is hit. What was killed.
fn kill(unfinished: &Unfinished) -> Vec<(u32, u64)> {
    let boot = boot_id();
    let of_this_boot = |processes: &&Processes| processes.boot_id == boot;
    unfinished
        .processes
        .iter()
        .filter(of_this_boot)
        .flat_map(recorded)
        .filter(|(pid, start)| process::kill_if(*pid, *start))
        .collect()
}

/// Waits until processes that were killed are gone.
async fn gone(dying: &[(u32, u64)]) {
    let deadline = Instant::now() + PATIENCE;
    while dying
        .iter()
        .any(|(pid, start)| process::is_alive(*pid, *start))
    {
        if Instant::now() >= deadline {
            tracing::error!(
                "a process of a launch that a dead daemon left does not go although it was killed"
            );
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Every process of a launch of which is known when it started. The first process of its namespace takes the others along.
fn recorded(processes: &Processes) -> Vec<(u32, u64)> {
    let server = (processes.pid, processes.pid_start);
    let init = processes.init_pid.zip(processes.init_start);
    std::iter::once(server).chain(init).collect()
}

/// Tells what the sandboxes' manager found when it began, and which layers have no owner.
///
/// Layers outlive their servers where the database was lost. Somebody's work may be in them, so they stay.
///
/// # Errors
/// When the store fails, or the layers cannot be listed.
pub(crate) async fn tell(store: &Store, manager: &SandboxManager) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let settled = |what: &str, name: &str| {
        Entry::new(now, Kind::Daemon, "settled")
            .with("what", what)
            .with("name", name)
    };
    let swept = manager.swept();
    for name in &swept.folders {
        tracing::info!(
            launch = name,
            "removed the folder of a launch that a dead daemon left"
        );
        let mut entry = settled("the folder of a launch, removed", name);
        entry.launch = name.parse().ok();
        store.submit(entry).await?;
    }
    for name in &swept.cgroups {
        tracing::info!(
            cgroup = name,
            "removed the cgroup of a launch that a dead daemon left"
        );
        store
            .submit(settled("the cgroup of a launch, removed", name))
            .await?;
    }
    for name in manager.layers().servers()? {
        if store.server(&name).await?.is_none() {
            tracing::warn!(
                server = name,
                "no such server is known, and what it changed of overlaid folders is kept; srtctl changes and srtctl discard take its name"
            );
            store
                .submit(settled("the layers of an unknown server, kept", &name))
                .await?;
        }
    }
    Ok(())
}

/// What a pid's start time is relative to: `/proc/sys/kernel/random/boot_id` (proc(5)).
pub(crate) fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id")).ok()?;
    Some(text.trim().to_owned())
}
