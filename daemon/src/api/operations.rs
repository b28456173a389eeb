//! `srt.v1.Operations`: signals, start with the daemon, and what servers use.

use jiff::Timestamp;
use nix::sys::signal::Signal;
use srt_proto::exit;
use srt_proto::v1::operations_server::Operations;
use srt_proto::v1::{
    EnableRequest, KillRequest, KillResponse, KillResult, LaunchUsage, ResetFailedRequest,
    ResetFailedResponse, SelectRequest, SelectResponse, ServerUsage, UsageRequest, UsageResponse,
};
use srt_runtime::Usage;
use tonic::{Request, Response, Status};

use super::error::{bad_request, of_store};
use super::inventory::shown;
use super::servers::done;
use super::{Api, client_pid};
use crate::audit::{Entry, Kind, Signalled};
use crate::supervisor::{Control, State, usage};

#[tonic::async_trait]
impl Operations for Api {
    async fn kill(&self, request: Request<KillRequest>) -> Result<Response<KillResponse>, Status> {
        let client_pid = client_pid(&request);
        let KillRequest { names, signal } = request.into_inner();
        let signal_name = Signal::try_from(signal)
            .map_err(|_| {
                bad_request(format!(
                    "{signal} is no signal that can be sent\nhint: 1 to 31; \"kill -l\" lists them"
                ))
            })?
            .as_str();
        let selected = self.select(&named(names)).await?;
        let mut results = Vec::with_capacity(selected.len());
        for server in selected {
            let launches = self.launches(&server.name);
            if launches.is_empty() {
                results.push(KillResult {
                    error: format!(
                        "{} is not running: there is nothing to send {signal_name} to\nhint: srtctl status {0}",
                        server.name
                    ),
                    name: server.name,
                    pids: Vec::new(),
                    exit_code: exit::NOT_RUNNING,
                });
                continue;
            }
            let pids: Vec<u32> = launches
                .iter()
                .map(|control| control.processes.pid())
                .collect();
            // Durable before anything ends by it: the log tells why, before it tells the end.
            let signalled = Signalled {
                signal,
                pids: &pids,
                client_pid,
            };
            let entry = signalled.entry(Timestamp::now(), &server.name, signal_name);
            let store = &self.supervisor.shared.store;
            store
                .record(entry)
                .await
                .map_err(|error| of_store(&error))?;
            for control in &launches {
                control.processes.signal(signal);
            }
            results.push(KillResult {
                name: server.name,
                pids,
                ..KillResult::default()
            });
        }
        Ok(Response::new(KillResponse { results }))
    }

    async fn enable(
        &self,
        request: Request<EnableRequest>,
    ) -> Result<Response<SelectResponse>, Status> {
        let EnableRequest { names, enabled } = request.into_inner();
        let kind = if enabled { Kind::Enable } else { Kind::Disable };
        let mut results = Vec::new();
        for server in self.select(&named(names)).await? {
            let mut result = done(server.name);
            if server.registered {
                let entry = Entry::new(Timestamp::now(), kind, &result.name).server(&result.name);
                let store = &self.supervisor.shared.store;
                store
                    .enable_server(&result.name, enabled, entry)
                    .await
                    .map_err(|error| of_store(&error))?;
            } else {
                result.error = format!(
                    "{0} is not registered: it is known from a host's command line only, and starts when a host wants it\nhint: srtctl add {0} -- COMMAND",
                    result.name
                );
                result.exit_code = exit::ERROR;
            }
            results.push(result);
        }
        Ok(Response::new(SelectResponse { results }))
    }

    async fn reset_failed(
        &self,
        request: Request<ResetFailedRequest>,
    ) -> Result<Response<ResetFailedResponse>, Status> {
        let mut names = Vec::new();
        for server in self.all_or(request.into_inner().names).await? {
            // One that was never asked for has no failures.
            if self.supervisor.snapshot(&server).is_some()
                && self.supervisor.server(&server).reset().await
            {
                names.push(server);
            }
        }
        Ok(Response::new(ResetFailedResponse { names }))
    }

    async fn usage(
        &self,
        request: Request<UsageRequest>,
    ) -> Result<Response<UsageResponse>, Status> {
        let names = self.all_or(request.into_inner().names).await?;
        Ok(Response::new(UsageResponse {
            servers: self.used(names).await?,
        }))
    }
}

impl Api {
    /// The servers that are named, which must be known; all there are where none is.
    async fn all_or(&self, names: Vec<String>) -> Result<Vec<String>, Status> {
        let selected = if names.is_empty() {
            self.known().await?
        } else {
            self.select(&named(names)).await?
        };
        Ok(selected.into_iter().map(|server| server.name).collect())
    }

    /// The launches of a server that run, oldest first.
    fn launches(&self, name: &str) -> Vec<Control> {
        let snapshot = self.supervisor.snapshot(name);
        snapshot.map_or_else(Vec::new, |snapshot| snapshot.launches)
    }

    async fn used(&self, names: Vec<String>) -> Result<Vec<ServerUsage>, Status> {
        let mut servers = Vec::with_capacity(names.len());
        let mut all = Vec::new();
        for name in names {
            let store = &self.supervisor.shared.store;
            let history = store
                .history(&name)
                .await
                .map_err(|error| of_store(&error))?;
            let snapshot = self.supervisor.snapshot(&name);
            let state = snapshot
                .as_ref()
                .map_or(State::Stopped, |snapshot| snapshot.state);
            let sessions = snapshot.as_ref().map_or(0, |snapshot| snapshot.sessions);
            let launches = snapshot.map_or_else(Vec::new, |snapshot| snapshot.launches);
            let server = ServerUsage {
                name,
                state: shown(state).to_owned(),
                sessions,
                restarts: u32::try_from(history.restarts).unwrap_or(u32::MAX),
                launches: Vec::new(),
            };
            servers.push((server, launches.len()));
            all.extend(launches);
        }
        let mut used = all.iter().zip(usage(&all).await);
        Ok(servers
            .into_iter()
            .map(|(mut server, launches)| {
                let own = used.by_ref().take(launches);
                server.launches = own.map(|(control, usage)| launch(control, usage)).collect();
                server
            })
            .collect())
    }
}

fn launch(control: &Control, usage: Usage) -> LaunchUsage {
    let counted = control.activity.counted();
    LaunchUsage {
        launch: control.id.to_string(),
        age_seconds: control.since.elapsed().as_secs_f64(),
        cpu_seconds: usage.cpu_seconds,
        memory_bytes: usage.memory,
        processes: usage.processes,
        flows: u32::try_from(control.flows.list().len()).unwrap_or(u32::MAX),
        messages_in: counted.to_server,
        messages_out: counted.to_host,
    }
}

fn named(names: Vec<String>) -> SelectRequest {
    SelectRequest {
        names,
        ..SelectRequest::default()
    }
}
