//! The daemon's own life: what whoever started it left to it, that it is well, and how another program takes its place.

mod handover;
mod health;
mod inherited;
pub(crate) mod notify;
mod oom;
mod room;
pub(crate) mod sweep;
mod upgrade;

pub use handover::Successor;
pub(crate) use handover::{Handover, Kept};
pub(crate) use health::keep_watch;
pub use inherited::Inherited;
pub use oom::take_back_readiness_to_be_killed;
pub use room::{NoRoom, has_room};
pub(crate) use upgrade::{Ending, Upgrade, UpgradeError};
