//! Attacks on sandboxes: read from tables in `tests/escape`, shown to succeed, then tried in a real sandbox.
//!
//! An attack counts as held only if the very same script succeeded where it may (outside, or under a policy that
//! allows it), if it got as far as its decisive step inside, and if nothing came of it there.

mod case;
mod report;
mod stage;
mod trial;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub use case::{Case, Group, groups};
pub use report::report;
pub use stage::Arsenal;
pub use trial::{Verdict, judge};

/// What became of one case.
#[derive(Debug)]
pub struct Outcome {
    /// The group's name.
    pub group: String,
    /// The case's name.
    pub name: String,
    /// What was found.
    pub verdict: Verdict,
    /// How long both runs took.
    pub took: Duration,
}

/// Tries every case, several at once; each has worlds of its own.
pub fn run(groups: &[Group], arsenal: &Arsenal, wanted: impl Fn(&str) -> bool) -> Vec<Outcome> {
    let root = rustix::process::geteuid().is_root();
    let waiting: VecDeque<(&Group, &Case)> = groups
        .iter()
        .flat_map(|group| group.cases.iter().map(move |case| (group, case)))
        .filter(|(_, case)| case.is_for(root))
        .filter(|(group, case)| wanted(&format!("{}/{}", group.group, case.name)))
        .collect();
    let waiting = Mutex::new(waiting);
    let outcomes = Mutex::new(Vec::new());
    // Most of a case is waiting for processes to start and end.
    let workers = 2 * std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().map(|mut waiting| waiting.pop_front());
                    let Ok(Some((group, case))) = next else {
                        return;
                    };
                    let start = Instant::now();
                    let mut verdict = judge(group, case, arsenal).awaited(case);
                    // Nothing was shown: the machine was busy, and a race was not won even where nothing holds it.
                    // Once more; what escaped is never tried again.
                    if let Verdict::Broken(why) = &verdict {
                        eprintln!("{}/{} once more: {why}", group.group, case.name);
                        verdict = judge(group, case, arsenal).awaited(case);
                    }
                    let outcome = Outcome {
                        group: group.group.clone(),
                        name: case.name.clone(),
                        verdict,
                        took: start.elapsed(),
                    };
                    if let Ok(mut outcomes) = outcomes.lock() {
                        outcomes.push(outcome);
                    }
                }
            });
        }
    });
    outcomes.into_inner().unwrap_or_default()
}
