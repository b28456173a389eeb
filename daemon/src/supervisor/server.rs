//! A server's actor, as everybody holds it: orders in, and what is known of it out.

use std::sync::Arc;
use std::time::Instant;

use srt_policy::Restart;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::Shared;
use super::actor::Actor;
use super::launch::{Plan, Refused};
use super::running::{Control, LaunchEnd, Running};
use super::state::State;
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
    /// Launches that nobody has spoken to, kept for the next host: those of `runtime.warm`, and one for a while.
    pub(crate) spares: Vec<Control>,
    /// Of the launches the one that has no host.
    pub(crate) alone: Option<Uuid>,
    /// When the next launch is due, where one waits.
    pub(crate) due: Option<Instant>,
    /// What is done after an end, as far as a launch has told.
    pub(crate) restart: Restart,
}

/// What becomes of an attempt to start: none, or why not and the exit status that it calls for.
pub(super) type Begun = Result<(), (String, i32)>;

/// Why a session gets no launch.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAttached {
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No launch is to follow: asked for, or tried too often.
    #[error(
        "the server is not started again: {0}\nhint: \"srtctl status NAME\" and \"srtctl logs NAME\" tell more"
    )]
    Over(String),
    #[error("another attachment has taken this session over")]
    TakenOver,
    /// The session ended before this was asked.
    #[error("the session is over")]
    Gone,
}

/// How a session asks for a launch.
#[derive(Debug)]
pub(crate) enum Wish {
    /// It begins; what is given is dropped when it is over.
    Begin(oneshot::Sender<()>),
    /// It was open when an earlier daemon died, and goes on. As above.
    Resume(oneshot::Sender<()>),
    /// Its launch has ended, or its shim lost sight of it.
    Again,
}

/// What a session is served by.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) running: Running,
    /// Why it replaces another one, for a person; empty where it does not.
    pub(crate) replaced: String,
}

/// Names one of a server's lineages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// Launches without a host.
    Alone,
    /// A launch that is kept ready for the next host for a while.
    Kept,
    Session(Uuid),
}

pub(super) enum Order {
    Start {
        plan: Box<Plan>,
        answer: oneshot::Sender<Begun>,
    },
    Stop {
        reason: String,
        /// Sessions go on with the next daemon.
        keep: bool,
        answer: oneshot::Sender<()>,
    },
    Reset {
        answer: oneshot::Sender<bool>,
    },
    /// A host wants a launch for its session.
    Attach {
        session: Uuid,
        plan: Box<Plan>,
        /// The launch that runs without a host will do.
        any: bool,
        wish: Wish,
        because: String,
        answer: oneshot::Sender<Result<Attached, NotAttached>>,
    },
    /// A session's host went away before either side had said a word.
    Left {
        session: Uuid,
        running: Box<Running>,
    },
    /// A session's shim gives its launch up.
    GiveUp {
        session: Uuid,
        launch: Uuid,
        reason: String,
    },
    /// Whether another launch may follow one that has ended.
    Verdict {
        session: Uuid,
        launch: Uuid,
        answer: oneshot::Sender<bool>,
    },
    /// A launch is ready.
    Ready {
        key: Key,
        launch: Uuid,
    },
    /// Settings have changed that a launch cannot take over.
    Changed {
        key: Key,
        launch: Uuid,
        keys: Vec<String>,
    },
    /// A launch ended.
    Ended {
        key: Key,
        control: Box<Control>,
        end: LaunchEnd,
    },
    /// The launch that was asked for came up, or not.
    Came {
        key: Key,
        result: Result<Box<Running>, Refused>,
    },
    /// Of the launches that nobody has spoken to.
    Spare(Spare),
    /// A wait is over: for the next launch, or for a shim to come back.
    Due {
        key: Key,
        turn: u64,
    },
    /// A launch runs in direct mode.
    Direct {
        control: Box<Control>,
    },
    /// It ended.
    DirectEnded {
        launch: Uuid,
        reason: String,
    },
    /// Somebody wants to know whether orders are taken.
    Answer {
        answer: oneshot::Sender<()>,
    },
}

