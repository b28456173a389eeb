//! The connections that wait for a person's answer: in memory only, for nothing of them outlives their launch.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use srt_policy::Target;
use tokio::sync::watch;
use uuid::Uuid;

/// Questions of one server that may wait at once. A person reads each of them.
const WAITING: usize = 32;
/// Settled questions that are remembered, so that an id that is typed late is told what became of it.
const SETTLED: usize = 256;
/// How long a person's no keeps the same question from being asked again: a program that tries at once and again must
/// not pester.
const HOLD_OFF: Duration = Duration::from_secs(60);
/// Digits and letters that nobody takes for one another.
const ALPHABET: &[u8; 31] = b"23456789abcdefghjkmnpqrstuvwxyz";
/// Characters of an id.
const ID_LENGTH: usize = 4;

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Matter {
    pub(crate) server: String,
    pub(crate) launch: Uuid,
    pub(crate) target: Target,
    pub(crate) front_end: &'static str,
    /// What keeps it from passing.
    pub(crate) reason: String,
    /// The policy generation that asks.
    pub(crate) generation: Option<u64>,
}

/// A question that waits.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) id: String,
    pub(crate) matter: Matter,
    pub(crate) since: Timestamp,
    pub(crate) expires: Timestamp,
    /// How many connections wait for the answer. None, once those who asked have given up: an answer for longer than
    /// once still serves the next one.
    pub(crate) connections: u32,
}

/// What a question came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The connections that wait may pass.
    Once,
    /// The policy in force has changed.
    Again,
    Refused {
        reason: String,
    },
}

/// Why a connection is not held.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAsked {
    #[error("{WAITING} questions of this server wait for an answer already")]
    Full,
    /// A person said no to the very same a moment ago.
    #[error("{0}")]
    HeldOff(String),
}

/// Why a question cannot be settled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettleError {
    #[error(
        "no connection waits under the id {0:?}\nhint: \"srtctl approvals\" lists those that wait"
    )]
    Unknown(String),
    #[error("{id} is settled: {how}\nhint: \"srtctl approvals\" lists those that wait")]
    Already { id: String, how: String },
    #[error("{0} is being settled at this moment")]
    Busy(String),
    #[error(
        "the connection that asked for {0} was given up before it was answered, so there is nothing to let pass once\nhint: --for session lets the next one pass"
    )]
    NobodyWaits(Target),
}

/// A connection's place at a question; dropping it leaves.
#[derive(Debug)]
pub(crate) struct Waiter {
    questions: Arc<Shared>,
    id: String,
    answer: watch::Receiver<Option<Answer>>,
}

impl Waiter {
    /// The question's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Waits for the answer.
    pub(crate) async fn answer(mut self) -> Answer {
        let answer = self.answer.wait_for(Option::is_some).await;
        answer
            .ok()
            .and_then(|answer| answer.clone())
            .unwrap_or_else(|| Answer::Refused {
                reason: "the daemon is stopping".into(),
            })
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut inner = self.questions.lock();
        if let Some(open) = inner.open(&self.id) {
            open.question.connections = open.question.connections.saturating_sub(1);
            drop(inner);
            self.questions.tell();
        }
    }
}

/// A connection that waits, and whether it is the first at its question.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) waiter: Waiter,
    /// The question, where it is a new one.
    pub(crate) new: Option<Question>,
}

/// All that wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Questions(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    inner: Mutex<Inner>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Oldest first.
    waiting: Vec<Open>,
    /// Newest last: the id, and what became of it.
    settled: VecDeque<(String, String)>,
    held_off: Vec<HeldOff>,
}

#[derive(Debug)]
struct Open {
    question: Question,
    /// Somebody settles it: what it comes to is not known until that is durable.
    busy: bool,
    answer: watch::Sender<Option<Answer>>,
}

#[derive(Debug)]
struct HeldOff {
    launch: Uuid,
    target: Target,
    until: Instant,
    reason: String,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

impl Inner {
    fn open(&mut self, id: &str) -> Option<&mut Open> {
        self.waiting.iter_mut().find(|open| open.question.id == id)
    }

