//! `/metrics` and `/health` over HTTP.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::serve::Listener;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use super::bounded::Bounded;
use super::place::Place;
use super::token::Token;
use super::{health, page};
use crate::supervisor::Supervisor;

/// What OpenMetrics text is called.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Served {
    supervisor: Arc<Supervisor>,
    /// `None` where the socket's file says who may read.
    token: Option<Token>,
}

/// Serves metrics at `place` until the daemon is to end. Returns once that has begun.
///
/// # Errors
/// When that cannot be listened at, or the token cannot be had.
pub(crate) async fn serve(supervisor: &Arc<Supervisor>, place: &Place) -> anyhow::Result<()> {
    let shared = supervisor.shared.clone();
    let closed = shared.shutdown.clone();
    let served = |token| Served {
        supervisor: supervisor.clone(),
        token,
    };
    match place {
        Place::Tcp(address) => {
            let token = Token::of(&shared.paths.state)?;
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("cannot serve metrics on {address}"))?;
            let path = shared.paths.state.join(super::token::FILE);
            tracing::info!(%address, token = %path.display(), "metrics are served");
            shared
                .tracker
                .spawn(run(Bounded::new(listener), served(Some(token)), closed));
        }
        Place::Unix(path) => {
            let (listener, file) = bind(path).await?;
            tracing::info!(socket = %path.display(), "metrics are served");
            let served = served(None);
            shared.tracker.spawn(async move {
                run(Bounded::new(listener), served, closed).await;
                drop(file);
            });
        }
    }
    Ok(())
}

/// A socket's file, removed when this is dropped.
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds a socket in a folder of ours. One that a daemon which died left there is replaced; nothing else is.
async fn bind(path: &Path) -> anyhow::Result<(UnixListener, File)> {
    let place = path.display();
    let folder = path
        .parent()
        .with_context(|| format!("{place} is not a place for a socket"))?;
    srt_proto::socket::prepare_folder(folder)?;
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot look at {place}")),
        Ok(meta) if !meta.file_type().is_socket() => anyhow::bail!(
            "{place} is there and is no socket\nhint: choose another path for --metrics"
        ),
        Ok(_) => {
            if tokio::net::UnixStream::connect(path).await.is_ok() {
                anyhow::bail!(
                    "somebody serves at {place} already\nhint: another srtd? choose another path for --metrics"
                );
            }
            std::fs::remove_file(path)
                .with_context(|| format!("cannot remove the old socket {place}"))?;
        }
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot serve metrics at {place}"))?;
    let file = File(path.to_owned());
    // Until here the folder's 0700 kept others out.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot set the mode of {place}"))?;
    Ok((listener, file))
}

async fn run<L>(listener: L, served: Served, closed: CancellationToken)
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .with_state(served);
    // Who still reads is not waited for: nothing is lost with it.
    tokio::select! {
        ended = axum::serve(listener, router).into_future() => {
            if let Err(error) = ended {
                tracing::error!(%error, "metrics are no longer served");
            }
        }
        () = closed.cancelled() => {}
    }
}

impl Served {
    /// An answer for who has no token.
    fn refused(&self, headers: &HeaderMap) -> Option<Response> {
        let token = self.token.as_ref()?;
        let given = headers.get(header::AUTHORIZATION);
        if given.is_some_and(|value| token.is_in(value.as_bytes())) {
            return None;
        }
        let path = self.supervisor.shared.paths.state.join(super::token::FILE);
        let text = format!(
            "metrics need the header \"Authorization: Bearer TOKEN\"; the token is in {}\n",
            path.display()
        );
        let asks = (header::WWW_AUTHENTICATE, "Bearer");
        Some((StatusCode::UNAUTHORIZED, [asks], text).into_response())
    }
}

async fn metrics(State(served): State<Served>, headers: HeaderMap) -> Response {
    if let Some(refused) = served.refused(&headers) {
        return refused;
    }
    match page::page(&served.supervisor).await {
        Ok(text) => {
            let kind = (header::CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS));
            ([kind], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "cannot write the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn health(State(served): State<Served>, headers: HeaderMap) -> Response {
    if let Some(refused) = served.refused(&headers) {
        return refused;
    }
    let reasons = health::reasons(&served.supervisor).await;
    let status = match reasons.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let kind = (
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    (status, [kind], format!("{:#}\n", health::answer(&reasons))).into_response()
}
