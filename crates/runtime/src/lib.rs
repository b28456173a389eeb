//! The façade through which the daemon and embedders launch: [`SandboxManager`] turns a policy and a command into
//! a running, confined process with its own way out, and takes all of it down again.

mod caches;
mod denial;
mod disk;
mod environment;
mod error;
mod folder;
mod judge;
mod layers;
mod links;
mod lower;
mod manager;
mod minimal;
mod network;
mod overlays;
mod patterns;
#[cfg(test)]
mod profile_tests;
mod program;
mod request;
mod sockets;
mod why;

pub use denial::FileDenial;
pub use environment::server_environment;
pub use error::RuntimeError;
pub use layers::{
    Amount, Change, ChangeKind, Conflict, Diff, LayerError, LayerInfo, Layers, Outcome, Settlement,
    What,
};
pub use lower::{Look, Lowered, Place, TEMP_INSIDE, lower};
pub use manager::{Config, Launch, PreparedLaunch, SandboxManager, Swept};
pub use network::NetworkHandle;
pub use program::program;
pub use request::LaunchRequest;
pub use why::FileAnswer;

pub use srt_egress::{
    Asked, Event, Examined, FlowEnd, FlowsHandle, FrontEnd, Gate, LiveFlow, Verdict, examine,
    trusting_the_system,
};
pub use srt_sandbox::support::{Check, Status};
pub use srt_sandbox::{
    Exit, LaunchError, Processes, Stdio, Step, Terminal, TerminalModes, Tools, Usage, inherit,
    raise_descriptor_limit, restore_descriptor_limit,
};

/// What this host can enforce, each mechanism tried for real.
pub fn doctor(tools: &Tools) -> Vec<Check> {
    srt_sandbox::probe::checks(tools)
}

/// A process and when it started: a pid that cannot be mistaken for another's.
pub mod process {
    pub use srt_sandbox::learn_of_children;
    pub use srt_sandbox::process::{close_inherited, is_alive, kill_if, usage};
}
