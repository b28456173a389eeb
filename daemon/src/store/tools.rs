//! What servers have said of their tools, as the daemon uses it.

use super::request::{Change, Write};
use super::rows::Tool;
use super::{Store, StoreError};
use crate::audit::Entry;

impl Store {
    /// Writes down what is known of tools, with the entry that tells of it, both or neither.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn put_tools(
        &self,
        tools: Vec<Tool>,
        entry: Option<Entry>,
    ) -> Result<(), StoreError> {
        self.change(Change::PutTools(tools), entry).await?;
        Ok(())
    }

    /// The same, soon.
    ///
    /// # Errors
    /// Only when the store is closed.
    pub async fn note_tools(&self, tools: Vec<Tool>) -> Result<(), StoreError> {
        let change = Box::new(Change::PutTools(tools));
        self.queue(Write::Change(change, None)).await
    }

    /// What is known of a server's tools, by name.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn tools(&self, server: &str) -> Result<Vec<Tool>, StoreError> {
        self.reader.tools(server).await
    }
}
