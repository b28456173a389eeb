//! Log lines that were not kept while nothing could be written, counted until somebody can be told.
//!
//! Audit entries are never given up: they wait, and whoever makes them waits. What servers write to standard error is
//! theirs, and a server must not stand still because the disk is full.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many lines of each server were not kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Unkept(Arc<Mutex<HashMap<String, u64>>>);

impl Unkept {
    /// One more was not.
    pub(super) fn count(&self, server: &str) {
        let mut lines = self.lock();
        match lines.get_mut(server) {
            Some(count) => *count += 1,
            None => {
                lines.insert(server.to_owned(), 1);
            }
        }
    }

    /// How many of a server's were not since this was last asked.
    pub(super) fn take(&self, server: &str) -> Option<u64> {
        self.lock().remove(server)
    }

    /// How many of any server were not and nobody was told.
    pub(super) fn all(&self) -> u64 {
        self.lock().values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
