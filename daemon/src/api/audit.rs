//! `srt.v1.Audit`: reading what happened.

use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use srt_proto::exit;
use srt_proto::v1::audit_server::Audit;
use srt_proto::v1::{AuditEntry, AuditRequest, OtlpLine, WhoTouchedAnswer, WhoTouchedRequest};
use tonic::{Code, Request, Response, Status};

use super::Api;
use super::error::{bad_request, of_store, status};
use super::paged::{Answers, answers, bound, settled, time};
use crate::audit::{Kind, Record, UnknownKind};
use crate::otlp::{self, Origin};
use crate::store::AuditQuery;

#[tonic::async_trait]
impl Audit for Api {
    type QueryStream = Answers<AuditEntry>;

    async fn query(
        &self,
        request: Request<AuditRequest>,
    ) -> Result<Response<Self::QueryStream>, Status> {
        let request = request.into_inner();
        if request.call > 0 {
            return self.during_call(&request).await;
        }
        let follow = request.follow;
        let shared = &self.supervisor.shared;
        let pages = shared.store.audit(asked(request)?);
        Ok(Response::new(answers(shared, pages, follow, entry)))
    }

    type ExportOtlpStream = Answers<OtlpLine>;

    async fn export_otlp(
        &self,
        request: Request<AuditRequest>,
    ) -> Result<Response<Self::ExportOtlpStream>, Status> {
        let request = request.into_inner();
        if request.follow || request.call > 0 {
            return Err(bad_request(
                "an export has an end, and is not about one call\nhint: srtctl audit --follow --json; srtctl audit --call SEQ --json",
            ));
        }
        let shared = &self.supervisor.shared;
        let pages = shared.store.audit(asked(request)?);
        let instance = shared.store.shipped(EXPORT).await;
        let origin = Origin {
            instance: instance
                .map_err(|error| of_store(&error))?
                .instance
                .to_string(),
            host: otlp::host(),
            uid: rustix::process::getuid().as_raw(),
        };
        let lines = answers(shared, pages, false, |record| record).chunks(LINE);
        let lines = lines.map(move |records| {
            let records: Vec<Record> = records.into_iter().collect::<Result<_, _>>()?;
            Ok(OtlpLine {
                json: otlp::export(&origin, &records),
            })
        });
        Ok(Response::new(Box::pin(lines)))
    }

    async fn who_touched(
        &self,
        request: Request<WhoTouchedRequest>,
    ) -> Result<Response<WhoTouchedAnswer>, Status> {
        super::touched::answer(&self.supervisor.shared, request.into_inner())
            .await
            .map(Response::new)
    }
}

/// Entries in a line of an export.
const LINE: usize = 256;
/// What an export counts as, where a collector has its URL: that nothing is shipped to.
const EXPORT: &str = "file";

/// What is recorded of something is recorded a moment after it happened.
const LATE: SignedDuration = SignedDuration::from_millis(100);

/// What a request means.
fn asked(request: AuditRequest) -> Result<AuditQuery, Status> {
    let kind = match request.kind.as_str() {
        "" => None,
        name => {
            Some(Kind::said(name).map_err(|error: UnknownKind| bad_request(error.to_string()))?)
        }
    };
    if request.follow && (!request.until.is_empty() || request.before > 0) {
        return Err(bad_request(
            "following has no end: ask for a time or a number that entries come before without --follow",
        ));
    }
    let (host, port) = match request.host.as_str() {
        "" => (None, None),
        text => {
            let (host, port) = host(text)?;
            (Some(host), port)
        }
    };
    Ok(AuditQuery {
        server: (!request.server.is_empty()).then_some(request.server),
        since: bound(&request.since)?,
        until: bound(&request.until)?,
        kind,
        host,
        port,
        path: match request.path.as_str() {
            "" => None,
            text => Some(path(text)?),
        },
        after_seq: request.after,
        before_seq: (request.before > 0).then_some(request.before),
        limit: (request.limit > 0).then_some(request.limit),
        oldest: request.after > 0,
        ..AuditQuery::default()
    })
}

