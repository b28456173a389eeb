//! The life of a lineage, as a pure machine: an observation, the time and a random number in, what to do out. A lineage
//! is the succession of launches that serve one session, or that run without a host.
//!
//! docs/ARCHITECTURE.md has its diagram.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use srt_policy::Restart;

/// The first wait before a restart; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// No wait of a session is longer: its shim holds the host's requests for so long.
const LONGEST_OF_A_SESSION: Duration = Duration::from_secs(30);
/// A wait is shortened by up to this share of it, so that what failed together does not come back together.
const JITTER: f64 = 0.25;
/// So many starts within [`WINDOW`] are enough to give up.
const TOO_MANY: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);
/// A launch that was well for so long: the next wait is the first again, and earlier starts are forgotten.
const HEALTHY: Duration = Duration::from_secs(30);

/// The state that `status` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum State {
    Stopped,
    Failed,
    Backoff,
    /// It was told to end and has not yet.
    Stopping,
    Starting,
    /// Its program is executed.
    Running,
    /// It answered what makes it ready: initialize, or a request of the modern era.
    Ready,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
        }
    }
}

/// How a launch ended, as far as that decides what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its host or a person wanted it to.
    Asked,
    /// With status 0, and nothing was under way.
    Well,
    Failure,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observation {
    /// A person wants it to run, or a host attaches for the first time.
    Start,
    /// The session's shim wants another launch.
    Again,
    /// A person wants it not to run.
    Stop,
    /// The launch that was asked for runs.
    Launched,
    /// It could not be started. Trying again without a change is of no use: policy or sandbox refuse.
    LaunchFailed,
    /// It answered what makes it ready.
    Ready,
    /// It was not ready in time, or answers no more.
    NoAnswer,
    /// Its settings are others now, and it cannot take them over.
    Renew,
    Ended(Outcome),
    /// A host took it over: it is a session's now.
    Taken,
    /// The session's host went away before either side had said a word: its launch is kept for the next one.
    Left,
    /// The wait that was asked for is over.
    RetryDue,
    /// A person wants its failures forgotten.
    Reset,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Nothing,
    Launch,
    /// Observe [`Observation::RetryDue`] after this long.
    WaitThenRetry(Duration),
    /// Nothing, until the session's shim asks ([`Observation::Again`]).
    AwaitHost,
    /// End the launch.
    TearDown,
}

/// What follows the end of a launch that was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Stay,
    /// Another one, as after a failure.
    Failure,
    /// Another one at once.
    Replace,
}

/// The machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    hosted: bool,
    restart: Restart,
    state: State,
    then: Then,
    wait: Duration,
    starts: VecDeque<Instant>,
    well_since: Option<Instant>,
    /// Of a session: it was ready once, so its shim can carry it across.
    was_ready: bool,
    /// None follows its launch, whatever the settings say.
    once: bool,
    /// Somebody waits for the next launch. Always, without a host.
    wanted: bool,
    due: Option<Instant>,
    restarts: u32,
}

impl Machine {
    fn new(hosted: bool) -> Self {
        Self {
            hosted,
            restart: Restart::default(),
            state: State::Stopped,
            then: Then::Stay,
            wait: FIRST_WAIT,
            starts: VecDeque::new(),
            well_since: None,
            was_ready: false,
            once: false,
            wanted: !hosted,
            due: None,
            restarts: 0,
        }
    }

    /// Of launches without a host.
    pub(crate) fn alone() -> Self {
        Self::new(false)
    }

    /// Of a launch that is kept ready for the next host.
    pub(crate) fn kept() -> Self {
        Self {
            once: true,
            restart: Restart::Never,
            ..Self::new(false)
        }
    }

    /// Of a session. `goes_on`: it was ready in a launch of an earlier daemon.
    pub(crate) fn of_session(goes_on: bool) -> Self {
        Self {
            was_ready: goes_on,
            ..Self::new(true)
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Restarts after an end that nobody asked for.
    #[cfg(test)]
    pub(crate) fn restarts(&self) -> u32 {
        self.restarts
    }

    /// When the next launch is due, in [`State::Backoff`].
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.state == State::Backoff)
    }

