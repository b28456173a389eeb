//! The per-user daemon: launches MCP servers in sandboxes and records what they did.

mod api;
mod enabled;
mod generations;
mod layered;
mod listen;
mod live;
pub mod lock;
pub mod metrics;
mod named;
mod otlp;
mod place;
mod policies;
mod review;
mod rollback;
mod session;
mod settings;
mod supervisor;
mod syslog;

pub mod app;
pub mod audit;
pub mod check;
pub mod database;
pub mod life;
pub mod paths;
pub mod rewrite;
pub mod store;
pub mod tools;
