//! Grants, as the daemon uses them.

use jiff::Timestamp;

use super::request::{Change, Write};
use super::rows::Grant;
use super::{Store, StoreError};
use crate::audit::Entry;

impl Store {
    /// Records a grant, with its entry, both or neither. Enforcement learns of it afterwards.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn add_grant(&self, grant: Grant, entry: Entry) -> Result<(), StoreError> {
        self.change(Change::AddGrant(grant), Some(entry)).await?;
        Ok(())
    }

    /// Records the end of a grant, with its entry; false, and no entry, where it has ended already.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn end_grant(
        &self,
        id: u64,
        at: Timestamp,
        reason: &str,
        entry: Entry,
    ) -> Result<bool, StoreError> {
        let reason = reason.to_owned();
        let change = Change::EndGrant { id, at, reason };
        Ok(self.change(change, Some(entry)).await?.changed)
    }

    /// Notes that a connection passed by a grant, soon.
    ///
    /// # Errors
    /// Only when the store is closed.
    pub async fn grant_used(&self, id: u64, at: Timestamp) -> Result<(), StoreError> {
        let change = Change::GrantUsed { id, at };
        self.queue(Write::Change(Box::new(change), None)).await
    }

    /// Every grant that there ever was, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn grants(&self) -> Result<Vec<Grant>, StoreError> {
        self.reader.grants().await
    }
}