    /// What the settings of the launch that begins say of ends.
    pub(crate) fn set_restart(&mut self, restart: Restart) {
        if !self.once {
            self.restart = restart;
        }
    }

    /// Moves on; `random` is from 0 to 1. What makes no sense in a state (an end that was announced twice, a retry after
    /// a stop) changes nothing.
    pub(crate) fn observe(
        &mut self,
        observation: Observation,
        now: Instant,
        random: f64,
    ) -> Action {
        use Observation as O;
        use State as S;
        match (self.state, observation) {
            (S::Stopped | S::Failed, O::Start) => {
                self.forget();
                self.launch(now)
            }
            // Impatience counts as a wish to try now.
            (S::Backoff, O::Start) => self.retry(now),
            (S::Backoff, O::RetryDue) if self.wanted => self.retry(now),
            (S::Stopping, O::Start) => {
                self.wanted = true;
                if self.then == Then::Stay {
                    self.then = Then::Replace;
                }
                Action::Nothing
            }
            // Whoever had it stopped has the last word.
            (S::Stopping, O::Again) => {
                self.wanted = true;
                Action::Nothing
            }
            // Of a daemon before this one.
            (S::Stopped, O::Again) => self.launch(now),
            (S::Backoff, O::Again) => {
                self.wanted = true;
                let due = self.due.unwrap_or(now);
                Action::WaitThenRetry(due.saturating_duration_since(now))
            }
            // Its shim lost sight of this launch and wants one that it sees.
            (S::Running | S::Ready, O::Again) => {
                self.wanted = true;
                self.stopping(Then::Replace)
            }
            (S::Starting, O::Launched) => {
                self.state = S::Running;
                self.wanted = !self.hosted;
                self.well_since = (!self.hosted).then_some(now);
                Action::Nothing
            }
            (S::Starting, O::LaunchFailed) => self.rest(S::Failed),
            // A launch that comes up after the stop: nobody wants it any more.
            (S::Stopping, O::Launched) => Action::TearDown,
            (S::Stopping, O::LaunchFailed) => match self.then {
                Then::Stay => self.rest(S::Stopped),
                Then::Failure | Then::Replace => self.rest(S::Failed),
            },
            (S::Running, O::Ready) => {
                self.state = S::Ready;
                self.was_ready = true;
                self.well_since.get_or_insert(now);
                Action::Nothing
            }
            (S::Running, O::Taken) if !self.hosted => self.rest(S::Stopped),
            (S::Running, O::Left) if self.hosted => self.rest(S::Stopped),
            (S::Running | S::Ready, O::NoAnswer) => self.stopping(Then::Failure),
            (S::Running | S::Ready, O::Renew) => self.stopping(Then::Replace),
            (S::Running | S::Ready, O::Ended(outcome)) => {
                let again = match (self.restart, outcome) {
                    (_, Outcome::Asked) | (Restart::Never, _) => false,
                    (Restart::OnFailure, outcome) => outcome == Outcome::Failure,
                    (Restart::Always, _) => true,
                };
                if again {
                    self.failed(now, random)
                } else {
                    self.rest(S::Stopped)
                }
            }
            (S::Stopping, O::Ended(_)) => match self.then {
                Then::Stay => self.rest(S::Stopped),
                Then::Failure if self.restart == Restart::Never => self.rest(S::Stopped),
                Then::Failure => self.failed(now, random),
                Then::Replace if !self.may_go_on() => self.rest(S::Stopped),
                Then::Replace if self.wanted => self.begin(),
                Then::Replace => self.back_off(now, Duration::ZERO),
            },
            // Its launch is on its way: it is ended when it has come.
            (S::Starting, O::Stop) => {
                self.state = S::Stopping;
                self.then = Then::Stay;
                Action::Nothing
            }
            (S::Starting, O::Renew) => {
                self.state = S::Stopping;
                self.then = Then::Replace;
                Action::Nothing
            }
            (S::Running | S::Ready, O::Stop) => self.stopping(Then::Stay),
            (S::Stopping, O::Stop) => {
                self.then = Then::Stay;
                Action::Nothing
            }
            (S::Stopped | S::Backoff | S::Failed, O::Stop) => self.rest(S::Stopped),
            (S::Failed, O::Reset) => {
                self.forget();
                self.rest(S::Stopped)
            }
            (S::Backoff, O::Reset) => {
                self.forget();
                Action::Nothing
            }
            _ => Action::Nothing,
        }
    }

