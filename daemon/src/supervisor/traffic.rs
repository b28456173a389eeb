//! What a launch's proxies and its observer tell, as audit entries and as lines of the server's log.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use srt_policy::{Origin, RuleRef};
use srt_runtime::{Event, FileDenial, FlowEnd, FrontEnd};
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;
use uuid::Uuid;

use super::{Shared, Tap};
use crate::audit::{Denial, Entry, Flow, Kind};
use crate::live::Rules;
use crate::policies::BUILT_IN;
use crate::store::Stream;

/// Distinct refused targets that the host is told of. A launch that tries more is told so once.
const TOLD: usize = 64;

/// Records what happens to one launch's traffic and files.
pub(crate) struct Recorder {
    shared: Arc<Shared>,
    rules: Arc<Rules>,
    tap: Tap,
    /// So that the host hears of the last one, too.
    _teller: DropGuard,
    repeated: Repeated,
    told: Told,
}

impl Recorder {
    pub(crate) fn new(shared: Arc<Shared>, rules: Arc<Rules>, tap: Tap) -> Self {
        Self {
            shared,
            rules,
            _teller: tap.teller(),
            tap,
            repeated: Repeated::default(),
            told: Told::default(),
        }
    }

    /// Records events until the launch's proxies are gone.
    ///
    /// Every event is an entry. In the log, which is for reading, a line that repeats is told once with its count.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut denials: mpsc::UnboundedReceiver<FileDenial>,
    ) {
        loop {
            // Both end with the launch; `else` is when both have.
            tokio::select! {
                Some(event) = events.recv() => self.event(&event).await,
                Some(denial) = denials.recv() => {
                    self.shared.metrics.file_denied(&self.rules.server);
                    let (entry, line) = refused(&denial, &self.rules);
                    self.keep(Stream::Daemon, entry, line).await;
                }
                else => break,
            }
        }
        if let Some((stream, line)) = self.repeated.flush() {
            self.log(stream, line).await;
        }
    }

    async fn event(&mut self, event: &Event) {
        self.shared.metrics.left(&self.rules.server, event);
        match event {
            Event::Flow { rule, .. } => {
                if let Origin::Grant { id } = &rule.origin {
                    self.shared.live.grants.used(id, Timestamp::now()).await;
                }
            }
            Event::Denied { front_end, denial } => {
                let source = self.rules.standing().generation.source;
                if let Some(line) = self.told.next(*front_end, denial, &source) {
                    self.tap.note(line);
                }
                if !self.rules.network().records_denials() {
                    return;
                }
            }
            Event::Failed { .. } => {}
        }
        let (entry, line) = described(event, &self.rules.server, self.rules.launch);
        self.keep(Stream::Egress, entry, line).await;
    }

    async fn keep(&mut self, stream: Stream, entry: Entry, line: String) {
        if let Err(error) = self.shared.store.submit(entry).await {
            tracing::error!(%error, server = self.rules.server, "cannot record a flow");
        }
        for (stream, line) in self.repeated.next(stream, line) {
            self.log(stream, line).await;
        }
    }

    async fn log(&self, stream: Stream, line: String) {
        let Rules { server, launch, .. } = &*self.rules;
        self.shared.log(server, Some(*launch), stream, line).await;
    }
}

/// What the host is told of refused connections on standard error: each target once, then at its tenth, hundredth, …
/// refusal.
#[derive(Debug, Default)]
struct Told {
    times: HashMap<String, u64>,
    full: bool,
}

