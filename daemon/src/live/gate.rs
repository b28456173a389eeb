//! What stands between a held connection and the person who is asked about it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use srt_runtime::{Asked, Gate, Verdict};

use super::Rules;
use super::ask::ask;
use super::questions::Answer;
use crate::supervisor::{Shared, Tap};

/// Asks about one launch's connections.
#[derive(Clone, Debug)]
pub(crate) struct LaunchGate {
    pub(crate) shared: Arc<Shared>,
    pub(crate) rules: Arc<Rules>,
    /// Where the host is told that something waits.
    pub(crate) tap: Tap,
}

impl Gate for LaunchGate {
    fn ask<'a>(&'a self, asked: Asked) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>> {
        Box::pin(async move {
            match ask(&self.shared, &self.rules, &self.tap, asked).await {
                (id, Answer::Once) => Verdict::Once {
                    grant: format!("{id} (once)"),
                },
                (_, Answer::Again) => Verdict::DecideAgain,
                (_, Answer::Refused { reason }) => Verdict::Refused { reason },
            }
        })
    }
}
