//! `srt.v1.Sessions`: a host attaches.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use srt_proto::v1::attach_request::Message as In;
use srt_proto::v1::attach_response::Message as Out;
use srt_proto::v1::sessions_server::Sessions;
use srt_proto::v1::{AttachRequest, AttachResponse, Exited, Opened, SignalRequest, SignalResponse};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::Api;
use super::error::{bad_request, of_attach};
use crate::session::{self, AttachError, Inbound, Outbound, Session, relay};
use crate::supervisor::{Plan, Refused};

/// Chunks that may wait for the host on our side, beside what HTTP/2 has under way.
const CHUNKS: usize = 4;
/// How long a host may take to read what is left once its server is gone and the daemon is to end.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[tonic::async_trait]
impl Sessions for Api {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<AttachResponse, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let client_pid = request
            .extensions()
            .get::<UdsConnectInfo>()
            .and_then(|info| info.peer_cred?.pid())
            .and_then(|pid| u32::try_from(pid).ok());
        let mut inbound = request.into_inner();
        let open = match inbound.message().await?.and_then(|request| request.message) {
            Some(In::Open(open)) => open,
            _ => return Err(bad_request("the first message of Attach must be Open")),
        };
        let debug = open.debug;
        let request = session::Request {
            plan: Plan {
                name: open.name,
                command: open.command,
                cwd: open.cwd.into(),
                settings: (!open.settings.is_empty()).then(|| open.settings.into()),
                environment: open.environment.into_iter().collect(),
                named: open.env_names,
                umask: open.umask,
                restart: false,
            },
            client_pid,
        };
        let session = self
            .open_whole(request)
            .await
            .map_err(|error| of_attach(&error))?;
        let mut first = vec![Out::Opened(Opened {
            attachment: session.id.to_string(),
            launch: session.running.control.id.to_string(),
            name: session.name,
        })];
        if debug {
            let pid = session.running.control.processes.pid();
            first.push(Out::Notice(format!("sandboxed as pid {pid}")));
            first.extend(session.running.notices.iter().cloned().map(Out::Notice));
        }

        let (sender, receiver) = mpsc::channel(CHUNKS);
        let inbound = inbound.filter_map(|message| {
            std::future::ready(match message.ok().and_then(|request| request.message) {
                Some(In::Stdin(bytes)) => Some(Inbound::Stdin(bytes)),
                Some(In::StdinEnd(_)) => Some(Inbound::StdinEnd),
                _ => None,
            })
        });
        let sessions = self.sessions.clone();
        let shared = self.supervisor.shared.clone();
        let control = session.running.control.clone();
        self.supervisor.shared.tracker.spawn(async move {
            // A host that does not read cannot keep the daemon from ending.
            let given_up = async {
                shared.shutdown.cancelled().await;
                control.ended().await;
                tokio::time::sleep(LAST_WORDS).await;
            };
            tokio::select! {
                () = relay(session.running, Box::pin(inbound), sender) => {}
                () = given_up => {}
            }
            session::close(&sessions, session.id);
        });
        let out = futures_util::stream::iter(first)
            .chain(ReceiverStream::new(receiver).map(message))
            .map(|message| {
                Ok(AttachResponse {
                    message: Some(message),
                })
            });
        Ok(Response::new(Box::pin(out)))
    }

    async fn signal(
        &self,
        request: Request<SignalRequest>,
    ) -> Result<Response<SignalResponse>, Status> {
        let SignalRequest { attachment, signal } = request.into_inner();
        let id: Uuid = attachment
            .parse()
            .map_err(|_| bad_request("attachment is not a UUID"))?;
        if ![1, 2, 15].contains(&signal) {
            return Err(bad_request(format!(
                "signal {signal} is not carried: 1 (HUP), 2 (INT) and 15 (TERM) are"
            )));
        }
        // One that is over needs no signal.
        if let Some(control) = self.sessions.get(id) {
            control.processes.signal(signal);
        }
        Ok(Response::new(SignalResponse {}))
    }
}

impl Api {
    /// Opens a session to its end even where the host goes away meanwhile and this call with it: half a launch
    /// would run on, unknown to anybody.
    async fn open_whole(&self, request: session::Request) -> Result<Session, AttachError> {
        let (answer, answered) = oneshot::channel();
        let (supervisor, sessions) = (self.supervisor.clone(), self.sessions.clone());
        self.supervisor.shared.tracker.spawn(async move {
            let opened = session::open(&supervisor, &sessions, request).await;
            if let Err(Ok(session)) = answer.send(opened) {
                session.running.control.stop("the host went away");
                session::close(&sessions, session.id);
            }
        });
        answered
            .await
            .unwrap_or(Err(AttachError::Refused(Refused::Stopping)))
    }
}

fn message(outbound: Outbound) -> Out {
    match outbound {
        Outbound::Stdout(bytes) => Out::Stdout(bytes),
        Outbound::Stderr(bytes) => Out::Stderr(bytes),
        Outbound::Exited(end) => Out::Exited(Exited {
            code: end.code,
            signal: end.signal,
            reason: end.reason,
        }),
    }
}