    fn fresh_id(&self) -> String {
        loop {
            let id = short(Uuid::new_v4());
            let taken = self.waiting.iter().any(|open| open.question.id == id)
                || self.settled.iter().any(|(settled, _)| *settled == id);
            if !taken {
                return id;
            }
        }
    }

    fn close(&mut self, index: usize, answer: Answer, how: String) -> Question {
        let open = self.waiting.remove(index);
        if self.settled.len() == SETTLED {
            self.settled.pop_front();
        }
        self.settled.push_back((open.question.id.clone(), how));
        open.answer.send_replace(Some(answer));
        open.question
    }
}

/// The random bits of a UUID as something to type.
fn short(random: Uuid) -> String {
    let mut bits = random.as_u128();
    (0..ID_LENGTH)
        .map(|_| {
            let digit = (bits % ALPHABET.len() as u128) as usize;
            bits /= ALPHABET.len() as u128;
            char::from(ALPHABET[digit])
        })
        .collect()
}

impl Questions {
    /// Adds a connection to the question about its target, which is a new one where none waits.
    pub(crate) fn join(&self, matter: Matter, limit: Duration) -> Result<Joined, NotAsked> {
        let mut inner = self.0.lock();
        let now = Instant::now();
        inner.held_off.retain(|held| held.until > now);
        if let Some(held) = inner
            .held_off
            .iter()
            .find(|held| held.launch == matter.launch && held.target == matter.target)
        {
            return Err(NotAsked::HeldOff(held.reason.clone()));
        }
        let same = inner.waiting.iter_mut().find(|open| {
            let asked = &open.question.matter;
            asked.launch == matter.launch && asked.target == matter.target
        });
        let (id, answer, new) = match same {
            Some(open) => {
                open.question.connections += 1;
                (open.question.id.clone(), open.answer.subscribe(), None)
            }
            None => {
                let of_server = inner
                    .waiting
                    .iter()
                    .filter(|open| open.question.matter.server == matter.server);
                if of_server.count() >= WAITING {
                    return Err(NotAsked::Full);
                }
                let since = Timestamp::now();
                let question = Question {
                    id: inner.fresh_id(),
                    matter,
                    since,
                    expires: since.saturating_add(limit).unwrap_or(Timestamp::MAX),
                    connections: 1,
                };
                let (answer, receiver) = watch::channel(None);
                inner.waiting.push(Open {
                    question: question.clone(),
                    busy: false,
                    answer,
                });
                (question.id.clone(), receiver, Some(question))
            }
        };
        drop(inner);
        self.0.tell();
        Ok(Joined {
            waiter: Waiter {
                questions: self.0.clone(),
                id,
                answer,
            },
            new,
        })
    }

    /// Those that wait, oldest first.
    pub(crate) fn waiting(&self, server: Option<&str>) -> Vec<Question> {
        let inner = self.0.lock();
        let questions = inner.waiting.iter().map(|open| &open.question);
        questions
            .filter(|question| server.is_none_or(|server| question.matter.server == server))
            .cloned()
            .collect()
    }

    /// Told whenever [`Self::waiting`] changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Takes a question to settle it: nobody else can, until [`Self::finish`] or [`Self::give_back`].
    pub(crate) fn take(&self, id: &str) -> Result<Question, SettleError> {
        let mut inner = self.0.lock();
        if let Some(open) = inner.open(id) {
            if open.busy {
                return Err(SettleError::Busy(id.to_owned()));
            }
            open.busy = true;
            return Ok(open.question.clone());
        }
        match inner.settled.iter().find(|(settled, _)| settled == id) {
            Some((_, how)) => Err(SettleError::Already {
                id: id.to_owned(),
                how: how.clone(),
            }),
            None => Err(SettleError::Unknown(id.to_owned())),
        }
    }

