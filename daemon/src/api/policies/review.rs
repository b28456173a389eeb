//! `srtctl policy review`.

use jiff::{Timestamp, ToSpan as _};
use srt_policy::{Check, Origin};
use srt_proto::v1::{ReviewCheck, ReviewRequest, ReviewResponse};
use tonic::Status;

use super::{Api, of_policy, of_store};
use crate::api::inventory::reference;
use crate::api::paged::{bound, time};
use crate::live::read_quietly;
use crate::review::{Launch, Subject, review};

/// How far back a rule's last use is looked for, unless the request says.
const HOURS: i64 = 30 * 24;

impl Api {
    pub(super) async fn policy_review(
        &self,
        request: ReviewRequest,
    ) -> Result<ReviewResponse, Status> {
        let server = self.server_named(&request.name).await?;
        let since = match bound(&request.since)? {
            Some(since) => since,
            None => Timestamp::now() - HOURS.hours(),
        };
        let shared = &self.supervisor.shared;
        let snapshot = self.supervisor.snapshot(&server.name);
        let newest = snapshot.and_then(|snapshot| snapshot.launches.last().cloned());
        let standing = newest.as_ref().map(|control| control.rules.standing());
        let cwd = match &newest {
            Some(control) => control.rules.cwd.clone(),
            None => self.cwd_of(&server),
        };
        let (policy, loaded) = match &newest {
            Some(control) => (control.rules.current(), None),
            None => {
                let loaded = self.in_force(&server).await;
                let loaded = loaded.map_err(|error| of_policy(&error))?;
                (loaded.policy.clone(), Some(loaded))
            }
        };
        let fresh = match (&loaded, &newest) {
            (None, Some(control)) => read_quietly(shared, &control.rules).await,
            _ => None,
        };
        let grants = shared.live.grants.list(Some(&server.name), false).await;
        let grants = grants.map_err(|error| of_store(&error))?;
        let standing_next = standing
            .as_ref()
            .map(|standing| standing.next_start.clone());
        let subject = Subject {
            server: &server,
            policy: &policy,
            loaded: loaded.as_ref().or(fresh.as_ref()),
            trouble: standing
                .as_ref()
                .and_then(|standing| standing.trouble.clone()),
            next_start: standing_next.as_deref().unwrap_or_default(),
            home: &shared.paths.home,
            cwd: &cwd,
            running: newest.as_ref().map(|control| Launch {
                pid: control.processes.pid(),
                folder: shared.paths.launches().join(control.id.to_string()),
            }),
            grants: &grants,
        };
        let checks = review(&subject, &shared.store, since).await;
        let checks = checks.map_err(|error| of_store(&error))?;
        let generation = match (&standing, &loaded) {
            (Some(standing), _) => Some(reference(&standing.generation)),
            (None, Some(loaded)) => Some(reference(&loaded.generation)),
            (None, None) => None,
        };
        Ok(ReviewResponse {
            policy: generation,
            running: newest.is_some(),
            since: time(since),
            checks: checks.into_iter().map(told).collect(),
        })
    }
}

fn told(check: Check) -> ReviewCheck {
    let (file, line) = match &check.origin {
        Some(Origin::File { path, line, .. }) => (path.display().to_string(), *line),
        Some(Origin::BuiltIn(_)) => ("built-in".to_owned(), 0),
        Some(grant @ Origin::Grant { .. }) => (grant.to_string(), 0),
        None => (String::new(), 0),
    };
    ReviewCheck {
        about: check.about.to_owned(),
        severity: check.weight.word().to_owned(),
        text: check.text,
        file,
        line,
        remedy: check.remedy.unwrap_or_default(),
    }
}
