//! `srt.v1.Sessions`: a host attaches.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use srt_policy::Profile;
use srt_proto::v1::attach_request::Message as In;
use srt_proto::v1::attach_response::Message as Out;
use srt_proto::v1::sessions_server::Sessions;
use srt_proto::v1::{
    AttachRequest, AttachResponse, Exited, GiveUp, Open, Opened, Renew, SignalRequest,
    SignalResponse,
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::error::{bad_request, of_attach};
use super::{Api, client_pid};
use crate::session::{self, AttachError, Inbound, Outbound, Session};
use crate::supervisor::{NotAttached, Plan, Refused, Renewal};

/// Chunks that may wait for the host on our side, beside what HTTP/2 has under way.
const CHUNKS: usize = 4;
/// SIGHUP, the same number on every OS that we run on (signal(7)). Servers read their settings anew on it.
const HANGUP: i32 = 1;
/// How long a host may take to read what is left once its server is gone and the daemon is to end.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[tonic::async_trait]
impl Sessions for Api {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<AttachResponse, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let client_pid = client_pid(&request);
        let mut inbound = request.into_inner();
        let open = match inbound.message().await?.and_then(|request| request.message) {
            Some(In::Open(open)) => open,
            _ => return Err(bad_request("the first message of Attach must be Open")),
        };
        let debug = open.debug;
        let (token, because) = (open.token.clone(), open.because.clone());
        let request = session::Request {
            plan: plan_of(open)?,
            client_pid,
            token,
            because,
        };
        let session = self
            .open_whole(request)
            .await
            .map_err(|error| of_attach(&error))?;
        let control = session.running.control.clone();
        let limits = control.rules.loaded().policy.limits.clone();
        let health_timeout = limits.health_timeout.unwrap_or(0);
        let mut first = vec![Out::Opened(Opened {
            attachment: session.attachment.to_string(),
            launch: control.id.to_string(),
            name: session.name.clone(),
            token: session.token,
            session: session.id.to_string(),
            health_timeout: u32::try_from(health_timeout).unwrap_or(u32::MAX),
            replaced: session.replaced,
        })];
        if debug {
            let pid = session.running.control.processes.pid();
            first.push(Out::Notice(format!("sandboxed as pid {pid}")));
            first.extend(session.running.notices.iter().cloned().map(Out::Notice));
        }

        let (sender, receiver) = mpsc::channel(CHUNKS);
        let (server, id) = (session.server.clone(), session.id);
        let heard = (server.clone(), control.clone());
        let inbound = inbound.filter_map(move |message| {
            let (server, control) = heard.clone();
            async move {
                match message.ok().and_then(|request| request.message)? {
                    In::Stdin(bytes) => Some(Inbound::Stdin(bytes)),
                    In::StdinEnd(_) => {
                        control.host_ends();
                        Some(Inbound::StdinEnd)
                    }
                    In::GiveUp(GiveUp { reason }) => {
                        server.give_up(id, control.id, reason).await;
                        None
                    }
                    In::Open(_) => None,
                }
            }
        });
        let sessions = self.sessions.clone();
        let shared = self.supervisor.shared.clone();
        let (launch, name) = (control.id, session.name);
        let hands_over = self.supervisor.shared.hands_over.clone();
        self.supervisor.shared.tracker.spawn(async move {
            let renewals = async {
                let mut asked = control.renewals();
                loop {
                    let renewal = control.renewal(&mut asked).await;
                    if sender.send(Outbound::Renew(renewal)).await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            };
            // A host that does not read cannot keep the daemon from ending.
            let given_up = async {
                shared.shutdown.cancelled().await;
                control.ended().await;
                tokio::time::sleep(LAST_WORDS).await;
            };
            let carried = session::carry(
                &shared,
                session.running,
                &name,
                Box::pin(inbound),
                sender.clone(),
            );
            let left = tokio::select! {
                left = carried => left,
                () = given_up => None,
                () = renewals => None,
            };
            sessions.detach(session.attachment);
            if let Some(left) = left {
                session::give_back(&shared, &session.server, session.id, left).await;
                // It was told by a signal, and ends: a stream that ends before is a daemon that was lost.
                let _ = tokio::time::timeout(LAST_WORDS, sender.closed()).await;
            }
        });
        let out = futures_util::stream::iter(first)
            .chain(ReceiverStream::new(receiver).then(move |outbound| {
                let (server, hands_over) = (server.clone(), hands_over.clone());
                async move {
                    let mut message = message(outbound);
                    if let Out::Exited(exited) = &mut message {
                        // Where another daemon follows, the server's actor may be gone already.
                        exited.again =
                            server.may_go_on(id, launch).await || hands_over.is_cancelled();
                    }
                    message
                }
            }))
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
        if ![HANGUP, 2, 15].contains(&signal) {
            return Err(bad_request(format!(
                "signal {signal} is not carried: 1 (HUP), 2 (INT) and 15 (TERM) are"
            )));
        }
        // One that is over needs no signal.
        if let Some(control) = self.sessions.get(id) {
            if signal == HANGUP {
                control.processes.signal(signal);
            } else if !control.leaves() {
                control.host_ends();
                control.processes.signal(signal);
            }
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
                sessions.detach(session.attachment);
                let Session {
                    id,
                    running,
                    server,
                    ..
                } = session;
                session::give_back(&supervisor.shared, &server, id, running).await;
            }
        });
        answered
            .await
            .unwrap_or(Err(NotAttached::Refused(Refused::Stopping).into()))
    }
}

/// What a client asks to be launched.
pub(super) fn plan_of(open: Open) -> Result<Plan, Status> {
    let profile = match open.profile.as_str() {
        "" => None,
        name => Some(profile(name)?),
    };
    Ok(Plan {
        profile,
        name: open.name,
        command: open.command,
        cwd: open.cwd.into(),
        cwd_identity: (open.cwd_inode != 0).then_some((open.cwd_device, open.cwd_inode)),
        settings: (!open.settings.is_empty()).then(|| open.settings.into()),
        environment: open.environment.into_iter().collect(),
        named: open.env_names,
        umask: open.umask,
        restart: false,
        last_good: None,
    })
}

/// The profile of this name.
pub(super) fn profile(name: &str) -> Result<Profile, Status> {
    Profile::parse(name)
        .map_err(|hint| bad_request(format!("{name:?} names no profile\nhint: {hint}")))
}

fn message(outbound: Outbound) -> Out {
    match outbound {
        Outbound::Stdout(bytes) => Out::Stdout(bytes),
        Outbound::Stderr(bytes) => Out::Stderr(bytes),
        Outbound::Renew(Renewal { reason, now }) => Out::Renew(Renew { reason, now }),
        Outbound::Exited(end) => Out::Exited(Exited {
            code: end.code,
            signal: end.signal,
            reason: end.reason,
            // What follows is for the supervisor to say.
            again: false,
        }),
    }
}
