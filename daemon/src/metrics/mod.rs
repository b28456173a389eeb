//! What a monitoring system sees: counts that the daemon keeps while it runs, and a page of them (`srtd --metrics`).
//!
//! No label holds more than a server's name, a front end, or a word of ours: neither targets nor paths, commands or
//! variables, which are secrets as often as not.

mod bounded;
mod health;
mod page;
mod place;
mod serve;
mod token;

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use srt_runtime::{Event, FlowEnd};

use crate::store::EndKind;

pub(crate) use health::reasons;
pub use place::{BadPlace, Place};
pub(crate) use serve::serve;

/// Upper bounds of the classes that launches' durations are counted in, in seconds.
const LAUNCH_CLASSES: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfServer {
    server: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaunchLabels {
    server: String,
    /// started or refused.
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    server: String,
    /// As `status` has it: exited, signal, out-of-memory, …
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FlowLabels {
    server: String,
    front_end: &'static str,
    /// allowed, observed, closed or unreachable.
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByteLabels {
    server: String,
    /// out or in, as the server sees it.
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DenialLabels {
    server: String,
    /// network or file.
    of: &'static str,
}

/// Counts that only rise while the daemon runs. Counting costs next to nothing, and is done whether or not anybody
/// looks.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    launches: Family<LaunchLabels, Counter>,
    restarts: Family<OfServer, Counter>,
    ends: Family<EndLabels, Counter>,
    launch_seconds: Histogram,
    sessions: Family<OfServer, Counter>,
    flows: Family<FlowLabels, Counter>,
    flow_bytes: Family<ByteLabels, Counter>,
    denials: Family<DenialLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("srt"),
            launches: Family::default(),
            restarts: Family::default(),
            ends: Family::default(),
            launch_seconds: Histogram::new(LAUNCH_CLASSES),
            sessions: Family::default(),
            flows: Family::default(),
            flow_bytes: Family::default(),
            denials: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "launches",
            "Launches, those that were refused included",
            metrics.launches.clone(),
        );
        registry.register(
            "restarts",
            "Launches with which one that had ended was replaced",
            metrics.restarts.clone(),
        );
        registry.register(
            "launch_ends",
            "Ends of launches that ran, by kind",
            metrics.ends.clone(),
        );
        registry.register_with_unit(
            "launch",
            "From the wish to launch to the server's program running",
            Unit::Seconds,
            metrics.launch_seconds.clone(),
        );
        registry.register(
            "attachments",
            "Hosts that attached, those that came back to their session included",
            metrics.sessions.clone(),
        );
        registry.register(
            "flows",
            "Connections that left a sandbox, counted when they end",
            metrics.flows.clone(),
        );
        registry.register_with_unit(
            "flow",
            "Bytes of connections, counted when they end",
            Unit::Bytes,
            metrics.flow_bytes.clone(),
        );
        registry.register(
            "denials",
            "What policy refused, each time",
            metrics.denials.clone(),
        );
        metrics
    }
}

impl Metrics {
    /// A server's program runs, so long after it was wanted.
    pub(crate) fn launched(&self, server: &str, replaces: bool, took: Duration) {
        self.launches
            .get_or_create(&launch(server, "started"))
            .inc();
        if replaces {
            self.restarts.get_or_create(&of(server)).inc();
        }
        self.launch_seconds.observe(took.as_secs_f64());
    }

    /// A launch that ran ended.
    pub(crate) fn ended(&self, server: &str, kind: EndKind) {
        let labels = EndLabels {
            server: server.to_owned(),
            kind: kind.as_str(),
        };
        self.ends.get_or_create(&labels).inc();
    }

    /// A launch was refused.
    pub(crate) fn refused(&self, server: &str) {
        self.launches
            .get_or_create(&launch(server, "refused"))
            .inc();
    }

    /// A host attached.
    pub(crate) fn attached(&self, server: &str) {
        self.sessions.get_or_create(&of(server)).inc();
    }

    /// Something left a sandbox, or was kept from it.
    pub(crate) fn left(&self, server: &str, event: &Event) {
        let (front_end, outcome, bytes) = match event {
            Event::Denied { .. } => return self.denied(server, "network"),
            Event::Failed { front_end, .. } => (front_end, "unreachable", (0, 0)),
            Event::Flow {
                front_end,
                bytes_out,
                bytes_in,
                would_be_denied,
                ended,
                ..
            } => {
                let outcome = match (ended, would_be_denied) {
                    (FlowEnd::NoLongerPermitted(_), _) => "closed",
                    (FlowEnd::Done, Some(_)) => "observed",
                    (FlowEnd::Done, None) => "allowed",
                };
                (front_end, outcome, (*bytes_out, *bytes_in))
            }
        };
        let labels = FlowLabels {
            server: server.to_owned(),
            front_end: front_end.name(),
            outcome,
        };
        self.flows.get_or_create(&labels).inc();
        for (direction, bytes) in [("out", bytes.0), ("in", bytes.1)] {
            let labels = ByteLabels {
                server: server.to_owned(),
                direction,
            };
            self.flow_bytes.get_or_create(&labels).inc_by(bytes);
        }
    }

    /// A use of a file was refused.
    pub(crate) fn file_denied(&self, server: &str) {
        self.denied(server, "file");
    }

    fn denied(&self, server: &str, of: &'static str) {
        let labels = DenialLabels {
            server: server.to_owned(),
            of,
        };
        self.denials.get_or_create(&labels).inc();
    }
}

fn of(server: &str) -> OfServer {
    OfServer {
        server: server.to_owned(),
    }
}

fn launch(server: &str, result: &'static str) -> LaunchLabels {
    LaunchLabels {
        server: server.to_owned(),
        result,
    }
}
