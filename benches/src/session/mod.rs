//! A session of MCP through shim and daemon, against the same server on the same pipes with nothing between.
//!
//! Unlike [`crate::roundtrip`], whose lines mean nothing, these are messages: shim and daemon read their envelopes.

mod attach;
mod crowd;
pub(crate) mod lines;
mod memory;
mod messages;
mod peer;
mod rules;

use crate::Effort;
use crate::daemon::PrivateDaemon;
use crate::how::Programs;

pub(crate) fn run(
    programs: &Programs,
    daemon: Option<&PrivateDaemon>,
    effort: Effort,
) -> anyhow::Result<()> {
    if daemon.is_some() {
        attach::run(programs, effort)?;
    }
    messages::run(programs, effort)?;
    if let Some(daemon) = daemon {
        rules::run(programs, effort)?;
        memory::run(programs, daemon, effort)?;
    }
    crowd::run(programs, effort)
}