impl Told {
    /// The line to say now. `source` is the settings file in force.
    fn next(
        &mut self,
        front_end: FrontEnd,
        denial: &srt_policy::Denial,
        source: &str,
    ) -> Option<String> {
        let subject = &denial.subject;
        if let Some(times) = self.times.get_mut(subject) {
            *times += 1;
            let times = *times;
            return (times >= 10 && times == 10_u64.pow(times.ilog10()))
                .then(|| format!("srt: blocked connection to {subject} {times} times by now"));
        }
        if self.times.len() == TOLD {
            return (!std::mem::replace(&mut self.full, true)).then(|| {
                format!(
                    "srt: blocked connections to more than {TOLD} targets; \"srtctl audit --kind deny\" has all of them"
                )
            });
        }
        self.times.insert(subject.clone(), 1);
        let what = match front_end {
            FrontEnd::Dns => "lookup of",
            _ => "connection to",
        };
        let file = match source {
            BUILT_IN => "~/.srt-settings.json",
            path => path,
        };
        let remedy = denial.remedy.as_ref().map_or_else(String::new, |remedy| {
            format!("; to allow it, add to {file}: {remedy}")
        });
        Some(format!(
            "srt: blocked {what} {subject}: {}{remedy}",
            denial.reason
        ))
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
            would_be_denied,
            ended,
            generation,
        } => {
            let rule = rule_text(rule);
            let (kind, reason, remedy) = match (ended, would_be_denied) {
                (FlowEnd::NoLongerPermitted(denial), _) => {
                    let reason = format!("no longer permitted: {}", denial.reason);
                    (Kind::Close, Some(reason), None)
                }
                (FlowEnd::Done, Some(denial)) => (
                    Kind::WouldDeny,
                    Some(denial.reason.clone()),
                    denial.remedy.as_deref(),
                ),
                (FlowEnd::Done, None) => (Kind::Allow, None, None),
            };
            let flow = Flow {
                front_end: front_end.name(),
                reason: reason.as_deref(),
                address: Some(address.to_string()),
                bytes_out: *bytes_out,
                bytes_in: *bytes_in,
                duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
                rule: Some(&rule),
                remedy,
                // A flow that is closed is so by the policy that closes it.
                generation: match ended {
                    FlowEnd::NoLongerPermitted(denial) => denial.generation,
                    FlowEnd::Done => *generation,
                },
            };
            let word = match kind {
                Kind::Close => "closed",
                Kind::WouldDeny => "allowed (only observed)",
                _ => "allowed",
            };
            let mut line =
                format!("{word} {target} ({front_end}), {bytes_out} bytes out, {bytes_in} in");
            if let Some(reason) = &reason {
                line += &format!(": {reason}");
            }
            let entry = flow.entry(kind, now, server, launch, &target.to_string());
            (entry, line)
        }
        Event::Denied { front_end, denial } => {
            let rule = denial.rule.as_ref().map(rule_text);
            let refused = Denial {
                front_end: front_end.name(),
                reason: &denial.reason,
                rule: rule.as_deref(),
                remedy: denial.remedy.as_deref(),
                generation: denial.generation,
            };
            let line = format!("denied {} ({front_end}): {}", denial.subject, denial.reason);
            (refused.entry(now, server, launch, &denial.subject), line)
        }
        Event::Failed {
            front_end,
            target,
            error,
            generation,
        } => {
            let flow = Flow {
                front_end: front_end.name(),
                reason: None,
                address: None,
                bytes_out: 0,
                bytes_in: 0,
                duration_ms: 0,
                rule: None,
                remedy: None,
                generation: *generation,
            };
            let line =
                format!("allowed {target} ({front_end}), but it could not be reached: {error}");
            let entry = flow
                .entry(Kind::Allow, now, server, launch, &target.to_string())
                .with("error", error.as_str());
            (entry, line)
        }
    }
}

fn refused(denial: &FileDenial, rules: &Rules) -> (Entry, String) {
    let operation = if denial.write { "write" } else { "read" };
    let path = denial.path.display().to_string();
    let mut entry = Denial {
        front_end: "file",
        reason: &denial.reason,
        rule: denial.rule.as_deref(),
        remedy: denial.remedy.as_deref(),
        // Rules on files stay what they were when the sandbox was built.
        generation: rules.begun().generation(),
    }
    .entry(Timestamp::now(), &rules.server, rules.launch, &path)
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

/// A rule as a person finds it: its key, its text, its place.
pub(crate) fn rule_text(rule: &RuleRef) -> String {
    match &rule.origin {
        Origin::BuiltIn(_) => cited(&rule.key, &rule.pattern),
        Origin::Grant { id } => format!("grant {id}: {}", rule.pattern),
        Origin::File { path, line, .. } => {
            format!(
                "{} ({}:{line})",
                cited(&rule.key, &rule.pattern),
                path.display()
            )
        }
    }
}

/// How entries of the log name a rule, wherever it is written.
pub(crate) fn cited(key: &str, pattern: &str) -> String {
    format!("{key}: {pattern}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_told_of_each_target_once_and_then_seldom() {
        let denial = |subject: &str, remedy: Option<&str>| srt_policy::Denial {
            subject: subject.into(),
            reason: "no rule matches".into(),
            rule: None,
            remedy: remedy.map(Into::into),
            generation: None,
        };
        let mut told = Told::default();
        let line = r#""network": { "allowedDomains": ["x.example:443"] }"#;
        let x = denial("x.example:443", Some(line));
        assert_eq!(
            told.next(FrontEnd::Connect, &x, "/s.json").unwrap(),
            format!(
                "srt: blocked connection to x.example:443: no rule matches; to allow it, add to /s.json: {line}"
            )
        );
        // The same by another way is the same.
        let again: Vec<_> = (2..=1000)
            .filter_map(|_| told.next(FrontEnd::Tcp, &x, "/s.json"))
            .collect();
        assert_eq!(
            again,
            [10, 100, 1000].map(|times| format!(
                "srt: blocked connection to x.example:443 {times} times by now"
            ))
        );
        let name = told.next(FrontEnd::Dns, &denial("y.example", None), BUILT_IN);
        assert_eq!(
            name.as_deref(),
            Some("srt: blocked lookup of y.example: no rule matches")
        );
        let more: Vec<_> = (0..2 * TOLD)
            .filter_map(|number| {
                let subject = format!("h{number}.example:443");
                told.next(FrontEnd::Tcp, &denial(&subject, None), BUILT_IN)
            })
            .collect();
        assert_eq!(more.len(), TOLD - 2 + 1);
        assert!(more.last().unwrap().contains("srtctl audit --kind deny"));
    }

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
