//! What a server has said of its tools, and what of it is accepted. Pure: the time is an argument, and whoever changes
//! it writes down what it is given.

use std::collections::BTreeMap;

use jiff::Timestamp;
use srt_mcp::Definition;

use crate::store::{Said, Tool};

/// So many tools of a server are known. A list of more is no list that a model could use.
const KNOWN: usize = 10_000;
/// A definition of more bytes is known by its digest alone.
const KEPT: usize = 64 * 1024;
/// A tool's name of more bytes is none.
pub(super) const LONGEST_NAME: usize = 1024;

/// The tools of one server.
#[derive(Debug, Default)]
pub(crate) struct Book {
    tools: BTreeMap<String, Tool>,
}

/// What a tool's definition is, held against what is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// It is the one that is accepted, or nothing needs to be.
    Good,
    /// Another one is accepted.
    Changed,
    /// There are too many tools to know it.
    TooMany,
}

/// Why there is nothing to accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AcceptError {
    #[error("{server:?} has never listed a tool {tool:?}\nhint: see \"srtctl tools {server}\"")]
    Unknown { server: String, tool: String },
    #[error("{tool:?} of {server:?} says what was accepted: there is nothing to accept")]
    Unchanged { server: String, tool: String },
    #[error("no tool of {server:?} has changed: there is nothing to accept")]
    NoneChanged { server: String },
}

impl Book {
    pub(super) fn new(server: &str, tools: impl IntoIterator<Item = Tool>) -> Self {
        let tools = tools.into_iter().filter(|tool| tool.server == server);
        Self {
            tools: tools.map(|tool| (tool.name.clone(), tool)).collect(),
        }
    }

    pub(crate) fn tools(&self) -> impl Iterator<Item = &Tool> {
        self.tools.values()
    }

    /// A server lists a tool. Where that is news, the row that is to be written down.
    pub(super) fn see(
        &mut self,
        server: &str,
        name: &str,
        definition: &Definition,
        pin: bool,
        now: Timestamp,
    ) -> (Sight, Option<Tool>) {
        if self.tools.len() >= KNOWN && !self.tools.contains_key(name) {
            let sight = if pin { Sight::TooMany } else { Sight::Good };
            return (sight, None);
        }
        let said = Said {
            digest: definition.digest.clone(),
            text: (definition.text.len() <= KEPT).then(|| definition.text.clone()),
            at: now,
        };
        let news = match self.tools.get_mut(name) {
            Some(tool) if tool.said.digest == said.digest => {
                let pinned = pin && tool.accepted.is_none();
                if pinned {
                    tool.accepted = Some(said);
                }
                pinned
            }
            Some(tool) => {
                if pin && tool.accepted.is_none() {
                    tool.accepted = Some(said.clone());
                }
                tool.said = said;
                true
            }
            None => {
                let tool = Tool {
                    server: server.to_owned(),
                    name: name.to_owned(),
                    accepted: pin.then(|| said.clone()),
                    said,
                };
                self.tools.insert(name.to_owned(), tool);
                true
            }
        };
        let tool = &self.tools[name];
        let sight = match &tool.accepted {
            Some(accepted) if pin && accepted.digest != tool.said.digest => Sight::Changed,
            _ => Sight::Good,
        };
        (sight, news.then(|| tool.clone()))
    }

    /// A tool is called while tools are pinned. Good where what the server said of it last is accepted; it becomes so
    /// where a host was given it before tools were pinned.
    ///
    /// # Errors
    /// When it was never listed.
    pub(super) fn call(&mut self, name: &str, now: Timestamp) -> Result<(Sight, Option<Tool>), ()> {
        let tool = self.tools.get_mut(name).ok_or(())?;
        let Some(accepted) = &tool.accepted else {
            tool.accepted = Some(Said {
                at: now,
                ..tool.said.clone()
            });
            return Ok((Sight::Good, Some(tool.clone())));
        };
        let sight = match accepted.digest == tool.said.digest {
            true => Sight::Good,
            false => Sight::Changed,
        };
        Ok((sight, None))
    }

