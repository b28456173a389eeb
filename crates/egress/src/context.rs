//! What all front ends of one sandbox share, and how they record what happened.

use std::net::SocketAddr;
use std::sync::Arc;

use srt_policy::{Denial, Host, NetworkPolicy, Target};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::flows::Flows;
use crate::http::Pool;
use crate::share::Share;
use crate::synthetic::SyntheticNames;
use crate::token::Token;
use crate::told::Told;
use crate::{Bounds, Event, FrontEnd, Gate, Resolve};

/// The state of one sandbox's egress.
pub(crate) struct Context {
    pub(crate) policy: watch::Receiver<Arc<NetworkPolicy>>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) token: Option<Token>,
    pub(crate) bounds: Bounds,
    /// Where the sandbox's own proxies listen, as its programs see it.
    pub(crate) proxies: Vec<SocketAddr>,
    pub(crate) names: SyntheticNames,
    pub(crate) told: Told,
    pub(crate) pool: Pool,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) share: Share,
    pub(crate) lookups: Semaphore,
    pub(crate) held: Semaphore,
    #[cfg(target_os = "linux")]
    pub(crate) datagrams: Arc<Semaphore>,
    pub(crate) gate: Option<Arc<dyn Gate>>,
    pub(crate) flows: Arc<Flows>,
    pub(crate) cancel: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) runtime: tokio::runtime::Handle,
}

impl Context {
    /// Whether another connection would still be within the sandbox's share of the process's descriptors. Its own bound
    /// is the semaphore's to keep.
    pub(crate) fn has_share_left(&self) -> bool {
        let open = self
            .bounds
            .connections
            .saturating_sub(self.connections.available_permits());
        open < self.share.connections()
    }

    /// The policy in force now.
    pub(crate) fn policy(&self) -> Arc<NetworkPolicy> {
        Arc::clone(&self.policy.borrow())
    }

    /// The target that a client means: a synthetic address stands for its name.
    pub(crate) fn target(&self, host: Host, port: u16) -> Target {
        let host = match host {
            Host::Ip(ip) => match self.names.name(ip) {
                Some(name) => Host::Name(name.as_ref().to_owned()),
                None => Host::Ip(ip.to_canonical()),
            },
            name @ Host::Name(_) => name,
        };
        Target { host, port }
    }

    /// Records a refusal, waiting for room: this is the back-pressure on a client that only collects refusals.
    ///
    /// One that no policy gave (no room, no host's name) cites the policy in force.
    pub(crate) async fn denied(&self, front_end: FrontEnd, mut denial: Denial) {
        tracing::debug!(%front_end, subject = %denial.subject, reason = %denial.reason, "refused");
        let policy = self.policy();
        if !policy.records_denials() {
            return;
        }
        denial.generation = denial.generation.or(policy.generation());
        self.record(Event::Denied { front_end, denial }).await;
    }

    /// Records an event, waiting for room. Nobody listening any more is not this side's failure.
    pub(crate) async fn record(&self, event: Event) {
        let _ = self.events.send(event).await;
    }

    /// Waits until the log has room. Every permitted exchange passes here first, so that what an [`Exchange`](crate::flows::Exchange) leaves
    /// behind when it is dropped, where nothing can be awaited, stays bounded by the number of connections: the
    /// channel is fair, so a connection's next exchange queues behind the record of its last.
    pub(crate) async fn room(&self) {
        let _ = self.events.reserve().await;
    }

    /// Records an event from where nothing can be awaited.
    pub(crate) fn record_now(&self, event: Event) {
        if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
            let events = self.events.clone();
            let send = async move {
                let _ = events.send(event).await;
            };
            self.tasks.spawn_on(send, &self.runtime);
        }
    }
}
