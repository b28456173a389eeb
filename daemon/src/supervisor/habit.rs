//! Whether the host of a server comes back at once after a short session, as hosts do that probe with a disposable first
//! process. Pure: the time is an argument.

use std::time::{Duration, Instant};

use super::launch::Plan;

/// A session that its host ends sooner may be a probe.
const SHORT: Duration = Duration::from_secs(5);
/// How long a launch is kept ready for the next host.
pub(super) const KEPT: Duration = Duration::from_secs(10);

/// What the hosts of one server were seen to do.
#[derive(Debug, Default)]
pub(super) struct Habit {
    /// What was launched for the last session that was short, and when that ended.
    probed: Option<(Plan, Instant)>,
    /// The very same was asked for soon after it.
    comes_back: bool,
}

impl Habit {
    /// A session of this plan was ended by its host, so long after it began. Whether another launch is to be ready for
    /// the next one: a launch that nobody asked for is only begun where the last such session was soon followed by another.
    pub(super) fn ended(&mut self, plan: &Plan, lasted: Duration, now: Instant) -> bool {
        if lasted >= SHORT {
            return false;
        }
        let same = |(own, _): &(Plan, Instant)| own.is_same(plan);
        self.comes_back &= self.probed.as_ref().is_some_and(same);
        self.probed = Some((plan.clone(), now));
        self.comes_back
    }

    /// A host asks for this.
    pub(super) fn attached(&mut self, plan: &Plan, now: Instant) {
        if let Some((own, at)) = &self.probed
            && own.is_same(plan)
            && now.duration_since(*at) < KEPT
        {
            self.comes_back = true;
        }
    }

    /// A launch was kept ready in vain.
    pub(super) fn nobody_came(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(cwd: &str) -> Plan {
        Plan {
            name: "s".into(),
            command: vec!["server".into()],
            cwd: cwd.into(),
            cwd_identity: None,
            settings: None,
            profile: None,
            environment: [].into(),
            named: Vec::new(),
            umask: 0o022,
            restart: false,
            last_good: None,
        }
    }

    #[test]
    fn what_nobody_asked_for_is_begun_only_for_who_came_back_the_last_time() {
        let (here, there) = (plan("/here"), plan("/there"));
        let (begin, short) = (Instant::now(), Duration::from_secs(1));
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let mut habit = Habit::default();
        habit.attached(&here, at(0));
        assert!(!habit.ended(&here, short, at(1)), "nothing is known of it");
        habit.attached(&here, at(30));
        assert!(!habit.ended(&here, short, at(31)), "it took its time");
        habit.attached(&there, at(32));
        assert!(!habit.ended(&here, short, at(33)), "another folder's host");
        habit.attached(&here, at(34));
        assert!(!habit.ended(&here, SHORT, at(40)), "that was no probe");
        assert!(habit.ended(&here, short, at(41)));
        habit.attached(&here, at(42));
        assert!(habit.ended(&here, short, at(43)), "it goes on doing so");
        habit.nobody_came();
        assert!(!habit.ended(&here, short, at(60)), "until it does not");
        habit.attached(&here, at(61));
        assert!(!habit.ended(&there, short, at(62)), "another one's habit");
    }
}
