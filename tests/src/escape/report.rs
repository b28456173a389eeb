//! The printed table: attacks tried and escapes, by group.

use std::fmt::Write as _;

use super::{Group, Outcome, Verdict};

#[derive(Default)]
struct Count {
    tried: usize,
    held: usize,
    escapes: usize,
    broken: usize,
    awaiting: usize,
    left_out: usize,
}

impl Count {
    fn add(&mut self, verdict: &Verdict) {
        let of = match verdict {
            Verdict::Held => &mut self.held,
            Verdict::Escaped(_) => &mut self.escapes,
            Verdict::Broken(_) => &mut self.broken,
            Verdict::NotApplicable(_) => &mut self.left_out,
            Verdict::Awaits(_) => &mut self.awaiting,
        };
        *of += 1;
        // Whatever was shown to succeed, and then tried in a sandbox.
        self.tried += usize::from(matches!(verdict, Verdict::Held | Verdict::Escaped(_)));
    }

    fn line(&self, name: &str) -> String {
        format!(
            "{name:<14} {:>5} {:>5} {:>8} {:>7} {:>8} {:>15}",
            self.tried, self.held, self.escapes, self.broken, self.awaiting, self.left_out
        )
    }
}

/// The table of what was found, and beneath it whatever is not held.
pub fn report(groups: &[Group], outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "{:<14} {:>5} {:>5} {:>8} {:>7} {:>8} {:>15}\n",
        "group", "tried", "held", "escapes", "broken", "awaiting", "not applicable"
    );
    let mut total = Count::default();
    for group in groups {
        let mut count = Count::default();
        let of_group = |outcome: &&Outcome| outcome.group == group.group;
        for outcome in outcomes.iter().filter(of_group) {
            count.add(&outcome.verdict);
            total.add(&outcome.verdict);
        }
        if outcomes.iter().any(|outcome| of_group(&outcome)) {
            let _ = writeln!(text, "{}", count.line(&group.group));
        }
    }
    let _ = writeln!(text, "{}", total.line("total"));
    let mut sorted: Vec<_> = outcomes.iter().collect();
    // What is wrong comes last, where a log that was cut off still shows it.
    let wrong =
        |outcome: &Outcome| matches!(outcome.verdict, Verdict::Broken(_) | Verdict::Escaped(_));
    sorted.sort_by_key(|outcome| (wrong(outcome), &outcome.group, &outcome.name));
    for outcome in sorted {
        let name = format!("{}/{}", outcome.group, outcome.name);
        let _ = match &outcome.verdict {
            Verdict::Held => Ok(()),
            Verdict::Awaits(feature) => writeln!(text, "not held yet: {name}: awaits {feature}"),
            Verdict::NotApplicable(reason) => writeln!(text, "not applicable: {name}: {reason}"),
            Verdict::Broken(why) => writeln!(text, "\nBROKEN {name}: {why}"),
            Verdict::Escaped(said) => writeln!(text, "\nESCAPED {name}; it said:\n{said}"),
        };
    }
    text
}
