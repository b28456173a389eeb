//! The permitted exchanges under way: listed for whoever watches, and closed when a change of policy takes back what
//! they were permitted by.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use srt_policy::{Denial, FlowKind, NetworkPolicy, Permit, RuleRef, Target};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::decide::Permitted;
use crate::own;
use crate::refusal::without_rule;
use crate::{Event, FlowEnd, FrontEnd};

/// A permitted exchange under way, as it is at the moment of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveFlow {
    /// Its number, unique within the sandbox's life.
    pub id: u64,
    /// How it left.
    pub front_end: FrontEnd,
    /// What was asked for.
    pub target: Target,
    /// What it is connected to; the user's own proxy where there is one.
    pub address: SocketAddr,
    /// The rule that allowed it.
    pub rule: RuleRef,
    /// Bytes from the sandbox so far.
    pub bytes_out: u64,
    /// Bytes to the sandbox so far.
    pub bytes_in: u64,
    /// How long it has been under way.
    pub age: Duration,
}

/// Lists a sandbox's live flows. Cloning is cheap; it keeps nothing of the sandbox alive.
#[derive(Clone, Debug, Default)]
pub struct FlowsHandle(Arc<Flows>);

impl FlowsHandle {
    pub(crate) fn new(flows: &Arc<Flows>) -> Self {
        Self(Arc::clone(flows))
    }

