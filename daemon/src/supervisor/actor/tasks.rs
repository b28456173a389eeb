//! What an actor has done: launches, waits and watching, each by a task that reports back with an order.

use std::time::Duration;

use uuid::Uuid;

use super::super::launch::{launch, launch_again};
use super::super::running::Control;
use super::super::server::{Key, Order};
use super::super::state::Action;
use super::{Actor, SHIM};
use crate::store::EndKind;

/// How long the last answers of a server that has ended may take to be read by its host.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

impl Actor {
    pub(super) fn act(&mut self, key: Key, action: Action, why: &str) {
        let Some(lineage) = self.lineages.get_mut(&key) else {
            return;
        };
        match action {
            Action::Nothing => {}
            Action::TearDown => {
                // Dropping the streams closes its stdin.
                lineage.streams = None;
                if let Some(control) = &lineage.control {
                    control.stop(why);
                }
            }
            Action::Launch => {
                let Some(orders) = self.orders.upgrade() else {
                    return;
                };
                lineage.coming = true;
                let mut plan = lineage.plan.clone();
                plan.restart |= lineage.last_good.is_some();
                plan.last_good.clone_from(&lineage.last_good);
                let shared = self.shared.clone();
                let goes_on = key != Key::Alone && plan.restart;
                self.shared.tracker.spawn(async move {
                    let result = match goes_on {
                        true => launch_again(&shared, plan).await,
                        false => launch(&shared, plan).await,
                    };
                    let result = result.map(Box::new);
                    let _ = orders.send(Order::Came { key, result }).await;
                });
            }
            Action::WaitThenRetry(wait) => self.wait(key, wait),
            Action::AwaitHost => self.wait(key, SHIM),
        }
    }

    /// Has [`Order::Due`] come after a while; a wait that began earlier no longer counts.
    pub(super) fn wait(&mut self, key: Key, wait: Duration) {
        let (Some(orders), Some(lineage)) = (self.orders.upgrade(), self.lineages.get_mut(&key))
        else {
            return;
        };
        self.turn += 1;
        let turn = self.turn;
        lineage.turn = turn;
        let shutdown = self.shared.shutdown.clone();
        self.shared.tracker.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(wait) => {
                    let _ = orders.send(Order::Due { key, turn }).await;
                }
                () = shutdown.cancelled() => {}
            }
        });
    }

    /// Has what happens to a launch told to us: that it is ready, that it needs another one, that it ended.
    pub(super) fn watch(&self, key: Key, control: &Control) {
        let Some(orders) = self.orders.upgrade() else {
            return;
        };
        let (control, launch) = (control.clone(), control.id);
        self.shared.tracker.spawn(async move {
            let ready = async {
                if control.is_ready().await {
                    let _ = orders.send(Order::Ready { key, launch }).await;
                }
                std::future::pending::<()>().await;
            };
            let changes = async {
                let mut needs = control.rules.needs();
                needs.mark_changed();
                while needs.changed().await.is_ok() {
                    let keys = needs.borrow_and_update().clone();
                    if !keys.is_empty() {
                        let _ = orders.send(Order::Changed { key, launch, keys }).await;
                    }
                }
                std::future::pending::<()>().await;
            };
            let end = tokio::select! {
                // What came before the end is told before it.
                biased;
                () = ready => return,
                () = changes => return,
                end = control.ended() => end,
            };
            // Its last answers may be in the pipe yet; whether any is missing decides what follows.
            if end.kind == EndKind::Exited && end.code == 0 {
                let _ = tokio::time::timeout(LAST_ANSWERS, control.activity.read()).await;
            }
            let control = Box::new(control);
            let _ = orders.send(Order::Ended { key, control, end }).await;
        });
    }
}

/// From 0 to 1. It spreads restarts; nothing secret depends on it.
pub(super) fn random() -> f64 {
    let [first, second, ..] = *Uuid::new_v4().as_bytes();
    f64::from(u16::from_be_bytes([first, second])) / f64::from(u16::MAX)
}
