//! Conversations: a host on one side, a launch on the other, and bytes between them that nobody re-frames.

mod relay;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use uuid::Uuid;

pub(crate) use relay::{Inbound, Outbound, relay};

use crate::paths::is_server_name;
use crate::store::{self, Server};
use crate::supervisor::{Control, Plan, Refused, Running, Supervisor, launch};

/// What a host asks for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// What is to be launched; without a command, the registered server of that name.
    pub(crate) plan: Plan,
    pub(crate) client_pid: Option<u32>,
}

/// Why a host is turned away.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachError {
    #[error(
        "{0:?} cannot be a server's name\nhint: letters, digits, dot, dash and underscore, at most 64, not beginning with a dot or a dash"
    )]
    BadName(String),
    #[error("the working directory {0:?} is not absolute")]
    RelativeCwd(PathBuf),
    #[error(
        "no server {0:?} is registered\nhint: register it with \"srtctl add {0} -- COMMAND\", or give srt a command"
    )]
    Unknown(String),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

/// The sessions of this daemon.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<Uuid, Control>>);

impl Sessions {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Control>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// The launch that serves a session.
    pub(crate) fn get(&self, id: Uuid) -> Option<Control> {
        self.lock().get(&id).cloned()
    }
}

/// A session that has begun.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: Uuid,
    pub(crate) running: Running,
    pub(crate) name: String,
}

/// Begins a session: on the warm launch of a registered server, or on a launch of its own.
pub(crate) async fn open(
    supervisor: &Supervisor,
    sessions: &Sessions,
    request: Request,
) -> Result<Session, AttachError> {
    let shared = &supervisor.shared;
    let Request { plan, client_pid } = request;
    let name = plan.name.clone();
    if !is_server_name(&name) {
        return Err(AttachError::BadName(name));
    }
    if !plan.cwd.is_absolute() {
        return Err(AttachError::RelativeCwd(plan.cwd));
    }
    let server = supervisor.server(&name);
    let (running, warm) = if plan.command.is_empty() {
        let known = shared
            .store
            .server(&name)
            .await?
            .filter(|known| known.registered);
        let Some(known) = known else {
            return Err(AttachError::Unknown(name));
        };
        match server.take().await {
            Some(running) => (running, true),
            None => (launch(shared, plan_for(&known, plan)).await?, false),
        }
    } else {
        note(supervisor, &plan).await?;
        (launch(shared, plan).await?, false)
    };
    let control = running.control.clone();
    if !warm {
        server.attached(control.clone()).await;
    }
    let id = Uuid::new_v4();
    sessions.lock().insert(id, control.clone());
    // The launch's entry was durable before it ran; that a session uses it may become so a moment later.
    let row = store::Session {
        id,
        launch: control.id,
        server: name.clone(),
        client_pid,
        opened_at: Timestamp::now(),
    };
    let shared = shared.clone();
    shared.clone().tracker.spawn(async move {
        if let Err(error) = shared.store.open_session(row).await {
            tracing::error!(%error, "cannot record a session");
        }
        control.ended().await;
        if let Err(error) = shared.store.close_session(id, Timestamp::now()).await {
            tracing::error!(%error, "cannot record the end of a session");
        }
    });
    Ok(Session { id, running, name })
}

/// Forgets a session.
pub(crate) fn close(sessions: &Sessions, id: Uuid) {
    sessions.lock().remove(&id);
}

/// Notes a server that is known from a shim's command line only, unless it is noted as it is already.
async fn note(supervisor: &Supervisor, plan: &Plan) -> Result<(), AttachError> {
    let store = &supervisor.shared.store;
    let known = store.server(&plan.name).await?;
    if known.is_some_and(|known| known.registered || known.command == plan.command) {
        return Ok(());
    }
    store
        .note_server(Server {
            name: plan.name.clone(),
            command: plan.command.clone(),
            cwd: Some(plan.cwd.display().to_string()),
            settings: plan
                .settings
                .as_ref()
                .map(|path| path.display().to_string()),
            env: Vec::new(),
            registered: false,
            created_at: Timestamp::now(),
        })
        .await?;
    Ok(())
}

/// What a registered server's launch is: what the registration says, and what was asked for where it says nothing.
pub(crate) fn plan_for(server: &Server, asked: Plan) -> Plan {
    let mut plan = Plan {
        command: server.command.clone(),
        cwd: server.cwd.as_ref().map_or(asked.cwd, PathBuf::from),
        settings: asked
            .settings
            .or_else(|| server.settings.as_ref().map(PathBuf::from)),
        ..asked
    };
    for variable in &server.env {
        let value = variable
            .value
            .clone()
            .or_else(|| plan.environment.get(&variable.name).cloned())
            .or_else(|| std::env::var(&variable.name).ok());
        if let Some(value) = value {
            plan.environment.insert(variable.name.clone(), value);
        }
        plan.named.push(variable.name.clone());
    }
    plan
}

/// Shared by every session.
pub(crate) type SharedSessions = Arc<Sessions>;
