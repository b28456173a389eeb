//! Launches and sessions, as the daemon uses them.

use jiff::Timestamp;
use uuid::Uuid;

use super::request::Change;
use super::rows::{EndKind, Exit, Launch, OpenSession, Processes, Session, Unfinished};
use super::{Store, StoreError};
use crate::audit::{Ended, Entry};

impl Store {
    /// Records that a launch begins, with its entry, before anything of it exists. The entry's number.
    ///
    /// # Errors
    /// When either could not be written: neither is, and the launch must not begin.
    pub async fn begin_launch(&self, launch: Launch, entry: Entry) -> Result<u64, StoreError> {
        let receipt = self
            .change(Change::BeginLaunch(launch), Some(entry))
            .await?;
        Ok(receipt.seq)
    }

    /// Notes a launch's processes, for the sweep after a crash.
    ///
    /// # Errors
    /// [`StoreError::NoSuchLaunch`]; [`StoreError::Later`] when the database cannot be written now.
    pub async fn launch_runs(&self, id: Uuid, processes: Processes) -> Result<(), StoreError> {
        self.note(Change::LaunchRuns(id, processes), None).await?;
        Ok(())
    }

    /// Records a launch's end, with its entry. The entry's number.
    ///
    /// # Errors
    /// [`StoreError::NoSuchLaunch`] when its end is recorded already; [`StoreError::Later`] when the database cannot be
    /// written now.
    pub async fn end_launch(&self, id: Uuid, exit: Exit, entry: Entry) -> Result<u64, StoreError> {
        let receipt = self.note(Change::EndLaunch(id, exit), Some(entry)).await?;
        Ok(receipt.seq)
    }

    /// Launches of which no end is recorded: at start-up, those that a daemon before this one left behind.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn unfinished_launches(&self) -> Result<Vec<Unfinished>, StoreError> {
        self.reader.unfinished().await
    }

    /// Records that a launch ended unseen, with an exit entry that says so (`lost`).
    ///
    /// # Errors
    /// As [`Self::end_launch`].
    pub async fn settle(
        &self,
        launch: &Launch,
        at: Timestamp,
        reason: &str,
    ) -> Result<u64, StoreError> {
        let exit = Exit {
            at,
            code: None,
            signal: None,
            reason: reason.into(),
            kind: Some(EndKind::Lost),
        };
        let entry = Ended {
            code: None,
            signal: None,
            reason,
        }
        .entry(at, &launch.server, launch.id)
        .with("lost", true);
        self.end_launch(launch.id, exit, entry).await
    }

    /// Records that a session begins.
    ///
    /// # Errors
    /// When the database cannot be written, or knows no such launch.
    pub async fn open_session(&self, session: Session) -> Result<(), StoreError> {
        self.change(Change::OpenSession(session), None).await?;
        Ok(())
    }

    /// Records that another launch serves a session.
    ///
    /// # Errors
    /// When the database cannot be written, or knows no such launch.
    pub async fn move_session(
        &self,
        id: Uuid,
        launch: Uuid,
        client_pid: Option<u32>,
    ) -> Result<(), StoreError> {
        let change = Change::MoveSession {
            id,
            launch,
            client_pid,
        };
        self.change(change, None).await?;
        Ok(())
    }

    /// Records a session's end; no error when it was recorded before.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn close_session(&self, id: Uuid, at: Timestamp) -> Result<(), StoreError> {
        self.note(Change::CloseSession { id, at }, None).await?;
        Ok(())
    }

    /// Records a session's end with an entry; neither where its end was recorded before.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn give_session_up(
        &self,
        id: Uuid,
        at: Timestamp,
        entry: Entry,
    ) -> Result<(), StoreError> {
        self.note(Change::CloseSession { id, at }, Some(entry))
            .await?;
        Ok(())
    }

    /// Records the end of every open session that has no token: none of them outlives its daemon.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn close_tokenless_sessions(&self, at: Timestamp) -> Result<(), StoreError> {
        self.change(Change::CloseTokenless { at }, None).await?;
        Ok(())
    }

    /// The sessions that are open and have a token: at start-up, those whose shims may come back.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn open_sessions(&self) -> Result<Vec<OpenSession>, StoreError> {
        self.reader.open_sessions().await
    }
}