    /// Before it was ready, the end of a session's launch is the session's, as it would be bare: hosts try again.
    fn may_go_on(&self) -> bool {
        !self.once && (!self.hosted || self.was_ready)
    }

    fn forget(&mut self) {
        self.starts.clear();
        self.wait = FIRST_WAIT;
    }

    fn rest(&mut self, state: State) -> Action {
        self.state = state;
        self.due = None;
        Action::Nothing
    }

    fn stopping(&mut self, then: Then) -> Action {
        self.state = State::Stopping;
        self.then = then;
        Action::TearDown
    }

    fn launch(&mut self, now: Instant) -> Action {
        self.starts.push_back(now);
        self.begin()
    }

    /// A launch that is none of those that may be too many.
    fn begin(&mut self) -> Action {
        self.state = State::Starting;
        self.well_since = None;
        self.due = None;
        Action::Launch
    }

    fn retry(&mut self, now: Instant) -> Action {
        self.restarts += 1;
        self.launch(now)
    }

    /// It ended and is to run again, unless that was tried too often.
    fn failed(&mut self, now: Instant, random: f64) -> Action {
        if !self.may_go_on() {
            return self.rest(State::Stopped);
        }
        if self
            .well_since
            .is_some_and(|since| now.duration_since(since) >= HEALTHY)
        {
            self.forget();
        }
        self.starts
            .retain(|start| now.duration_since(*start) < WINDOW);
        if self.starts.len() >= TOO_MANY {
            return self.rest(State::Failed);
        }
        let longest = if self.hosted {
            LONGEST_OF_A_SESSION
        } else {
            LONGEST_WAIT
        };
        let wait = self.wait.min(longest).mul_f64(1.0 - JITTER * random);
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        self.back_off(now, wait)
    }

