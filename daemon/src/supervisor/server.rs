//! The actor of one server: it owns the server's state, and no request ever waits for it to do something slow.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};

use super::Shared;
use super::launch::{Plan, Refused, launch};
use super::running::{Control, LaunchEnd, Running};
use super::state::{Action, Machine, Observation, State};
use crate::policies::Generation;

/// Orders that may wait at one server.
const QUEUE: usize = 64;

/// A server's actor, as everybody holds it.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    orders: mpsc::Sender<Order>,
    snapshot: watch::Receiver<Snapshot>,
}

/// What is known of a server at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) state: State,
    pub(crate) reason: String,
    pub(crate) sessions: u32,
    /// Oldest first.
    pub(crate) launches: Vec<Control>,
    pub(crate) generation: Option<Generation>,
}

enum Order {
    Start {
        plan: Box<Plan>,
        answer: oneshot::Sender<Result<(), (String, i32)>>,
    },
    Stop {
        reason: String,
        answer: oneshot::Sender<()>,
    },
    /// A host attaches: the warm launch, if there is one.
    Take {
        answer: oneshot::Sender<Option<Running>>,
    },
    /// A session's launch runs.
    Attached {
        control: Control,
    },
    /// A launch ended.
    Ended {
        control: Control,
        end: LaunchEnd,
    },
    /// The warm launch that was asked for came up, or not.
    Came {
        turn: u64,
        result: Result<Box<Running>, Refused>,
    },
    RetryDue {
        turn: u64,
    },
}

impl Handle {
    pub(super) fn spawn(shared: &Arc<Shared>) -> Self {
        let (orders, queue) = mpsc::channel(QUEUE);
        let machine = Machine::default();
        let (publish, snapshot) = watch::channel(Snapshot {
            state: machine.state(),
            reason: String::new(),
            sessions: 0,
            launches: Vec::new(),
            generation: None,
        });
        let actor = Actor {
            shared: shared.clone(),
            orders: orders.downgrade(),
            machine,
            publish,
            warm: None,
            coming: 0,
            plan: None,
            turn: 0,
            waiting: Vec::new(),
            stops: Vec::new(),
            attached: Vec::new(),
            ending: Vec::new(),
            reason: String::new(),
            generation: None,
        };
        shared.tracker.spawn(actor.run(queue));
        Self { orders, snapshot }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.snapshot.borrow().clone()
    }

    /// Wants it to run; the answer comes when it does or cannot.
    pub(crate) async fn start(&self, plan: Plan) -> Result<(), (String, i32)> {
        let (answer, answered) = oneshot::channel();
        let plan = Box::new(plan);
        let gone = || ("the daemon is stopping".to_owned(), srt_proto::exit::ERROR);
        self.orders
            .send(Order::Start { plan, answer })
            .await
            .map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Wants nothing of it to run; the answer comes when nothing does.
    pub(crate) async fn stop(&self, reason: &str) -> Option<oneshot::Receiver<()>> {
        let (answer, answered) = oneshot::channel();
        let reason = reason.to_owned();
        self.orders
            .send(Order::Stop { reason, answer })
            .await
            .ok()?;
        Some(answered)
    }

    /// The warm launch, if there is one: it is the caller's now.
    pub(crate) async fn take(&self) -> Option<Running> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order::Take { answer }).await.ok()?;
        answered.await.ok().flatten()
    }

    /// Tells of a launch that serves a session.
    pub(crate) async fn attached(&self, control: Control) {
        let _ = self.orders.send(Order::Attached { control }).await;
    }
}

struct Actor {
    shared: Arc<Shared>,
    orders: mpsc::WeakSender<Order>,
    machine: Machine,
    publish: watch::Sender<Snapshot>,
    /// The launch that runs without a host.
    warm: Option<Running>,
    /// Launches that were asked for and have not come up yet, or failed to.
    coming: u32,
    /// What a restart launches again.
    plan: Option<Plan>,
    /// Numbers the launches and waits that were asked for: an answer to an old one is of no interest.
    turn: u64,
    waiting: Vec<oneshot::Sender<Result<(), (String, i32)>>>,
    stops: Vec<oneshot::Sender<()>>,
    attached: Vec<Control>,
    /// Launches that were told to end and have not yet.
    ending: Vec<Control>,
    reason: String,
    generation: Option<Generation>,
}

