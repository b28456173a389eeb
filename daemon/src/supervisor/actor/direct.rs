//! Launches in direct mode, as an actor knows them: to tell of, and to stop. None follows another.

use uuid::Uuid;

use super::super::running::Control;
use super::super::server::Order;
use super::Actor;

impl Actor {
    /// A host has handed its own descriptors over.
    pub(super) fn runs_directly(&mut self, control: Control) {
        let Some(orders) = self.orders.upgrade() else {
            return;
        };
        self.generation = Some(control.generation.clone());
        self.reason.clear();
        self.direct.push(control.clone());
        self.shared.tracker.spawn(async move {
            let reason = control.ended().await.reason;
            let launch = control.id;
            let _ = orders.send(Order::DirectEnded { launch, reason }).await;
        });
    }

    pub(super) fn ended_directly(&mut self, launch: Uuid, reason: String) {
        self.direct.retain(|control| control.id != launch);
        self.reason = reason;
    }

    pub(super) fn stop_directs(&self, reason: &str) {
        for control in &self.direct {
            control.stop(reason);
        }
    }
}