    fn back_off(&mut self, now: Instant, wait: Duration) -> Action {
        self.state = State::Backoff;
        self.due = Some(now + wait);
        if self.wanted {
            Action::WaitThenRetry(wait)
        } else {
            Action::AwaitHost
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Observation as O;
    use Outcome::{Asked, Failure, Well};
    use State as S;

    const NOTHING: Action = Action::Nothing;
    const LAUNCH: Action = Action::Launch;
    const END: Action = Action::TearDown;
    const CRASH: Observation = O::Ended(Failure);
    const fn wait(seconds: u64) -> Action {
        Action::WaitThenRetry(Duration::from_secs(seconds))
    }

    /// Drives a machine through `(seconds, observation)`, without jitter, and compares states and actions.
    #[track_caller]
    fn check(mut machine: Machine, script: &[(u64, Observation, State, Action)]) -> Machine {
        let begin = Instant::now();
        for (step, (seconds, observation, state, action)) in script.iter().enumerate() {
            let now = begin + Duration::from_secs(*seconds);
            let got = machine.observe(*observation, now, 0.0);
            assert_eq!(
                (machine.state(), got),
                (*state, *action),
                "step {step}: {observation:?}"
            );
        }
        machine
    }

    fn alone(script: &[(u64, Observation, State, Action)]) -> Machine {
        check(Machine::alone(), script)
    }

    fn session(script: &[(u64, Observation, State, Action)]) -> Machine {
        check(Machine::of_session(false), script)
    }

    #[test]
    fn start_and_stop_are_idempotent() {
        alone(&[
            (0, O::Stop, S::Stopped, NOTHING),
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Start, S::Starting, NOTHING),
            (0, O::Launched, S::Running, NOTHING),
            (0, O::Start, S::Running, NOTHING),
            (1, O::Stop, S::Stopping, END),
            (1, O::Stop, S::Stopping, NOTHING),
            (2, CRASH, S::Stopped, NOTHING),
            (2, CRASH, S::Stopped, NOTHING),
            (3, O::RetryDue, S::Stopped, NOTHING),
        ]);
    }

    #[test]
    fn a_crash_is_retried_later_and_later_and_then_no_more() {
        let machine = alone(&[
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Launched, S::Running, NOTHING),
            (0, CRASH, S::Backoff, wait(1)),
            (1, O::RetryDue, S::Starting, LAUNCH),
            (1, O::Launched, S::Running, NOTHING),
            (1, CRASH, S::Backoff, wait(2)),
            (3, O::RetryDue, S::Starting, LAUNCH),
            (3, O::Launched, S::Running, NOTHING),
            (3, CRASH, S::Backoff, wait(4)),
            (7, O::RetryDue, S::Starting, LAUNCH),
            (7, O::Launched, S::Running, NOTHING),
            (7, CRASH, S::Backoff, wait(8)),
            (15, O::RetryDue, S::Starting, LAUNCH),
            (15, O::Launched, S::Running, NOTHING),
            (15, CRASH, S::Failed, NOTHING),
            (99, O::RetryDue, S::Failed, NOTHING),
            (99, O::Start, S::Starting, LAUNCH),
            (99, O::Launched, S::Running, NOTHING),
            // All is forgotten: the first wait again.
            (99, CRASH, S::Backoff, wait(1)),
        ]);
        assert_eq!(machine.restarts(), 4);
    }

