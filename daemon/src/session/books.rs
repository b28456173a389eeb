//! What servers have said of their tools: one book each, shared by all their conversations.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::book::{AcceptError, Book};
use super::calls::beginning;
use crate::audit::{Entry, Pinned};
use crate::live::Who;
use crate::store::{Store, StoreError, Tool};

/// So much of the names of tools stands in one entry of the log, in bytes.
const NAMES: usize = 512;

/// The book of one server.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedBook(Arc<Mutex<Book>>);

impl SharedBook {
    pub(super) fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of each tool, by name.
    pub(crate) fn tools(&self) -> Vec<Tool> {
        self.lock().tools().cloned().collect()
    }
}

/// The books of every server that was asked about.
#[derive(Debug, Default)]
pub(crate) struct Books(Mutex<HashMap<String, SharedBook>>);

/// Why nothing was accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAccepted {
    #[error(transparent)]
    Nothing(#[from] AcceptError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Books {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, SharedBook>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The book of a server, with what was known before this daemon.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn of(&self, store: &Store, server: &str) -> Result<SharedBook, StoreError> {
        if let Some(book) = self.lock().get(server) {
            return Ok(book.clone());
        }
        let known = store.tools(server).await?;
        let book = SharedBook(Arc::new(Mutex::new(Book::new(server, known))));
        // Of two that read at once, the first one's is everybody's.
        Ok(self.lock().entry(server.to_owned()).or_insert(book).clone())
    }

    /// A server is known no more.
    pub(crate) fn forget(&self, server: &str) {
        self.lock().remove(server);
    }

    /// A person accepts what a server says: of one tool, or of each that changed. It is in force when this returns.
    ///
    /// # Errors
    /// When there is nothing to accept, or the database cannot be written.
    pub(crate) async fn accept(
        &self,
        store: &Store,
        server: &str,
        tool: Option<&str>,
        who: &Who,
        generation: Option<u64>,
    ) -> Result<Vec<Tool>, NotAccepted> {
        let book = self.of(store, server).await?;
        let now = Timestamp::now();
        let accepted = book.lock().acceptable(server, tool, now)?;
        let by = (who.user.clone()).unwrap_or_else(|| format!("uid {}", who.uid));
        let entry = pinned(server, &accepted, &by, generation, now);
        store.put_tools(accepted.clone(), Some(entry)).await?;
        let mut book = book.lock();
        for tool in &accepted {
            book.accept(tool);
        }
        Ok(accepted)
    }
}

/// The entry that tells of accepted tools.
pub(super) fn pinned(
    server: &str,
    tools: &[Tool],
    by: &str,
    generation: Option<u64>,
    at: Timestamp,
) -> Entry {
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    let detail = Pinned {
        tools: tools.len() as u64,
        by,
        generation,
    };
    detail.entry(at, server, &beginning(&names.join(", "), NAMES))
}
