//! The actor of one server: it owns the server's state, and no order ever waits for it to do something slow. What is slow
//! is done by tasks that report back.

mod attach;
mod direct;
mod kept;
mod spare;
mod tasks;
mod tell;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use srt_policy::Restart;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::habit::Habit;
use super::launch::{Plan, Refused};
use super::lineage::Lineage;
use super::running::{Control, LaunchEnd, Renewal, Running};
use super::server::{Attached, Begun, Key, NotAttached, Order, Snapshot};
use super::spares::Spares;
use super::state::{Machine, Observation, State};
use super::{Shared, Transition};
use crate::policies::Generation;
use crate::store::EndKind;

/// How long a session's shim may take to ask for the next launch.
const SHIM: Duration = Duration::from_secs(60);

/// The actor.
pub(super) struct Actor {
    shared: Arc<Shared>,
    name: String,
    orders: mpsc::WeakSender<Order>,
    publish: watch::Sender<Snapshot>,
    lineages: BTreeMap<Key, Lineage>,
    /// Launches in direct mode: none follows another.
    direct: Vec<Control>,
    spares: Spares,
    /// Whether hosts come back after a probe.
    habit: Habit,
    /// What the launch was that answered last, as MCP does.
    answered: Option<Plan>,
    /// Numbers the waits.
    turn: u64,
    stops: Vec<oneshot::Sender<()>>,
    /// Why the last session that failed did, until somebody wants it to run anew.
    failure: Option<String>,
    /// Why nothing runs, for a person.
    reason: String,
    generation: Option<Generation>,
    restart: Restart,
    /// Sessions go on with the next daemon.
    keep: bool,
}

