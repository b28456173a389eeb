//! Conversations: a host on one side, a launch on the other, and bytes between them that nobody re-frames.

mod activity;
mod book;
mod books;
mod calls;
mod descriptors;
mod direct;
mod item;
mod listing;
mod patience;
mod registry;
mod relay;
mod ruling;
mod scene;
mod talk;
#[cfg(test)]
mod talk_tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use futures_util::Stream;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

pub(crate) use activity::{Activity, CLASSES, Counted, Tally};
pub(crate) use books::{Books, NotAccepted};
pub(crate) use descriptors::{DescriptorError, admit};
pub(crate) use direct::open_direct;
use registry::Recognised;
pub(crate) use registry::{Attachment, Sessions};
pub(crate) use relay::{Inbound, Outbound};
use scene::Scene;

use crate::audit::{Entry, Kind};
use crate::layered::registered_profile;
use crate::live::{read_if_changed, renounce};
use crate::paths::is_server_name;
use crate::store::{self, Server};
use crate::supervisor::{Attached, Handle, NotAttached, Plan, Running, Shared, Supervisor, Wish};

/// What a host asks for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// What is to be launched; without a command, the registered server of that name.
    pub(crate) plan: Plan,
    pub(crate) client_pid: Option<u32>,
    /// Of the session that is to go on; empty: a new one.
    pub(crate) token: String,
    /// Why it needs another launch, for a person.
    pub(crate) because: String,
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
    Descriptor(#[from] DescriptorError),
    #[error(transparent)]
    NotAttached(#[from] NotAttached),
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

/// A session that a host is attached to.
#[derive(Debug)]
pub(crate) struct Session {
    /// Of this attachment.
    pub(crate) attachment: Uuid,
    /// Of the session, in each of its attachments.
    pub(crate) id: Uuid,
    /// By which its shim goes on with it.
    pub(crate) token: String,
    pub(crate) running: Running,
    pub(crate) server: Handle,
    pub(crate) name: String,
    /// Why its launch replaces another one, for a person; empty where it does not.
    pub(crate) replaced: String,
}

/// Begins a session or goes on with one: on the launch of a registered server that has no host, or on one of its own.
pub(crate) async fn open(
    supervisor: &Supervisor,
    sessions: &Arc<Sessions>,
    request: Request,
) -> Result<Session, AttachError> {
    let shared = &supervisor.shared;
    let Request {
        plan,
        client_pid,
        token,
        because,
    } = request;
    let (plan, any) = planned(supervisor, plan).await?;
    let name = plan.name.clone();
    let server = supervisor.server(&name);
    let attached = match sessions.recognise(&token, &name) {
        Recognised::Ours(id) => {
            let again = server.attach(id, plan.clone(), any, Wish::Again, because.clone());
            match again.await {
                Ok(attached) => Some((id, token.clone(), attached)),
                // It ended a moment ago.
                Err(NotAttached::Gone) => None,
                Err(error) => return Err(error.into()),
            }
        }
        Recognised::Left(id) => {
            let (open, over) = oneshot::channel();
            shared
                .tracker
                .spawn(end_with(shared.clone(), sessions.clone(), id, over));
            let wish = Wish::Resume(open);
            let attached = server.attach(id, plan.clone(), any, wish, because.clone());
            Some((id, token.clone(), attached.await?))
        }
        Recognised::None | Recognised::Unknown => None,
    };
    let (id, token, attached) = match attached {
        Some((id, token, attached)) => {
            let launch = attached.running.control.id;
            let shared = shared.clone();
            shared.clone().tracker.spawn(async move {
                if let Err(error) = shared.store.move_session(id, launch, client_pid).await {
                    tracing::error!(%error, "cannot record that a session goes on");
                }
            });
            (id, token, attached)
        }
        None => {
            if !token.is_empty() {
                unknown_token(supervisor, &name).await;
            }
            // A launch that is kept ready may be this one's only if no settings file has changed since.
            for spare in server.snapshot().spares {
                read_if_changed(shared, &spare.rules).await;
            }
            let id = Uuid::new_v4();
            let (open, over) = oneshot::channel();
            let attached = server.attach(id, plan, any, Wish::Begin(open), because);
            let attached = attached.await?;
            let token = sessions.begin(id, &name);
            // The launch's entry was durable before it ran; that a session uses it may become so a moment later.
            let row = store::Session {
                id,
                launch: attached.running.control.id,
                server: name.clone(),
                client_pid,
                opened_at: Timestamp::now(),
                token_hash: Some(token.hash()),
            };
            let (shared, sessions) = (shared.clone(), sessions.clone());
            shared.clone().tracker.spawn(async move {
                if let Err(error) = shared.store.open_session(row).await {
                    tracing::error!(%error, "cannot record a session");
                }
                end_with(shared, sessions, id, over).await;
            });
            (id, token.as_str().to_owned(), attached)
        }
    };
    let Attached { running, replaced } = attached;
    shared.metrics.attached(&name);
    Ok(Session {
        attachment: sessions.attach(Attachment {
            control: running.control.clone(),
            session: id,
            client_pid,
            since: Instant::now(),
        }),
        id,
        token,
        running,
        server,
        name,
        replaced,
    })
}

/// What is to be launched for a host, and whether that is what is registered by this name.
async fn planned(supervisor: &Supervisor, plan: Plan) -> Result<(Plan, bool), AttachError> {
    if !is_server_name(&plan.name) {
        return Err(AttachError::BadName(plan.name));
    }
    if !plan.cwd.is_absolute() {
        return Err(AttachError::RelativeCwd(plan.cwd));
    }
    if !plan.command.is_empty() {
        note(supervisor, &plan).await?;
        return Ok((plan, false));
    }
    let known = supervisor.shared.store.server(&plan.name).await?;
    match known.filter(|known| known.registered) {
        Some(known) => Ok((plan_for(&known, plan), true)),
        None => Err(AttachError::Unknown(plan.name)),
    }
}

/// Waits until the supervisor has no lineage of a session any more, and records its end.
async fn end_with(
    shared: Arc<Shared>,
    sessions: Arc<Sessions>,
    id: Uuid,
    over: oneshot::Receiver<()>,
) {
    let _ = over.await;
    sessions.end(id);
    // It is the next daemon's.
    if shared.hands_over.is_cancelled() {
        return;
    }
    if let Err(error) = shared.store.close_session(id, Timestamp::now()).await {
        tracing::error!(%error, "cannot record the end of a session");
    }
}

/// A shim wants to go on with a session that is not known any more: it gets a new one.
async fn unknown_token(supervisor: &Supervisor, name: &str) {
    let shared = &supervisor.shared;
    let what = "a shim's session is not known here; it goes on as a new one";
    shared
        .log(name, None, store::Stream::Daemon, what.to_owned())
        .await;
    let entry = Entry::new(Timestamp::now(), Kind::Daemon, what).server(name);
    if let Err(error) = shared.store.submit(entry).await {
        tracing::error!(%error, "cannot record that a session is not known");
    }
}

/// Carries a session until its launch is gone, as [`relay::relay`] does; or gives the launch back, as it does.
pub(crate) async fn carry(
    shared: &Arc<Shared>,
    running: Running,
    name: &str,
    inbound: impl Stream<Item = Inbound> + Send + Unpin,
    outbound: mpsc::Sender<Outbound>,
) -> Option<Running> {
    let scene = Scene::new(shared, name, &running.control, &running.stderr).await;
    match scene {
        Ok(scene) => relay::relay(running, &scene, inbound, outbound).await,
        Err(error) => {
            let why = format!("what is known of the server's tools cannot be read: {error}");
            tracing::error!(server = name, "{why}");
            running.control.stop(&why);
            // Its streams are closed by being dropped.
            let control = running.control.clone();
            drop(running);
            let _ = outbound.send(Outbound::Exited(control.ended().await)).await;
            None
        }
    }
}

/// Gives a launch back whose host went away before either side had said a word. What was granted to its session ends.
pub(crate) async fn give_back(shared: &Shared, server: &Handle, session: Uuid, running: Running) {
    renounce(shared, &running.control.rules).await;
    server.left(session, running).await;
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
            profile: plan.profile.as_ref().map(ToString::to_string),
            env: Vec::new(),
            registered: false,
            enabled: false,
            created_at: Timestamp::now(),
        })
        .await?;
    Ok(())
}

/// What a registered server's launch is: what the registration says, and what was asked for where it says nothing.
fn plan_for(server: &Server, asked: Plan) -> Plan {
    let mut plan = Plan {
        command: server.command.clone(),
        cwd: server.cwd.as_ref().map_or(asked.cwd, PathBuf::from),
        cwd_identity: asked.cwd_identity.filter(|_| server.cwd.is_none()),
        settings: asked
            .settings
            .or_else(|| server.settings.as_ref().map(PathBuf::from)),
        profile: asked.profile.or_else(|| registered_profile(server)),
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

/// A registered server's launch without a host: `environment` is what stands for the host's.
pub(crate) fn plan_without_host(
    server: &Server,
    home: &Path,
    environment: BTreeMap<String, String>,
) -> Plan {
    let asked = Plan {
        name: server.name.clone(),
        command: Vec::new(),
        // Where it has no folder of its own.
        cwd: home.to_owned(),
        cwd_identity: None,
        settings: None,
        profile: None,
        environment,
        named: Vec::new(),
        // There is no host to take it from.
        umask: 0o022,
        restart: false,
        last_good: None,
    };
    plan_for(server, asked)
}

/// Shared by every session.
pub(crate) type SharedSessions = Arc<Sessions>;
