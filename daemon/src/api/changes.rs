//! `srt.v1.Changes`: what servers changed of overlaid folders, and settling it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use srt_proto::exit;
use srt_proto::v1::changes_server::Changes;
use srt_proto::v1::{Change, ChangesRequest, Discarded, SettleRequest, Settled};
use srt_runtime::{Diff, LayerError, LayerInfo, Outcome, Settlement, What};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use super::error::{of_policy, status, unknown};
use super::paged::Answers;
use super::{Api, client_pid};
use crate::audit::{self, Kind};
use crate::paths::is_server_name;
use crate::supervisor::Shared;

/// Where answers go; when nobody takes them any more the work ends between two files.
type Sink<T> = mpsc::Sender<Result<T, Status>>;

#[tonic::async_trait]
impl Changes for Api {
    type ListStream = Answers<Change>;

    async fn list(
        &self,
        request: Request<ChangesRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let request = request.into_inner();
        let layers = self
            .layers(&request.name, request.layer, &request.paths, false)
            .await?;
        Ok(self.answer(move |shared, sink| async move {
            for Layer { info, paths } in layers {
                list(&shared, &request, info, paths, sink.clone()).await?;
            }
            Ok(())
        }))
    }

    type ApplyStream = Answers<Settled>;

    async fn apply(
        &self,
        request: Request<SettleRequest>,
    ) -> Result<Response<Self::ApplyStream>, Status> {
        let client_pid = client_pid(&request);
        let request = request.into_inner();
        let layers = self
            .layers(&request.name, request.layer, &request.paths, true)
            .await?;
        if let Some(layer) = layers
            .iter()
            .find(|layer| layer.info.in_use && !request.live)
        {
            return Err(of_layer(&in_use(&request.name, &layer.info, true)));
        }
        Ok(self.answer(move |shared, sink| async move {
            for Layer { info, paths } in layers {
                apply(&shared, &request, info, paths, client_pid, sink.clone()).await?;
            }
            Ok(())
        }))
    }

    type DiscardStream = Answers<Discarded>;

    async fn discard(
        &self,
        request: Request<SettleRequest>,
    ) -> Result<Response<Self::DiscardStream>, Status> {
        let client_pid = client_pid(&request);
        let request = request.into_inner();
        let layers = self
            .layers(&request.name, request.layer, &request.paths, true)
            .await?;
        if let Some(layer) = layers.iter().find(|layer| layer.info.in_use) {
            return Err(of_layer(&in_use(&request.name, &layer.info, false)));
        }
        Ok(self.answer(move |shared, sink| async move {
            for Layer { info, paths } in layers {
                let (name, asked) = (request.name.clone(), request.paths.clone());
                let done = discard(&shared, name, &asked, info, paths, client_pid).await?;
                // Whoever has gone has no use for it; the rest is discarded all the same.
                let _ = sink.send(Ok(done)).await;
            }
            Ok(())
        }))
    }
}

/// A layer and what is asked of it.
struct Layer {
    info: LayerInfo,
    paths: Vec<PathBuf>,
}

impl Api {
    /// The layers that a request is about. With `each` path must be in one of them; a path of which no layer holds
    /// anything is told by whoever looks.
    async fn layers(
        &self,
        name: &str,
        number: u32,
        paths: &[String],
        each: bool,
    ) -> Result<Vec<Layer>, Status> {
        let shared = &self.supervisor.shared;
        let known = shared.manager.layers();
        let mut infos = if is_server_name(name) {
            known.of(name).map_err(|error| of_layer(&error))?
        } else {
            Vec::new()
        };
        if infos.is_empty() && !self.known().await?.iter().any(|server| server.name == name) {
            return Err(unknown(name));
        }
        if number != 0 {
            infos.retain(|info| info.number == number);
            if infos.is_empty() {
                return Err(of_layer(&LayerError::NoLayer {
                    server: name.to_owned(),
                    number,
                }));
            }
        }
        let mut layers: Vec<_> = infos
            .into_iter()
            .map(|info| Layer {
                paths: paths
                    .iter()
                    .filter_map(|path| info.inside(Path::new(path)))
                    .collect(),
                info,
            })
            .collect();
        if paths.is_empty() {
            return Ok(layers);
        }
        let nowhere = paths.iter().find(|path| {
            !layers
                .iter()
                .any(|layer| layer.info.inside(Path::new(path)).is_some())
        });
        if let Some(path) = nowhere.filter(|_| each || !layers.is_empty()) {
            return Err(of_layer(&LayerError::Elsewhere {
                server: name.to_owned(),
                path: path.into(),
            }));
        }
        layers.retain(|layer| !layer.paths.is_empty());
        Ok(layers)
    }

