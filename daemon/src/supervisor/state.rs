//! The life of a server that runs without a host, as a pure machine: an observation and the time in, what to do out.
//!
//! ```text
//!            start                 launched
//!  Stopped ───────▶ Starting ─────────────────▶ Running
//!     ▲                │ ▲                        │ │
//!     │ stop           │ │ retry is due     ended │ │ taken by a host
//!     │                ▼ │                        │ └──────▶ Stopped
//!     ├──────────── Backoff ◀─────────────────────┤
//!     │ stop           │ too many starts          │ too many starts
//!     └──────────── Failed ◀──────────────────────┘
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The first wait before a restart; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// So many starts within [`WINDOW`] are enough to give up.
const TOO_MANY: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);
/// A launch that ran so long was healthy: the next wait is the first again.
const HEALTHY: Duration = Duration::from_secs(30);

/// The state that `status` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    Stopped,
    Starting,
    Running,
    Backoff,
    Failed,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observation {
    /// A person wants it to run.
    Start,
    /// A person wants it not to.
    Stop,
    /// The launch that was asked for runs.
    Launched,
    /// It could not be started. Trying again without a change is of no use: policy or sandbox refuse.
    LaunchFailed,
    /// It ended by itself.
    Ended {
        /// With status 0.
        well: bool,
    },
    /// A host took it over: it is a session's now.
    Taken,
    /// The wait that was asked for is over.
    RetryDue,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Nothing,
    Launch,
    /// Observe [`Observation::RetryDue`] after this long.
    WaitThenRetry(Duration),
    /// End the launch, if there is one.
    TearDown,
}

/// The machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    state: State,
    wait: Duration,
    starts: VecDeque<Instant>,
    running_since: Option<Instant>,
    restarts: u32,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            state: State::Stopped,
            wait: FIRST_WAIT,
            starts: VecDeque::new(),
            running_since: None,
            restarts: 0,
        }
    }
}

impl Machine {
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Restarts after an end that nobody asked for.
    pub(crate) fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Moves on. What makes no sense in a state (an end that was announced twice, a retry after a stop) changes
    /// nothing.
    pub(crate) fn observe(&mut self, observation: Observation, now: Instant) -> Action {
        use Observation::{Ended, LaunchFailed, Launched, RetryDue, Start, Stop, Taken};
        match (self.state, observation) {
            (State::Stopped | State::Failed, Start) => {
                self.starts.clear();
                self.wait = FIRST_WAIT;
                self.launch(now)
            }
            // Impatience counts as a wish to try now.
            (State::Backoff, Start | RetryDue) => {
                self.restarts += 1;
                self.launch(now)
            }
            (State::Starting, Launched) => {
                self.state = State::Running;
                self.running_since = Some(now);
                Action::Nothing
            }
            (State::Starting, LaunchFailed) => {
                self.state = State::Failed;
                Action::Nothing
            }
            (State::Running, Taken) => {
                self.state = State::Stopped;
                Action::Nothing
            }
            (State::Running, Ended { well: true }) => {
                self.state = State::Stopped;
                Action::Nothing
            }
            (State::Running, Ended { well: false }) => {
                if self
                    .running_since
                    .is_some_and(|since| now.duration_since(since) >= HEALTHY)
                {
                    self.wait = FIRST_WAIT;
                    self.starts.clear();
                }
                self.starts
                    .retain(|start| now.duration_since(*start) < WINDOW);
                if self.starts.len() >= TOO_MANY {
                    self.state = State::Failed;
                    return Action::Nothing;
                }
                self.state = State::Backoff;
                let wait = self.wait;
                self.wait = (wait * 2).min(LONGEST_WAIT);
                Action::WaitThenRetry(wait)
            }
            (State::Starting | State::Running, Stop) => {
                self.state = State::Stopped;
                Action::TearDown
            }
            (_, Stop) => {
                self.state = State::Stopped;
                Action::Nothing
            }
            // A launch that comes up after the stop: nobody wants it any more.
            (State::Stopped, Launched) => Action::TearDown,
            _ => Action::Nothing,
        }
    }

