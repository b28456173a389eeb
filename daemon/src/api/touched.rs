//! `srt.v1.Audit/WhoTouched`: which servers had to do with a host, a path or a variable.

use srt_proto::v1::{Touch, TouchEntry, WhoTouchedAnswer, WhoTouchedRequest};
use tonic::Status;

use super::audit::{during, entry, host, path, span};
use super::error::{bad_request, of_store};
use super::paged::{bound, settled, time};
use crate::audit::{Kind, Record};
use crate::store::AuditQuery;
use crate::supervisor::Shared;

/// The newest entries that are shown one by one.
const NEWEST: u32 = 10;
/// Calls that are named with an entry.
const CALLS: usize = 5;

/// What the word may mean, and the question for each.
fn questions(request: &WhoTouchedRequest) -> Result<Vec<(&'static str, AuditQuery)>, Status> {
    let what = request.what.as_str();
    let base = AuditQuery {
        since: bound(&request.since)?,
        until: bound(&request.until)?,
        ..AuditQuery::default()
    };
    if what.contains('/') {
        let path = Some(path(what)?);
        return Ok(vec![("path", AuditQuery { path, ..base })]);
    }
    let mut questions = Vec::new();
    let variable = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_variable = what.chars().all(variable) && !what.starts_with(|c: char| c.is_ascii_digit());
    if is_variable && !what.is_empty() {
        let variable = Some(what.to_owned());
        let query = AuditQuery {
            variable,
            ..base.clone()
        };
        questions.push(("variable", query));
    }
    match host(what) {
        Ok((host, None)) => {
            let host = Some(host);
            questions.push(("host", AuditQuery { host, ..base }));
        }
        Ok((_, Some(_))) => {
            return Err(bad_request(format!(
                "{what:?} has a port: all that had to do with the host is asked for\nhint: leave the port away, or see one port's entries with \"srtctl audit --host {what}\""
            )));
        }
        Err(error) if questions.is_empty() => return Err(error),
        Err(_) => {}
    }
    Ok(questions)
}

pub(super) async fn answer(
    shared: &Shared,
    request: WhoTouchedRequest,
) -> Result<WhoTouchedAnswer, Status> {
    let failed = |error| of_store(&error);
    let mut answer = WhoTouchedAnswer::default();
    let mut newest: Vec<Record> = Vec::new();
    let questions = questions(&request)?;
    settled(&shared.store).await;
    for (sort, query) in &questions {
        let touches = shared.store.touches(query).await.map_err(failed)?;
        answer
            .touches
            .extend(touches.into_iter().map(|touch| Touch {
                sort: (*sort).to_owned(),
                server: touch.server.unwrap_or_default(),
                kind: touch.kind.to_string(),
                count: touch.count,
                first: time(touch.first),
                last: time(touch.last),
            }));
        let limit = Some(NEWEST);
        let query = AuditQuery {
            limit,
            ..query.clone()
        };
        newest.extend(shared.store.audit(query).next().await.map_err(failed)?);
    }
    newest.sort_by_key(|record| record.seq);
    let older = newest.len().saturating_sub(NEWEST as usize);
    for record in newest.drain(older..) {
        let calls = calls(shared, &record).await?;
        answer.newest.push(TouchEntry {
            entry: Some(entry(record)),
            calls: calls.into_iter().map(entry).collect(),
        });
    }
    if questions.iter().any(|(sort, _)| *sort == "path") {
        answer.notes.push(
            "of files the log has what was refused and what was applied from an overlay: a use that a policy allows is not recorded. Which servers may use it: srtctl policy why SERVER read PATH"
                .to_owned(),
        );
    }
    Ok(answer)
}

/// The calls that were under way in its launch when `record` happened: one of them may have led to it.
async fn calls(shared: &Shared, record: &Record) -> Result<Vec<Record>, Status> {
    let (Some(_), Some(_)) = (&record.entry.server, record.entry.launch) else {
        return Ok(Vec::new());
    };
    if record.entry.kind == Kind::Start {
        return Ok(Vec::new());
    }
    let (query, until) = during(record);
    let kind = Some(Kind::Call);
    let mut pages = shared.store.audit(AuditQuery { kind, ..query });
    let page = pages.next().await.map_err(|error| of_store(&error))?;
    let under_way = page.into_iter().filter(|call| span(call).0 <= until);
    Ok(under_way.take(CALLS).collect())
}
