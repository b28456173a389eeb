//! Servers that start with the daemon (`srtctl enable`).

use std::sync::Arc;

use crate::session::plan_without_host;
use crate::supervisor::Supervisor;

/// Starts every enabled server, all at once, as `srtctl start` would, with the daemon's own environment in place of a
/// caller's. One that cannot be started is told of in the log, and keeps nobody else from starting.
pub(crate) async fn start(supervisor: Arc<Supervisor>) {
    let shared = &supervisor.shared;
    let servers = match shared.store.servers().await {
        Ok(servers) => servers,
        Err(error) => {
            tracing::error!(%error, "cannot tell which servers start with the daemon; none does");
            return;
        }
    };
    // Names and values that are no UTF-8 cannot be in a plan; no server would get them from a host either.
    let environment: std::collections::BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let starts = servers
        .into_iter()
        .filter(|server| server.enabled)
        .map(async |server| {
            let plan = plan_without_host(&server, &shared.paths.home, environment.clone());
            match supervisor.server(&server.name).start(plan).await {
                Ok(()) => tracing::info!(server = server.name, "started with the daemon"),
                Err((reason, _)) => {
                    tracing::error!(server = server.name, %reason, "enabled, and cannot be started");
                }
            }
        });
    futures_util::future::join_all(starts).await;
}
