//! Launches that nobody has spoken to, kept for the next host that asks for the very same (`runtime.warm`).

use uuid::Uuid;

use super::launch::Plan;
use super::running::{Control, Running};

/// A server's spares. All are launches of one plan: the one that a host asked for last.
#[derive(Default)]
pub(super) struct Spares {
    plan: Option<Plan>,
    ready: Vec<Running>,
    /// How many were asked for and have not come up yet, or failed to.
    coming: usize,
    /// Those that were told to end and have not yet.
    ending: Vec<Control>,
}

impl Spares {
    /// One for a host that asks for this, if there is one that it could as well have launched itself.
    pub(super) fn take(&mut self, plan: &Plan) -> Option<Running> {
        if !self.plan.as_ref().is_some_and(|own| own.is_same(plan)) {
            return None;
        }
        let fits = |running: &Running| {
            let control = &running.control;
            !control.has_ended() && control.rules.standing().next_start.is_empty()
        };
        let place = self.ready.iter().position(fits)?;
        Some(self.ready.remove(place))
    }

    /// From now on so many are to be kept of this plan. The plan, as often as it is to be launched now.
    pub(super) fn keep(&mut self, plan: &Plan, count: usize) -> Vec<Plan> {
        let same = self.plan.as_ref().is_some_and(|own| own.is_same(plan));
        if !same || count < self.ready.len() {
            self.end("no host asks for it any more");
        }
        if count == 0 {
            return Vec::new();
        }
        self.plan = Some(plan.clone());
        let missing = count.saturating_sub(self.ready.len() + self.coming);
        self.coming += missing;
        vec![plan.clone(); missing]
    }

    /// One came up; false where nobody wants it any more.
    pub(super) fn came(&mut self, plan: &Plan, running: Running) -> bool {
        self.coming -= 1;
        let wanted = self.plan.as_ref().is_some_and(|own| own.is_same(plan));
        if wanted {
            // Without a host standard error is the log's alone, and never waits.
            self.ready.push(Running {
                early: None,
                ..running
            });
        } else {
            running.control.stop("no host asks for it any more");
            self.ending.push(running.control.clone());
        }
        wanted
    }

    /// One could not be launched.
    pub(super) fn failed(&mut self) {
        self.coming -= 1;
    }

    /// One has to be replaced because of its settings. The plan, to be launched again.
    pub(super) fn replace(&mut self, id: Uuid, reason: &str) -> Option<Plan> {
        let place = self.ready.iter().position(|it| it.control.id == id)?;
        let running = self.ready.remove(place);
        running.control.stop(reason);
        self.ending.push(running.control.clone());
        self.again()
    }

    /// One has ended. Whether it was one of those that are kept.
    pub(super) fn ended(&mut self, id: Uuid) -> bool {
        let before = self.ready.len();
        self.ready.retain(|running| running.control.id != id);
        self.ending.retain(|control| control.id != id);
        self.ready.len() < before
    }

    /// The plan, to be launched once more.
    pub(super) fn again(&mut self) -> Option<Plan> {
        let plan = self.plan.clone()?;
        self.coming += 1;
        Some(plan)
    }

    /// Ends them all, and keeps none.
    pub(super) fn end(&mut self, reason: &str) {
        self.plan = None;
        for running in self.ready.drain(..) {
            running.control.stop(reason);
            self.ending.push(running.control.clone());
        }
    }

    /// Whether there are none, nor about to be.
    pub(super) fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.coming == 0 && self.ending.is_empty()
    }

    /// Those that are ready.
    pub(super) fn ready(&self) -> Vec<Control> {
        let controls = self.ready.iter().map(|running| running.control.clone());
        controls.collect()
    }
}
