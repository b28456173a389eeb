//! Who runs: one actor a server, and what they share. No actor waits for another.

mod actor;
mod direct;
mod habit;
mod launch;
mod lineage;
mod refusal;
mod running;
mod server;
mod spares;
mod state;
mod tap;
mod traffic;
mod transitions;
mod usage;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub(crate) use direct::{Direct, Handed, Mode};
pub(crate) use launch::{Plan, Refused, launch_direct};
pub(crate) use refusal::record_refusal;
pub(crate) use running::{Control, LaunchEnd, Renewal, Running};
pub(crate) use server::{Attached, Handle, NotAttached, Snapshot, Wish};
pub(crate) use state::State;
pub(crate) use tap::Tap;
pub(crate) use traffic::{cited, rule_text};
pub(crate) use transitions::{Transition, Transitions};
pub(crate) use usage::usage;

use crate::life::Ending;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::otlp::Shipping;
use crate::paths::Paths;
use crate::policies::Policies;
use crate::session::{Books, Tally};
use crate::settings::Settings;
use crate::store::{LogLine, Store, Stream};

/// What every server, session and request shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) paths: Paths,
    pub(crate) store: Store,
    pub(crate) policies: Policies,
    /// What the user says of the daemon as a whole.
    pub(crate) settings: Settings,
    pub(crate) manager: srt_runtime::SandboxManager,
    /// What running launches' traffic is decided by.
    pub(crate) live: Arc<Live>,
    /// What servers have said of their tools.
    pub(crate) books: Books,
    /// What every conversation counted.
    pub(crate) tally: Arc<Tally>,
    /// What is counted for who monitors.
    pub(crate) metrics: Metrics,
    /// How shipping the audit log goes.
    pub(crate) shipping: Shipping,
    /// Every change of a server's state.
    pub(crate) transitions: Transitions,
    /// Everything that outlives the request that began it.
    pub(crate) tracker: TaskTracker,
    /// Cancelled when the daemon is to stop: nothing new begins.
    pub(crate) shutdown: CancellationToken,
    /// Whether another program takes our place after that.
    pub(crate) ending: Ending,
    /// Cancelled where another daemon follows this one: sessions stay open for it.
    pub(crate) hands_over: CancellationToken,
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
            .or_insert_with(|| Handle::spawn(&self.shared, name))
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

    /// Asks every server's actor for an answer; the first that has none within the time.
    pub(crate) async fn answer(&self, within: Duration) -> Result<(), String> {
        let handles: Vec<(String, Handle)> = {
            let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
            let each = |(name, handle): (&String, &Handle)| (name.clone(), handle.clone());
            servers.iter().map(each).collect()
        };
        let asked = handles.iter().map(|(name, handle)| async move {
            let answer = tokio::time::timeout(within, handle.answer()).await;
            answer.map_err(|_elapsed| format!("the server {name}"))
        });
        let answers = futures_util::future::join_all(asked).await;
        answers.into_iter().collect()
    }

    /// Ends every launch and waits until they are gone. Where another daemon follows ([`Shared::hands_over`]), sessions
    /// stay open: their shims are told to go on with it.
    pub(crate) async fn stop_everything(&self, reason: &str) {
        let keep = self.shared.hands_over.is_cancelled();
        let handles: Vec<Handle> = {
            let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
            servers.values().cloned().collect()
        };
        let answers: Vec<oneshot::Receiver<()>> = {
            let mut answers = Vec::new();
            for handle in &handles {
                answers.extend(handle.end(reason, keep).await);
            }
            answers
        };
        for answer in answers {
            let _ = answer.await;
        }
    }
}
