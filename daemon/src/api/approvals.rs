//! `srt.v1.Approvals`: connections that wait for a person's answer.

use jiff::SignedDuration;
use srt_proto::exit;
use srt_proto::v1::approvals_server::Approvals;
use srt_proto::v1::{
    ApprovalsRequest, ApprovalsResponse, Question, SettleQuestionRequest, SettleQuestionResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use super::error::{bad_request, of_store, status};
use super::paged::{Answers, time};
use super::{Api, who};
use crate::live::{self, Choice, SettleError, SettleFailed, grant_name, settle};

#[tonic::async_trait]
impl Approvals for Api {
    type ListStream = Answers<ApprovalsResponse>;

    async fn list(
        &self,
        request: Request<ApprovalsRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let ApprovalsRequest { name, follow } = request.into_inner();
        self.must_know(&name).await?;
        let shared = self.supervisor.shared.clone();
        let (sender, receiver) = mpsc::channel(4);
        self.supervisor.shared.tracker.spawn(async move {
            let questions = &shared.live.questions;
            let mut changes = questions.changes();
            let send = async {
                loop {
                    changes.mark_unchanged();
                    let of = (!name.is_empty()).then_some(name.as_str());
                    let waiting = questions.waiting(of).into_iter().map(question).collect();
                    let sent = sender.send(Ok(ApprovalsResponse { waiting })).await;
                    if sent.is_err() || !follow || changes.changed().await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = send => {}
                () = sender.closed() => {}
                () = shared.shutdown.cancelled() => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn settle(
        &self,
        request: Request<SettleQuestionRequest>,
    ) -> Result<Response<SettleQuestionResponse>, Status> {
        let who = who(&request);
        let request = request.into_inner();
        let choice = match (request.approve, request.scope.as_str()) {
            (false, _) => Choice::Deny,
            (true, "once") => Choice::Once,
            (true, "session") => Choice::Session,
            (true, "always") => Choice::Always,
            (true, "time") => match i64::try_from(request.seconds) {
                Ok(seconds @ 1..) => Choice::For(SignedDuration::from_secs(seconds)),
                _ => return Err(bad_request("a grant for a time needs at least a second")),
            },
            (true, other) => {
                return Err(bad_request(format!(
                    "{other:?} is no scope\nhint: once, session, time or always"
                )));
            }
        };
        let settled = settle(&self.supervisor.shared, &request.id, choice, who)
            .await
            .map_err(|error| of_settle(&error))?;
        let matter = settled.question.matter;
        Ok(Response::new(SettleQuestionResponse {
            server: matter.server,
            target: matter.target.to_string(),
            grant: settled
                .grant
                .map(|grant| grant_name(grant.id))
                .unwrap_or_default(),
            connections: settled.connections,
        }))
    }
}

fn of_settle(error: &SettleFailed) -> Status {
    let code = match error {
        SettleFailed::Store(error) => return of_store(error),
        SettleFailed::TooLong => return bad_request(error.to_string()),
        SettleFailed::Question(SettleError::Unknown(_)) => Code::NotFound,
        SettleFailed::Question(_) => Code::FailedPrecondition,
    };
    status(code, exit::ERROR, error.to_string())
}

fn question(question: live::Question) -> Question {
    let matter = question.matter;
    Question {
        id: question.id,
        server: matter.server,
        launch: matter.launch.to_string(),
        target: matter.target.to_string(),
        front_end: matter.front_end.to_owned(),
        reason: matter.reason,
        since: time(question.since),
        expires: time(question.expires),
        connections: question.connections,
    }
}