impl Actor {
    pub(super) fn new(
        shared: Arc<Shared>,
        name: String,
        orders: mpsc::WeakSender<Order>,
        publish: watch::Sender<Snapshot>,
    ) -> Self {
        Self {
            shared,
            name,
            orders,
            publish,
            lineages: BTreeMap::new(),
            direct: Vec::new(),
            spares: Spares::default(),
            habit: Habit::default(),
            answered: None,
            turn: 0,
            stops: Vec::new(),
            failure: None,
            reason: String::new(),
            generation: None,
            restart: Restart::default(),
            keep: false,
        }
    }

    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Order>) {
        let shutdown = self.shared.shutdown.clone();
        loop {
            let order = tokio::select! {
                order = queue.recv() => order,
                // Nothing new begins, and when nothing is left either, there is nothing to wait for.
                () = shutdown.cancelled(), if self.is_idle() && queue.is_empty() => None,
            };
            let Some(order) = order else { break };
            self.handle(order);
            self.settle_stops();
            self.publish();
        }
    }

    fn handle(&mut self, order: Order) {
        match order {
            Order::Start { plan, answer } => self.start(*plan, answer),
            Order::Stop {
                reason,
                keep,
                answer,
            } => {
                self.stops.push(answer);
                self.keep |= keep;
                self.stop(&reason);
            }
            Order::Reset { answer } => {
                let failed = self.publish.borrow().state == State::Failed;
                self.failure = None;
                for key in self.keys() {
                    self.observe(key, Observation::Reset, "its failures were forgotten");
                }
                let _ = answer.send(failed);
            }
            Order::Attach {
                session,
                plan,
                any,
                wish,
                because,
                answer,
            } => self.attach(session, *plan, any, wish, because, answer),
            Order::GiveUp {
                session,
                launch,
                reason,
            } => self.give_up(Key::Session(session), launch, &reason),
            Order::Left { session, running } => self.left(Key::Session(session), *running),
            Order::Verdict {
                session,
                launch,
                answer,
            } => match self.lineages.get_mut(&Key::Session(session)) {
                // The news of its end is on the way.
                Some(lineage) if lineage.has(launch) => lineage.verdicts.push((launch, answer)),
                lineage => {
                    let _ = answer.send(lineage.is_some());
                }
            },
            Order::Ready { key, launch } => {
                if self.lineages.get(&key).is_some_and(|it| it.has(launch)) {
                    self.ready(key, launch);
                }
            }
            Order::Changed { key, launch, keys } => self.changed(key, launch, &keys),
            Order::Came { key, result } => self.came(key, result),
            Order::Ended { key, control, end } => self.ended(key, &control, &end),
            Order::Spare(spare) => self.spare(spare),
            Order::Due { key, turn } => self.due(key, turn),
            Order::Direct { control } => self.runs_directly(*control),
            Order::DirectEnded { launch, reason } => self.ended_directly(launch, reason),
            // Whoever asked may have gone.
            Order::Answer { answer } => drop(answer.send(())),
        }
    }

    fn start(&mut self, plan: Plan, answer: oneshot::Sender<Begun>) {
        self.failure = None;
        // One that serves a host runs already.
        let serves = |(key, lineage): (&Key, &Lineage)| {
            let state = lineage.machine.state();
            matches!(key, Key::Session(_)) && matches!(state, State::Running | State::Ready)
        };
        let lineage = self
            .lineages
            .entry(Key::Alone)
            .or_insert_with(|| Lineage::new(Machine::alone(), plan.clone(), None));
        let runs = lineage.machine.state() == State::Running;
        if runs || self.lineages.iter().any(serves) {
            let _ = answer.send(Ok(()));
            return;
        }
        if let Some(lineage) = self.lineages.get_mut(&Key::Alone) {
            lineage.starts.push(answer);
            lineage.plan = plan;
            lineage.last_good = None;
        }
        self.observe(Key::Alone, Observation::Start, "");
    }

    fn stop(&mut self, reason: &str) {
        self.failure = None;
        self.stop_directs(reason);
        reason.clone_into(&mut self.reason);
        self.spares.end(reason);
        for key in self.keys() {
            if let Some(lineage) = self.lineages.get_mut(&key) {
                let why = "stopped before it was up".to_owned();
                lineage.answer_starts(&Err((why, srt_proto::exit::NOT_RUNNING)));
            }
            let carried = self.keep && matches!(key, Key::Session(_));
            let observation = if carried {
                Observation::Renew
            } else {
                Observation::Stop
            };
            self.observe(key, observation, reason);
        }
    }

    /// A launch answered what makes it ready.
    fn ready(&mut self, key: Key, launch: Uuid) {
        self.answered = self.lineages.get(&key).map(|lineage| lineage.plan.clone());
        self.observe_of(key, Observation::Ready, "", Some(launch));
    }

    fn give_up(&mut self, key: Key, launch: Uuid, reason: &str) {
        let Some(control) = self
            .lineages
            .get(&key)
            .and_then(|lineage| lineage.control.clone())
            .filter(|control| control.id == launch)
        else {
            return;
        };
        if control.is_renewed() {
            control.end(reason, EndKind::Replaced);
            self.observe(key, Observation::Renew, reason);
        } else {
            control.end(reason, EndKind::NoAnswer);
            self.observe(key, Observation::NoAnswer, reason);
        }
    }

    /// Settings have changed that a launch cannot take over: another one is to.
    fn changed(&mut self, key: Key, launch: Uuid, keys: &[String]) {
        let Some(lineage) = self.lineages.get(&key).filter(|it| it.has(launch)) else {
            return;
        };
        let Some(control) = lineage.control.clone() else {
            return;
        };
        let renewal = Renewal::of(keys, false);
        match key {
            Key::Alone | Key::Kept => {
                control.end(&renewal.reason, EndKind::Replaced);
                self.observe(key, Observation::Renew, &renewal.reason);
            }
            Key::Session(_) => control.renew(renewal),
        }
    }

    fn came(&mut self, key: Key, result: Result<Box<Running>, Refused>) {
        let Some(lineage) = self.lineages.get_mut(&key) else {
            return;
        };
        lineage.coming = false;
        match result {
            Ok(running) => {
                let control = running.control.clone();
                self.watch(key, &control);
                self.runs(key, *running);
            }
            Err(refused) => {
                let reason = refused.to_string();
                lineage.answer_starts(&Err((reason.clone(), refused.exit_code())));
                if let Some(host) = lineage.host.take() {
                    let _ = host.send(Err(refused.into()));
                }
                self.observe(key, Observation::LaunchFailed, &reason);
            }
        }
    }

    /// A launch runs for a lineage: whoever waits for it gets it.
    fn runs(&mut self, key: Key, running: Running) {
        let Some(lineage) = self.lineages.get_mut(&key) else {
            return;
        };
        let control = running.control.clone();
        let loaded = control.rules.loaded();
        self.generation = Some(control.generation.clone());
        self.restart = loaded.policy.limits.restart;
        lineage.machine.set_restart(self.restart);
        lineage.control = Some(control.clone());
        let wanted = lineage.machine.state() == State::Starting;
        let replaced = std::mem::take(&mut lineage.ended);
        if wanted && key != Key::Kept {
            self.reason.clear();
            lineage.answer_starts(&Ok(()));
        }
        let host = lineage.host.take_if(|_| wanted);
        let mut left = None;
        if !matches!(key, Key::Session(_)) && wanted {
            // Without a host standard error is the log's alone, and never waits.
            lineage.streams = Some(Running {
                early: None,
                ..running
            });
        } else if let Some(host) = host {
            lineage.served.get_or_insert_with(Instant::now);
            let answered = self.answered.as_ref();
            if replaced.is_empty() && answered.is_some_and(|plan| plan.is_same(&lineage.plan)) {
                control.falls_silent();
            }
            let attached = Attached { running, replaced };
            left = host.send(Ok(attached)).err().and_then(Result::ok);
        } else if wanted {
            control.stop("the host went away");
        }
        let why = match key {
            _ if !wanted => "stopped before it was up",
            Key::Kept => kept::READY,
            Key::Alone | Key::Session(_) => "",
        };
        self.observe(key, Observation::Launched, why);
        if wanted && key == Key::Kept {
            self.keep_for_a_while(&control);
        } else if wanted && key != Key::Alone {
            self.keep_spares(key, loaded.policy.limits.warm.unwrap_or(0));
        }
        if let Some(left) = left {
            self.left(key, left.running);
        }
    }

    fn ended(&mut self, key: Key, control: &Control, end: &LaunchEnd) {
        let Some(lineage) = self.lineages.get_mut(&key).filter(|it| it.has(control.id)) else {
            return;
        };
        lineage.control = None;
        lineage.streams = None;
        lineage.last_good = Some(Arc::new(control.rules.loaded()));
        lineage
            .machine
            .set_restart(control.rules.loaded().policy.limits.restart);
        lineage.ended.clone_from(&end.reason);
        if key != Key::Kept {
            self.reason.clone_from(&end.reason);
        }
        let verdicts = std::mem::take(&mut lineage.verdicts);
        let outcome = control.outcome(end);
        if control.activity.standing().ready {
            // The news of that may be behind this.
            self.ready(key, control.id);
        }
        let probe = self.probe(key, control);
        self.observe_of(
            key,
            Observation::Ended(outcome),
            &end.reason,
            Some(control.id),
        );
        let may_go_on = self.lineages.contains_key(&key);
        for (_, answer) in verdicts {
            let _ = answer.send(may_go_on);
        }
        if let Some(plan) = probe {
            self.keep_one_ready(plan);
        }
    }

    fn due(&mut self, key: Key, turn: u64) {
        let Some(lineage) = self.lineages.get(&key).filter(|it| it.turn == turn) else {
            return;
        };
        if key == Key::Kept {
            self.nobody_came();
        } else if key == Key::Alone || lineage.host.is_some() {
            self.observe(key, Observation::RetryDue, "");
        } else {
            self.observe(key, Observation::Stop, "its host did not come back");
        }
    }

    fn observe(&mut self, key: Key, observation: Observation, why: &str) {
        self.observe_of(key, observation, why, None);
    }

    /// Moves a lineage on, tells of it, and does what follows.
    fn observe_of(&mut self, key: Key, observation: Observation, why: &str, launch: Option<Uuid>) {
        let Some(lineage) = self.lineages.get_mut(&key) else {
            return;
        };
        let from = lineage.machine.state();
        let action = lineage
            .machine
            .observe(observation, Instant::now(), tasks::random());
        let to = lineage.machine.state();
        if from != to {
            why.clone_into(&mut lineage.reason);
            if to == State::Failed && matches!(observation, Observation::Ended(_)) {
                lineage.reason = format!("gave up after too many starts; last: {why}");
            }
            self.shared.transitions.tell(Transition {
                number: 0,
                server: self.name.clone(),
                launch: launch.or_else(|| lineage.control.as_ref().map(|control| control.id)),
                session: match key {
                    Key::Alone | Key::Kept => None,
                    Key::Session(session) => Some(session),
                },
                from,
                to,
                reason: lineage.reason.clone(),
                at: Timestamp::now(),
            });
        }
        self.act(key, action, why);
        self.forget(key);
    }

    /// A session that has no launch and gets none is over.
    fn forget(&mut self, key: Key) {
        let over = |lineage: &Lineage| {
            matches!(lineage.machine.state(), State::Stopped | State::Failed)
                && lineage.control.is_none()
                && !lineage.coming
        };
        if key == Key::Alone || !self.lineages.get(&key).is_some_and(over) {
            return;
        }
        let Some(mut lineage) = self.lineages.remove(&key) else {
            return;
        };
        let reason = std::mem::take(&mut lineage.reason);
        if let Some(host) = lineage.host.take() {
            let _ = host.send(Err(NotAttached::Over(reason.clone())));
        }
        // What a kept one is refused for is told in the log; the next host will be told itself.
        if lineage.machine.state() == State::Failed && key != Key::Kept {
            self.failure = Some(reason);
        }
    }

    /// Answers those who wait for a stop, once nothing runs.
    fn settle_stops(&mut self) {
        if self.is_idle() {
            for answer in self.stops.drain(..) {
                let _ = answer.send(());
            }
        }
    }
}
