//! `srtctl policy history`.

use srt_proto::v1::{PolicyHistoryRequest, PolicyHistoryResponse, PolicyMoment};
use tonic::Status;

use super::{Api, of_store};
use crate::api::paged::time;
use crate::store::{Generation, InForce};

impl Api {
    pub(super) async fn policy_history(
        &self,
        request: PolicyHistoryRequest,
    ) -> Result<PolicyHistoryResponse, Status> {
        let server = self.server_named(&request.name).await?;
        // First, so that what it says now is in the list.
        let (current, trouble) = match self.in_force(&server).await {
            Ok(loaded) => (loaded.generation.number, String::new()),
            Err(error) => (0, error.to_string()),
        };
        let store = &self.supervisor.shared.store;
        let history = store.policy_history(&server.name).await;
        let history = history.map_err(|error| of_store(&error))?;
        Ok(PolicyHistoryResponse {
            moments: history.into_iter().map(moment).collect(),
            current,
            trouble,
        })
    }
}

fn moment((row, generation): (InForce, Generation)) -> PolicyMoment {
    let documents = generation.policy.documents.into_iter();
    PolicyMoment {
        generation: row.generation,
        at: time(row.at),
        reason: row.reason,
        digest: generation.policy.digest,
        documents: documents.map(|document| document.path).collect(),
        cwd: row.cwd,
        settings: row.settings.unwrap_or_default(),
    }
}
