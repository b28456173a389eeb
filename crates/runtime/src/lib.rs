//! The façade through which the daemon and embedders launch: [`SandboxManager`] turns a policy and a command into
//! a running, confined process with its own way out, and takes all of it down again.

mod caches;
mod denial;
mod disk;
mod environment;
mod folder;
mod lower;
mod manager;
mod stubs;

pub use denial::FileDenial;
pub use environment::server_environment;
pub use lower::{LooseLink, Lowered, Place, TEMP_INSIDE, lower};
pub use manager::{Config, Launch, LaunchRequest, PreparedLaunch, RuntimeError, SandboxManager};

pub use stubs::is_stub;

pub use srt_egress::{Event, FrontEnd};
pub use srt_sandbox::support::{Check, Status};
pub use srt_sandbox::{Exit, LaunchError, Processes, Stdio, Step, Tools, raise_descriptor_limit};

/// What this host can enforce, each mechanism tried for real.
pub fn doctor(tools: &Tools) -> Vec<Check> {
    srt_sandbox::probe::checks(tools)
}

/// A process and when it started: a pid that cannot be mistaken for another's.
pub mod process {
    pub use srt_sandbox::process::{close_inherited, is_alive, kill_if};
}
