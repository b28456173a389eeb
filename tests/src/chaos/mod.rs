//! Chaos that can be run again: hosts talk to servers while all that is between them and below is killed, and what they
//! saw is held against the protocol ([`oracle`]) and against a model of the session ([`model`]).

pub mod havoc;
pub mod host;
pub mod launch;
pub mod model;
pub mod oracle;
pub mod scripted;
pub mod tee;
pub mod trace;

pub use host::{Conversation, Plan, Progress, Server, converse};
pub use launch::{Launch, launches};
pub use tee::Breakage;
pub use trace::{By, Event};
