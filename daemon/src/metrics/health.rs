//! Whether the daemon does what it is for, and if not, why.

use std::time::Duration;

use serde_json::{Value, json};

use crate::supervisor::{State, Supervisor};

/// An entry that waits longer to be written is no burst: the disk does not keep up.
const LATE: Duration = Duration::from_secs(10);

/// Why the daemon is not well, for a person; none where it is.
pub(crate) async fn reasons(supervisor: &Supervisor) -> Vec<String> {
    let shared = &supervisor.shared;
    let mut reasons = Vec::new();
    if shared.shutdown.is_cancelled() {
        reasons.push("the daemon is stopping".to_owned());
    }
    let lag = shared.store.lag();
    let trouble = shared.store.health().trouble;
    if let Some(trouble) = trouble {
        reasons.push(trouble);
        if lag.queued > 0 {
            reasons.push(format!(
                "{} entries and log lines wait in memory until it can be written",
                lag.queued
            ));
        }
    } else if let Some(oldest) = lag.oldest.filter(|oldest| *oldest > LATE) {
        reasons.push(format!(
            "{} entries wait to be written, the oldest for {} s",
            lag.queued,
            oldest.as_secs()
        ));
    }
    match shared.store.servers().await {
        Ok(servers) => {
            for server in servers.into_iter().filter(|server| server.enabled) {
                let snapshot = supervisor.snapshot(&server.name);
                let failed = snapshot.filter(|snapshot| snapshot.state == State::Failed);
                if let Some(failed) = failed {
                    reasons.push(format!(
                        "{} is enabled and has failed: {}",
                        server.name, failed.reason
                    ));
                }
            }
        }
        Err(error) => reasons.push(error.to_string()),
    }
    reasons
}

/// The answer to who asks.
pub(super) fn answer(reasons: &[String]) -> Value {
    json!({
        "status": if reasons.is_empty() { "ok" } else { "unhealthy" },
        "reasons": reasons,
    })
}
