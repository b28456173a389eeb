//! What is written down of a launch that was not begun.

use jiff::Timestamp;

use super::{Plan, Shared};
use crate::audit::Refusal;
use crate::store::Stream;

/// Records a launch that was not begun, and tells it in the server's log. `generation` is that of the policy that it was to
/// have, where one was found.
pub(crate) async fn record_refusal(
    shared: &Shared,
    plan: &Plan,
    step: &str,
    reason: &str,
    generation: Option<u64>,
) {
    shared.metrics.refused(&plan.name);
    tracing::warn!(server = plan.name, %reason, "refused a launch");
    let refusal = Refusal {
        step,
        reason,
        generation,
    };
    let entry = refusal.entry(Timestamp::now(), &plan.name, &plan.command);
    if let Err(error) = shared.store.submit(entry).await {
        tracing::error!(%error, "cannot record a refused launch");
    }
    shared
        .log(
            &plan.name,
            None,
            Stream::Daemon,
            format!("refused: {reason}"),
        )
        .await;
}
