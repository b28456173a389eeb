//! Servers, as the daemon uses them.

use super::request::Change;
use super::rows::{History, Server};
use super::{Store, StoreError};
use crate::audit::Entry;

impl Store {
    /// Registers a server and records the entry, both or neither. One that was merely seen is taken over.
    ///
    /// # Errors
    /// [`StoreError::ServerExists`] when a registered server has the name.
    pub async fn register_server(&self, server: Server, entry: Entry) -> Result<(), StoreError> {
        let server = Server {
            registered: true,
            ..server
        };
        self.change(Change::Register(server), Some(entry)).await?;
        Ok(())
    }

    /// Notes a server known from a shim's command line. A registered server of that name stays as it is. Where the
    /// database cannot be written it is noted later: what its launch must not begin without is the launch's own entry.
    ///
    /// # Errors
    /// When the store is closed.
    pub async fn note_server(&self, server: Server) -> Result<(), StoreError> {
        let server = Server {
            registered: false,
            ..server
        };
        match self.note(Change::NoteServer(server), None).await {
            Ok(_) | Err(StoreError::Later(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes a server with its log lines and records the entry; false, and no entry, when there is none of that
    /// name. Its launches and its audit entries stay.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn remove_server(&self, name: &str, entry: Entry) -> Result<bool, StoreError> {
        let change = Change::RemoveServer(name.into());
        Ok(self.change(change, Some(entry)).await?.changed)
    }

    /// Has a registered server start with the daemon, or no longer, and records the entry; false, and no entry, where
    /// it is so already or no registered server has the name.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn enable_server(
        &self,
        name: &str,
        enabled: bool,
        entry: Entry,
    ) -> Result<bool, StoreError> {
        let change = Change::EnableServer {
            name: name.into(),
            enabled,
        };
        Ok(self.change(change, Some(entry)).await?.changed)
    }

    /// Every server, by name.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn servers(&self) -> Result<Vec<Server>, StoreError> {
        self.reader.servers().await
    }

    /// A server.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn server(&self, name: &str) -> Result<Option<Server>, StoreError> {
        self.reader.server(name).await
    }

    /// What became of a server's launches since it was registered or first seen.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn history(&self, server: &str) -> Result<History, StoreError> {
        self.reader.history(server).await
    }
}
