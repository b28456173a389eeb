//! The rules for a launch's traffic, replaceable while it runs.

use std::sync::Arc;

use srt_policy::NetworkPolicy;
use tokio::sync::watch;

/// Puts rules in force for a launch's traffic, from anywhere. It does not keep the launch alive.
#[derive(Clone, Debug)]
pub struct NetworkHandle(watch::Sender<Arc<NetworkPolicy>>);

impl NetworkHandle {
    pub(crate) fn new(rules: watch::Sender<Arc<NetworkPolicy>>) -> Self {
        Self(rules)
    }

    /// Replaces the rules. When it returns, whatever is decided is decided by these; what is under way and no longer
    /// permitted is closed soon after.
    pub fn set(&self, network: Arc<NetworkPolicy>) {
        self.0.send_replace(network);
    }
}
