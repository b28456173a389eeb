//! What running launches' traffic is decided by, kept up to date: settings files that change ([`watch`]), what a person
//! is asked and answers ([`ask`]), the grants that come of it.

mod ask;
mod gate;
mod grants;
mod places;
mod questions;
mod rules;
mod watch;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use srt_policy::{NetworkPolicy, Policy};
use tokio::sync::Notify;
use uuid::Uuid;

pub(crate) use ask::{Choice, SettleFailed, renounce, revoke, settle, withdraw};
pub(crate) use gate::LaunchGate;
pub(crate) use grants::{Grants, RevokeError, Who, name as grant_name, target as grant_target};
pub(crate) use places::{Seen, links_to};
pub(crate) use questions::{Question, Questions, SettleError};
pub(crate) use rules::{Beginning, Rules};
pub(crate) use watch::{keep, read_anew, read_if_changed, read_quietly, watch};

use crate::policies::Loaded;
use crate::store::{Grant, Store, StoreError};

/// The rules of every running launch, and what may change them.
#[derive(Debug)]
pub(crate) struct Live {
    launches: Mutex<HashMap<Uuid, Arc<Rules>>>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) questions: Questions,
    /// Something happened in a folder that is watched, or other folders are to be.
    wake: Arc<Notify>,
    /// Of each server, what is wrong with its changed settings, as far as it was recorded.
    recorded: Mutex<HashMap<String, String>>,
}

impl Live {
    pub(crate) async fn open(store: &Store) -> Result<Self, StoreError> {
        Ok(Self {
            launches: Mutex::default(),
            grants: Arc::new(Grants::open(store.clone()).await?),
            questions: Questions::default(),
            wake: Arc::default(),
            recorded: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Rules>>> {
        self.launches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a launch's rules up to date from now on, until what is returned is dropped.
    pub(crate) fn add(self: &Arc<Self>, beginning: Beginning, loaded: &Loaded) -> Seat {
        let rules = Arc::new(Rules::new(beginning, loaded, self.grants.clone()));
        self.lock().insert(rules.launch, rules.clone());
        // A grant may have ended between its reading and this line.
        rules.regrant();
        self.wake.notify_one();
        Seat {
            live: self.clone(),
            rules,
        }
    }

    /// The network half of a policy as a launch that begins now would have it.
    pub(crate) fn granted(&self, policy: &Policy, server: &str) -> Arc<NetworkPolicy> {
        rules::with_grants(policy, &self.grants, server, Uuid::nil())
    }

    /// Ends the grants of a server that is removed.
    pub(crate) async fn end_server(&self, server: &str) {
        let its = |grant: &Grant| self.regrant(&grant.server, "the server was removed");
        self.grants.end_server(server, its).await;
    }

    /// The rules of every running launch.
    pub(crate) fn all(&self) -> Vec<Arc<Rules>> {
        self.lock().values().cloned().collect()
    }

    /// Puts the grants of a server's launches in force anew, and answers what that settles; `how` is what became of it.
    /// Gives the generation that is in force for the server.
    fn regrant(&self, server: &str, how: &str) -> Option<u64> {
        for rules in self.all() {
            if rules.server == server {
                rules.regrant();
                self.answer(&rules, how);
            }
        }
        self.generation(server)
    }

    /// The policy generation in force for a server: of several launches that of the newest; `None` where none runs.
    pub(crate) fn generation(&self, server: &str) -> Option<u64> {
        let launches = self.lock();
        let its = launches.values().filter(|rules| rules.server == server);
        // Launches' ids are in the order in which they began.
        its.max_by_key(|rules| rules.launch)?.current().generation()
    }

    /// Answers the questions of a launch that its policy no longer asks.
    fn answer(&self, rules: &Rules, how: &str) {
        let network = rules.network();
        self.questions.recheck(rules.launch, |matter| {
            let asks = matches!(network.decide(&matter.target), srt_policy::Decision::Ask(_));
            (!asks).then(|| (questions::Answer::Again, how.to_owned()))
        });
    }
}

/// A launch's place among those whose rules are kept up to date.
#[derive(Debug)]
pub(crate) struct Seat {
    live: Arc<Live>,
    pub(crate) rules: Arc<Rules>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.live.lock().remove(&self.rules.launch);
        self.live.wake.notify_one();
    }
}
