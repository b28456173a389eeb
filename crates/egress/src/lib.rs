//! The only way out of a sandbox.
//!
//! Six front ends accept what a confined program sends (an HTTP proxy with absolute-form requests and CONNECT, a
//! SOCKS5 proxy, transparent TCP, DNS, datagrams where policy names their target); each turns it into a [`srt_policy::Target`] and hands it to one pipeline:
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
mod examine;
mod flows;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gate;
mod handoff;
mod http;
#[cfg(target_os = "linux")]
mod original_dst;
mod own;
mod pair;
#[cfg(target_os = "linux")]
mod pktinfo;
mod refusal;
mod relay;
mod resolve;
mod screen;
mod secured;
mod serve;
mod share;
mod socks;
#[cfg(target_os = "linux")]
mod splice;
mod synthetic;
mod token;
mod told;
mod transparent;
mod trust;
#[cfg(target_os = "linux")]
mod udp;

pub use bounds::Bounds;
pub use decide::Failure;
pub use event::{Event, FlowEnd, FrontEnd};
pub use examine::{Examined, examine};
pub use flows::{FlowsHandle, LiveFlow};
pub use gate::{Asked, Gate, Verdict};
pub use handoff::HandoffError;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use http::fuzzing as http_fuzzing;
pub use refusal::refusal_text;
pub use resolve::{Lookup, Resolve, SystemResolver};
pub use serve::{Config, Egress, Listeners, ServeError};
pub use trust::trusting_the_system;