    #[test]
    fn waits_double_to_a_minute_and_a_sessions_to_what_its_shim_waits_for() {
        for (hosted, longest) in [(false, 60), (true, 30)] {
            let mut machine = Machine::new(hosted);
            machine.was_ready = true;
            let mut now = Instant::now();
            machine.observe(O::Start, now, 0.0);
            for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
                machine.observe(O::Launched, now, 0.0);
                // Not long enough to be well, and long enough not to be too many.
                now += Duration::from_secs(29);
                machine.observe(CRASH, now, 0.0);
                let wait = machine.due().unwrap() - now;
                assert_eq!(wait, Duration::from_secs(expected.min(longest)));
                machine.observe(O::Again, now, 0.0);
                now += wait;
                assert_eq!(machine.observe(O::RetryDue, now, 0.0), LAUNCH);
            }
        }
    }

    #[test]
    fn jitter_shortens_a_wait_by_a_quarter_at_most() {
        for (random, millis) in [(0.0, 1000), (0.5, 875), (1.0, 750)] {
            let mut machine = Machine::alone();
            let now = Instant::now();
            machine.observe(O::Start, now, random);
            machine.observe(O::Launched, now, random);
            let wait = machine.observe(CRASH, now, random);
            assert_eq!(wait, Action::WaitThenRetry(Duration::from_millis(millis)));
        }
    }

    #[test]
    fn half_a_minute_of_health_forgets_failures() {
        alone(&[
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Launched, S::Running, NOTHING),
            (1, CRASH, S::Backoff, wait(1)),
            (2, O::RetryDue, S::Starting, LAUNCH),
            (2, O::Launched, S::Running, NOTHING),
            (32, CRASH, S::Backoff, wait(1)),
        ]);
        // A session is well from when it is ready, and not while it makes its host wait.
        session(&[
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Launched, S::Running, NOTHING),
            (1, O::Ready, S::Ready, NOTHING),
            (2, CRASH, S::Backoff, Action::AwaitHost),
            (2, O::Again, S::Backoff, wait(1)),
            (3, O::RetryDue, S::Starting, LAUNCH),
            (3, O::Launched, S::Running, NOTHING),
            (40, CRASH, S::Backoff, Action::AwaitHost),
            (40, O::Again, S::Backoff, wait(2)),
            (42, O::RetryDue, S::Starting, LAUNCH),
            (42, O::Launched, S::Running, NOTHING),
            (42, O::Ready, S::Ready, NOTHING),
            (72, CRASH, S::Backoff, Action::AwaitHost),
            (72, O::Again, S::Backoff, wait(1)),
        ]);
    }

    #[test]
    fn what_follows_an_end_is_as_the_settings_say() {
        let table = [
            (Restart::Never, Asked, S::Stopped),
            (Restart::Never, Well, S::Stopped),
            (Restart::Never, Failure, S::Stopped),
            (Restart::OnFailure, Asked, S::Stopped),
            (Restart::OnFailure, Well, S::Stopped),
            (Restart::OnFailure, Failure, S::Backoff),
            (Restart::Always, Asked, S::Stopped),
            (Restart::Always, Well, S::Backoff),
            (Restart::Always, Failure, S::Backoff),
        ];
        for (restart, outcome, state) in table {
            let mut machine = alone(&[
                (0, O::Start, S::Starting, LAUNCH),
                (0, O::Launched, S::Running, NOTHING),
            ]);
            machine.set_restart(restart);
            machine.observe(O::Ended(outcome), Instant::now(), 0.0);
            assert_eq!(machine.state(), state, "{restart:?} {outcome:?}");
        }
        let mut machine = alone(&[
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Launched, S::Running, NOTHING),
            (1, O::NoAnswer, S::Stopping, END),
        ]);
        machine.set_restart(Restart::Never);
        check(machine, &[(2, CRASH, S::Stopped, NOTHING)]);
    }

    #[test]
    fn a_session_that_was_never_ready_ends_with_its_launch() {
        for last in [CRASH, O::Ended(Well), O::Ended(Asked)] {
            session(&[
                (0, O::Start, S::Starting, LAUNCH),
                (0, O::Launched, S::Running, NOTHING),
                (0, last, S::Stopped, NOTHING),
            ]);
        }
        session(&[
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Launched, S::Running, NOTHING),
            (0, O::Renew, S::Stopping, END),
            (1, CRASH, S::Stopped, NOTHING),
        ]);
        session(&[
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Launched, S::Running, NOTHING),
            (0, O::NoAnswer, S::Stopping, END),
            (1, CRASH, S::Stopped, NOTHING),
        ]);
    }

    #[test]
    fn a_session_waits_for_its_shim_and_for_the_wait() {
        let ready = [
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Launched, S::Running, NOTHING),
            (0, O::Ready, S::Ready, NOTHING),
        ];
        // The shim comes first, or the end of the wait does.
        check(
            session(&ready),
            &[
                (1, CRASH, S::Backoff, Action::AwaitHost),
                (1, O::RetryDue, S::Backoff, NOTHING),
                (9, O::Again, S::Backoff, wait(0)),
                (9, O::RetryDue, S::Starting, LAUNCH),
                // It was ready once: a crash before it is ready again is one more failure.
                (9, O::Launched, S::Running, NOTHING),
                (9, CRASH, S::Backoff, Action::AwaitHost),
                (9, O::Stop, S::Stopped, NOTHING),
            ],
        );
        // It asks before the end is known, because it answers no more, or because the shim lost sight of it.
        for (observation, action) in [(O::NoAnswer, wait(1)), (O::Again, LAUNCH)] {
            let after = if action == LAUNCH {
                S::Starting
            } else {
                S::Backoff
            };
            check(
                session(&ready),
                &[
                    (1, observation, S::Stopping, END),
                    (1, O::Again, S::Stopping, NOTHING),
                    (2, CRASH, after, action),
                ],
            );
        }
    }

    #[test]
    fn what_takes_the_place_of_another_is_no_failure() {
        let machine = session(&[
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Launched, S::Running, NOTHING),
            (0, O::Ready, S::Ready, NOTHING),
            (1, O::Renew, S::Stopping, END),
            (1, O::Ended(Asked), S::Backoff, Action::AwaitHost),
            (1, O::Again, S::Backoff, wait(0)),
            (1, O::RetryDue, S::Starting, LAUNCH),
        ]);
        assert_eq!(machine.wait, FIRST_WAIT);
        let mut script = vec![
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Launched, S::Running, NOTHING),
        ];
        for _ in 0..TOO_MANY {
            script.extend([
                (0, O::Renew, S::Stopping, END),
                (0, O::Ended(Asked), S::Starting, LAUNCH),
                (0, O::Launched, S::Running, NOTHING),
            ]);
        }
        script.push((0, CRASH, S::Backoff, wait(1)));
        alone(&script);
    }

    #[test]
    fn a_stop_has_the_last_word() {
        let up = [
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Launched, S::Running, NOTHING),
            (0, O::Ready, S::Ready, NOTHING),
        ];
        for before in [O::NoAnswer, O::Renew] {
            check(
                session(&up),
                &[
                    (1, before, S::Stopping, END),
                    (1, O::Stop, S::Stopping, NOTHING),
                    (1, O::Again, S::Stopping, NOTHING),
                    (2, CRASH, S::Stopped, NOTHING),
                ],
            );
        }
        // Unless it is a person again who wants it after all.
        alone(&[
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Stop, S::Stopping, NOTHING),
            (0, O::Start, S::Stopping, NOTHING),
            (1, O::Launched, S::Stopping, END),
            (2, O::Ended(Asked), S::Starting, LAUNCH),
        ]);
    }

    #[test]
    fn a_launch_that_comes_up_after_the_stop_is_ended() {
        alone(&[
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Stop, S::Stopping, NOTHING),
            (1, O::Launched, S::Stopping, END),
            (2, O::Ended(Asked), S::Stopped, NOTHING),
        ]);
        alone(&[
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Stop, S::Stopping, NOTHING),
            (1, O::LaunchFailed, S::Stopped, NOTHING),
        ]);
        session(&[
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Renew, S::Stopping, NOTHING),
            (1, O::LaunchFailed, S::Failed, NOTHING),
        ]);
    }

    #[test]
    fn what_policy_refuses_is_not_retried_and_may_be_forgotten() {
        alone(&[
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::LaunchFailed, S::Failed, NOTHING),
            (1, O::Reset, S::Stopped, NOTHING),
            (2, O::Start, S::Starting, LAUNCH),
            (2, O::LaunchFailed, S::Failed, NOTHING),
            (3, O::Stop, S::Stopped, NOTHING),
        ]);
        let machine = alone(&[
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Launched, S::Running, NOTHING),
            (0, CRASH, S::Backoff, wait(1)),
            (0, O::Reset, S::Backoff, NOTHING),
        ]);
        assert_eq!(machine.wait, FIRST_WAIT);
    }

    #[test]
    fn a_host_takes_it_over() {
        alone(&[
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Launched, S::Running, NOTHING),
            (1, O::Taken, S::Stopped, NOTHING),
            (1, O::Start, S::Starting, LAUNCH),
        ]);
    }

    #[test]
    fn a_host_that_leaves_without_a_word_leaves_its_launch_to_the_next() {
        session(&[
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Left, S::Starting, NOTHING),
            (0, O::Launched, S::Running, NOTHING),
            (1, O::Left, S::Stopped, NOTHING),
            // The end of that launch is no concern of this session.
            (2, CRASH, S::Stopped, NOTHING),
        ]);
        // What was said cannot be unsaid, and what runs without a host has none to leave it.
        session(&[
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Launched, S::Running, NOTHING),
            (0, O::Ready, S::Ready, NOTHING),
            (1, O::Left, S::Ready, NOTHING),
        ]);
        alone(&[
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Launched, S::Running, NOTHING),
            (1, O::Left, S::Running, NOTHING),
        ]);
    }

    #[test]
    fn nothing_follows_a_launch_that_is_kept_for_the_next_host() {
        let up = [
            (0, O::Start, S::Starting, LAUNCH),
            (0, O::Launched, S::Running, NOTHING),
        ];
        let kept = || {
            let mut machine = check(Machine::kept(), &up);
            machine.set_restart(Restart::Always);
            machine
        };
        check(kept(), &[(1, O::Taken, S::Stopped, NOTHING)]);
        for end in [CRASH, O::Ended(Well), O::Ended(Asked)] {
            check(kept(), &[(1, end, S::Stopped, NOTHING)]);
            for before in [O::Stop, O::Renew, O::NoAnswer] {
                let script = [(1, before, S::Stopping, END), (2, end, S::Stopped, NOTHING)];
                check(kept(), &script);
            }
        }
    }

    #[test]
    fn a_session_of_an_earlier_daemon_goes_on_at_once() {
        check(
            Machine::of_session(true),
            &[
                (0, O::Again, S::Starting, LAUNCH),
                (0, O::Launched, S::Running, NOTHING),
                (0, CRASH, S::Backoff, Action::AwaitHost),
            ],
        );
    }

    /// Each edge of the diagram in docs/ARCHITECTURE.md, and no other: all observations in all states, as a lineage
    /// without a host, as a launch that is kept, and as a session that was ready.
    #[test]
    fn every_edge_of_the_diagram_and_no_other() {
        let states = [
            S::Stopped,
            S::Failed,
            S::Backoff,
            S::Stopping,
            S::Starting,
            S::Running,
            S::Ready,
        ];
        let observations = [
            O::Start,
            O::Again,
            O::Stop,
            O::Launched,
            O::LaunchFailed,
            O::Ready,
            O::NoAnswer,
            O::Renew,
            O::Ended(Asked),
            O::Ended(Well),
            CRASH,
            O::Taken,
            O::Left,
            O::RetryDue,
            O::Reset,
        ];
        let edges = [
            (S::Stopped, S::Starting),
            (S::Starting, S::Running),
            (S::Starting, S::Failed),
            (S::Starting, S::Stopping),
            (S::Running, S::Ready),
            (S::Running, S::Stopping),
            (S::Running, S::Stopped),
            (S::Running, S::Backoff),
            (S::Running, S::Failed),
            (S::Ready, S::Stopping),
            (S::Ready, S::Stopped),
            (S::Ready, S::Backoff),
            (S::Ready, S::Failed),
            (S::Stopping, S::Stopped),
            (S::Stopping, S::Starting),
            (S::Stopping, S::Backoff),
            (S::Stopping, S::Failed),
            (S::Backoff, S::Starting),
            (S::Backoff, S::Stopped),
            (S::Failed, S::Starting),
            (S::Failed, S::Stopped),
        ];
        let mut seen = std::collections::BTreeSet::new();
        let now = Instant::now();
        let machines = [Machine::alone(), Machine::kept(), Machine::of_session(true)];
        for of in machines {
            for then in [Then::Stay, Then::Failure, Then::Replace] {
                for starts in [0, TOO_MANY] {
                    for state in states {
                        for observation in observations {
                            let mut machine = Machine {
                                state,
                                then,
                                wanted: true,
                                starts: vec![now; starts].into(),
                                ..of.clone()
                            };
                            let action = machine.observe(observation, now, 0.5);
                            let to = machine.state();
                            if to != state {
                                seen.insert((state, to));
                            }
                            // Whatever is begun is in Starting, and only that is begun.
                            let begins = to == S::Starting && state != S::Starting;
                            assert_eq!(action == LAUNCH, begins, "{state:?} {observation:?}");
                            // No stop is followed by a start.
                            if observation == O::Stop {
                                assert!(matches!(to, S::Stopped | S::Stopping));
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(seen, edges.into_iter().collect());
    }
}
