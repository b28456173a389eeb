//! Launches and sessions, as the daemon uses them.

use jiff::Timestamp;
use uuid::Uuid;

use super::request::Change;
use super::rows::{Exit, Launch, Processes, Session, Unfinished};
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
    /// [`StoreError::NoSuchLaunch`], or when the database cannot be written.
    pub async fn launch_runs(&self, id: Uuid, processes: Processes) -> Result<(), StoreError> {
        self.change(Change::LaunchRuns(id, processes), None).await?;
        Ok(())
    }

    /// Records a launch's end, with its entry. The entry's number.
    ///
    /// # Errors
    /// [`StoreError::NoSuchLaunch`] when its end is recorded already; or when the database cannot be written.
    pub async fn end_launch(&self, id: Uuid, exit: Exit, entry: Entry) -> Result<u64, StoreError> {
        let receipt = self
            .change(Change::EndLaunch(id, exit), Some(entry))
            .await?;
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
    pub async fn move_session(&self, id: Uuid, launch: Uuid) -> Result<(), StoreError> {
        self.change(Change::MoveSession { id, launch }, None)
            .await?;
        Ok(())
    }

    /// Records a session's end; no error when it was recorded before.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn close_session(&self, id: Uuid, at: Timestamp) -> Result<(), StoreError> {
        self.change(Change::CloseSession { id, at }, None).await?;
        Ok(())
    }

    /// Records the end of every open session: at start-up, since no session outlives its daemon.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn close_all_sessions(&self, at: Timestamp) -> Result<(), StoreError> {
        self.change(Change::CloseAllSessions { at }, None).await?;
        Ok(())
    }
}
