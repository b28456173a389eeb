//! What an actor does about the one launch that it keeps ready for the next host for a while: one whose host went away
//! before either side had said a word, or a fresh one where hosts were seen to come back after a probe.

use std::time::Instant;

use jiff::Timestamp;
use srt_policy::Restart;

use super::super::habit::KEPT;
use super::super::launch::Plan;
use super::super::lineage::Lineage;
use super::super::running::{Control, Running};
use super::super::server::Key;
use super::super::state::{Machine, Observation, State};
use super::Actor;
use crate::audit::{Entry, Kind};
use crate::store::Stream;

/// Why it runs.
pub(super) const READY: &str = "kept ready for the next host";

impl Actor {
    /// A host begins a session.
    pub(super) fn habit_of(&mut self, key: Key) {
        if let Some(lineage) = self.lineages.get(&key) {
            self.habit.attached(&lineage.plan, Instant::now());
        }
    }

    /// Gives a session the launch that is kept, if it could as well have launched that itself at this moment.
    pub(super) fn take_kept(&mut self, key: Key) -> bool {
        let (Some(kept), Some(lineage)) = (self.lineages.get(&Key::Kept), self.lineages.get(&key))
        else {
            return false;
        };
        let fits = kept.control.as_ref().is_some_and(|control| {
            let now = control.rules.standing();
            kept.machine.state() == State::Running
                && !control.is_stopping()
                && kept.plan.is_same(&lineage.plan)
                && now.generation.number == control.generation.number
                && now.next_start.is_empty()
                && now.trouble.is_none()
        });
        fits && self.take(Key::Kept, key)
    }

    /// A session's host went away before either side had said a word.
    pub(super) fn left(&mut self, key: Key, running: Running) {
        let control = running.control.clone();
        let may_keep = self.may_keep();
        let lineage = self.lineages.get_mut(&key);
        let runs = lineage.filter(|it| it.has(control.id) && it.machine.state() == State::Running);
        let over = control.is_stopping() || control.has_ended();
        let plan = match runs {
            Some(lineage) if control.leaves() && !over && may_keep => {
                lineage.control = None;
                lineage.plan.clone()
            }
            _ => {
                control.host_ends();
                control.stop("the host went away");
                return;
            }
        };
        let why = "its host left before it said a word";
        why.clone_into(&mut self.reason);
        self.observe_of(key, Observation::Left, why, Some(control.id));
        let lineage = Lineage::new(Machine::kept(), plan, None);
        self.lineages.insert(Key::Kept, lineage);
        self.serve(Key::Kept, running);
    }

    /// What is to be kept ready after the end of this launch, if it was a probe's: a short session that its host ended,
    /// where the last one of the very same was soon followed by another.
    pub(super) fn probe(&mut self, key: Key, control: &Control) -> Option<Plan> {
        let Key::Session(_) = key else { return None };
        let lineage = self.lineages.get(&key)?;
        let limits = control.rules.loaded().policy.limits.clone();
        let ended = lineage.machine.state() == State::Ready && control.is_ended_by_host();
        if !ended || limits.restart == Restart::Never || limits.warm.unwrap_or(0) > 0 {
            return None;
        }
        // Who asked for the same has come already.
        let again = |(other, it): (&Key, &Lineage)| {
            *other != key && matches!(other, Key::Session(_)) && it.plan.is_same(&lineage.plan)
        };
        let lasted = lineage.served?.elapsed();
        let comes_back = self.habit.ended(&lineage.plan, lasted, Instant::now());
        let wanted = comes_back && !self.lineages.iter().any(again) && self.may_keep();
        wanted.then(|| lineage.plan.clone())
    }

    /// Launches one for the next host.
    pub(super) fn keep_one_ready(&mut self, plan: Plan) {
        let plan = Plan {
            restart: false,
            last_good: None,
            ..plan
        };
        let lineage = Lineage::new(Machine::kept(), plan, None);
        self.lineages.insert(Key::Kept, lineage);
        self.observe(Key::Kept, Observation::Start, READY);
    }

    /// It is there: for so long, and everybody may know.
    pub(super) fn keep_for_a_while(&mut self, control: &Control) {
        self.wait(Key::Kept, KEPT);
        let (shared, name, launch) = (self.shared.clone(), self.name.clone(), control.id);
        self.shared.tracker.spawn(async move {
            let what = "a launch is kept ready for the next host";
            let seconds = KEPT.as_secs();
            let entry = Entry::new(Timestamp::now(), Kind::Daemon, what)
                .server(&name)
                .launch(launch)
                .with("seconds", seconds);
            if let Err(error) = shared.store.submit(entry).await {
                tracing::error!(%error, "cannot record that a launch is kept ready");
            }
            let line = format!("{what}, for {seconds} s");
            shared.log(&name, Some(launch), Stream::Daemon, line).await;
        });
    }

    /// Its time is over.
    pub(super) fn nobody_came(&mut self) {
        self.habit.nobody_came();
        let why = format!("no host came for it within {} s", KEPT.as_secs());
        self.observe(Key::Kept, Observation::Stop, &why);
    }

    /// Whether there is one that a host may take.
    pub(super) fn keeps_one(&self) -> bool {
        let kept = self.lineages.get(&Key::Kept);
        kept.is_some_and(|kept| kept.machine.state() == State::Running)
    }

    /// One at a time, and none while the daemon ends.
    fn may_keep(&self) -> bool {
        !self.keep
            && !self.shared.shutdown.is_cancelled()
            && !self.lineages.contains_key(&Key::Kept)
    }
}