/// What happens to a launch that nobody has spoken to.
pub(super) enum Spare {
    Came {
        plan: Box<Plan>,
        result: Result<Box<Running>, Refused>,
    },
    /// These keys of its settings have changed.
    Changed {
        launch: Uuid,
        keys: Vec<String>,
    },
    Ended {
        control: Box<Control>,
    },
}

impl Handle {
    pub(super) fn spawn(shared: &Arc<Shared>, name: &str) -> Self {
        let (orders, queue) = mpsc::channel(QUEUE);
        let (publish, snapshot) = watch::channel(Snapshot {
            state: State::Stopped,
            reason: String::new(),
            sessions: 0,
            launches: Vec::new(),
            generation: None,
            spares: Vec::new(),
            alone: None,
            due: None,
            restart: Restart::default(),
        });
        let actor = Actor::new(shared.clone(), name.to_owned(), orders.downgrade(), publish);
        shared.tracker.spawn(actor.run(queue));
        Self { orders, snapshot }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.snapshot.borrow().clone()
    }

    /// Wants it to run; the answer comes when it does or cannot.
    pub(crate) async fn start(&self, plan: Plan) -> Begun {
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
        self.end(reason, false).await
    }

    /// As [`Self::stop`], but sessions go on with the next daemon.
    pub(super) async fn end(&self, reason: &str, keep: bool) -> Option<oneshot::Receiver<()>> {
        let (answer, answered) = oneshot::channel();
        let order = Order::Stop {
            reason: reason.to_owned(),
            keep,
            answer,
        };
        self.orders.send(order).await.ok()?;
        Some(answered)
    }

    /// Forgets its failures. Whether there were any.
    pub(crate) async fn reset(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        let sent = self.orders.send(Order::Reset { answer }).await;
        sent.is_ok() && answered.await.unwrap_or(false)
    }

    /// A launch for a session. It may have to wait: for the end of its last one, and for its turn after a failure.
    pub(crate) async fn attach(
        &self,
        session: Uuid,
        plan: Plan,
        any: bool,
        wish: Wish,
        because: String,
    ) -> Result<Attached, NotAttached> {
        let (answer, answered) = oneshot::channel();
        let order = Order::Attach {
            session,
            plan: Box::new(plan),
            any,
            wish,
            because,
            answer,
        };
        let stopping = || NotAttached::Refused(Refused::Stopping);
        self.orders.send(order).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?
    }

    /// Ends a session's launch because its shim gives it up; another one may follow.
    pub(crate) async fn give_up(&self, session: Uuid, launch: Uuid, reason: String) {
        let order = Order::GiveUp {
            session,
            launch,
            reason,
        };
        let _ = self.orders.send(order).await;
    }

    /// Gives a launch back whose host went away before either side had said a word. It is kept for the next host, or ends.
    pub(crate) async fn left(&self, session: Uuid, running: Running) {
        let running = Box::new(running);
        let _ = self.orders.send(Order::Left { session, running }).await;
    }

    /// Whether the session may go on in another launch after this one, which has ended.
    pub(crate) async fn may_go_on(&self, session: Uuid, launch: Uuid) -> bool {
        let (answer, answered) = oneshot::channel();
        let order = Order::Verdict {
            session,
            launch,
            answer,
        };
        let sent = self.orders.send(order).await;
        sent.is_ok() && answered.await.unwrap_or(false)
    }

    /// Tells of a launch in direct mode, whose end is nobody's but its host's.
    pub(crate) async fn runs_directly(&self, control: Control) {
        let control = Box::new(control);
        let _ = self.orders.send(Order::Direct { control }).await;
    }

    /// Returns when it has taken this order in its turn, or has ended.
    pub(crate) async fn answer(&self) {
        let (answer, answered) = oneshot::channel();
        let _ = self.orders.send(Order::Answer { answer }).await;
        let _ = answered.await;
    }
}