    /// The permitted exchanges under way, the oldest first; none once the sandbox has ended.
    pub fn list(&self) -> Vec<LiveFlow> {
        self.0.list()
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

/// The exchanges of one sandbox.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    next: AtomicU64,
    live: Mutex<BTreeMap<u64, Arc<Flow>>>,
}

impl Flows {
    pub(crate) fn list(&self) -> Vec<LiveFlow> {
        self.lock().values().map(|flow| flow.live()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Flow>>> {
        // Nothing that is done under it can leave the map half-changed.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One exchange, as the registry and its owner share it.
#[derive(Debug)]
struct Flow {
    id: u64,
    front_end: FrontEnd,
    permit: Permit,
    address: SocketAddr,
    /// Whether the address is the target's own, and not that of a proxy of the user's.
    direct: bool,
    started: Instant,
    counters: Arc<Counters>,
    refused: OnceLock<Denial>,
    told: Notify,
    closes: OnceLock<CancellationToken>,
}

impl Flow {
    fn live(&self) -> LiveFlow {
        LiveFlow {
            id: self.id,
            front_end: self.front_end,
            target: self.permit.target().clone(),
            address: self.address,
            rule: self.permit.rule().clone(),
            bytes_out: self.counters.out.load(Ordering::Relaxed),
            bytes_in: self.counters.into.load(Ordering::Relaxed),
            age: self.started.elapsed(),
        }
    }

    /// Ends it unless `policy` keeps it.
    fn judge(&self, policy: &NetworkPolicy, own: &std::io::Result<Vec<IpAddr>>) {
        let kept = match (self.direct, own) {
            (false, _) => policy.keeps(&self.permit, None, &[]),
            (true, Ok(own)) => policy.keeps(&self.permit, Some(self.address.ip()), own),
            (true, Err(error)) => Err(without_rule(
                self.permit.target().to_string(),
                format!(
                    "this host's own addresses, which must not be reached, could not be read: {error}"
                ),
            )),
        };
        if let Err(denial) = kept {
            tracing::debug!(target = %denial.subject, reason = %denial.reason, "a flow is no longer permitted");
            // The first reason stands.
            let _ = self.refused.set(denial);
            self.told.notify_waiters();
            if let Some(token) = self.closes.get() {
                token.cancel();
            }
        }
    }
}

/// A permitted exchange under way. Dropping it, wherever that happens (a task that ends, fails or is cancelled),
/// records the flow.
pub(crate) struct Exchange {
    context: Arc<Context>,
    flow: Arc<Flow>,
    forgotten: bool,
}

impl Exchange {
    /// Begins one. From now on a change of policy is told to it ([`Exchange::refused`]), also one that came between
    /// the decision and now.
    pub(crate) fn new(
        context: &Arc<Context>,
        front_end: FrontEnd,
        permitted: &Permitted,
        address: SocketAddr,
    ) -> Self {
        Self::through(context, front_end, kind(front_end), permitted, address)
    }

    /// The same, where what passes is not what usually passes by this front end.
    pub(crate) fn through(
        context: &Arc<Context>,
        front_end: FrontEnd,
        kind: FlowKind,
        permitted: &Permitted,
        address: SocketAddr,
    ) -> Self {
        let Permitted { policy, permit } = permitted;
        let flows = &context.flows;
        let flow = Arc::new(Flow {
            id: flows.next.fetch_add(1, Ordering::Relaxed),
            front_end,
            permit: permit.clone(),
            address,
            // Datagrams go through no proxy.
            direct: front_end == FrontEnd::Udp || policy.upstream(permit, kind).is_none(),
            started: Instant::now(),
            counters: Arc::default(),
            refused: OnceLock::new(),
            told: Notify::new(),
            closes: OnceLock::new(),
        });
        flows.lock().insert(flow.id, Arc::clone(&flow));
        // Only now: a change before this line is seen here, a later one finds the flow in the list.
        let current = context.policy();
        if !Arc::ptr_eq(&current, policy) {
            flow.judge(&current, &own::addresses());
        }
        Self {
            context: Arc::clone(context),
            flow,
            forgotten: false,
        }
    }

    /// Ends it without a record: not a byte was sent, and the request goes another way.
    pub(crate) fn forget(mut self) {
        self.forgotten = true;
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.flow.counters
    }

    pub(crate) fn permit(&self) -> &Permit {
        &self.flow.permit
    }

    pub(crate) fn target(&self) -> &Target {
        self.flow.permit.target()
    }

    pub(crate) fn front_end(&self) -> FrontEnd {
        self.flow.front_end
    }

    /// Waits until policy no longer permits it, and says why. Whoever carries the exchange drops it then.
    pub(crate) async fn refused(&self) -> Denial {
        let mut told = std::pin::pin!(self.flow.told.notified());
        loop {
            // Before looking, so that a refusal in between is not missed.
            told.as_mut().enable();
            if let Some(denial) = self.flow.refused.get() {
                return denial.clone();
            }
            told.as_mut().await;
            told.set(self.flow.told.notified());
        }
    }

    /// Has a refusal cancel `token` too, for who carries it where nobody can wait.
    pub(crate) fn closes(&self, token: CancellationToken) {
        let _ = self.flow.closes.set(token);
        if self.flow.refused.get().is_some()
            && let Some(token) = self.flow.closes.get()
        {
            token.cancel();
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let flow = &self.flow;
        self.context.flows.lock().remove(&flow.id);
        if self.forgotten {
            return;
        }
        self.context.record_now(Event::Flow {
            front_end: flow.front_end,
            target: flow.permit.target().clone(),
            address: flow.address,
            rule: flow.permit.rule().clone(),
            bytes_out: flow.counters.out.load(Ordering::Relaxed),
            bytes_in: flow.counters.into.load(Ordering::Relaxed),
            duration: flow.started.elapsed(),
            would_be_denied: flow.permit.would_be_denied().cloned(),
            generation: flow.permit.generation(),
            ended: match flow.refused.get() {
                None => FlowEnd::Done,
                Some(denial) => FlowEnd::NoLongerPermitted(denial.clone()),
            },
        });
    }
}

/// What a proxy of the user's own is asked for by each front end.
fn kind(front_end: FrontEnd) -> FlowKind {
    match front_end {
        FrontEnd::Http => FlowKind::PlainHttp,
        FrontEnd::Connect | FrontEnd::Socks5 | FrontEnd::Tcp | FrontEnd::Dns | FrontEnd::Udp => {
            FlowKind::Tunnel
        }
    }
}

/// Holds every exchange under way against each new policy, for as long as the sandbox lives.
pub(crate) async fn keep(context: Arc<Context>) {
    let mut policy = context.policy.clone();
    let cancel = context.cancel.clone();
    let keeping = async {
        while policy.changed().await.is_ok() {
            let current = Arc::clone(&policy.borrow_and_update());
            // Idle connections serve under the policy that they were checked by, and under no other.
            context.pool.retire(&current);
            let live: Vec<_> = context.flows.lock().values().cloned().collect();
            if live.is_empty() {
                continue;
            }
            let own = own::addresses();
            for flow in live {
                flow.judge(&current, &own);
            }
        }
    };
    let _ = cancel.run_until_cancelled(keeping).await;
}
