//! Which refused lookups and datagrams are recorded: each name once in a while, and not every one of a flood.
//!
//! A program asks for one name as A and AAAA, and again when it tries once more: that is one refusal. One that asks for thousands of made-up names, to carry something out or to fill the log, has its
//! first ones recorded, and how many more there were.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use srt_policy::Denial;

use crate::FrontEnd;
use crate::context::Context;
use crate::refusal::without_rule;

/// How long a name is recorded no second time.
const WINDOW: Duration = Duration::from_secs(30);

/// How many names are recorded within that time.
const MOST: usize = 256;

/// The names of the current window.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    names: HashSet<(FrontEnd, Box<str>)>,
    more: u64,
}

impl Told {
    /// The denial, if it is to be recorded.
    pub(crate) fn first(&self, front_end: FrontEnd, denial: Denial) -> Option<Denial> {
        // What a panic could leave half-done is at worst a count.
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (front_end, denial.subject.as_str().into());
        if window.names.contains(&name) {
            return None;
        }
        if window.names.len() >= MOST {
            window.more += 1;
            return None;
        }
        window.names.insert(name);
        Some(denial)
    }

    /// Begins a new window: what there was beyond the bound of the last.
    fn renew(&self) -> Option<Denial> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Window { more, .. } = std::mem::take(&mut *window);
        (more > 0).then(|| {
            let why = format!(
                "refused within {} s, after {MOST} other names; these are only counted",
                WINDOW.as_secs()
            );
            without_rule(format!("{more} more names"), why)
        })
    }
}

/// Begins windows for as long as the sandbox lives, and records what the last one only counted.
pub(crate) async fn sum_up(context: Arc<Context>) {
    let cancel = context.cancel.clone();
    loop {
        let ended = cancel
            .run_until_cancelled(tokio::time::sleep(WINDOW))
            .await
            .is_none();
        if let Some(denial) = context.told.renew() {
            context.denied(FrontEnd::Dns, denial).await;
        }
        if ended {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(subject: &str) -> Denial {
        Denial {
            generation: None,
            subject: subject.into(),
            reason: "no".into(),
            rule: None,
            remedy: None,
        }
    }

    #[test]
    fn a_name_is_told_once_and_a_flood_as_a_number() {
        let told = Told::default();
        assert!(told.first(FrontEnd::Dns, denial("a.test")).is_some());
        assert!(told.first(FrontEnd::Dns, denial("a.test")).is_none());
        assert!(told.first(FrontEnd::Dns, denial("b.test")).is_some());
        assert_eq!(told.renew(), None);
        assert!(told.first(FrontEnd::Dns, denial("a.test")).is_some());
        let recorded = (0..10_000)
            .filter(|number| {
                told.first(FrontEnd::Dns, denial(&format!("{number}.test")))
                    .is_some()
            })
            .count();
        assert_eq!(recorded, MOST - 1);
        let rest = told.renew().unwrap();
        assert_eq!(rest.subject, format!("{} more names", 10_000 - (MOST - 1)));
        assert!(told.first(FrontEnd::Dns, denial("9.test")).is_some());
    }
}
