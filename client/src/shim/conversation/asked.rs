//! The server's requests to the host (sampling, elicitation, roots).
//!
//! Each launch counts its requests from the beginning, so a new one uses the ids of the last. What the host answers to
//! a dead launch must never reach the new one as an answer: as long as the host has not answered an id of a dead launch,
//! a request that uses it gets another one on its way to the host, and the answer its own on the way back.

use std::collections::HashMap;

use srt_mcp::Id;

/// So many ids of dead launches are remembered. With more, every request gets an id that was never used.
const REMEMBERED: usize = 1024;

#[derive(Debug)]
struct Asked {
    /// As the server calls it.
    id: Id,
    progress: Option<Id>,
    /// The server wants no answer any more; one may come all the same.
    cancelled: bool,
}

/// What becomes of an answer of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It passes as it is.
    Pass,
    /// It passes with this id.
    As(Id),
    /// Who asked is dead.
    Late,
}

/// Both those of the launch that runs, and what the host still owes to dead ones.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// By the id that the host knows.
    running: HashMap<Id, Asked>,
    /// By the id that the server knows, where the host knows another one.
    renamed: HashMap<Id, Id>,
    /// Ids that the host knows, of requests of dead launches, with their progress tokens.
    dead: HashMap<Id, Option<Id>>,
    /// The dead are not all remembered.
    overflown: bool,
}

impl Requests {
    /// The server asks. The id under which the host is asked, where it is another one.
    pub(super) fn ask(
        &mut self,
        id: &Id,
        progress: Option<Id>,
        fresh: impl FnOnce() -> Id,
    ) -> Option<Id> {
        let rename = self.overflown || self.dead.contains_key(id);
        let shown = if rename { fresh() } else { id.clone() };
        let asked = Asked {
            id: id.clone(),
            progress,
            cancelled: false,
        };
        self.running.insert(shown.clone(), asked);
        rename.then(|| {
            self.renamed.insert(id.clone(), shown.clone());
            shown
        })
    }

    /// The host answers.
    pub(super) fn answer(&mut self, id: &Id) -> Answer {
        if let Some(asked) = self.running.remove(id) {
            return match self.renamed.remove(&asked.id) {
                Some(_) => Answer::As(asked.id),
                None => Answer::Pass,
            };
        }
        match self.dead.remove(id) {
            Some(_) => Answer::Late,
            // After that many dead nothing unknown can be trusted; before, it is as it would be without us.
            None if self.overflown => Answer::Late,
            None => Answer::Pass,
        }
    }

    /// The server takes a request back. The id under which the host knows it, where it is another one; and whether it
    /// is one of its requests at all.
    pub(super) fn cancel(&mut self, id: &Id) -> (Option<Id>, bool) {
        let renamed = self.renamed.get(id).cloned();
        let asked = self.running.get_mut(renamed.as_ref().unwrap_or(id));
        let known = asked.is_some();
        if let Some(asked) = asked {
            asked.cancelled = true;
        }
        (renamed, known)
    }

    /// Whether the host reports progress to a dead launch.
    pub(super) fn is_late_progress(&self, token: &Id) -> bool {
        let is_it = |progress: &Option<Id>| progress.as_ref() == Some(token);
        self.dead.values().any(is_it) && !self.running.values().any(|asked| is_it(&asked.progress))
    }

    /// The launch is dead. The ids, as the host knows them, that it need not answer any more.
    pub(super) fn died(&mut self) -> Vec<Id> {
        self.renamed.clear();
        let mut cancelled = Vec::new();
        for (id, asked) in self.running.drain() {
            if !asked.cancelled {
                cancelled.push(id.clone());
            }
            if self.dead.len() < REMEMBERED {
                self.dead.insert(id, asked.progress);
            } else {
                self.overflown = true;
            }
        }
        cancelled
    }

    /// Whether the server waits for nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.running.values().all(|asked| asked.cancelled)
    }

    pub(super) fn len(&self) -> usize {
        self.running.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Id {
        Id::text(text)
    }

    #[test]
    fn an_answer_to_the_dead_never_reaches_the_living() {
        let mut requests = Requests::default();
        assert_eq!(requests.ask(&id("0"), None, || id("never")), None);
        assert_eq!(requests.died(), [id("0")]);
        // The same id, while the host still owes the old answer.
        assert_eq!(requests.ask(&id("0"), None, || id("p1")), Some(id("p1")));
        assert_eq!(requests.answer(&id("0")), Answer::Late);
        assert_eq!(requests.answer(&id("p1")), Answer::As(id("0")));
        assert!(requests.is_idle());
        // The host owes nothing any more: the id is free.
        assert_eq!(requests.ask(&id("0"), None, || id("never")), None);
        assert_eq!(requests.answer(&id("0")), Answer::Pass);
        assert_eq!(requests.answer(&id("unknown")), Answer::Pass);
    }

    #[test]
    fn what_was_renamed_is_cancelled_by_its_new_name_and_dies_by_it() {
        let mut requests = Requests::default();
        requests.ask(&id("0"), Some(id("t")), || id("never"));
        requests.died();
        assert!(requests.is_late_progress(&id("t")));
        requests.ask(&id("0"), Some(id("t")), || id("p1"));
        assert!(!requests.is_late_progress(&id("t")));
        assert_eq!(requests.cancel(&id("0")), (Some(id("p1")), true));
        assert!(requests.is_idle());
        // Cancelled already: the host is not told twice, and its late answer is known for what it is.
        assert!(requests.died().is_empty());
        assert_eq!(requests.answer(&id("p1")), Answer::Late);
        assert_eq!(requests.cancel(&id("other")), (None, false));
    }

    #[test]
    fn with_too_many_dead_every_request_has_an_id_of_its_own() {
        let mut requests = Requests::default();
        for number in 0..=REMEMBERED {
            requests.ask(&id(&number.to_string()), None, || id("never"));
        }
        assert_eq!(requests.died().len(), REMEMBERED + 1);
        assert_eq!(requests.ask(&id("new"), None, || id("p1")), Some(id("p1")));
        assert_eq!(requests.answer(&id("who knows")), Answer::Late);
        assert_eq!(requests.answer(&id("p1")), Answer::As(id("new")));
    }
}
