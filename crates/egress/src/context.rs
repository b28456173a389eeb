//! What all front ends of one sandbox share, and how they record what happened.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use srt_policy::{Denial, Host, NetworkPolicy, Permit, Target};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::Pool;
use crate::synthetic::SyntheticNames;
use crate::token::Token;
use crate::{Bounds, Event, FrontEnd, Resolve};

/// The state of one sandbox's egress.
pub(crate) struct Context {
    pub(crate) policy: watch::Receiver<Arc<NetworkPolicy>>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) token: Option<Token>,
    pub(crate) bounds: Bounds,
    pub(crate) names: SyntheticNames,
    pub(crate) pool: Pool,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) lookups: Semaphore,
    pub(crate) cancel: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) runtime: tokio::runtime::Handle,
}

impl Context {
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
    pub(crate) async fn denied(&self, front_end: FrontEnd, denial: Denial) {
        tracing::debug!(%front_end, subject = %denial.subject, reason = %denial.reason, "refused");
        self.record(Event::Denied { front_end, denial }).await;
    }

    /// Records an event, waiting for room. Nobody listening any more is not this side's failure.
    pub(crate) async fn record(&self, event: Event) {
        let _ = self.events.send(event).await;
    }

    /// Waits until the log has room. Every permitted exchange passes here first, so that what [`Exchange`] leaves
    /// behind when it is dropped, where nothing can be awaited, stays bounded by the number of connections: the
    /// channel is fair, so a connection's next exchange queues behind the record of its last.
    pub(crate) async fn room(&self) {
        let _ = self.events.reserve().await;
    }
}

/// Bytes of one exchange, counted while they pass.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    out: AtomicU64,
    into: AtomicU64,
}

impl Counters {
    /// Counts bytes that left the sandbox.
    pub(crate) fn add_out(&self, bytes: usize) {
        self.out.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    /// Counts bytes that entered it.
    pub(crate) fn add_in(&self, bytes: usize) {
        self.into.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    /// Both, for telling silence from progress.
    pub(crate) fn sum(&self) -> u64 {
        self.out
            .load(Ordering::Relaxed)
            .wrapping_add(self.into.load(Ordering::Relaxed))
    }
}

/// A permitted exchange under way. Dropping it, wherever that happens (a task that ends, fails or is cancelled),
/// records the flow.
pub(crate) struct Exchange {
    context: Arc<Context>,
    front_end: FrontEnd,
    permit: Permit,
    address: SocketAddr,
    started: Instant,
    counters: Arc<Counters>,
    forgotten: bool,
}

impl Exchange {
    pub(crate) fn new(
        context: &Arc<Context>,
        front_end: FrontEnd,
        permit: Permit,
        address: SocketAddr,
    ) -> Self {
        Self {
            context: Arc::clone(context),
            front_end,
            permit,
            address,
            started: Instant::now(),
            counters: Arc::default(),
            forgotten: false,
        }
    }

    /// Ends it without a record: not a byte was sent, and the request goes another way.
    pub(crate) fn forget(mut self) {
        self.forgotten = true;
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub(crate) fn target(&self) -> &Target {
        self.permit.target()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.forgotten {
            return;
        }
        let event = Event::Flow {
            front_end: self.front_end,
            target: self.permit.target().clone(),
            address: self.address,
            rule: self.permit.rule().clone(),
            bytes_out: self.counters.out.load(Ordering::Relaxed),
            bytes_in: self.counters.into.load(Ordering::Relaxed),
            duration: self.started.elapsed(),
        };
        if let Err(mpsc::error::TrySendError::Full(event)) = self.context.events.try_send(event) {
            let events = self.context.events.clone();
            let send = async move {
                let _ = events.send(event).await;
            };
            self.context.tasks.spawn_on(send, &self.context.runtime);
        }
    }
}
