//! Asking a person and taking the answer.
//!
//! The order of a yes: the grant is durable, then in force for every launch that it is for, then the connections that
//! wait are let go on, and the policy in force decides about them.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use srt_runtime::Asked;
use uuid::Uuid;

use super::grants::{self, Draft, RevokeError, Who};
use super::questions::{Answer, Matter, NotAsked, Question, SettleError};
use super::{Live, Rules};
use crate::audit::{self, Approval, Rejection};
use crate::store::{Grant, Scope, StoreError, Stream};
use crate::supervisor::{Shared, Tap};

/// How often a question whose time is over is looked at again while somebody settles it.
const SETTLING: Duration = Duration::from_millis(50);

/// What a person says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Deny,
    /// The connections that wait now.
    Once,
    /// Until the launch that asked ends.
    Session,
    For(SignedDuration),
    Always,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    pub(crate) question: Question,
    pub(crate) grant: Option<Grant>,
    /// How many connections waited for it.
    pub(crate) connections: u32,
}

/// Why nothing did.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettleFailed {
    #[error(transparent)]
    Question(#[from] SettleError),
    #[error("cannot record it, so nothing is approved: {0}")]
    Store(#[from] StoreError),
    #[error("the time until its end is too long\nhint: --for always has none")]
    TooLong,
}

/// Holds a connection until its question is answered; the question's id, and the answer.
pub(super) async fn ask(
    shared: &Arc<Shared>,
    rules: &Arc<Rules>,
    tap: &Tap,
    asked: Asked,
) -> (String, Answer) {
    let limit = rules.network().ask_timeout();
    let matter = Matter {
        server: rules.server.clone(),
        launch: rules.launch,
        target: asked.target,
        front_end: asked.front_end.name(),
        reason: asked.denial.reason,
        generation: asked.denial.generation,
    };
    let joined = match shared.live.questions.join(matter, limit) {
        Ok(joined) => joined,
        Err(not_asked @ (NotAsked::Full | NotAsked::HeldOff(_))) => {
            let reason = not_asked.to_string();
            return (String::new(), Answer::Refused { reason });
        }
    };
    if let Some(question) = joined.new {
        announce(shared, tap, &question, limit).await;
        let settling = expire(shared.clone(), question, limit);
        shared.tracker.spawn(settling);
    }
    (joined.waiter.id().to_owned(), joined.waiter.answer().await)
}

/// Tells everybody who may want to answer.
async fn announce(shared: &Shared, tap: &Tap, question: &Question, limit: Duration) {
    let Question { id, matter, .. } = question;
    let target = matter.target.to_string();
    let seconds = limit.as_secs();
    let entry = audit::Asked {
        question: id,
        front_end: matter.front_end,
        reason: &matter.reason,
        seconds,
        generation: matter.generation,
    }
    .entry(question.since, &matter.server, matter.launch, &target);
    record(shared, entry).await;
    tracing::info!(server = matter.server, %target, question = id, "a connection waits for approval");
    let line = format!(
        "{target} waits for approval, {seconds} s at most: srtctl approve {id} (or srtctl deny {id})"
    );
    tap.note(format!("srt: the connection to {line}"));
    shared
        .log(&matter.server, Some(matter.launch), Stream::Egress, line)
        .await;
}

/// Refuses a question when its time is over: no answer is a denial.
async fn expire(shared: Arc<Shared>, question: Question, limit: Duration) {
    let questions = &shared.live.questions;
    let mut wait = limit;
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shared.shutdown.cancelled() => return,
        }
        match questions.take(&question.id) {
            Ok(_) => break,
            Err(SettleError::Busy(_)) => wait = SETTLING,
            Err(_) => return,
        }
    }
    let reason = format!("nobody answered within {} s", limit.as_secs());
    reject(&shared, &question, &reason, None).await;
    // Told to the model, too, which can say to the person what to do.
    let answer = Answer::Refused {
        reason: format!("{reason} (\"srtctl approvals\" lists what waits)"),
    };
    questions.finish(&question.id, answer, reason);
}

/// Takes a person's answer. When it returns, it is in force.
pub(crate) async fn settle(
    shared: &Arc<Shared>,
    id: &str,
    choice: Choice,
    who: Who,
) -> Result<Settled, SettleFailed> {
    // To its end even where whoever asked goes away meanwhile: a question must not stay half settled.
    let (shared, id) = (shared.clone(), id.to_owned());
    let tracker = shared.tracker.clone();
    let settling = tracker.spawn(async move {
        let question = shared.live.questions.take(&id)?;
        let settled = take(&shared, &question, choice, who).await;
        if settled.is_err() {
            shared.live.questions.give_back(&id);
        }
        settled
    });
    match settling.await {
        Ok(settled) => settled,
        Err(_) => Err(StoreError::Closed.into()),
    }
}

