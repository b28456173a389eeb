//! Which sessions there are: by attachment, and by the token with which a shim goes on with one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::audit::{Entry, Kind};
use crate::store::StoreError;
use crate::supervisor::{Control, Shared};

/// How long the shims of a dead daemon's sessions may take to come back.
const SHIMS: Duration = Duration::from_secs(60);

/// Unguessable: whoever has it may go on with its session. The daemon keeps its digest only.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// A new one, of 244 random bits.
    fn new() -> Self {
        let (one, other) = (Uuid::new_v4().simple(), Uuid::new_v4().simple());
        Self(format!("{one}{other}"))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn hash(&self) -> String {
        hash(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Lower-case hexadecimal SHA-256.
fn hash(token: &str) -> String {
    let digest = Sha256::digest(token.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The sessions of this daemon.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    attachments: Mutex<HashMap<Uuid, Attachment>>,
    /// By the token's digest.
    known: Mutex<HashMap<String, Known>>,
}

/// A host's connection to the launch that serves its session.
#[derive(Clone, Debug)]
pub(crate) struct Attachment {
    pub(crate) control: Control,
    pub(crate) session: Uuid,
    /// The shim's process, on the host.
    pub(crate) client_pid: Option<u32>,
    pub(crate) since: Instant,
}

#[derive(Debug)]
struct Known {
    session: Uuid,
    server: String,
    /// Not of an earlier daemon, or resumed.
    here: bool,
}

/// What a token turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recognised {
    /// None was given.
    None,
    /// Of no open session of this server.
    Unknown,
    /// Of one that was open when an earlier daemon died.
    Left(Uuid),
    /// Of one of this daemon.
    Ours(Uuid),
}

impl Sessions {
    /// With what an earlier daemon left behind. Whose shim has not come back in time is given up.
    pub(crate) async fn open(shared: &Arc<Shared>) -> Result<Arc<Self>, StoreError> {
        let sessions = Arc::new(Self::default());
        let left = shared.store.open_sessions().await?;
        if left.is_empty() {
            return Ok(sessions);
        }
        for session in left {
            let known = Known {
                session: session.id,
                server: session.server,
                here: false,
            };
            sessions.known().insert(session.token_hash, known);
        }
        let (waited_for, shared) = (sessions.clone(), shared.clone());
        shared.tracker.clone().spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(SHIMS) => waited_for.give_up(&shared).await,
                // They are the next daemon's.
                () = shared.shutdown.cancelled() => {}
            }
        });
        Ok(sessions)
    }

    async fn give_up(&self, shared: &Shared) {
        let mut gone = Vec::new();
        self.known().retain(|_, known| {
            if !known.here {
                gone.push((known.session, known.server.clone()));
            }
            known.here
        });
        for (session, server) in gone {
            let now = Timestamp::now();
            let entry = Entry::new(now, Kind::Daemon, "a session was given up")
                .server(&server)
                .with("session", session.to_string())
                .with("reason", "its shim did not come back after the daemon died");
            tracing::info!(server, %session, "the shim of a session did not come back");
            if let Err(error) = shared.store.give_session_up(session, now, entry).await {
                tracing::error!(%error, "cannot record that a session was given up");
            }
        }
    }

    fn attachments(&self) -> MutexGuard<'_, HashMap<Uuid, Attachment>> {
        self.attachments
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many attachments there are.
    pub(crate) fn count(&self) -> usize {
        self.attachments().len()
    }

    /// The launch that serves an attachment.
    pub(crate) fn get(&self, attachment: Uuid) -> Option<Control> {
        let attachments = self.attachments();
        attachments.get(&attachment).map(|it| it.control.clone())
    }

    /// The attachments of these launches, oldest first.
    pub(crate) fn of(&self, launches: &[Control]) -> Vec<Attachment> {
        let mut found: Vec<_> = self
            .attachments()
            .values()
            .filter(|it| launches.iter().any(|control| control.id == it.control.id))
            .cloned()
            .collect();
        found.sort_by_key(|it| it.since);
        found
    }

    /// Names an attachment.
    pub(super) fn attach(&self, attachment: Attachment) -> Uuid {
        let id = Uuid::new_v4();
        self.attachments().insert(id, attachment);
        id
    }

    /// Forgets an attachment.
    pub(crate) fn detach(&self, attachment: Uuid) {
        self.attachments().remove(&attachment);
    }

    /// Looks a token up. One of an earlier daemon's sessions is this one's from now on.
    pub(super) fn recognise(&self, token: &str, server: &str) -> Recognised {
        if token.is_empty() {
            return Recognised::None;
        }
        match self.known().get_mut(&hash(token)) {
            Some(known) if known.server == server => {
                if std::mem::replace(&mut known.here, true) {
                    Recognised::Ours(known.session)
                } else {
                    Recognised::Left(known.session)
                }
            }
            _ => Recognised::Unknown,
        }
    }

    /// A token for a session that begins.
    pub(super) fn begin(&self, session: Uuid, server: &str) -> Token {
        let token = Token::new();
        let known = Known {
            session,
            server: server.to_owned(),
            here: true,
        };
        self.known().insert(token.hash(), known);
        token
    }

    /// Forgets a session that is over.
    pub(super) fn end(&self, session: Uuid) {
        self.known().retain(|_, known| known.session != session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_its_session_and_its_server_until_the_end() {
        let sessions = Sessions::default();
        let session = Uuid::from_u128(1);
        let token = sessions.begin(session, "git");
        assert_eq!(token.as_str().len(), 64);
        assert!(!format!("{token:?}").contains(token.as_str()));
        let known = |token: &str, server| sessions.recognise(token, server);
        assert_eq!(known("", "git"), Recognised::None);
        assert_eq!(known(token.as_str(), "git"), Recognised::Ours(session));
        assert_eq!(known(token.as_str(), "other"), Recognised::Unknown);
        assert_eq!(known(&token.hash(), "git"), Recognised::Unknown);
        sessions.end(session);
        assert_eq!(known(token.as_str(), "git"), Recognised::Unknown);
    }

    #[test]
    fn a_session_that_was_left_is_taken_over_once() {
        let sessions = Sessions::default();
        let session = Uuid::from_u128(2);
        let token = sessions.begin(session, "git");
        sessions.known().get_mut(&token.hash()).unwrap().here = false;
        let known = || sessions.recognise(token.as_str(), "git");
        assert_eq!(known(), Recognised::Left(session));
        assert_eq!(known(), Recognised::Ours(session));
    }
}