    /// Answers a question that was taken; `how` is what a late answer is told. How many connections waited.
    pub(crate) fn finish(&self, id: &str, answer: Answer, how: String) -> u32 {
        let mut inner = self.0.lock();
        let Some(index) = inner.waiting.iter().position(|open| open.question.id == id) else {
            // Its launch ended meanwhile.
            return 0;
        };
        let question = inner.close(index, answer, how);
        drop(inner);
        self.0.tell();
        question.connections
    }

    /// Lets a question that was taken wait on.
    pub(crate) fn give_back(&self, id: &str) {
        if let Some(open) = self.0.lock().open(id) {
            open.busy = false;
        }
    }

    /// Keeps the same question from being asked for a while.
    pub(crate) fn hold_off(&self, matter: &Matter, reason: String) {
        self.0.lock().held_off.push(HeldOff {
            launch: matter.launch,
            target: matter.target.clone(),
            until: Instant::now() + HOLD_OFF,
            reason,
        });
    }

    /// Answers those of a launch that `settled` has an answer for, and that nobody is settling.
    pub(crate) fn recheck(
        &self,
        launch: Uuid,
        settled: impl Fn(&Matter) -> Option<(Answer, String)>,
    ) {
        let mut inner = self.0.lock();
        let mut index = 0;
        let mut changed = false;
        while let Some(open) = inner.waiting.get(index) {
            let matter = &open.question.matter;
            let answer = (matter.launch == launch && !open.busy)
                .then(|| settled(matter))
                .flatten();
            match answer {
                Some((answer, how)) => {
                    inner.close(index, answer, how);
                    changed = true;
                }
                None => index += 1,
            }
        }
        drop(inner);
        if changed {
            self.0.tell();
        }
    }

