//! `srt.v1.Audit`: reading what happened.

use srt_proto::v1::audit_server::Audit;
use srt_proto::v1::{AuditEntry, AuditRequest};
use tonic::{Request, Response, Status};

use super::Api;
use super::error::bad_request;
use super::paged::{Answers, answers, since, time};
use crate::audit::{Record, UnknownKind};
use crate::store::AuditQuery;

#[tonic::async_trait]
impl Audit for Api {
    type QueryStream = Answers<AuditEntry>;

    async fn query(
        &self,
        request: Request<AuditRequest>,
    ) -> Result<Response<Self::QueryStream>, Status> {
        let request = request.into_inner();
        let kind = match request.kind.as_str() {
            "" => None,
            name => Some(
                name.parse()
                    .map_err(|error: UnknownKind| bad_request(error.to_string()))?,
            ),
        };
        let query = AuditQuery {
            server: (!request.server.is_empty()).then_some(request.server),
            since: since(&request.since)?,
            kind,
            after_seq: 0,
            limit: (request.limit > 0).then_some(request.limit),
        };
        let shared = &self.supervisor.shared;
        let pages = shared.store.audit(query);
        Ok(Response::new(answers(shared, pages, request.follow, entry)))
    }
}

fn entry(record: Record) -> AuditEntry {
    let entry = record.entry;
    AuditEntry {
        seq: record.seq,
        at: time(entry.at),
        kind: entry.kind.to_string(),
        server: entry.server.unwrap_or_default(),
        launch: entry.launch.map(|id| id.to_string()).unwrap_or_default(),
        subject: entry.subject,
        detail: serde_json::Value::Object(entry.detail).to_string(),
    }
}
