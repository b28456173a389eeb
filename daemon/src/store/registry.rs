//! Servers and policy generations, as the daemon uses them.

use super::request::Change;
use super::rows::{Generation, History, Policy, Server};
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

    /// Notes a server known from a shim's command line. A registered server of that name stays as it is.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn note_server(&self, server: Server) -> Result<(), StoreError> {
        let server = Server {
            registered: false,
            ..server
        };
        self.change(Change::NoteServer(server), None).await?;
        Ok(())
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

    /// Gives a settings text its generation number; true when it is new. The same text from the same source has
    /// the same number for ever.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn generation_of(&self, policy: Policy) -> Result<(u64, bool), StoreError> {
        let receipt = self.change(Change::Generation(policy), None).await?;
        Ok((receipt.id, receipt.changed))
    }

    /// The settings text of a generation.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn generation(&self, number: u64) -> Result<Option<Generation>, StoreError> {
        self.reader.generation(number).await
    }
}
