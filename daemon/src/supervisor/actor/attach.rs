//! What an actor does for a host that wants a launch: it begins one, or gives it one that runs.

use std::time::Instant;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::super::launch::{Plan, Refused};
use super::super::lineage::Lineage;
use super::super::running::Running;
use super::super::server::{Attached, Key, NotAttached, Wish};
use super::super::state::{Machine, Observation};
use super::Actor;

impl Actor {
    pub(super) fn attach(
        &mut self,
        session: Uuid,
        plan: Plan,
        any: bool,
        wish: Wish,
        because: String,
        answer: oneshot::Sender<Result<Attached, NotAttached>>,
    ) {
        let key = Key::Session(session);
        if self.keep || self.shared.shutdown.is_cancelled() {
            let _ = answer.send(Err(Refused::Stopping.into()));
            return;
        }
        self.failure = None;
        let observation = match wish {
            Wish::Begin(open) => {
                self.observe(Key::Alone, Observation::Reset, "a host attaches");
                let machine = Machine::of_session(false);
                let mut lineage = Lineage::new(machine, plan, Some(open));
                lineage.host = Some(answer);
                self.lineages.insert(key, lineage);
                self.habit_of(key);
                if (any && self.take(Key::Alone, key))
                    || self.take_kept(key)
                    || self.take_spare(key)
                {
                    return;
                }
                Observation::Start
            }
            Wish::Resume(open) => {
                let machine = Machine::of_session(true);
                let mut lineage = Lineage::new(machine, plan, Some(open));
                lineage.host = Some(answer);
                lineage.ended.clone_from(&because);
                lineage.plan.restart = true;
                self.lineages.insert(key, lineage);
                Observation::Again
            }
            Wish::Again => {
                let Some(lineage) = self.lineages.get_mut(&key) else {
                    let _ = answer.send(Err(NotAttached::Gone));
                    return;
                };
                lineage.plan = plan;
                if let Some(older) = lineage.host.replace(answer) {
                    let _ = older.send(Err(NotAttached::TakenOver));
                }
                Observation::Again
            }
        };
        self.observe(key, observation, &because);
    }

    /// Gives a session the launch that runs without a host, if there is one: `from` says which of them.
    pub(super) fn take(&mut self, from: Key, key: Key) -> bool {
        let Some(alone) = self.lineages.get_mut(&from) else {
            return false;
        };
        // One that has ended stays: the news of its end is on the way, and is about a launch without a host.
        let Some(running) = alone
            .streams
            .take_if(|running| !running.control.has_ended())
        else {
            return false;
        };
        let plan = alone.plan.clone();
        alone.control = None;
        self.observe(from, Observation::Taken, "a host took it over");
        if let Some(lineage) = self.lineages.get_mut(&key) {
            lineage.plan = plan;
        }
        self.serve(key, running);
        true
    }

    /// Gives a session a launch that runs already, as if it had been begun for it.
    pub(super) fn serve(&mut self, key: Key, running: Running) {
        if let Some(lineage) = self.lineages.get_mut(&key) {
            let now = Instant::now();
            lineage.machine.observe(Observation::Start, now, 0.0);
        }
        let control = running.control.clone();
        self.runs(key, running);
        self.watch(key, &control);
    }
}