/// A host as entries have it, and the port where the text has one.
pub(super) fn host(text: &str) -> Result<(String, Option<u16>), Status> {
    let bad = |why: &str| {
        Err(bad_request(format!(
            "{text:?} is no host: {why}\nhint: a name or an address, with or without a port: api.example.com, 192.0.2.1:443, [::1]:80"
        )))
    };
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or(port))),
        // Many colons: an address of IPv6 without brackets.
        None if text.matches(':').count() > 1 => (text, None),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port.map(str::parse::<u16>) {
        Some(Err(_)) => return bad("what follows the name is no port"),
        Some(Ok(port)) => Some(port),
        None => None,
    };
    if host.contains('*') {
        return bad("the log has the names themselves, not patterns");
    }
    if host.is_empty() || host.contains(['/', ' ']) {
        return bad("it is no name");
    }
    let host = host.trim_end_matches('.').to_lowercase();
    Ok((host, port))
}

/// A path as entries have it.
pub(super) fn path(text: &str) -> Result<String, Status> {
    if text.starts_with('/') {
        return Ok(text.to_owned());
    }
    Err(bad_request(format!(
        "{text:?} is no absolute path\nhint: paths in the log are absolute"
    )))
}

impl Api {
    /// A call, and what went on in its launch meanwhile.
    async fn during_call(
        &self,
        request: &AuditRequest,
    ) -> Result<Response<Answers<AuditEntry>>, Status> {
        let alone = AuditRequest {
            call: request.call,
            ..AuditRequest::default()
        };
        if *request != alone {
            return Err(bad_request(
                "a call is asked for by its number alone\nhint: srtctl audit --call SEQ",
            ));
        }
        let shared = &self.supervisor.shared;
        let number = AuditQuery {
            after_seq: request.call - 1,
            limit: Some(1),
            oldest: true,
            ..AuditQuery::default()
        };
        settled(&shared.store).await;
        let page = shared.store.audit(number).next().await;
        let call = (page.map_err(|error| of_store(&error))?.into_iter())
            .next()
            .filter(|record| record.seq == request.call && record.entry.kind == Kind::Call);
        let Some(call) = call else {
            let number = request.call;
            return Err(status(
                Code::NotFound,
                exit::ERROR,
                format!(
                    "no entry {number} tells of a call\nhint: \"srtctl audit --kind call --json\" shows calls with their numbers (seq)"
                ),
            ));
        };
        let (query, until) = during(&call);
        let seq = call.seq;
        let first = futures_util::stream::iter([Ok(entry(call))]);
        let all = answers(shared, shared.store.audit(query), false, move |record| {
            let (begun, _) = span(&record);
            (record.seq != seq && begun <= until).then(|| entry(record))
        });
        let during = all.filter_map(|found| std::future::ready(found.transpose()));
        Ok(Response::new(Box::pin(first.chain(during))))
    }
}

/// What went on in the launch of `record` while that lasted: the question, and the latest time at which what is found
/// may have begun.
pub(super) fn during(record: &Record) -> (AuditQuery, Timestamp) {
    let (since, until) = span(record);
    let until = until.checked_add(LATE).unwrap_or(Timestamp::MAX);
    let query = AuditQuery {
        server: record.entry.server.clone(),
        launch: record.entry.launch,
        during: Some((since, until)),
        ..AuditQuery::default()
    };
    (query, until)
}

/// When what an entry tells of began, and when it was over.
pub(super) fn span(record: &Record) -> (Timestamp, Timestamp) {
    let lasted = record.entry.detail.get("duration_ms");
    let lasted = lasted.and_then(serde_json::Value::as_i64).unwrap_or(0);
    let end = record.entry.at;
    let begun = end.checked_sub(SignedDuration::from_millis(lasted));
    (begun.unwrap_or(end), end)
}

pub(super) fn entry(record: Record) -> AuditEntry {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_with_and_without_ports() {
        let table = [
            ("api.x.com", "api.x.com", None),
            ("API.x.com.", "api.x.com", None),
            ("api.x.com:443", "api.x.com", Some(443)),
            ("192.0.2.1:80", "192.0.2.1", Some(80)),
            ("[::1]:80", "::1", Some(80)),
            ("[::1]", "::1", None),
            ("2001:db8::1", "2001:db8::1", None),
            ("localhost", "localhost", None),
        ];
        for (text, name, port) in table {
            let (host, found) = host(text).unwrap();
            assert_eq!((host.as_str(), found), (name, port), "{text}");
        }
        for text in ["*.x.com", "x:http", "x:99999", ":80", "a/b", "[::1]x"] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
