//! The page that a monitoring system reads: the counts, and how things are at this moment.

use std::fmt;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::of;
use crate::session::{CLASSES, Counted};
use crate::supervisor::{Supervisor, usage};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MessageLabels {
    /// to_server or to_host.
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

/// The whole page, in OpenMetrics text.
pub(super) async fn page(supervisor: &Supervisor) -> Result<String, fmt::Error> {
    let shared = &supervisor.shared;
    let mut moment = Registry::with_prefix("srt");
    of_daemon(supervisor, &mut moment);
    of_shipping(supervisor, &mut moment);
    of_servers(supervisor, &mut moment).await;
    let mut text = String::new();
    encode_registry(&mut text, &shared.metrics.registry)?;
    encode_registry(&mut text, &moment)?;
    encode_eof(&mut text)?;
    Ok(text)
}

fn of_daemon(supervisor: &Supervisor, moment: &mut Registry) {
    let shared = &supervisor.shared;
    moment.register(
        "build",
        "What runs",
        Info::new([("version", env!("CARGO_PKG_VERSION"))]),
    );
    let counted = shared.tally.read();
    let messages: Family<MessageLabels, Counter> = Family::default();
    for (direction, count) in [
        ("to_server", counted.to_server),
        ("to_host", counted.to_host),
    ] {
        messages
            .get_or_create(&MessageLabels { direction })
            .inc_by(count);
    }
    moment.register("messages", "MCP messages that passed", messages);
    moment.register_with_unit(
        "call",
        "From a host's request to its answer",
        Unit::Seconds,
        Calls(counted),
    );

    let (health, lag) = (shared.store.health(), shared.store.lag());
    moment.register(
        "store_queue_entries",
        "Writes that wait for the database",
        ConstGauge::new(lag.queued),
    );
    moment.register_with_unit(
        "store_oldest_entry",
        "How long the oldest write has waited for the database",
        Unit::Seconds,
        ConstGauge::new(lag.oldest.unwrap_or_default().as_secs_f64()),
    );
    moment.register(
        "store_commits",
        "Transactions of the database",
        ConstCounter::new(health.commits),
    );
    moment.register(
        "store_failures",
        "Transactions of the database that failed, and were tried again",
        ConstCounter::new(health.failures),
    );
}

/// What a collector has, and what it has not; nothing where there is none.
fn of_shipping(supervisor: &Supervisor, moment: &mut Registry) {
    let shared = &supervisor.shared;
    let Some(progress) = shared.shipping.borrow().clone() else {
        return;
    };
    let newest = *shared.store.audit_tail().borrow();
    moment.register(
        "audit_unshipped_entries",
        "Audit entries that wait for the collector",
        ConstGauge::new(progress.behind(newest)),
    );
    moment.register(
        "audit_rejected_entries",
        "Audit entries that the collector would not take",
        ConstCounter::new(progress.shipped.rejected),
    );
    moment.register(
        "audit_missed_entries",
        "Audit entries that were pruned before they could be shipped",
        ConstCounter::new(progress.shipped.missed),
    );
    moment.register(
        "audit_shipping_failures",
        "Attempts to ship audit entries that failed, and were made again",
        ConstCounter::new(progress.failures),
    );
}

async fn of_servers(supervisor: &Supervisor, moment: &mut Registry) {
    let gauge = Family::<_, Gauge>::default;
    let (launches, sessions, flows) = (gauge(), gauge(), gauge());
    let (memory, processes) = (gauge(), gauge());
    let cpu = Family::<_, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
    let states: Family<StateLabels, Gauge> = Family::default();
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let mut running = Vec::new();
    for name in supervisor.names() {
        let Some(snapshot) = supervisor.snapshot(&name) else {
            continue;
        };
        let state = snapshot.state.name();
        states.get_or_create(&StateLabels { state }).inc();
        let server = of(&name);
        launches
            .get_or_create(&server)
            .set(number(snapshot.launches.len()));
        sessions
            .get_or_create(&server)
            .set(snapshot.sessions.into());
        let open = snapshot
            .launches
            .iter()
            .map(|control| control.flows.list().len());
        flows.get_or_create(&server).set(number(open.sum()));
        let named = snapshot
            .launches
            .into_iter()
            .map(|control| (server.clone(), control));
        running.extend(named);
    }
    let (servers, running): (Vec<_>, Vec<_>) = running.into_iter().unzip();
    for (server, used) in servers.iter().zip(usage(&running).await) {
        let bytes = i64::try_from(used.memory).unwrap_or(i64::MAX);
        memory.get_or_create(server).inc_by(bytes);
        processes
            .get_or_create(server)
            .inc_by(used.processes.into());
        cpu.get_or_create(server).inc_by(used.cpu_seconds);
    }
    moment.register(
        "servers",
        "Servers by state, those that were never asked for left out",
        states,
    );
    moment.register("running_launches", "Launches that run", launches);
    moment.register("sessions", "Sessions that are open", sessions);
    moment.register("open_flows", "Connections that are open", flows);
    moment.register_with_unit(
        "memory",
        "Resident memory of the launches that run",
        Unit::Bytes,
        memory,
    );
    moment.register("processes", "Processes of the launches that run", processes);
    moment.register_with_unit(
        "cpu",
        "Time on a CPU of the launches that run, since each began",
        Unit::Seconds,
        cpu,
    );
}

/// How long calls took, as a histogram.
#[derive(Debug)]
struct Calls(Counted);

impl EncodeMetric for Calls {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = CLASSES.iter().map(|millis| *millis as f64 / 1000.0);
        let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(self.0.calls).collect();
        let count = self.0.calls.iter().sum();
        let seconds = self.0.micros as f64 / 1e6;
        encoder.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
