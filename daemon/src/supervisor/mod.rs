//! Who runs: one actor a server, and what they share. No actor waits for another.

mod launch;
mod running;
mod server;
mod state;
mod traffic;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use launch::{Plan, Refused, launch};
pub(crate) use running::{Control, LaunchEnd, Running};
pub(crate) use server::{Handle, Snapshot};
pub(crate) use state::State;

use crate::paths::Paths;
use crate::policies::Policies;
use crate::store::Store;

/// What every server, session and request shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) paths: Paths,
    pub(crate) store: Store,
    pub(crate) policies: Policies,
    pub(crate) manager: srt_runtime::SandboxManager,
    /// Everything that outlives the request that began it.
    pub(crate) tracker: TaskTracker,
    /// Cancelled when the daemon is to stop: nothing new begins.
    pub(crate) shutdown: CancellationToken,
}

/// The servers.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) shared: Arc<Shared>,
    servers: Mutex<HashMap<String, Handle>>,
}

impl Supervisor {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            servers: Mutex::default(),
        }
    }

    /// The actor of a server, made when it is first asked for.
    pub(crate) fn server(&self, name: &str) -> Handle {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers
            .entry(name.to_owned())
            .or_insert_with(|| Handle::spawn(&self.shared))
            .clone()
    }

    /// What is known of a server at this moment.
    pub(crate) fn snapshot(&self, name: &str) -> Option<Snapshot> {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.get(name).map(Handle::snapshot)
    }

    /// Every server that has an actor.
    pub(crate) fn names(&self) -> Vec<String> {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.keys().cloned().collect()
    }

    /// Ends every launch and waits until they are gone.
    pub(crate) async fn stop_everything(&self, reason: &str) {
        let handles: Vec<Handle> = {
            let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
            servers.values().cloned().collect()
        };
        let answers: Vec<oneshot::Receiver<()>> = {
            let mut answers = Vec::new();
            for handle in &handles {
                answers.extend(handle.stop(reason).await);
            }
            answers
        };
        for answer in answers {
            let _ = answer.await;
        }
    }

    /// Settles what a daemon that died left behind. Before anything is launched.
    pub(crate) async fn sweep(store: &Store) -> anyhow::Result<()> {
        let boot = boot_id();
        let now = jiff::Timestamp::now();
        for unfinished in store.unfinished_launches().await? {
            let killed = unfinished.processes.is_some_and(|processes| {
                processes.boot_id == boot
                    && srt_runtime::process::kill_if(processes.pid, processes.pid_start)
            });
            let reason = if killed {
                "its daemon died; ended by the sweep"
            } else {
                "its daemon died, and it with it"
            };
            tracing::info!(server = unfinished.launch.server, launch = %unfinished.launch.id, reason, "settled");
            store.settle(&unfinished.launch, now, reason).await?;
        }
        store.close_all_sessions(now).await?;
        Ok(())
    }
}

/// What a pid's start time is relative to: `/proc/sys/kernel/random/boot_id` (proc(5)).
fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id")).ok()?;
    Some(text.trim().to_owned())
}
