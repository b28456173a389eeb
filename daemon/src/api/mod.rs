//! The contract's services over the daemon's rooms: the only place that knows the generated types.

mod approvals;
mod audit;
mod changes;
mod daemon;
mod direct;
mod error;
mod events;
mod flows;
mod grants;
mod inventory;
mod operations;
mod paged;
mod policies;
mod reload;
mod servers;
mod sessions;
mod tools;
mod touched;
mod why;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use srt_proto::v1::{
    approvals_server::ApprovalsServer, audit_server::AuditServer, changes_server::ChangesServer,
    daemon_server::DaemonServer, events_server::EventsServer, flows_server::FlowsServer,
    grants_server::GrantsServer, operations_server::OperationsServer,
    policies_server::PoliciesServer, servers_server::ServersServer,
    sessions_server::SessionsServer, tools_server::ToolsServer,
};
use tonic::Request;
use tonic::transport::server::{Router, UdsConnectInfo};

use crate::live::Who;
use crate::session::SharedSessions;
use crate::supervisor::Supervisor;

/// What every service has.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) sessions: SharedSessions,
    pub(crate) since: Instant,
    /// The file that this program was started from.
    pub(crate) program: PathBuf,
    /// How many programs this process had before.
    pub(crate) upgrades: u32,
    /// Why the one that should be here is not.
    pub(crate) upgrade_error: Option<String>,
}

impl Api {
    /// All services, health and reflection included.
    pub(crate) async fn router(self) -> anyhow::Result<Router> {
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<SessionsServer<Self>>().await;
        health.set_serving::<ServersServer<Self>>().await;
        health.set_serving::<PoliciesServer<Self>>().await;
        health.set_serving::<OperationsServer<Self>>().await;
        health.set_serving::<EventsServer<Self>>().await;
        health.set_serving::<ChangesServer<Self>>().await;
        health.set_serving::<FlowsServer<Self>>().await;
        health.set_serving::<ApprovalsServer<Self>>().await;
        health.set_serving::<GrantsServer<Self>>().await;
        health.set_serving::<ToolsServer<Self>>().await;
        health.set_serving::<AuditServer<Self>>().await;
        health.set_serving::<DaemonServer<Self>>().await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(srt_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()?;
        Ok(tonic::transport::Server::builder()
            // What one session may have under way in either direction; beyond it, it waits.
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .add_service(health_service)
            .add_service(reflection)
            .add_service(SessionsServer::new(self.clone()))
            .add_service(ServersServer::new(self.clone()))
            .add_service(PoliciesServer::new(self.clone()))
            .add_service(OperationsServer::new(self.clone()))
            .add_service(EventsServer::new(self.clone()))
            .add_service(ChangesServer::new(self.clone()))
            .add_service(FlowsServer::new(self.clone()))
            .add_service(ApprovalsServer::new(self.clone()))
            .add_service(GrantsServer::new(self.clone()))
            .add_service(ToolsServer::new(self.clone()))
            .add_service(AuditServer::new(self.clone()))
            .add_service(DaemonServer::new(self)))
    }
}

/// Who is at the other end of the socket. Its folder lets in nobody but us and root.
fn who<T>(request: &Request<T>) -> Who {
    let credentials = request
        .extensions()
        .get::<UdsConnectInfo>()
        .and_then(|info| info.peer_cred);
    let uid = credentials.map_or_else(
        || rustix::process::getuid().as_raw(),
        |credentials| credentials.uid(),
    );
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid));
    Who {
        uid,
        user: user.ok().flatten().map(|user| user.name),
    }
}

/// The process at the other end of the socket, on the host.
fn client_pid<T>(request: &Request<T>) -> Option<u32> {
    let info = request.extensions().get::<UdsConnectInfo>()?;
    u32::try_from(info.peer_cred?.pid()?).ok()
}