    /// Answers a call by work that goes on after it, and is waited for when the daemon stops.
    fn answer<T, W>(&self, work: impl FnOnce(Arc<Shared>, Sink<T>) -> W) -> Response<Answers<T>>
    where
        T: Send + 'static,
        W: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let (sink, answers) = mpsc::channel(64);
        let shared = self.supervisor.shared.clone();
        let work = work(shared.clone(), sink.clone());
        shared.tracker.spawn(async move {
            if let Err(status) = work.await {
                let _ = sink.send(Err(status)).await;
            }
        });
        Response::new(Box::pin(ReceiverStream::new(answers)))
    }
}

impl Shared {
    /// The rules that hold what a layer's server may write: those of the settings under which it last ran.
    async fn rules(&self, name: &str, info: &LayerInfo) -> Result<Arc<srt_policy::Policy>, Status> {
        // What its program needs to run may be read; asked is what may be written.
        let program = Vec::new();
        let choice = self.policies.choice_of(name, info.settings.as_deref());
        let loaded = self
            .policies
            .load(name, &choice, &info.cwd, program)
            .await
            .map_err(|error| of_policy(&error))?;
        Ok(loaded.policy)
    }
}

async fn list(
    shared: &Arc<Shared>,
    request: &ChangesRequest,
    info: LayerInfo,
    paths: Vec<PathBuf>,
    sink: Sink<Change>,
) -> Result<(), Status> {
    let policy = shared.rules(&request.name, &info).await?;
    let (layers, diff) = (shared.manager.layers().clone(), request.diff);
    blocking(move || {
        layers.changes(
            &info,
            &policy.filesystem,
            &paths,
            diff,
            &mut |change, diff| {
                let mut shown = shown(&info, &change);
                match diff {
                    Some(Diff::Text(text)) => shown.diff = text,
                    Some(Diff::Binary) => shown.no_diff = "binary".into(),
                    Some(Diff::TooLong) => shown.no_diff = "too long".into(),
                    Some(Diff::None) | None => {}
                }
                send(&sink, shown)
            },
        )
    })
    .await
}

async fn apply(
    shared: &Arc<Shared>,
    request: &SettleRequest,
    info: LayerInfo,
    paths: Vec<PathBuf>,
    client_pid: Option<u32>,
    sink: Sink<Settled>,
) -> Result<(), Status> {
    let policy = shared.rules(&request.name, &info).await?;
    let layers = shared.manager.layers().clone();
    let (name, asked, force) = (request.name.clone(), request.paths.clone(), request.force);
    let order = Settlement {
        paths,
        force,
        live: request.live,
    };
    let applied = tokio::task::spawn_blocking(move || {
        let (mut done, mut refused, mut overridden) = (0, 0, Vec::new());
        let result = layers.apply(
            &name,
            &info,
            &policy.filesystem,
            &order,
            &mut |change, outcome| {
                match outcome {
                    Outcome::Done => {
                        done += 1;
                        if let Some(rule) = &change.guard {
                            overridden.push(format!("{}: {rule}", change.path.display()));
                        }
                    }
                    _ => refused += 1,
                }
                let (why, exit_code) = refusal(outcome);
                send(
                    &sink,
                    Settled {
                        change: Some(shown(&info, change)),
                        refused: why,
                        exit_code,
                    },
                )
            },
        );
        let settled = audit::Settled {
            layer: info.number,
            asked: &asked,
            settled: done,
            refused,
            force,
            overridden: &overridden,
            generation: policy.generation(),
            client_pid,
        };
        let folder = info.folder.display().to_string();
        let entry = settled.entry(Kind::Apply, Timestamp::now(), &name, &folder);
        (result, (done + refused > 0).then_some(entry))
    })
    .await;
    let (result, entry) = applied.map_err(|error| broken(&error))?;
    record(shared, entry).await;
    result.map_err(|error| of_layer(&error))
}

