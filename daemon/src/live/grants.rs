//! The grants that hold: what the store has of them, ready to be asked at every decision's making.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use srt_policy::{Host, Target};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::audit::{Entry, GrantEnd, Kind};
use crate::store::{Ended, Grant, Scope, Store, StoreError};

/// How exactly the last use is known. What is noted more often costs a write each time.
const USE_IS_NOTED: SignedDuration = SignedDuration::from_secs(60);
/// The longest sleep until an expiry: the clock that people set may be put forward meanwhile.
const LOOK: Duration = Duration::from_secs(10);

/// Who did something, as the socket's credentials have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) uid: u32,
    pub(crate) user: Option<String>,
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.user {
            Some(user) => write!(f, "{user}"),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

/// A grant to be.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) server: String,
    pub(crate) target: Target,
    pub(crate) scope: Scope,
    /// The launch that asked: what one of scope session belongs to.
    pub(crate) launch: Uuid,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) who: Who,
}

/// Why a grant cannot be ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RevokeError {
    #[error("no grant has the id {0:?}\nhint: \"srtctl grants\" lists those that hold")]
    Unknown(String),
    #[error("{id} holds no more: {how}\nhint: \"srtctl grants\" lists those that hold")]
    Already { id: String, how: String },
    #[error(
        "it holds no more, but that could not be recorded, so it would hold again after a restart: {0}\nhint: try again"
    )]
    Store(StoreError),
}

/// The grants.
#[derive(Debug)]
pub(crate) struct Grants {
    store: Store,
    inner: Mutex<Inner>,
    /// There is another next expiry.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    newest: u64,
    holding: BTreeMap<u64, Grant>,
    /// Those that hold no more, while that is being recorded.
    ending: HashMap<u64, Ended>,
}

/// A grant's id as people type it.
pub(crate) fn name(id: u64) -> String {
    format!("g{id}")
}

/// Reads an id, with or without its letter.
fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix('g').unwrap_or(name);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// What a grant is for, in canonical form.
pub(crate) fn target(grant: &Grant) -> String {
    match Host::parse(&grant.host) {
        Ok(host) => Target {
            host,
            port: grant.port,
        }
        .to_string(),
        Err(_) => format!("{}:{}", grant.host, grant.port),
    }
}

