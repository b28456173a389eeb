//! What passed between a host and what it started, in the order in which the host wrote and read it.

use std::sync::{Arc, Mutex, PoisonError};

/// Who wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The host.
    Host,
    /// What it started.
    Server,
}

/// A line, without its line feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Who wrote it.
    pub by: By,
    /// It.
    pub line: String,
}

/// A trace that grows.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Recorder {
    /// Adds a line.
    pub fn add(&self, by: By, line: &str) {
        let line = line.to_owned();
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Event { by, line });
    }

    /// What there is so far.
    pub fn events(&self) -> Vec<Event> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
