//! OS confinement of one launch: what is asked ([`SandboxSpec`]) becomes a running, confined process
//! ([`Sandbox`]) or a named error with its remedy. This crate knows files, namespaces and descriptors; it has
//! never heard of a policy.
//!
//! It is the only crate of the workspace with `unsafe` code.

mod descriptors;
mod error;
mod signals;
mod spawner;
mod spec;
mod stdio;
mod usage;

pub mod seatbelt;
pub mod support;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

// The one place that chooses a backend.
#[cfg(target_os = "linux")]
pub use linux::{Prepared, Processes, Sandbox, Seed, jail_main, probe, process, settle_limits};
#[cfg(target_os = "macos")]
pub use macos::{Prepared, Processes, Sandbox, Seed, jail_main, probe, process, settle_limits};

// For the fuzz targets, which `cargo fuzz` builds with this.
#[cfg(all(fuzzing, target_os = "linux"))]
#[doc(hidden)]
pub use linux::fuzzing;

pub use descriptors::{inherit, raise_descriptor_limit, restore_descriptor_limit};
pub use error::{LaunchError, Step};
pub use signals::learn_of_children;
pub use usage::Usage;

pub use spec::{
    Access, Command, Exit, Judge, Judged, Limits, Link, NetworkSpec, Opened, Overlay, OwnFile,
    OwnPlaces, PathRule, Patterns, SandboxSpec, Sockets, TempFolder, Tools, UnixSockets, Violation,
};
pub use stdio::{Stdio, Terminal, TerminalModes};
