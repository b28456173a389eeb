//! What a launch's proxies and its observer tell, as audit entries and as lines of the server's log.

use std::sync::Arc;

use jiff::Timestamp;
use srt_policy::{Origin, RuleRef};
use srt_runtime::{Event, FileDenial};
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
    mut denials: mpsc::UnboundedReceiver<FileDenial>,
) {
    let mut repeated = Repeated::default();
    loop {
        // Both end with the launch; `else` is when both have.
        let (stream, (entry, line)) = tokio::select! {
            Some(event) = events.recv() => (Stream::Egress, described(&event, &server, launch)),
            Some(denial) = denials.recv() => (Stream::Daemon, refused(&denial, &server, launch)),
            else => break,
        };
        if let Err(error) = shared.store.submit(entry).await {
            tracing::error!(%error, server, "cannot record a flow");
        }
        for (stream, line) in repeated.next(stream, line) {
            shared.log(&server, Some(launch), stream, line).await;
        }
    }
    if let Some((stream, line)) = repeated.flush() {
        shared.log(&server, Some(launch), stream, line).await;
    }
}

/// Collapses runs of the same line.
#[derive(Default)]
struct Repeated {
    last: Option<(Stream, String)>,
    times: u64,
}

impl Repeated {
    /// The lines to write now.
    fn next(&mut self, stream: Stream, line: String) -> Vec<(Stream, String)> {
        if self.last.as_ref().is_some_and(|last| last.1 == line) {
            self.times += 1;
            return Vec::new();
        }
        let mut lines: Vec<_> = self.flush().into_iter().collect();
        self.last = Some((stream, line.clone()));
        lines.push((stream, line));
        lines
    }

    fn flush(&mut self) -> Option<(Stream, String)> {
        let times = std::mem::take(&mut self.times);
        let (stream, last) = self.last.as_ref().filter(|_| times > 0)?;
        let again = if times == 1 {
            "once".to_owned()
        } else {
            format!("{times} times")
        };
        Some((*stream, format!("{last} (and {again} more)")))
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

fn refused(denial: &FileDenial, server: &str, launch: Uuid) -> (Entry, String) {
    let operation = if denial.write { "write" } else { "read" };
    let path = denial.path.display().to_string();
    let mut entry = Denial {
        front_end: "file",
        reason: &denial.reason,
        rule: denial.rule.as_deref(),
        remedy: denial.remedy.as_deref(),
    }
    .entry(Timestamp::now(), server, launch, &path)
    .with("operation", operation)
    .with("program", denial.program.as_str());
    let mut line = format!(
        "denied {operation} {path} ({}): {}",
        denial.program, denial.reason
    );
    if denial.again {
        entry = entry.with("again", denial.times);
        line = format!(
            "denied {operation} {path} again, {} times in all since then",
            denial.times
        );
    }
    (entry, line)
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
        let mut next = |line: &str| -> Vec<String> {
            let lines = repeated.next(Stream::Egress, line.into());
            lines.into_iter().map(|(_, line)| line).collect()
        };
        assert_eq!(next("a"), ["a"]);
        assert!(next("a").is_empty());
        assert!(next("a").is_empty());
        assert_eq!(next("b"), ["a (and 2 times more)", "b"]);
        assert!(next("b").is_empty());
        assert_eq!(next("c"), ["b (and once more)", "c"]);
        assert_eq!(repeated.flush(), None);
    }
}
