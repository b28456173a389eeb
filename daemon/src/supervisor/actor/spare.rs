//! What an actor does about launches that nobody has spoken to (`runtime.warm`).

use std::time::Duration;

use super::super::launch::{Plan, launch};
use super::super::running::{Control, Renewal};
use super::super::server::{Key, Order, Spare};
use super::Actor;

/// One that ended sooner is not replaced before the next host has come: it would end again.
const LASTED: Duration = Duration::from_secs(30);

impl Actor {
    /// Gives a session a launch that nobody has spoken to, if there is one of the very same.
    pub(super) fn take_spare(&mut self, key: Key) -> bool {
        let taken = self
            .lineages
            .get(&key)
            .and_then(|lineage| self.spares.take(&lineage.plan));
        match taken {
            Some(running) => {
                self.serve(key, running);
                true
            }
            None => false,
        }
    }

    /// Keeps so many for the next host that asks for what this session did.
    pub(super) fn keep_spares(&mut self, key: Key, count: u64) {
        let Some(lineage) = self.lineages.get(&key) else {
            return;
        };
        let plan = Plan {
            restart: false,
            last_good: None,
            ..lineage.plan.clone()
        };
        let count = usize::try_from(count).unwrap_or(0);
        for plan in self.spares.keep(&plan, count) {
            self.launch_spare(plan);
        }
    }

    pub(super) fn spare(&mut self, spare: Spare) {
        let again = match spare {
            Spare::Came { plan, result } => {
                match result {
                    Ok(running) => {
                        self.watch_spare(&running.control);
                        self.spares.came(&plan, *running);
                    }
                    // It was told in the log; the next host will be told itself.
                    Err(_) => self.spares.failed(),
                }
                None
            }
            Spare::Changed { launch, keys } => {
                let reason = Renewal::of(&keys, true).reason;
                self.spares.replace(launch, &reason)
            }
            Spare::Ended { control } => {
                let lost = self.spares.ended(control.id);
                if lost && control.since.elapsed() >= LASTED {
                    self.spares.again()
                } else {
                    None
                }
            }
        };
        if let Some(plan) = again {
            self.launch_spare(plan);
        }
    }

    fn launch_spare(&self, plan: Plan) {
        let Some(orders) = self.orders.upgrade() else {
            return;
        };
        let shared = self.shared.clone();
        self.shared.tracker.spawn(async move {
            let result = launch(&shared, plan.clone()).await.map(Box::new);
            let plan = Box::new(plan);
            let _ = orders
                .send(Order::Spare(Spare::Came { plan, result }))
                .await;
        });
    }

    fn watch_spare(&self, control: &Control) {
        let Some(orders) = self.orders.upgrade() else {
            return;
        };
        let control = control.clone();
        self.shared.tracker.spawn(async move {
            let mut needs = control.rules.needs();
            let changed = async {
                let needs = needs.wait_for(|keys| !keys.is_empty()).await;
                let keys = needs.ok().map(|keys| keys.clone());
                match keys {
                    Some(keys) => keys,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                keys = changed => {
                    let launch = control.id;
                    let _ = orders.send(Order::Spare(Spare::Changed { launch, keys })).await;
                    control.ended().await;
                }
                _ = control.ended() => {}
            }
            let control = Box::new(control);
            let _ = orders.send(Order::Spare(Spare::Ended { control })).await;
        });
    }
}
