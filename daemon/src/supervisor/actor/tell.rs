//! What an actor tells of its server.

use super::super::lineage::Lineage;
use super::super::running::Control;
use super::super::server::{Key, Snapshot};
use super::super::state::State;
use super::Actor;

impl Actor {
    /// Whether nothing runs, or is about to.
    pub(super) fn is_idle(&self) -> bool {
        let idle = |lineage: &Lineage| lineage.control.is_none() && !lineage.coming;
        self.direct.is_empty() && self.lineages.values().all(idle) && self.spares.is_idle()
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.lineages.keys().copied().collect()
    }

    pub(super) fn publish(&self) {
        // Of several lineages, what is furthest from standing still is the server's state.
        let (kept, others): (Vec<_>, Vec<_>) = (self.lineages.iter())
            .filter(|(key, _)| **key != Key::Kept || self.keeps_one())
            .partition(|(key, _)| **key == Key::Kept);
        let shown = others
            .iter()
            .map(|(_, lineage)| *lineage)
            .max_by_key(|lineage| lineage.machine.state())
            .filter(|lineage| lineage.machine.state() > State::Failed);
        let alone = self.lineages.get(&Key::Alone);
        let resting = alone.filter(|alone| alone.machine.state() == State::Failed);
        let (state, reason) = match (shown.or(resting), &self.failure) {
            (Some(lineage), _) if self.direct.is_empty() => {
                (lineage.machine.state(), lineage.reason.clone())
            }
            (Some(lineage), _) => (lineage.machine.state().max(State::Running), String::new()),
            (None, _) if !self.direct.is_empty() => (State::Running, String::new()),
            (None, Some(failure)) => (State::Failed, failure.clone()),
            (None, None) => (State::Stopped, self.reason.clone()),
        };
        let control = |(_, lineage): &(&Key, &Lineage)| lineage.control.clone();
        let mut launches: Vec<Control> = others
            .iter()
            .filter_map(control)
            .chain(self.direct.iter().cloned())
            .collect();
        launches.sort_by_key(|control| control.since);
        let serves = |(key, lineage): &(&Key, &Lineage)| {
            matches!(key, Key::Session(_)) && lineage.machine.state() >= State::Starting
        };
        let sessions = self.lineages.iter().filter(serves).count() + self.direct.len();
        self.publish.send_replace(Snapshot {
            state,
            reason,
            sessions: u32::try_from(sessions).unwrap_or(u32::MAX),
            launches,
            generation: self.generation.clone(),
            due: shown.and_then(|lineage| lineage.machine.due()),
            spares: [
                self.spares.ready(),
                kept.iter().filter_map(control).collect(),
            ]
            .concat(),
            alone: alone
                .and_then(|alone| alone.control.as_ref())
                .map(|control| control.id),
            restart: self.restart,
        });
    }
}