impl Actor {
    async fn run(mut self, mut queue: mpsc::Receiver<Order>) {
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

    fn is_idle(&self) -> bool {
        self.warm.is_none()
            && self.attached.is_empty()
            && self.ending.is_empty()
            && self.coming == 0
    }

    fn handle(&mut self, order: Order) {
        let now = Instant::now();
        match order {
            Order::Start { plan, answer } => {
                // One that serves a host runs already.
                if self.machine.state() == State::Running || !self.attached.is_empty() {
                    let _ = answer.send(Ok(()));
                    return;
                }
                self.waiting.push(answer);
                self.plan = Some(*plan);
                let action = self.machine.observe(Observation::Start, now);
                self.act(action);
            }
            Order::Stop { reason, answer } => {
                self.stops.push(answer);
                let action = self.machine.observe(Observation::Stop, now);
                self.turn += 1;
                self.answer_starts(&Err((
                    "stopped before it was up".into(),
                    srt_proto::exit::NOT_RUNNING,
                )));
                debug_assert!(action == Action::TearDown || action == Action::Nothing);
                self.tear_down(&reason);
                self.reason = reason;
            }
            Order::Take { answer } => {
                // One that has ended stays: the news of its end is on the way, and is about a warm launch.
                if let Some(running) = self.warm.take_if(|running| !running.control.has_ended()) {
                    self.machine.observe(Observation::Taken, now);
                    self.attached.push(running.control.clone());
                    if let Err(Some(running)) = answer.send(Some(running)) {
                        running.control.stop("the host went away");
                    }
                } else {
                    let _ = answer.send(None);
                }
            }
            Order::Attached { control } => {
                self.generation = Some(control.generation.clone());
                self.watch(&control);
                self.attached.push(control);
                self.reason.clear();
            }
            Order::Came { turn, result } => {
                self.coming -= 1;
                self.came(turn, result, now);
            }
            Order::RetryDue { turn } => {
                if turn == self.turn {
                    let action = self.machine.observe(Observation::RetryDue, now);
                    self.act(action);
                }
            }
            Order::Ended { control, end } => self.ended(&control, &end, now),
        }
    }

    fn came(&mut self, turn: u64, result: Result<Box<Running>, Refused>, now: Instant) {
        match result {
            Ok(running) if turn == self.turn => {
                self.machine.observe(Observation::Launched, now);
                self.generation = Some(running.control.generation.clone());
                self.reason.clear();
                self.watch(&running.control);
                // Without a host standard error is the log's alone, and never waits.
                self.warm = Some(Running {
                    early: None,
                    ..*running
                });
                self.answer_starts(&Ok(()));
            }
            // It came up after a stop: nobody wants it any more.
            Ok(running) => {
                self.watch(&running.control);
                running.control.stop("stopped before it was up");
                self.ending.push(running.control.clone());
            }
            Err(refused) if turn == self.turn => {
                self.machine.observe(Observation::LaunchFailed, now);
                self.reason = refused.to_string();
                self.answer_starts(&Err((self.reason.clone(), refused.exit_code())));
            }
            Err(_) => {}
        }
    }

    fn ended(&mut self, control: &Control, end: &LaunchEnd, now: Instant) {
        let is_it = |other: &Control| other.id == control.id;
        self.ending.retain(|other| !is_it(other));
        self.attached.retain(|other| !is_it(other));
        if self.warm.as_ref().is_some_and(|warm| is_it(&warm.control)) {
            self.warm = None;
            let well = end.code == 0;
            let action = self.machine.observe(Observation::Ended { well }, now);
            self.reason.clone_from(&end.reason);
            if self.machine.state() == State::Failed {
                self.reason = format!("gave up after too many starts; last: {}", end.reason);
            }
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Nothing => {}
            Action::TearDown => self.tear_down("stopped"),
            Action::Launch => {
                let Some(mut plan) = self.plan.clone() else {
                    return;
                };
                plan.restart = self.machine.restarts() > 0;
                self.turn += 1;
                let turn = self.turn;
                let Some(orders) = self.orders.upgrade() else {
                    return;
                };
                let shared = self.shared.clone();
                self.coming += 1;
                self.shared.tracker.spawn(async move {
                    let result = launch(&shared, plan).await.map(Box::new);
                    let _ = orders.send(Order::Came { turn, result }).await;
                });
            }
            Action::WaitThenRetry(wait) => {
                self.turn += 1;
                let turn = self.turn;
                let Some(orders) = self.orders.upgrade() else {
                    return;
                };
                let shutdown = self.shared.shutdown.clone();
                self.shared.tracker.spawn(async move {
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {
                            let _ = orders.send(Order::RetryDue { turn }).await;
                        }
                        () = shutdown.cancelled() => {}
                    }
                });
            }
        }
    }

    /// Tells every launch to end.
    fn tear_down(&mut self, reason: &str) {
        // Dropping a warm launch's streams closes its stdin.
        let warm = self.warm.take().map(|running| running.control.clone());
        for control in warm.into_iter().chain(self.attached.iter().cloned()) {
            control.stop(reason);
            if !self.ending.iter().any(|other| other.id == control.id) {
                self.ending.push(control);
            }
        }
    }

    /// Has the end of a launch told to us.
    fn watch(&self, control: &Control) {
        let Some(orders) = self.orders.upgrade() else {
            return;
        };
        let control = control.clone();
        self.shared.tracker.spawn(async move {
            let end = control.ended().await;
            let _ = orders.send(Order::Ended { control, end }).await;
        });
    }

    fn answer_starts(&mut self, result: &Result<(), (String, i32)>) {
        for answer in self.waiting.drain(..) {
            let _ = answer.send(result.clone());
        }
    }

    /// Answers those who wait for a stop, once nothing runs.
    fn settle_stops(&mut self) {
        if self.ending.is_empty() && self.warm.is_none() && self.coming == 0 {
            for answer in self.stops.drain(..) {
                let _ = answer.send(());
            }
        }
    }

    fn publish(&self) {
        let launches = self
            .attached
            .iter()
            .chain(self.warm.iter().map(|running| &running.control))
            .cloned()
            .collect();
        self.publish.send_replace(Snapshot {
            state: if self.attached.is_empty() {
                self.machine.state()
            } else {
                State::Running
            },
            reason: self.reason.clone(),
            sessions: u32::try_from(self.attached.len()).unwrap_or(u32::MAX),
            launches,
            generation: self.generation.clone(),
        });
    }
}
