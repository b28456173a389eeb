//! What a launch's proxies tell, as audit entries and as lines of the server's log.

use std::sync::Arc;

use jiff::Timestamp;
use srt_policy::{Origin, RuleRef};
use srt_runtime::Event;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::Shared;
use crate::audit::{Denial, Entry, Flow};
use crate::store::Stream;

/// Records events until the launch's proxies are gone.
///
/// Every event is an entry. In the log, which is for reading, a line that repeats is told once with its count.
pub(crate) async fn record(
    shared: Arc<Shared>,
    server: String,
    launch: Uuid,
    mut events: mpsc::Receiver<Event>,
) {
    let mut repeated = Repeated::default();
    while let Some(event) = events.recv().await {
        let (entry, line) = described(&event, &server, launch);
        if let Err(error) = shared.store.submit(entry).await {
            tracing::error!(%error, server, "cannot record a flow");
        }
        for line in repeated.next(line) {
            shared
                .log(&server, Some(launch), Stream::Egress, line)
                .await;
        }
    }
    if let Some(line) = repeated.flush() {
        shared
            .log(&server, Some(launch), Stream::Egress, line)
            .await;
    }
}

/// Collapses runs of the same line.
#[derive(Default)]
struct Repeated {
    last: String,
    times: u64,
}

impl Repeated {
    /// The lines to write now.
    fn next(&mut self, line: String) -> Vec<String> {
        if line == self.last {
            self.times += 1;
            return Vec::new();
        }
        let mut lines: Vec<String> = self.flush().into_iter().collect();
        self.last.clone_from(&line);
        lines.push(line);
        lines
    }

    fn flush(&mut self) -> Option<String> {
        let times = std::mem::take(&mut self.times);
        (times > 0).then(|| format!("{} (and {times} times more)", self.last))
    }
}

fn described(event: &Event, server: &str, launch: Uuid) -> (Entry, String) {
    let now = Timestamp::now();
    match event {
        Event::Flow {
            front_end,
            target,
            address,
            rule,
            bytes_out,
            bytes_in,
            duration,
        } => {
            let rule = rule_text(rule);
            let flow = Flow {
                front_end: front_end.name(),
                address: Some(address.to_string()),
                bytes_out: *bytes_out,
                bytes_in: *bytes_in,
                duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
                rule: Some(&rule),
            };
            let line =
                format!("allowed {target} ({front_end}), {bytes_out} bytes out, {bytes_in} in");
            (flow.entry(now, server, launch, &target.to_string()), line)
        }
        Event::Denied { front_end, denial } => {
            let rule = denial.rule.as_ref().map(rule_text);
            let refused = Denial {
                front_end: front_end.name(),
                reason: &denial.reason,
                rule: rule.as_deref(),
                remedy: denial.remedy.as_deref(),
            };
            let line = format!("denied {} ({front_end}): {}", denial.subject, denial.reason);
            (refused.entry(now, server, launch, &denial.subject), line)
        }
        Event::Failed {
            front_end,
            target,
            error,
        } => {
            let flow = Flow {
                front_end: front_end.name(),
                address: None,
                bytes_out: 0,
                bytes_in: 0,
                duration_ms: 0,
                rule: None,
            };
            let line =
                format!("allowed {target} ({front_end}), but it could not be reached: {error}");
            let entry = flow
                .entry(now, server, launch, &target.to_string())
                .with("error", error.as_str());
            (entry, line)
        }
    }
}

fn rule_text(rule: &RuleRef) -> String {
    match &rule.origin {
        Origin::BuiltIn(_) => format!("{}: {}", rule.key, rule.pattern),
        Origin::File { path, line, .. } => {
            format!("{}: {} ({}:{line})", rule.key, rule.pattern, path.display())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_repeats_is_told_once_with_its_count() {
        let mut repeated = Repeated::default();
        assert_eq!(repeated.next("a".into()), ["a"]);
        assert!(repeated.next("a".into()).is_empty());
        assert!(repeated.next("a".into()).is_empty());
        assert_eq!(repeated.next("b".into()), ["a (and 2 times more)", "b"]);
        assert_eq!(repeated.flush(), None);
    }
}