async fn discard(
    shared: &Arc<Shared>,
    name: String,
    asked: &[String],
    info: LayerInfo,
    paths: Vec<PathBuf>,
    client_pid: Option<u32>,
) -> Result<Discarded, Status> {
    let layers = shared.manager.layers().clone();
    let (of, folder) = (name.clone(), info.folder.display().to_string());
    let layer = info.number;
    let policy = shared.rules(&name, &info).await.ok();
    let generation = policy.and_then(|policy| policy.generation());
    let entries = blocking(move || layers.discard(&of, &info, &paths)).await?;
    let settled = audit::Settled {
        layer,
        asked,
        settled: entries,
        refused: 0,
        force: false,
        overridden: &[],
        generation,
        client_pid,
    };
    let entry = settled.entry(Kind::Discard, Timestamp::now(), &name, &folder);
    record(shared, Some(entry)).await;
    Ok(Discarded {
        layer,
        folder,
        entries,
    })
}

/// Throws away all that a server changed, before it is forgotten; without `force` there must be nothing.
pub(super) async fn forget(shared: &Arc<Shared>, name: &str, force: bool) -> Result<(), Status> {
    if !is_server_name(name) {
        return Ok(());
    }
    let layers = shared.manager.layers().clone();
    let of = name.to_owned();
    let infos = blocking(move || {
        let mut infos = Vec::new();
        for info in layers.of(&of)? {
            if layers.amount(&info)?.entries > 0 {
                infos.push(info);
            }
        }
        Ok(infos)
    })
    .await?;
    if !infos.is_empty() && !force {
        return Err(status(
            Code::FailedPrecondition,
            exit::ERROR,
            format!(
                "server {name:?} changed files of overlaid folders that were neither applied nor discarded\n\
                 hint: srtctl changes {name} shows them; --force throws them away"
            ),
        ));
    }
    for info in infos.into_iter().filter(|info| !info.in_use) {
        discard(shared, name.to_owned(), &[], info, Vec::new(), None).await?;
    }
    Ok(())
}

/// The entry is about what has been done: that it cannot be written undoes nothing, and is told.
async fn record(shared: &Shared, entry: Option<audit::Entry>) {
    if let Some(entry) = entry
        && let Err(error) = shared.store.record(entry).await
    {
        tracing::error!(%error, "cannot record that changes were settled");
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LayerError> + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| broken(&error))?
        .map_err(|error| of_layer(&error))
}

fn send<T>(sink: &Sink<T>, message: T) -> std::io::Result<()> {
    sink.blocking_send(Ok(message))
        .map_err(|_| std::io::Error::other("the client went away"))
}

fn shown(info: &LayerInfo, change: &srt_runtime::Change) -> Change {
    let (kind, target, outside) = match &change.what {
        What::File => ("file", String::new(), false),
        What::Folder => ("folder", String::new(), false),
        What::Link { target, outside } => ("link", target.display().to_string(), *outside),
        What::Special(what) => (*what, String::new(), false),
    };
    Change {
        layer: info.number,
        folder: info.folder.display().to_string(),
        path: change.path.display().to_string(),
        kind: change.kind.word().to_owned(),
        r#type: kind.to_owned(),
        size: change.size,
        was: change.was,
        files: change.files,
        mode: change.mode,
        target,
        outside,
        conflict: change
            .conflict
            .map(|conflict| conflict.to_string())
            .unwrap_or_default(),
        guard: change.guard.clone().unwrap_or_default(),
        diff: String::new(),
        no_diff: String::new(),
        in_use: info.in_use,
    }
}

fn refusal(outcome: &Outcome) -> (String, i32) {
    match outcome {
        Outcome::Done => (String::new(), exit::OK),
        Outcome::Conflict(conflict) => (conflict.to_string(), exit::ERROR),
        Outcome::Guarded(rule) => (format!("write-protected by {rule}"), exit::DENIED),
        Outcome::Failed(why) => (why.clone(), exit::ERROR),
    }
}

fn in_use(name: &str, info: &LayerInfo, live: bool) -> LayerError {
    LayerError::InUse {
        server: name.to_owned(),
        number: info.number,
        live,
    }
}

fn of_layer(error: &LayerError) -> Status {
    let (code, exit_code) = match error {
        LayerError::NoLayer { .. } => (Code::NotFound, exit::UNKNOWN_NAME),
        LayerError::Elsewhere { .. } => (Code::InvalidArgument, exit::USAGE),
        LayerError::InUse { .. } | LayerError::Busy { .. } => {
            (Code::FailedPrecondition, exit::ERROR)
        }
        _ => (Code::Internal, exit::ERROR),
    };
    status(code, exit_code, error.to_string())
}

fn broken(error: &tokio::task::JoinError) -> Status {
    status(Code::Internal, exit::ERROR, error.to_string())
}
