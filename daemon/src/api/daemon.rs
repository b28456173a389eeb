//! `srt.v1.Daemon`: the daemon about itself.

use srt_proto::v1::daemon_server::Daemon;
use srt_proto::v1::{
    AuditChain, DaemonStatus, DaemonStatusRequest, DaemonStopRequest, DaemonStopResponse,
    DaemonUpgradeRequest, DaemonUpgradeResponse, Shipping,
};
use tonic::{Request, Response, Status};

use super::Api;
use super::error::of_upgrade;
use super::paged::time;
use crate::life::{Upgrade, UpgradeError};
use crate::metrics;
use crate::supervisor::Shared;

#[tonic::async_trait]
impl Daemon for Api {
    async fn status(
        &self,
        _: Request<DaemonStatusRequest>,
    ) -> Result<Response<DaemonStatus>, Status> {
        let shared = &self.supervisor.shared;
        // A database that cannot be read is among the troubles, which is why somebody asks.
        let servers = shared.store.servers().await.unwrap_or_default();
        let launches: usize = self
            .supervisor
            .names()
            .iter()
            .filter_map(|name| self.supervisor.snapshot(name))
            .map(|snapshot| snapshot.launches.len())
            .sum();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(Response::new(DaemonStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            socket: shared.paths.socket.display().to_string(),
            database: shared.paths.database().display().to_string(),
            config_dir: shared.paths.config.display().to_string(),
            uptime_seconds: self.since.elapsed().as_secs_f64(),
            servers: count(servers.len()),
            sessions: count(self.sessions.count()),
            launches: count(launches),
            memory_bytes: resident(),
            program: self.program.display().to_string(),
            shipping: shipping(shared),
            audit_chain: chain(shared).await,
            upgrades: self.upgrades,
            upgrade_error: self.upgrade_error.clone().unwrap_or_default(),
            troubles: metrics::reasons(&self.supervisor).await,
            damaged: shared
                .store
                .damaged()
                .iter()
                .map(|folder| folder.display().to_string())
                .collect(),
        }))
    }

    async fn stop(
        &self,
        _: Request<DaemonStopRequest>,
    ) -> Result<Response<DaemonStopResponse>, Status> {
        self.supervisor.shared.shutdown.cancel();
        Ok(Response::new(DaemonStopResponse {}))
    }

    async fn upgrade(
        &self,
        request: Request<DaemonUpgradeRequest>,
    ) -> Result<Response<DaemonUpgradeResponse>, Status> {
        let shared = &self.supervisor.shared;
        let asked = request.into_inner().program;
        let program = match asked.as_str() {
            "" => self.program.clone(),
            path => path.into(),
        };
        let upgrade = Upgrade::to(&program).await.map_err(|e| of_upgrade(&e))?;
        let version = upgrade.version.clone();
        if shared.shutdown.is_cancelled() || !shared.ending.upgrade(upgrade) {
            return Err(of_upgrade(&UpgradeError::UnderWay));
        }
        // First: what ends now ends for the next program to go on with.
        shared.hands_over.cancel();
        shared.shutdown.cancel();
        Ok(Response::new(DaemonUpgradeResponse {
            program: program.display().to_string(),
            version,
            upgrades: self.upgrades,
        }))
    }
}

/// What makes the audit log one that can be believed; absent where the database cannot be read, which is a trouble of its own.
async fn chain(shared: &Shared) -> Option<AuditChain> {
    let state = shared.store.chain_state().await.ok()?;
    let trouble = state.noticed.map(|(seq, message)| {
        format!("noticed at a start, by entry {seq}: {message}\nhint: srtctl audit verify")
    });
    Some(AuditChain {
        key_kept: state.key_kept.to_owned(),
        key: state.key,
        anchored: state.anchored,
        segments: state.segments,
        trouble: trouble.unwrap_or_default(),
    })
}

/// How the audit log's shipping goes, where there is a collector.
fn shipping(shared: &Shared) -> Option<Shipping> {
    let progress = shared.shipping.borrow();
    let progress = progress.as_ref()?;
    let shipped = &progress.shipped;
    Some(Shipping {
        endpoint: shipped.endpoint.clone(),
        shipped: shipped.seq,
        behind: progress.behind(*shared.store.audit_tail().borrow()),
        rejected: shipped.rejected,
        missed: shipped.missed,
        last: progress.last.map(time).unwrap_or_default(),
        trouble: progress.trouble.clone().unwrap_or_default(),
    })
}

/// Our own resident memory in bytes: the second field of `/proc/self/statm` (proc(5)); 0 where there is none.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok())
        .unwrap_or(0);
    pages * rustix::param::page_size() as u64
}
