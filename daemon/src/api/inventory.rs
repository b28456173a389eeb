//! What the daemon knows of its servers, from the store and from the actors, in the contract's words.

use std::path::PathBuf;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use srt_policy::Restart;
use srt_proto::v1::{LastExit, PolicyRef, SelectRequest, Server, SessionInfo};
use tonic::Status;

use super::Api;
use super::error::{bad_request, of_store, unknown};
use super::paged::time;
use crate::policies::Generation;
use crate::session::Attachment;
use crate::store;
use crate::supervisor::{Control, Mode, Snapshot, State, usage};

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

    /// Refuses a name that no server has; none means every server.
    pub(super) async fn must_know(&self, name: &str) -> Result<(), Status> {
        if name.is_empty() || self.known().await?.iter().any(|known| known.name == name) {
            return Ok(());
        }
        Err(unknown(name))
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
        let newest = snapshot
            .as_ref()
            .and_then(|snapshot| snapshot.launches.last().cloned());
        let standing = newest.as_ref().map(|control| control.rules.standing());
        let (policy, reason) = match &standing {
            Some(standing) => (reference(&standing.generation), String::new()),
            None => self.policy_of(&server, snapshot.as_ref()).await,
        };
        let launches = snapshot
            .as_ref()
            .map_or(&[][..], |snapshot| &snapshot.launches);
        let spares = snapshot
            .as_ref()
            .map_or(&[][..], |snapshot| &snapshot.spares);
        let used = [usage(launches).await, usage(spares).await].concat();
        let memory = used.iter().map(|used| used.memory).sum();
        let state = snapshot
            .as_ref()
            .map_or(State::Stopped, |snapshot| snapshot.state);
        let relayed = self.sessions.of(launches);
        let attached = relayed
            .iter()
            .map(session)
            .chain(launches.iter().filter_map(direct))
            .collect();
        Ok(Server {
            state: shown(state).to_owned(),
            pid: newest.as_ref().map_or(0, |control| control.processes.pid()),
            sessions: snapshot.as_ref().map_or(0, |snapshot| snapshot.sessions),
            restarts: u32::try_from(history.restarts).unwrap_or(u32::MAX),
            uptime_seconds: newest
                .as_ref()
                .map_or(0.0, |control| control.since.elapsed().as_secs_f64()),
            memory_bytes: memory,
            policy: Some(policy),
            last_exit: history.last_exit.map(|end| LastExit {
                code: end.code.unwrap_or_else(|| 128 + end.signal.unwrap_or(9)),
                signal: end.signal.unwrap_or(0),
                reason: end.reason,
                at: time(end.at),
                kind: end
                    .kind
                    .map(|kind| kind.as_str().to_owned())
                    .unwrap_or_default(),
            }),
            next_retry: snapshot
                .as_ref()
                .and_then(|snapshot| snapshot.due)
                .map(due_at)
                .unwrap_or_default(),
            restart: snapshot
                .as_ref()
                .map_or(Restart::default(), |snapshot| snapshot.restart)
                .as_str()
                .to_owned(),
            ready: state == State::Ready,
            warm: snapshot.as_ref().map_or(0, |snapshot| {
                u32::try_from(snapshot.spares.len()).unwrap_or(u32::MAX)
            }),
            registered: server.registered,
            enabled: server.enabled,
            attached,
            command: server.command,
            cwd: server.cwd.unwrap_or_default(),
            reason: snapshot
                .map(|snapshot| snapshot.reason)
                .filter(|reason| !reason.is_empty())
                .unwrap_or(reason),
            policy_trouble: standing
                .as_ref()
                .and_then(|standing| standing.trouble.clone())
                .unwrap_or_default(),
            next_start: standing.map_or_else(Vec::new, |standing| standing.next_start),
            name: server.name,
        })
    }

    /// The policy that the newest launch ran under, else the one that the next would.
    async fn policy_of(
        &self,
        server: &store::Server,
        snapshot: Option<&Snapshot>,
    ) -> (PolicyRef, String) {
        if let Some(generation) = snapshot.and_then(|snapshot| snapshot.generation.as_ref()) {
            return (reference(generation), String::new());
        }
        let policies = &self.supervisor.shared.policies;
        let cwd = self.cwd_of(server);
        match policies.load_for(server, &cwd).await {
            Ok(loaded) => (reference(&loaded.generation), String::new()),
            Err(error) => (PolicyRef::default(), error.to_string()),
        }
    }
}

fn session(attachment: &Attachment) -> SessionInfo {
    SessionInfo {
        session: attachment.session.to_string(),
        launch: attachment.control.id.to_string(),
        age_seconds: attachment.since.elapsed().as_secs_f64(),
        client_pid: attachment.client_pid.unwrap_or(0),
        mode: "relayed".to_owned(),
    }
}

/// A launch in direct mode, which is a host's own.
fn direct(control: &Control) -> Option<SessionInfo> {
    let Mode::Direct { client_pid, .. } = control.mode else {
        return None;
    };
    Some(SessionInfo {
        session: String::new(),
        launch: control.id.to_string(),
        age_seconds: control.since.elapsed().as_secs_f64(),
        client_pid: client_pid.unwrap_or(0),
        mode: "direct".to_owned(),
    })
}

/// The state as clients have it: ready or not, it runs.
pub(super) fn shown(state: State) -> &'static str {
    match state {
        State::Ready => State::Running.name(),
        state => state.name(),
    }
}

/// A moment of the clock that waits are measured by, as a time for a person.
fn due_at(due: Instant) -> String {
    let wait = due.saturating_duration_since(Instant::now());
    let at = SignedDuration::try_from(wait)
        .ok()
        .and_then(|wait| Timestamp::now().checked_add(wait).ok());
    at.map(time).unwrap_or_default()
}

pub(super) fn reference(generation: &Generation) -> PolicyRef {
    PolicyRef {
        source: generation.source.clone(),
        digest: generation.digest.clone(),
        generation: generation.number,
        files: generation.files.clone(),
        profile: generation.profile.clone().unwrap_or_default(),
    }
}
