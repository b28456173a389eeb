//! OS confinement of one launch: what is asked ([`SandboxSpec`]) becomes a running, confined process
//! ([`Sandbox`]) or a named error with its remedy. This crate knows files, namespaces and descriptors; it has
//! never heard of a policy.
//!
//! It is the only crate of the workspace with `unsafe` code.

mod descriptors;
mod error;
mod spawner;
mod spec;

pub mod seatbelt;
pub mod support;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

// The one place that chooses a backend.
#[cfg(target_os = "linux")]
pub use linux::{Prepared, Processes, Sandbox, Seed, jail_main, probe, process};
#[cfg(target_os = "macos")]
pub use macos::{Prepared, Processes, Sandbox, Seed, jail_main, probe, process};

pub use descriptors::raise_descriptor_limit;
pub use error::{LaunchError, Step};
pub use spec::{
    Access, Command, Exit, Limits, NetworkSpec, Overlay, PathRule, SandboxSpec, Sockets, Stdio,
    TempFolder, Tools, Violation,
};
