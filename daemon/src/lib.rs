//! The per-user daemon: launches MCP servers in sandboxes and records what they did.

pub mod audit;
pub mod store;
