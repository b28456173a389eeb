//! `srt.v1.Servers`: what is registered and what runs.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use srt_policy::Origin;
use srt_proto::exit;
use srt_proto::v1::servers_server::Servers;
use srt_proto::v1::{
    AddRequest, AddResponse, ListRequest, ListResponse, LogLine, LogsRequest, PolicyLine,
    ReloadRequest, ReloadResponse, RemoveRequest, RemoveResponse, SelectRequest, SelectResponse,
    SelectResult, ShowPolicyRequest, ShowPolicyResponse, WhyRequest, WhyResponse,
};
use tonic::{Request, Response, Status};

use super::Api;
use super::changes::forget;
use super::error::{bad_request, of_policy, of_store, unknown};
use super::inventory::reference;
use super::paged::{Answers, answers, bound, time};
use super::sessions::profile;
use crate::audit::{Entry, Kind, command_line};
use crate::paths::is_server_name;
use crate::policies::shown;
use crate::session::plan_without_host;
use crate::store::{self, EnvVar, LogQuery, LogRecord};

#[tonic::async_trait]
impl Servers for Api {
    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let wanted: BTreeSet<String> = request.into_inner().names.into_iter().collect();
        let mut known = self.known().await?;
        if !wanted.is_empty() {
            if let Some(name) = wanted
                .iter()
                .find(|name| !known.iter().any(|server| server.name == **name))
            {
                return Err(unknown(name));
            }
            known.retain(|server| wanted.contains(&server.name));
        }
        let mut servers = Vec::with_capacity(known.len());
        for server in known {
            servers.push(self.describe(server).await?);
        }
        servers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Response::new(ListResponse { servers }))
    }

    async fn add(&self, request: Request<AddRequest>) -> Result<Response<AddResponse>, Status> {
        let request = request.into_inner();
        if !is_server_name(&request.name) {
            return Err(bad_request(format!(
                "{:?} cannot be a server's name\nhint: letters, digits, dot, dash and underscore, at most 64, \
                 not beginning with a dot or a dash",
                request.name
            )));
        }
        if request.command.is_empty() {
            return Err(bad_request(
                "a server needs a command\nhint: srtctl add NAME -- COMMAND ARG…",
            ));
        }
        for path in [&request.cwd, &request.settings] {
            if !path.is_empty() && !Path::new(path).is_absolute() {
                return Err(bad_request(format!("{path:?} is not absolute")));
            }
        }
        if !request.profile.is_empty() {
            profile(&request.profile)?;
        }
        let given = |text: String| (!text.is_empty()).then_some(text);
        let now = Timestamp::now();
        let entry =
            Entry::new(now, Kind::Register, command_line(&request.command)).server(&request.name);
        let server = store::Server {
            name: request.name,
            command: request.command,
            cwd: given(request.cwd),
            settings: given(request.settings),
            profile: given(request.profile),
            env: request
                .env
                .into_iter()
                .map(|variable| EnvVar {
                    name: variable.name,
                    value: variable.value,
                })
                .collect(),
            registered: true,
            enabled: false,
            created_at: now,
        };
        // A file that cannot be used is told now, not at the first launch.
        let cwd = self.cwd_of(&server);
        let policies = &self.supervisor.shared.policies;
        policies
            .try_for(&server, &cwd)
            .await
            .map_err(|error| of_policy(&error))?;
        self.supervisor
            .shared
            .store
            .register_server(server, entry)
            .await
            .map_err(|error| of_store(&error))?;
        Ok(Response::new(AddResponse {}))
    }

    async fn remove(
        &self,
        request: Request<RemoveRequest>,
    ) -> Result<Response<RemoveResponse>, Status> {
        let RemoveRequest { name, force } = request.into_inner();
        let known = self.known().await?.iter().any(|known| known.name == name);
        if !known {
            return Err(unknown(&name));
        }
        // Before anything is stopped; and once more for what it changed until it was.
        forget(&self.supervisor.shared, &name, force).await?;
        if let Some(stopped) = self
            .supervisor
            .server(&name)
            .stop("its registration was removed")
            .await
        {
            let _ = stopped.await;
        }
        forget(&self.supervisor.shared, &name, force).await?;
        let entry = Entry::new(Timestamp::now(), Kind::Remove, &name).server(&name);
        let store = &self.supervisor.shared.store;
        // Before its name is free: another server of that name has none of its approvals.
        self.supervisor.shared.live.end_server(&name).await;
        self.supervisor.shared.books.forget(&name);
        match store
            .remove_server(&name, entry)
            .await
            .map_err(|error| of_store(&error))?
        {
            true => Ok(Response::new(RemoveResponse {})),
            false => Err(unknown(&name)),
        }
    }

    async fn start(
        &self,
        request: Request<SelectRequest>,
    ) -> Result<Response<SelectResponse>, Status> {
        let request = request.into_inner();
        let selected = self.select(&request).await?;
        let mut pending = Vec::new();
        for server in selected {
            let environment = request.environment.clone().into_iter().collect();
            let home = &self.supervisor.shared.paths.home;
            let plan = plan_without_host(&server, home, environment);
            let handle = self.supervisor.server(&server.name);
            pending.push(async move { (server.name, handle.start(plan).await) });
        }
        let results = futures_util::future::join_all(pending).await;
        Ok(Response::new(SelectResponse {
            results: results
                .into_iter()
                .map(|(name, result)| match result {
                    Ok(()) => done(name),
                    Err((error, code)) => SelectResult {
                        name,
                        error,
                        // A command that is not found is, for who wants it started, a server that failed.
                        exit_code: if (1..=exit::DENIED).contains(&code) {
                            code
                        } else {
                            exit::NOT_RUNNING
                        },
                    },
                })
                .collect(),
        }))
    }

    async fn stop(
        &self,
        request: Request<SelectRequest>,
    ) -> Result<Response<SelectResponse>, Status> {
        let selected = self.select(&request.into_inner()).await?;
        let mut pending = Vec::new();
        for server in selected {
            let handle = self.supervisor.server(&server.name);
            pending.push(async move {
                if let Some(stopped) = handle.stop("stopped by srtctl").await {
                    let _ = stopped.await;
                }
                server.name
            });
        }
        let names = futures_util::future::join_all(pending).await;
        Ok(Response::new(SelectResponse {
            results: names.into_iter().map(done).collect(),
        }))
    }

    async fn restart(
        &self,
        request: Request<SelectRequest>,
    ) -> Result<Response<SelectResponse>, Status> {
        let request = request.into_inner();
        self.stop(Request::new(request.clone())).await?;
        self.start(Request::new(request)).await
    }

    async fn reload(
        &self,
        request: Request<ReloadRequest>,
    ) -> Result<Response<ReloadResponse>, Status> {
        let told = self.read_settings_anew(request.into_inner()).await?;
        Ok(Response::new(told))
    }

    type LogsStream = Answers<LogLine>;

    async fn logs(
        &self,
        request: Request<LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let request = request.into_inner();
        if !self
            .known()
            .await?
            .iter()
            .any(|server| server.name == request.name)
        {
            return Err(unknown(&request.name));
        }
        let stream = match request.stream.as_str() {
            "" => None,
            name => Some(
                name.parse()
                    .map_err(|error: store::UnknownStream| bad_request(error.to_string()))?,
            ),
        };
        let query = LogQuery {
            server: request.name,
            since: bound(&request.since)?,
            stream,
            after_id: 0,
            limit: (request.lines > 0).then_some(request.lines),
        };
        let shared = &self.supervisor.shared;
        let pages = shared.store.logs(query);
        Ok(Response::new(answers(
            shared,
            pages,
            request.follow,
            log_line,
        )))
    }

    async fn show_policy(
        &self,
        request: Request<ShowPolicyRequest>,
    ) -> Result<Response<ShowPolicyResponse>, Status> {
        let name = request.into_inner().name;
        let Some(server) = self
            .known()
            .await?
            .into_iter()
            .find(|server| server.name == name)
        else {
            return Err(unknown(&name));
        };
        let policies = &self.supervisor.shared.policies;
        let loaded = policies
            .load_for(&server, &self.cwd_of(&server))
            .await
            .map_err(|error| of_policy(&error))?;
        let lines = loaded
            .policy
            .lines()
            .into_iter()
            .map(|line| {
                let (file, number, reason) = match line.origin {
                    Origin::BuiltIn(reason) => ("built-in".to_owned(), 0, reason.to_owned()),
                    Origin::File { path, line, .. } => {
                        (path.display().to_string(), line, String::new())
                    }
                    grant @ Origin::Grant { .. } => (grant.to_string(), 0, String::new()),
                };
                PolicyLine {
                    key: line.key.to_owned(),
                    value: line.value,
                    file,
                    line: number,
                    reason,
                }
            })
            .collect();
        Ok(Response::new(ShowPolicyResponse {
            policy: Some(reference(&loaded.generation)),
            lines,
            warnings: loaded
                .warnings
                .iter()
                .map(shown)
                .chain(loaded.notes)
                .collect(),
        }))
    }

    async fn why(&self, request: Request<WhyRequest>) -> Result<Response<WhyResponse>, Status> {
        Ok(Response::new(self.why(request.into_inner()).await?))
    }
}

pub(super) fn done(name: String) -> SelectResult {
    SelectResult {
        name,
        error: String::new(),
        exit_code: exit::OK,
    }
}

fn log_line(record: LogRecord) -> LogLine {
    let line = record.line;
    LogLine {
        at: time(line.at),
        stream: line.stream.to_string(),
        launch: line.launch.map(|id| id.to_string()).unwrap_or_default(),
        line: line.line,
        id: record.id,
    }
}