    fn launch(&mut self, now: Instant) -> Action {
        self.state = State::Starting;
        self.starts.push_back(now);
        Action::Launch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Observation::{Ended, LaunchFailed, Launched, RetryDue, Start, Stop, Taken};

    /// Drives a machine through `(seconds, observation)` and compares states and actions.
    fn check(script: &[(u64, Observation, State, Action)]) -> Machine {
        let begin = Instant::now();
        let mut machine = Machine::default();
        for (step, (seconds, observation, state, action)) in script.iter().enumerate() {
            let got = machine.observe(*observation, begin + Duration::from_secs(*seconds));
            assert_eq!(
                (machine.state(), got),
                (*state, *action),
                "step {step}: {observation:?}"
            );
        }
        machine
    }

    const CRASH: Observation = Ended { well: false };
    const fn wait(seconds: u64) -> Action {
        Action::WaitThenRetry(Duration::from_secs(seconds))
    }

    #[test]
    fn start_and_stop_are_idempotent() {
        check(&[
            (0, Stop, State::Stopped, Action::Nothing),
            (0, Start, State::Starting, Action::Launch),
            (0, Start, State::Starting, Action::Nothing),
            (0, Launched, State::Running, Action::Nothing),
            (0, Start, State::Running, Action::Nothing),
            (1, Stop, State::Stopped, Action::TearDown),
            (1, Stop, State::Stopped, Action::Nothing),
            (1, CRASH, State::Stopped, Action::Nothing),
            (1, RetryDue, State::Stopped, Action::Nothing),
        ]);
    }

    #[test]
    fn a_crash_is_retried_later_and_later_and_then_no_more() {
        let machine = check(&[
            (0, Start, State::Starting, Action::Launch),
            (0, Launched, State::Running, Action::Nothing),
            (0, CRASH, State::Backoff, wait(1)),
            (1, RetryDue, State::Starting, Action::Launch),
            (1, Launched, State::Running, Action::Nothing),
            (1, CRASH, State::Backoff, wait(2)),
            (3, RetryDue, State::Starting, Action::Launch),
            (3, Launched, State::Running, Action::Nothing),
            (3, CRASH, State::Backoff, wait(4)),
            (7, RetryDue, State::Starting, Action::Launch),
            (7, Launched, State::Running, Action::Nothing),
            (7, CRASH, State::Backoff, wait(8)),
            (15, RetryDue, State::Starting, Action::Launch),
            (15, Launched, State::Running, Action::Nothing),
            (15, CRASH, State::Failed, Action::Nothing),
            (99, RetryDue, State::Failed, Action::Nothing),
            (99, Start, State::Starting, Action::Launch),
        ]);
        assert_eq!(machine.restarts(), 4);
    }

    #[test]
    fn health_resets_the_wait() {
        check(&[
            (0, Start, State::Starting, Action::Launch),
            (0, Launched, State::Running, Action::Nothing),
            (1, CRASH, State::Backoff, wait(1)),
            (2, RetryDue, State::Starting, Action::Launch),
            (2, Launched, State::Running, Action::Nothing),
            (40, CRASH, State::Backoff, wait(1)),
        ]);
    }

    #[test]
    fn an_end_without_a_failure_is_an_end() {
        check(&[
            (0, Start, State::Starting, Action::Launch),
            (0, Launched, State::Running, Action::Nothing),
            (1, Ended { well: true }, State::Stopped, Action::Nothing),
        ]);
    }

    #[test]
    fn what_policy_refuses_is_not_retried() {
        check(&[
            (0, Start, State::Starting, Action::Launch),
            (0, LaunchFailed, State::Failed, Action::Nothing),
            (1, Stop, State::Stopped, Action::Nothing),
        ]);
    }

    #[test]
    fn a_host_takes_it_over() {
        check(&[
            (0, Start, State::Starting, Action::Launch),
            (0, Launched, State::Running, Action::Nothing),
            (1, Taken, State::Stopped, Action::Nothing),
            (1, Start, State::Starting, Action::Launch),
        ]);
    }

    #[test]
    fn a_launch_that_comes_up_after_the_stop_is_torn_down() {
        check(&[
            (0, Start, State::Starting, Action::Launch),
            (0, Stop, State::Stopped, Action::TearDown),
            (1, Launched, State::Stopped, Action::TearDown),
        ]);
    }

    #[test]
    fn every_state_bears_every_observation() {
        let now = Instant::now();
        for state in [
            State::Stopped,
            State::Starting,
            State::Running,
            State::Backoff,
            State::Failed,
        ] {
            for observation in [
                Start,
                Stop,
                Launched,
                LaunchFailed,
                CRASH,
                Ended { well: true },
                Taken,
                RetryDue,
            ] {
                let mut machine = Machine {
                    state,
                    ..Machine::default()
                };
                let action = machine.observe(observation, now);
                assert_eq!(
                    action == Action::Launch,
                    machine.state() == State::Starting && state != State::Starting
                );
                if observation == Stop {
                    assert_eq!(machine.state(), State::Stopped);
                }
            }
        }
    }
}