    /// Finds what a person accepts: of one tool, or of each that changed. [`Book::accept`] does it.
    pub(super) fn acceptable(
        &self,
        server: &str,
        name: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<Tool>, AcceptError> {
        let is_changed = |tool: &Tool| {
            (tool.accepted.as_ref()).is_some_and(|accepted| accepted.digest != tool.said.digest)
        };
        let server = server.to_owned();
        let found: Vec<&Tool> = match name {
            Some(name) => {
                let tool = name.to_owned();
                let Some(known) = self.tools.get(name) else {
                    return Err(AcceptError::Unknown { server, tool });
                };
                if known.accepted.is_some() && !is_changed(known) {
                    return Err(AcceptError::Unchanged { server, tool });
                }
                vec![known]
            }
            None => self
                .tools
                .values()
                .filter(|tool| is_changed(tool))
                .collect(),
        };
        if found.is_empty() {
            return Err(AcceptError::NoneChanged { server });
        }
        let accepted = found.into_iter().map(|tool| Tool {
            accepted: Some(Said {
                at: now,
                ..tool.said.clone()
            }),
            ..tool.clone()
        });
        Ok(accepted.collect())
    }

    /// What is accepted of a tool is this, unless the server has said something else meanwhile.
    pub(super) fn accept(&mut self, accepted: &Tool) {
        if let Some(tool) = self.tools.get_mut(&accepted.name) {
            tool.accepted.clone_from(&accepted.accepted);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn definition(text: &str) -> Definition {
        Definition {
            text: text.to_owned(),
            digest: text.to_owned(),
        }
    }

    fn see(book: &mut Book, name: &str, text: &str, pin: bool) -> (Sight, bool) {
        let (sight, row) = book.see("s", name, &definition(text), pin, NOW);
        (sight, row.is_some())
    }

    #[test]
    fn the_first_definition_is_accepted_and_another_one_only_by_a_person() {
        let mut book = Book::default();
        assert_eq!(see(&mut book, "a", "1", true), (Sight::Good, true));
        assert_eq!(see(&mut book, "a", "1", true), (Sight::Good, false));
        assert_eq!(see(&mut book, "a", "2", true), (Sight::Changed, true));
        assert_eq!(see(&mut book, "a", "2", true), (Sight::Changed, false));
        assert_eq!(book.call("a", NOW).unwrap(), (Sight::Changed, None));
        // What was accepted comes back, and the other one again.
        assert_eq!(see(&mut book, "a", "1", true), (Sight::Good, true));
        assert_eq!(book.call("a", NOW).unwrap().0, Sight::Good);
        assert_eq!(see(&mut book, "a", "2", true).0, Sight::Changed);
        let rows = book.acceptable("s", None, NOW).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(book.call("a", NOW).unwrap().0, Sight::Changed, "not yet");
        book.accept(&rows[0]);
        assert_eq!(book.call("a", NOW).unwrap().0, Sight::Good);
        assert_eq!(see(&mut book, "a", "1", true).0, Sight::Changed);
    }

    #[test]
    fn without_pins_what_is_said_is_known_and_nothing_is_refused() {
        let mut book = Book::default();
        assert_eq!(see(&mut book, "a", "1", false), (Sight::Good, true));
        assert_eq!(see(&mut book, "a", "2", false), (Sight::Good, true));
        assert!(book.tools().all(|tool| tool.accepted.is_none()));
        // Pinned from now on: what the host was given is accepted.
        assert!(book.call("a", NOW).unwrap().1.is_some());
        assert_eq!(see(&mut book, "a", "3", true).0, Sight::Changed);
        assert_eq!(see(&mut book, "a", "3", false).0, Sight::Good);
        assert!(book.call("b", NOW).is_err(), "it was never listed");
    }

    #[test]
    fn what_is_read_back_is_what_was_written_down() {
        let mut book = Book::default();
        let (_, row) = book.see("s", "a", &definition("1"), true, NOW);
        let other = Tool {
            server: "t".into(),
            name: "b".into(),
            ..row.clone().unwrap()
        };
        let mut again = Book::new("s", [row.unwrap(), other]);
        assert_eq!(again.tools().count(), 1);
        assert_eq!(see(&mut again, "a", "2", true).0, Sight::Changed);
    }

    #[test]
    fn a_definition_is_kept_whole_up_to_a_bound_and_tools_are_bounded() {
        let mut book = Book::default();
        let long = "x".repeat(KEPT + 1);
        let (_, row) = book.see("s", "a", &definition(&long), true, NOW);
        assert_eq!(row.unwrap().said.text, None);
        for number in 1..KNOWN {
            see(&mut book, &number.to_string(), "1", true);
        }
        assert_eq!(
            see(&mut book, "one more", "1", true),
            (Sight::TooMany, false)
        );
        assert_eq!(see(&mut book, "one more", "1", false), (Sight::Good, false));
        assert_eq!(see(&mut book, "a", &long, true), (Sight::Good, false));
    }

    #[test]
    fn what_cannot_be_accepted_is_told() {
        let mut book = Book::default();
        see(&mut book, "a", "1", true);
        let why = |name| book.acceptable("s", name, NOW).unwrap_err().to_string();
        assert!(why(Some("b")).contains("never listed"));
        assert!(why(Some("a")).contains("nothing to accept"));
        assert!(why(None).contains("no tool of \"s\" has changed"));
    }
}