    /// Forgets what a launch asked that has ended.
    pub(crate) fn withdraw(&self, launch: Uuid) -> Vec<Question> {
        let mut inner = self.0.lock();
        inner.held_off.retain(|held| held.launch != launch);
        let mut withdrawn = Vec::new();
        while let Some(index) = inner
            .waiting
            .iter()
            .position(|open| open.question.matter.launch == launch)
        {
            let reason = "the server ended".to_owned();
            let answer = Answer::Refused {
                reason: reason.clone(),
            };
            withdrawn.push(inner.close(index, answer, reason));
        }
        drop(inner);
        self.0.tell();
        withdrawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use srt_policy::Host;

    fn matter(server: &str, launch: u128, host: &str) -> Matter {
        Matter {
            server: server.into(),
            launch: Uuid::from_u128(launch),
            target: Target {
                host: Host::parse(host).unwrap(),
                port: 443,
            },
            front_end: "connect",
            reason: "no rule matches".into(),
            generation: None,
        }
    }

    fn join(questions: &Questions, matter: Matter) -> Joined {
        questions.join(matter, Duration::from_secs(60)).unwrap()
    }

    fn refused(reason: &str) -> Answer {
        Answer::Refused {
            reason: reason.into(),
        }
    }

    #[tokio::test]
    async fn connections_to_one_target_share_a_question_and_its_answer() {
        let questions = Questions::default();
        let first = join(&questions, matter("a", 1, "x.example"));
        let second = join(&questions, matter("a", 1, "X.example."));
        let id = first.new.unwrap().id;
        assert!(second.new.is_none());
        assert_eq!(questions.waiting(None)[0].connections, 2);
        // Another server's, and another target, are questions of their own.
        let other = join(&questions, matter("b", 2, "x.example"));
        join(&questions, matter("a", 1, "y.example"));
        assert_eq!(questions.waiting(None).len(), 3);
        assert_eq!(questions.waiting(Some("b")).len(), 1);

        assert_eq!(questions.take(&id).unwrap().matter.server, "a");
        assert_eq!(questions.finish(&id, Answer::Once, "approved".into()), 2);
        assert_eq!(first.waiter.answer().await, Answer::Once);
        assert_eq!(second.waiter.answer().await, Answer::Once);
        let late = tokio::time::timeout(Duration::from_millis(50), other.waiter.answer()).await;
        assert!(late.is_err(), "the other server's is not answered");
    }

    #[test]
    fn a_question_is_settled_once_and_a_late_answer_is_told_how() {
        let questions = Questions::default();
        let joined = join(&questions, matter("a", 1, "x.example"));
        let id = joined.new.unwrap().id;
        questions.take(&id).unwrap();
        assert_eq!(
            questions.take(&id).unwrap_err(),
            SettleError::Busy(id.clone())
        );
        // The store failed: it waits on.
        questions.give_back(&id);
        questions.take(&id).unwrap();
        questions.finish(&id, refused("denied by ada"), "denied by ada".into());
        assert_eq!(
            questions.take(&id).unwrap_err(),
            SettleError::Already {
                id,
                how: "denied by ada".into()
            }
        );
        let unknown = questions.take("zzzz!").unwrap_err();
        assert!(unknown.to_string().contains("hint: \"srtctl approvals\""));
    }

    #[test]
    fn a_question_stays_when_its_connections_have_gone_and_goes_with_its_launch() {
        let questions = Questions::default();
        let joined = join(&questions, matter("a", 1, "x.example"));
        drop(joined.waiter);
        assert_eq!(questions.waiting(None)[0].connections, 0);
        let again = join(&questions, matter("a", 1, "x.example"));
        assert!(again.new.is_none());
        assert_eq!(questions.waiting(None)[0].connections, 1);
        assert_eq!(questions.withdraw(Uuid::from_u128(2)).len(), 0);
        assert_eq!(questions.withdraw(Uuid::from_u128(1)).len(), 1);
        assert!(questions.waiting(None).is_empty());
    }

    #[test]
    fn they_are_bounded_for_each_server() {
        let questions = Questions::default();
        let mut held = Vec::new();
        for number in 0..WAITING {
            let host = format!("h{number}.example");
            // A launch of its own each: the bound is the server's.
            held.push(join(&questions, matter("a", number as u128, &host)));
        }
        let limit = Duration::from_secs(1);
        let full = questions.join(matter("a", 99, "z.example"), limit);
        assert_eq!(full.unwrap_err(), NotAsked::Full);
        // One that is asked already may still be joined, and another server may ask.
        assert!(questions.join(matter("a", 0, "h0.example"), limit).is_ok());
        assert!(questions.join(matter("b", 1, "z.example"), limit).is_ok());
    }

    #[test]
    fn a_no_holds_for_a_while_and_for_its_launch_and_target_only() {
        let questions = Questions::default();
        let denied = matter("a", 1, "x.example");
        questions.hold_off(&denied, "denied by ada".into());
        let limit = Duration::from_secs(1);
        assert_eq!(
            questions.join(denied, limit).unwrap_err(),
            NotAsked::HeldOff("denied by ada".into())
        );
        assert!(questions.join(matter("a", 2, "x.example"), limit).is_ok());
        assert!(questions.join(matter("a", 1, "y.example"), limit).is_ok());
    }

    #[tokio::test]
    async fn a_change_of_policy_answers_what_it_settles() {
        let questions = Questions::default();
        let x = join(&questions, matter("a", 1, "x.example"));
        let _y = join(&questions, matter("a", 1, "y.example"));
        let z = join(&questions, matter("a", 1, "z.example"));
        questions.take(&z.new.as_ref().unwrap().id).unwrap();
        questions.recheck(Uuid::from_u128(1), |matter| {
            let settled = matter.target.to_string() != "y.example:443";
            settled.then(|| (Answer::Again, "the policy changed".to_owned()))
        });
        assert_eq!(x.waiter.answer().await, Answer::Again);
        let left: Vec<_> = questions
            .waiting(None)
            .iter()
            .map(|question| question.matter.target.to_string())
            .collect();
        // What somebody settles at this moment is theirs.
        assert_eq!(left, ["y.example:443", "z.example:443"]);
    }

    #[test]
    fn ids_are_short_and_can_be_typed() {
        let id = short(Uuid::from_u128(u128::MAX));
        assert_eq!(id.len(), ID_LENGTH);
        assert!(id.bytes().all(|byte| ALPHABET.contains(&byte)), "{id}");
        assert_eq!(short(Uuid::nil()), "2222");
    }
}
