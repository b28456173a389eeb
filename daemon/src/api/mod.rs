//! The contract's services over the daemon's rooms: the only place that knows the generated types.

mod audit;
mod daemon;
mod error;
mod inventory;
mod paged;
mod servers;
mod sessions;

use std::sync::Arc;
use std::time::Instant;

use srt_proto::v1::{
    audit_server::AuditServer, daemon_server::DaemonServer, servers_server::ServersServer,
    sessions_server::SessionsServer,
};
use tonic::transport::server::Router;

use crate::session::SharedSessions;
use crate::supervisor::Supervisor;

/// What every service has.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) sessions: SharedSessions,
    pub(crate) since: Instant,
}

impl Api {
    /// All services, health and reflection included.
    pub(crate) async fn router(self) -> anyhow::Result<Router> {
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<SessionsServer<Self>>().await;
        health.set_serving::<ServersServer<Self>>().await;
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
            .add_service(AuditServer::new(self.clone()))
            .add_service(DaemonServer::new(self)))
    }
}
