//! `srt.v1.Policies`: which policies servers had, and what is to be said of them.

mod diff;
mod history;
mod review;
mod rollback;

use srt_proto::v1::policies_server::Policies;
use srt_proto::v1::{
    PolicyDiffRequest, PolicyDiffResponse, PolicyHistoryRequest, PolicyHistoryResponse,
    ReviewRequest, ReviewResponse, RollbackRequest, RollbackResponse,
};
use tonic::{Request, Response, Status};

use super::error::{of_policy, of_store, status, unknown};
use super::{Api, client_pid, who};
use crate::policies::{Loaded, PolicyError};
use crate::store;

#[tonic::async_trait]
impl Policies for Api {
    async fn history(
        &self,
        request: Request<PolicyHistoryRequest>,
    ) -> Result<Response<PolicyHistoryResponse>, Status> {
        let told = self.policy_history(request.into_inner()).await?;
        Ok(Response::new(told))
    }

    async fn diff(
        &self,
        request: Request<PolicyDiffRequest>,
    ) -> Result<Response<PolicyDiffResponse>, Status> {
        let told = self.policy_diff(request.into_inner()).await?;
        Ok(Response::new(told))
    }

    async fn rollback(
        &self,
        request: Request<RollbackRequest>,
    ) -> Result<Response<RollbackResponse>, Status> {
        let (who, pid) = (who(&request), client_pid(&request));
        let told = self.roll_back(request.into_inner(), who, pid).await?;
        Ok(Response::new(told))
    }

    async fn review(
        &self,
        request: Request<ReviewRequest>,
    ) -> Result<Response<ReviewResponse>, Status> {
        let told = self.policy_review(request.into_inner()).await?;
        Ok(Response::new(told))
    }
}

impl Api {
    /// A server that is known.
    async fn server_named(&self, name: &str) -> Result<store::Server, Status> {
        let found = self.supervisor.shared.store.server(name).await;
        found
            .map_err(|error| of_store(&error))?
            .ok_or_else(|| unknown(name))
    }

    /// What is in force for a server's newest launch, else what the next one would be started by.
    async fn in_force(&self, server: &store::Server) -> Result<Loaded, PolicyError> {
        let snapshot = self.supervisor.snapshot(&server.name);
        let newest = snapshot.and_then(|snapshot| snapshot.launches.last().cloned());
        match newest {
            Some(control) => Ok(control.rules.loaded()),
            None => {
                let cwd = self.cwd_of(server);
                self.supervisor.shared.policies.load_for(server, &cwd).await
            }
        }
    }
}
