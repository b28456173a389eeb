//! What `srt` and `srtctl` are made of: finding and starting the daemon, the shim's relay, one file per command.

pub mod commands;
pub mod connect;
pub mod direct;
pub mod errors;
pub mod programs;
pub mod runtime;
mod service;
pub mod shim;
pub mod start;
pub mod table;
pub mod terminal;
pub mod time;
