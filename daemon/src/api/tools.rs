//! `srt.v1.Tools`: what servers say of their tools, and what of it is accepted.

use srt_policy::ToolPolicy;
use srt_proto::exit;
use srt_proto::v1::tools_server::Tools;
use srt_proto::v1::{AcceptToolsRequest, AcceptToolsResponse, Tool, ToolsRequest, ToolsResponse};
use tonic::{Code, Request, Response, Status};

use super::error::{of_store, status};
use super::paged::time;
use super::{Api, who};
use crate::session::NotAccepted;
use crate::store::{self, Said};

#[tonic::async_trait]
impl Tools for Api {
    async fn list(
        &self,
        request: Request<ToolsRequest>,
    ) -> Result<Response<ToolsResponse>, Status> {
        let name = request.into_inner().name;
        let policy = self.subject(&name).await?.policy;
        let shared = &self.supervisor.shared;
        let book =
            (shared.books.of(&shared.store, &name).await).map_err(|error| of_store(&error))?;
        let tools = book.tools().into_iter();
        Ok(Response::new(ToolsResponse {
            tools: tools.map(|tool| shown(tool, &policy.tools)).collect(),
            pinned: policy.tools.pin.is_some(),
        }))
    }

    async fn accept(
        &self,
        request: Request<AcceptToolsRequest>,
    ) -> Result<Response<AcceptToolsResponse>, Status> {
        let who = who(&request);
        let AcceptToolsRequest { name, tool } = request.into_inner();
        self.must_know(&name).await?;
        let shared = &self.supervisor.shared;
        let tool = (!tool.is_empty()).then_some(tool.as_str());
        let generation = shared.live.generation(&name);
        let accepted = (shared.books)
            .accept(&shared.store, &name, tool, &who, generation)
            .await;
        let accepted = accepted.map_err(|error| match error {
            NotAccepted::Nothing(nothing) => {
                status(Code::FailedPrecondition, exit::ERROR, nothing.to_string())
            }
            NotAccepted::Store(error) => of_store(&error),
        })?;
        Ok(Response::new(AcceptToolsResponse {
            tools: accepted.into_iter().map(|tool| tool.name).collect(),
        }))
    }
}

fn shown(tool: store::Tool, policy: &ToolPolicy) -> Tool {
    let denied = policy.decide(&tool.name).err();
    let state = match (&denied, &policy.pin, &tool.accepted) {
        (Some(_), _, _) => "denied",
        (None, None, _) => "allowed",
        (None, Some(_), None) => "new",
        (None, Some(_), Some(accepted)) if accepted.digest == tool.said.digest => "allowed",
        (None, Some(_), Some(_)) => "changed",
    };
    let text = |said: &Said| said.text.clone().unwrap_or_default();
    let accepted = tool.accepted.as_ref();
    Tool {
        state: state.to_owned(),
        reason: denied.map(|denial| denial.reason).unwrap_or_default(),
        said: text(&tool.said),
        since: time(tool.said.at),
        accepted: accepted.map(text).unwrap_or_default(),
        accepted_at: accepted.map(|said| time(said.at)).unwrap_or_default(),
        name: tool.name,
    }
}
