//! `srt.v1.Flows`: what leaves sandboxes at this moment.

use srt_proto::v1::flows_server::Flows;
use srt_proto::v1::{FlowsRequest, FlowsResponse, LiveFlow};
use tonic::{Request, Response, Status};

use super::Api;
use crate::supervisor::rule_text;

#[tonic::async_trait]
impl Flows for Api {
    async fn list(
        &self,
        request: Request<FlowsRequest>,
    ) -> Result<Response<FlowsResponse>, Status> {
        let name = request.into_inner().name;
        self.must_know(&name).await?;
        let mut names = self.supervisor.names();
        names.retain(|known| name.is_empty() || *known == name);
        names.sort();
        let mut flows = Vec::new();
        for server in names {
            let Some(snapshot) = self.supervisor.snapshot(&server) else {
                continue;
            };
            for control in &snapshot.launches {
                let launch = control.id.to_string();
                flows.extend(control.flows.list().into_iter().map(|flow| LiveFlow {
                    id: flow.id,
                    launch: launch.clone(),
                    server: server.clone(),
                    front_end: flow.front_end.name().to_owned(),
                    target: flow.target.to_string(),
                    address: flow.address.to_string(),
                    rule: rule_text(&flow.rule),
                    bytes_out: flow.bytes_out,
                    bytes_in: flow.bytes_in,
                    age_seconds: flow.age.as_secs_f64(),
                }));
            }
        }
        Ok(Response::new(FlowsResponse { flows }))
    }
}
