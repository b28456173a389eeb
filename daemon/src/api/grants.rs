//! `srt.v1.Grants`: approvals that are remembered.

use srt_proto::exit;
use srt_proto::v1::grants_server::Grants;
use srt_proto::v1::{Grant, GrantsRequest, GrantsResponse, RevokeRequest, RevokeResponse};
use tonic::{Code, Request, Response, Status};

use super::error::{of_store, status};
use super::paged::time;
use super::{Api, who};
use crate::live::{RevokeError, grant_name, grant_target, revoke};
use crate::store;

#[tonic::async_trait]
impl Grants for Api {
    async fn list(
        &self,
        request: Request<GrantsRequest>,
    ) -> Result<Response<GrantsResponse>, Status> {
        let GrantsRequest { name, all } = request.into_inner();
        // One that is known no more may have had some.
        if !all {
            self.must_know(&name).await?;
        }
        let of = (!name.is_empty()).then_some(name.as_str());
        let grants = &self.supervisor.shared.live.grants;
        let grants = grants
            .list(of, all)
            .await
            .map_err(|error| of_store(&error))?;
        Ok(Response::new(GrantsResponse {
            grants: grants.into_iter().map(shown).collect(),
        }))
    }

    async fn revoke(
        &self,
        request: Request<RevokeRequest>,
    ) -> Result<Response<RevokeResponse>, Status> {
        let who = who(&request);
        let id = request.into_inner().id;
        let revoked = revoke(&self.supervisor.shared, &id, &who)
            .await
            .map_err(|error| of_revoke(&error))?;
        Ok(Response::new(RevokeResponse {
            grant: Some(shown(revoked)),
        }))
    }
}

fn of_revoke(error: &RevokeError) -> Status {
    let code = match error {
        RevokeError::Unknown(_) => Code::NotFound,
        RevokeError::Already { .. } => Code::FailedPrecondition,
        RevokeError::Store(_) => Code::Internal,
    };
    status(code, exit::ERROR, error.to_string())
}

fn shown(grant: store::Grant) -> Grant {
    let maybe = |at: Option<jiff::Timestamp>| at.map(time).unwrap_or_default();
    let ended = grant.ended.as_ref();
    Grant {
        id: grant_name(grant.id),
        target: grant_target(&grant),
        scope: grant.scope.as_str().to_owned(),
        launch: grant.launch.map(|id| id.to_string()).unwrap_or_default(),
        created: time(grant.created_at),
        expires: maybe(grant.expires_at),
        last_used: maybe(grant.last_used_at),
        ended: maybe(ended.map(|ended| ended.at)),
        end_reason: ended.map(|ended| ended.reason.clone()).unwrap_or_default(),
        uid: grant.uid,
        user: grant.user.unwrap_or_default(),
        server: grant.server,
    }
}
