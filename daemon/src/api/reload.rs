//! `Servers.Reload`: settings files are read anew, and what changed is told.

use std::collections::BTreeSet;

use srt_proto::v1::{ReloadRequest, ReloadResponse, Reloaded};
use tonic::Status;

use super::Api;
use super::error::unknown;
use super::inventory::reference;
use crate::live::read_anew;
use crate::store;
use crate::supervisor::{Renewal, Snapshot};

impl Api {
    pub(super) async fn read_settings_anew(
        &self,
        request: ReloadRequest,
    ) -> Result<ReloadResponse, Status> {
        let wanted: BTreeSet<String> = request.names.into_iter().collect();
        let mut known = self.known().await?;
        if let Some(name) = wanted
            .iter()
            .find(|name| !known.iter().any(|server| server.name == **name))
        {
            return Err(unknown(name));
        }
        if !wanted.is_empty() {
            known.retain(|server| wanted.contains(&server.name));
        }
        known.sort_by(|a, b| a.name.cmp(&b.name));
        let mut servers = Vec::with_capacity(known.len());
        for server in known {
            let snapshot = self.supervisor.snapshot(&server.name);
            servers.push(match snapshot {
                Some(snapshot) if !snapshot.launches.is_empty() => {
                    self.of_launches(server.name, &snapshot, request.now).await
                }
                _ => self.of_a_start(server).await,
            });
        }
        Ok(ReloadResponse { servers })
    }

    /// What a server that does not run would be started by.
    async fn of_a_start(&self, server: store::Server) -> Reloaded {
        let policies = &self.supervisor.shared.policies;
        let loaded = policies.load_for(&server, &self.cwd_of(&server)).await;
        let mut told = Reloaded {
            name: server.name,
            ..Reloaded::default()
        };
        match loaded {
            Ok(loaded) => told.policy = Some(reference(&loaded.generation)),
            Err(error) => told.error = error.to_string(),
        }
        told
    }

    async fn of_launches(&self, name: String, snapshot: &Snapshot, now: bool) -> Reloaded {
        let shared = &self.supervisor.shared;
        let mut told = Reloaded {
            name,
            ..Reloaded::default()
        };
        let (mut in_force, mut next_start) = (BTreeSet::new(), BTreeSet::new());
        for control in &snapshot.launches {
            if let Err(error) = read_anew(shared, &control.rules).await {
                told.error = error.to_string();
            }
            let standing = control.rules.standing();
            told.launches += 1;
            told.policy = Some(reference(&standing.generation));
            in_force.extend(control.rules.changed().into_iter().map(str::to_owned));
            if standing.next_start.is_empty() {
                continue;
            }
            if snapshot.alone == Some(control.id) {
                told.replaced += 1;
            } else if control.activity.standing().ready {
                told.carried += 1;
                if now {
                    control.renew(Renewal::of(&standing.next_start, true));
                }
            } else {
                told.kept += 1;
            }
            next_start.extend(standing.next_start);
        }
        told.in_force = in_force.into_iter().collect();
        told.next_start = next_start.into_iter().collect();
        told
    }
}