async fn take(
    shared: &Shared,
    question: &Question,
    choice: Choice,
    who: Who,
) -> Result<Settled, SettleFailed> {
    let Question { id, matter, .. } = question;
    let live = &shared.live;
    let now = Timestamp::now();
    let target = matter.target.to_string();
    let by = who.to_string();
    let generation = in_force(live, matter);
    let (scope, expires_at) = match choice {
        Choice::Deny => {
            let how = format!("denied by {by}");
            reject(shared, question, &how, Some(who.uid)).await;
            live.questions.hold_off(matter, how.clone());
            let reason = how.clone();
            let connections = live.questions.finish(id, Answer::Refused { reason }, how);
            return Ok(Settled {
                question: question.clone(),
                grant: None,
                connections,
            });
        }
        Choice::Once => {
            if question.connections == 0 {
                return Err(SettleError::NobodyWaits(matter.target.clone()).into());
            }
            let approval = Approval {
                question: id,
                scope: "once",
                grant: None,
                expires: None,
                by: &by,
                uid: who.uid,
                generation,
            };
            let entry = approval.entry(now, &matter.server, matter.launch, &target);
            shared.store.record(entry).await?;
            let how = format!("approved once by {by}");
            let connections = live.questions.finish(id, Answer::Once, how);
            return Ok(Settled {
                question: question.clone(),
                grant: None,
                connections,
            });
        }
        Choice::Session => (Scope::Session, None),
        Choice::Always => (Scope::Always, None),
        Choice::For(span) => {
            let until = now.checked_add(span).map_err(|_| SettleFailed::TooLong)?;
            (Scope::Time, Some(until))
        }
    };
    let draft = Draft {
        server: matter.server.clone(),
        target: matter.target.clone(),
        scope,
        launch: matter.launch,
        expires_at,
        who: who.clone(),
    };
    let grant = live
        .grants
        .add(draft, now, |grant| {
            let name = grants::name(grant.id);
            Approval {
                question: id,
                scope: scope.as_str(),
                grant: Some(&name),
                expires: expires_at.map(|at| format!("{at:.0}")),
                by: &by,
                uid: who.uid,
                generation,
            }
            .entry(now, &matter.server, matter.launch, &target)
        })
        .await?;
    let how = format!("approved by {by} (grant {})", grants::name(grant.id));
    // In force for all before anybody is let go on, and others that ask the same are answered by it.
    live.regrant(&matter.server, &how);
    let connections = live.questions.finish(id, Answer::Again, how);
    Ok(Settled {
        question: question.clone(),
        grant: Some(grant),
        connections,
    })
}

/// Ends a grant on a person's word. When it returns, nothing passes by it.
pub(crate) async fn revoke(shared: &Shared, name: &str, who: &Who) -> Result<Grant, RevokeError> {
    let live = &shared.live;
    live.grants
        .revoke(name, who, |grant| {
            live.regrant(&grant.server, "a grant was revoked")
        })
        .await
}

/// Forgets what a launch asked and was granted for itself, now that it has ended.
pub(crate) async fn withdraw(shared: &Shared, rules: &Rules) {
    forget(shared, rules, "the server ended", || ()).await;
}

/// The same where the launch goes on, and the session that it was for does not. When it returns, nothing passes by a grant
/// to that session.
pub(crate) async fn renounce(shared: &Shared, rules: &Rules) {
    forget(shared, rules, "its session ended", || rules.regrant()).await;
}

async fn forget(shared: &Shared, rules: &Rules, why: &str, enforce: impl Fn()) {
    let launch = rules.launch;
    for question in shared.live.questions.withdraw(launch) {
        reject(shared, &question, why, None).await;
    }
    let its = |id: Uuid| id == launch;
    let grants = &shared.live.grants;
    let last = rules.current().generation();
    grants
        .end_sessions(its, "its session ended", |_| {
            enforce();
            last
        })
        .await;
}

async fn reject(shared: &Shared, question: &Question, reason: &str, uid: Option<u32>) {
    let Question { id, matter, .. } = question;
    let rejection = Rejection {
        question: id,
        reason,
        uid,
        generation: in_force(&shared.live, matter),
    };
    let target = matter.target.to_string();
    let entry = rejection.entry(Timestamp::now(), &matter.server, matter.launch, &target);
    record(shared, entry).await;
}

/// The generation that an answer is given under: that of the launch, or of the question where the launch has ended.
fn in_force(live: &Live, matter: &Matter) -> Option<u64> {
    let launches = live.lock();
    let rules = launches.get(&matter.launch);
    rules.map_or(matter.generation, |rules| rules.current().generation())
}

async fn record(shared: &Shared, entry: audit::Entry) {
    if let Err(error) = shared.store.submit(entry).await {
        tracing::error!(%error, "cannot record what a person was asked");
    }
}

impl Live {
    /// Ends grants whose time is over, for as long as the daemon runs.
    pub(super) async fn expire_grants(&self) {
        loop {
            self.grants.due().await;
            self.grants
                .expire(Timestamp::now(), |grant| {
                    self.regrant(&grant.server, "a grant is at its end")
                })
                .await;
        }
    }
}
