//! The per-user daemon: launches MCP servers in sandboxes and records what they did.

mod api;
mod listen;
pub mod lock;
mod policies;
mod session;
mod supervisor;

pub mod app;
pub mod audit;
pub mod check;
pub mod paths;
pub mod store;
pub mod tools;
