//! What the daemon knows of its servers, from the store and from the actors, in the contract's words.

use std::path::PathBuf;

use srt_proto::v1::{LastExit, PolicyRef, SelectRequest, Server};
use tonic::Status;

use super::Api;
use super::error::{bad_request, of_store, unknown};
use super::paged::time;
use crate::policies::Generation;
use crate::store;
use crate::supervisor::{Snapshot, State};

impl Api {
    pub(super) async fn known(&self) -> Result<Vec<store::Server>, Status> {
        self.supervisor
            .shared
            .store
            .servers()
            .await
            .map_err(|error| of_store(&error))
    }

    /// The servers that a request is about.
    pub(super) async fn select(
        &self,
        request: &SelectRequest,
    ) -> Result<Vec<store::Server>, Status> {
        let mut known = self.known().await?;
        if request.all {
            known.retain(|server| server.registered);
            return Ok(known);
        }
        if request.names.is_empty() {
            return Err(bad_request("name a server, or say --all"));
        }
        if let Some(name) = request
            .names
            .iter()
            .find(|name| !known.iter().any(|server| server.name == **name))
        {
            return Err(unknown(name));
        }
        known.retain(|server| request.names.contains(&server.name));
        Ok(known)
    }

    /// Where a server without a host works: its own folder, else the user's home.
    pub(super) fn cwd_of(&self, server: &store::Server) -> PathBuf {
        server
            .cwd
            .as_ref()
            .map_or_else(|| self.supervisor.shared.paths.home.clone(), PathBuf::from)
    }

    pub(super) async fn describe(&self, server: store::Server) -> Result<Server, Status> {
        let shared = &self.supervisor.shared;
        let history = shared
            .store
            .history(&server.name)
            .await
            .map_err(|error| of_store(&error))?;
        let snapshot = self.supervisor.snapshot(&server.name);
        let (policy, reason) = self.policy_of(&server, snapshot.as_ref()).await;
        let newest = snapshot
            .as_ref()
            .and_then(|snapshot| snapshot.launches.last().cloned());
        let processes: Vec<_> = snapshot
            .iter()
            .flat_map(|snapshot| &snapshot.launches)
            .map(|control| control.processes.clone())
            .collect();
        let memory = tokio::task::spawn_blocking(move || {
            processes.iter().map(|processes| processes.memory()).sum()
        })
        .await
        .unwrap_or(0);
        let state = snapshot
            .as_ref()
            .map_or(State::Stopped, |snapshot| snapshot.state);
        Ok(Server {
            state: state.name().to_owned(),
            pid: newest.as_ref().map_or(0, |control| control.processes.pid()),
            sessions: snapshot.as_ref().map_or(0, |snapshot| snapshot.sessions),
            restarts: u32::try_from(history.restarts).unwrap_or(u32::MAX),
            uptime_seconds: newest.map_or(0.0, |control| control.since.elapsed().as_secs_f64()),
            memory_bytes: memory,
            policy: Some(policy),
            last_exit: history.last_exit.map(|end| LastExit {
                code: end.code.unwrap_or_else(|| 128 + end.signal.unwrap_or(9)),
                signal: end.signal.unwrap_or(0),
                reason: end.reason,
                at: time(end.at),
            }),
            registered: server.registered,
            command: server.command,
            cwd: server.cwd.unwrap_or_default(),
            reason: snapshot
                .map(|snapshot| snapshot.reason)
                .filter(|reason| !reason.is_empty())
                .unwrap_or(reason),
            name: server.name,
        })
    }

    /// The policy that the newest launch runs under, else the one that the next would.
    async fn policy_of(
        &self,
        server: &store::Server,
        snapshot: Option<&Snapshot>,
    ) -> (PolicyRef, String) {
        if let Some(generation) = snapshot.and_then(|snapshot| snapshot.generation.as_ref()) {
            return (reference(generation), String::new());
        }
        let settings = server.settings.as_ref().map(PathBuf::from);
        let policies = &self.supervisor.shared.policies;
        match policies
            .load(&server.name, settings.as_deref(), &self.cwd_of(server))
            .await
        {
            Ok(loaded) => (reference(&loaded.generation), String::new()),
            Err(error) => (PolicyRef::default(), error.to_string()),
        }
    }
}

pub(super) fn reference(generation: &Generation) -> PolicyRef {
    PolicyRef {
        source: generation.source.clone(),
        digest: generation.digest.clone(),
        generation: generation.number,
    }
}
