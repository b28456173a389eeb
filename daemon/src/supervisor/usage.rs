//! What launches use of the machine, looked up for many at once.

use srt_runtime::Usage;

use super::Control;

/// What each of these launches uses, in their order.
pub(crate) async fn usage(launches: &[Control]) -> Vec<Usage> {
    if launches.is_empty() {
        return Vec::new();
    }
    let processes: Vec<_> = launches
        .iter()
        .map(|control| control.processes.clone())
        .collect();
    let unknown = vec![Usage::default(); launches.len()];
    // All of /proc is read.
    tokio::task::spawn_blocking(move || srt_runtime::process::usage(&processes))
        .await
        .unwrap_or(unknown)
}
