//! The only way out of a sandbox.
//!
//! Five front ends accept what a confined program sends (an HTTP proxy with absolute-form requests and CONNECT, a
//! SOCKS5 proxy, transparent TCP, DNS); each turns it into a [`srt_policy::Target`] and hands it to one pipeline:
//! decide, find the user's own proxy, resolve on the host, check the addresses, dial. Every exchange, refusal and
//! failure becomes an [`Event`].
//!
//! Nothing here binds a socket: listeners are made inside the sandbox's network namespace and handed over, and the
//! only module that opens a connection is `dial`, which takes nothing but a [`srt_policy::Checked`].

mod bounds;
mod context;
mod decide;
mod dial;
mod dns;
mod event;
mod handoff;
mod http;
#[cfg(target_os = "linux")]
mod original_dst;
mod refusal;
mod relay;
mod resolve;
mod serve;
mod socks;
#[cfg(target_os = "linux")]
mod splice;
mod synthetic;
mod token;
mod transparent;

pub use bounds::Bounds;
pub use decide::Failure;
pub use event::{Event, FrontEnd};
pub use handoff::HandoffError;
pub use refusal::refusal_text;
pub use resolve::{Lookup, Resolve, SystemResolver};
pub use serve::{Config, Egress, Listeners, ServeError};
