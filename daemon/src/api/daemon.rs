//! `srt.v1.Daemon`: the daemon about itself.

use srt_proto::v1::daemon_server::Daemon;
use srt_proto::v1::{DaemonStatus, DaemonStatusRequest, DaemonStopRequest, DaemonStopResponse};
use tonic::{Request, Response, Status};

use super::Api;
use super::error::of_store;

#[tonic::async_trait]
impl Daemon for Api {
    async fn status(
        &self,
        _: Request<DaemonStatusRequest>,
    ) -> Result<Response<DaemonStatus>, Status> {
        let shared = &self.supervisor.shared;
        let servers = shared
            .store
            .servers()
            .await
            .map_err(|error| of_store(&error))?;
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
        }))
    }

    async fn stop(
        &self,
        _: Request<DaemonStopRequest>,
    ) -> Result<Response<DaemonStopResponse>, Status> {
        self.supervisor.shared.shutdown.cancel();
        Ok(Response::new(DaemonStopResponse {}))
    }
}

/// Our own resident memory in bytes: the second field of `/proc/self/statm` (proc(5)); 0 where there is none.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok())
        .unwrap_or(0);
    pages * rustix::param::page_size() as u64
}