impl Grants {
    /// Reads them, and ends those whose session a daemon before this one took along.
    pub(crate) async fn open(store: Store) -> Result<Self, StoreError> {
        let all = store.grants().await?;
        let newest = all.last().map_or(0, |grant| grant.id);
        let holding = all
            .into_iter()
            .filter(|grant| grant.ended.is_none())
            .map(|grant| (grant.id, grant))
            .collect();
        let grants = Self {
            store,
            inner: Mutex::new(Inner {
                newest,
                holding,
                ending: HashMap::new(),
            }),
            changed: Notify::new(),
        };
        grants
            .end_sessions(|_| true, "its session ended with the daemon", |_| None)
            .await;
        Ok(grants)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What holds for a launch at this moment.
    pub(crate) fn of(&self, server: &str, launch: Uuid, now: Timestamp) -> Vec<srt_policy::Grant> {
        let inner = self.lock();
        inner
            .holding
            .values()
            .filter(|grant| grant.server == server && !inner.ending.contains_key(&grant.id))
            .filter(|grant| grant.launch.is_none_or(|id| id == launch))
            .filter(|grant| grant.expires_at.is_none_or(|at| at > now))
            .filter_map(|grant| {
                // What was written by us reads back; what does not opens nothing.
                let host = Host::parse(&grant.host).ok()?;
                Some(srt_policy::Grant {
                    id: name(grant.id),
                    host,
                    port: Some(grant.port),
                })
            })
            .collect()
    }

    /// Records one, durably. `entry` makes the entry that tells of it. It is enforced by whoever asks [`Self::of`].
    pub(crate) async fn add(
        &self,
        draft: Draft,
        now: Timestamp,
        entry: impl FnOnce(&Grant) -> Entry,
    ) -> Result<Grant, StoreError> {
        let id = {
            let mut inner = self.lock();
            inner.newest += 1;
            inner.newest
        };
        let grant = Grant {
            id,
            server: draft.server,
            host: draft.target.host.to_string(),
            port: draft.target.port,
            scope: draft.scope,
            launch: (draft.scope == Scope::Session).then_some(draft.launch),
            uid: draft.who.uid,
            user: draft.who.user,
            created_at: now,
            expires_at: draft.expires_at,
            last_used_at: None,
            ended: None,
        };
        let entry = entry(&grant);
        self.store.add_grant(grant.clone(), entry).await?;
        self.lock().holding.insert(id, grant.clone());
        self.changed.notify_one();
        Ok(grant)
    }

    /// Ends one on a person's word. `enforce` is called as soon as [`Self::of`] no longer has it, before it is
    /// recorded: what is revoked must hold no longer than it takes to say so. It says which policy generation is in force.
    pub(crate) async fn revoke(
        &self,
        name: &str,
        who: &Who,
        enforce: impl FnOnce(&Grant) -> Option<u64>,
    ) -> Result<Grant, RevokeError> {
        let unknown = || RevokeError::Unknown(name.to_owned());
        let id = number(name).ok_or_else(unknown)?;
        let held = self.lock().holding.get(&id).cloned();
        let Some(grant) = held else {
            let all = self.store.grants().await.map_err(RevokeError::Store)?;
            let ended = all.into_iter().find(|grant| grant.id == id);
            let ended = ended.and_then(|grant| grant.ended);
            return Err(match ended {
                Some(ended) => RevokeError::Already {
                    id: self::name(id),
                    how: ended.reason,
                },
                None => unknown(),
            });
        };
        let reason = format!("revoked by {who}");
        self.end(&grant, Kind::Revoke, &reason, Some(who.uid), enforce)
            .await
            .map_err(RevokeError::Store)
    }

    /// Ends those that are at their end at `now`.
    pub(crate) async fn expire(&self, now: Timestamp, enforce: impl Fn(&Grant) -> Option<u64>) {
        let due = |grant: &Grant| grant.expires_at.is_some_and(|at| at <= now);
        self.end_all(due, "its time is over", enforce).await;
    }

    /// Ends those of a server that is no more: another one of its name is nobody's approval.
    pub(crate) async fn end_server(&self, server: &str, enforce: impl Fn(&Grant) -> Option<u64>) {
        let its = |grant: &Grant| grant.server == server;
        self.end_all(its, "its server was removed", enforce).await;
    }

    /// Ends those of scope session whose launch `over` says is no more.
    pub(crate) async fn end_sessions(
        &self,
        over: impl Fn(Uuid) -> bool,
        reason: &str,
        generation: impl Fn(&Grant) -> Option<u64>,
    ) {
        let its = |grant: &Grant| grant.launch.is_some_and(&over);
        self.end_all(its, reason, generation).await;
    }

    async fn end_all(
        &self,
        which: impl Fn(&Grant) -> bool,
        reason: &str,
        enforce: impl Fn(&Grant) -> Option<u64>,
    ) {
        let due: Vec<Grant> = {
            let inner = self.lock();
            inner
                .holding
                .values()
                .filter(|g| which(g))
                .cloned()
                .collect()
        };
        for grant in due {
            if let Err(error) = self.end(&grant, Kind::Expire, reason, None, &enforce).await {
                tracing::error!(%error, grant = name(grant.id), "cannot record the end of a grant");
            }
        }
    }

    async fn end(
        &self,
        grant: &Grant,
        kind: Kind,
        reason: &str,
        uid: Option<u32>,
        enforce: impl FnOnce(&Grant) -> Option<u64>,
    ) -> Result<Grant, StoreError> {
        let now = Timestamp::now();
        let ended = Ended {
            at: now,
            reason: reason.to_owned(),
        };
        (self.lock().ending)
            .entry(grant.id)
            .or_insert_with(|| ended.clone());
        let generation = enforce(grant);
        let id = name(grant.id);
        let entry = GrantEnd {
            grant: &id,
            scope: grant.scope.as_str(),
            reason,
            uid,
            generation,
        }
        .entry(kind, now, &grant.server, grant.launch, &target(grant));
        self.store.end_grant(grant.id, now, reason, entry).await?;
        let mut inner = self.lock();
        inner.holding.remove(&grant.id);
        inner.ending.remove(&grant.id);
        Ok(Grant {
            ended: Some(ended),
            ..grant.clone()
        })
    }

    /// Notes that a connection passed by a grant.
    pub(crate) async fn used(&self, name: &str, now: Timestamp) {
        let Some(id) = number(name) else { return };
        let stale = {
            let mut inner = self.lock();
            let Some(grant) = inner.holding.get_mut(&id) else {
                return;
            };
            let stale = grant
                .last_used_at
                .is_none_or(|at| now.duration_since(at) >= USE_IS_NOTED);
            if stale {
                grant.last_used_at = Some(now);
            }
            stale
        };
        if stale && let Err(error) = self.store.grant_used(id, now).await {
            tracing::error!(%error, grant = name, "cannot note the use of a grant");
        }
    }

    /// Those of a server, or all; with those that have ended, where they are wanted too. Oldest first.
    pub(crate) async fn list(
        &self,
        server: Option<&str>,
        ended: bool,
    ) -> Result<Vec<Grant>, StoreError> {
        let mut all: Vec<Grant> = if ended {
            // Before those are read whose end is recorded: none is missed in between.
            let ending = self.lock().ending.clone();
            let mut all = self.store.grants().await?;
            for grant in &mut all {
                let ending = ending.get(&grant.id);
                grant.ended = grant.ended.take().or_else(|| ending.cloned());
            }
            all
        } else {
            let inner = self.lock();
            let holding = inner.holding.values();
            holding
                .filter(|grant| !inner.ending.contains_key(&grant.id))
                .cloned()
                .collect()
        };
        all.retain(|grant| server.is_none_or(|server| grant.server == server));
        Ok(all)
    }

    /// Waits until one is at its end, or there may be another that ends first.
    pub(crate) async fn due(&self) {
        let next = {
            let inner = self.lock();
            let holding = inner.holding.values();
            holding
                .filter(|grant| !inner.ending.contains_key(&grant.id))
                .filter_map(|grant| grant.expires_at)
                .min()
        };
        let Some(next) = next else {
            return self.changed.notified().await;
        };
        let wait = Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or_default();
        tokio::select! {
            () = tokio::time::sleep(wait.min(LOOK)) => {}
            () = self.changed.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn grants(folder: &std::path::Path) -> Grants {
        let store = Store::open(&folder.join("state/srt.db")).await.unwrap();
        Grants::open(store).await.unwrap()
    }

    fn draft(scope: Scope, host: &str, expires_at: Option<Timestamp>) -> Draft {
        Draft {
            server: "git".into(),
            target: Target {
                host: Host::parse(host).unwrap(),
                port: 443,
            },
            scope,
            launch: Uuid::from_u128(1),
            expires_at,
            who: Who {
                uid: 1000,
                user: Some("ada".into()),
            },
        }
    }

    async fn add(grants: &Grants, draft: Draft) -> Grant {
        let entry = |grant: &Grant| Entry::new(grant.created_at, Kind::Approve, target(grant));
        grants.add(draft, Timestamp::now(), entry).await.unwrap()
    }

    fn ids(grants: &Grants, server: &str, launch: u128, now: Timestamp) -> Vec<String> {
        let of = grants.of(server, Uuid::from_u128(launch), now);
        of.into_iter().map(|grant| grant.id).collect()
    }

    #[tokio::test]
    async fn each_scope_holds_as_long_as_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let grants = grants(folder.path()).await;
        let now = Timestamp::now();
        let later = now + SignedDuration::from_secs(3600);
        add(&grants, draft(Scope::Always, "a.example", None)).await;
        add(&grants, draft(Scope::Session, "b.example", None)).await;
        add(&grants, draft(Scope::Time, "::1", Some(later))).await;
        assert_eq!(ids(&grants, "git", 1, now), ["g1", "g2", "g3"]);
        assert_eq!(ids(&grants, "git", 2, now), ["g1", "g3"], "another session");
        assert_eq!(ids(&grants, "other", 1, now), [""; 0], "another server");
        // Past its time it holds no more, even before anybody has ended it.
        assert_eq!(ids(&grants, "git", 1, later), ["g1", "g2"]);
        let enforced = std::cell::Cell::new(0);
        grants
            .expire(later, |grant| {
                enforced.set(enforced.get() + grant.id);
                // Whoever is told asks at once, and it is no longer there.
                assert_eq!(ids(&grants, "git", 1, now), ["g1", "g2"]);
                None
            })
            .await;
        assert_eq!(enforced.get(), 3);
        grants.store.close().await.unwrap();

        // A daemon after this one has what outlives a session, and gives no id twice.
        let grants = self::grants(folder.path()).await;
        assert_eq!(ids(&grants, "git", 1, now), ["g1"]);
        assert_eq!(
            add(&grants, draft(Scope::Always, "c.example", None))
                .await
                .id,
            4
        );
        let all = grants.list(None, true).await.unwrap();
        let reasons: Vec<_> = all
            .iter()
            .filter_map(|grant| grant.ended.as_ref().map(|ended| ended.reason.as_str()))
            .collect();
        assert_eq!(
            reasons,
            ["its session ended with the daemon", "its time is over"]
        );
    }

    #[tokio::test]
    async fn a_revoked_one_is_off_before_it_is_recorded_and_cannot_be_revoked_twice() {
        let folder = tempfile::tempdir().unwrap();
        let grants = grants(folder.path()).await;
        add(&grants, draft(Scope::Always, "a.example", None)).await;
        let who = Who {
            uid: 1000,
            user: None,
        };
        let now = Timestamp::now();
        let mut enforced = false;
        let enforce = |_: &Grant| {
            enforced = true;
            assert!(ids(&grants, "git", 1, now).is_empty());
            None
        };
        // Whoever asks while it is being recorded is told so, too.
        let (revoked, meanwhile) =
            tokio::join!(grants.revoke("g1", &who, enforce), grants.list(None, true));
        let revoked = revoked.unwrap();
        let meanwhile = meanwhile.unwrap()[0].ended.clone().unwrap();
        assert_eq!(meanwhile.reason, "revoked by uid 1000");
        assert!(enforced);
        assert_eq!(revoked.ended.unwrap().reason, "revoked by uid 1000");
        let again = grants.revoke("1", &who, |_| None).await.unwrap_err();
        assert!(
            again
                .to_string()
                .contains("g1 holds no more: revoked by uid 1000"),
            "{again}"
        );
        for wrong in ["g2", "", "g", "gg1", "-1", "g99999999999999999999"] {
            let error = grants.revoke(wrong, &who, |_| None).await.unwrap_err();
            assert!(matches!(error, RevokeError::Unknown(_)), "{wrong}: {error}");
        }
        assert!(grants.list(None, false).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn uses_are_noted_at_most_once_a_minute() {
        let folder = tempfile::tempdir().unwrap();
        let grants = grants(folder.path()).await;
        add(&grants, draft(Scope::Always, "a.example", None)).await;
        let now = Timestamp::now();
        let noted = async || grants.list(None, false).await.unwrap()[0].last_used_at;
        grants.used("g1", now).await;
        grants.used("g1", now + SignedDuration::from_secs(59)).await;
        grants.used("g7", now).await;
        assert_eq!(noted().await, Some(now));
        let then = now + SignedDuration::from_secs(60);
        grants.used("g1", then).await;
        assert_eq!(noted().await, Some(then));
    }
}
