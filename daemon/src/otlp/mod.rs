//! The audit log in OpenTelemetry's form (OTLP): written to a file by `srtctl audit export --format otlp`, and shipped to a
//! collector where the user's settings name one (`audit.otlp.endpoint`).
//!
//! [`record`] is the one place where an entry becomes a log record, pure; [`send`] takes one request to a collector;
//! [`ship`] decides what is sent when.

mod record;
mod send;
mod ship;

pub(crate) use record::{Origin, export};
pub(crate) use ship::{Shipping, host, ship};
