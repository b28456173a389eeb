//! One of a server's lineages, as its actor keeps it: the pure machine, and what belongs to its launches.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::launch::Plan;
use super::running::{Control, Running};
use super::server::{Attached, Begun, NotAttached};
use super::state::Machine;
use crate::policies::Loaded;

/// The succession of launches that serve one session, or that run without a host.
pub(super) struct Lineage {
    pub(super) machine: Machine,
    /// What its next launch is begun with.
    pub(super) plan: Plan,
    /// Its launch, from when it runs until it is wholly gone.
    pub(super) control: Option<Control>,
    /// The streams of a launch that has no host.
    pub(super) streams: Option<Running>,
    /// A launch was asked for and has not come up yet, or failed to.
    pub(super) coming: bool,
    /// Those who wait for it to run.
    pub(super) starts: Vec<oneshot::Sender<Begun>>,
    pub(super) host: Option<oneshot::Sender<Result<Attached, NotAttached>>>,
    /// Those who wait to be told whether another launch may follow this one.
    pub(super) verdicts: Vec<(Uuid, oneshot::Sender<bool>)>,
    /// The wait that counts; the end of an older one is of no interest.
    pub(super) turn: u64,
    /// Why the state is what it is, for a person.
    pub(super) reason: String,
    /// Why its last launch ended, until another one runs.
    pub(super) ended: String,
    /// What the last launch ran by.
    pub(super) last_good: Option<Arc<Loaded>>,
    /// When its host was given its first launch.
    pub(super) served: Option<Instant>,
    /// Dropped when the session is over.
    pub(super) _open: Option<oneshot::Sender<()>>,
}

impl Lineage {
    pub(super) fn new(machine: Machine, plan: Plan, open: Option<oneshot::Sender<()>>) -> Self {
        Self {
            machine,
            plan,
            control: None,
            streams: None,
            coming: false,
            starts: Vec::new(),
            host: None,
            verdicts: Vec::new(),
            turn: 0,
            reason: String::new(),
            ended: String::new(),
            last_good: None,
            served: None,
            _open: open,
        }
    }

    /// Whether this launch is the one that runs.
    pub(super) fn has(&self, launch: Uuid) -> bool {
        self.control
            .as_ref()
            .is_some_and(|control| control.id == launch)
    }

    /// Answers those who wait for it to run.
    pub(super) fn answer_starts(&mut self, begun: &Begun) {
        for answer in self.starts.drain(..) {
            let _ = answer.send(begun.clone());
        }
    }
}
