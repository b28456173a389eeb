//! A project's file above what is in force: it may tighten, and anything looser is an error with its place.
//!
//! Whoever may change a project (a colleague, a pull request, a repository that was cloned a minute ago) writes this file, so
//! nothing in it may open what the user's and the server's files keep closed.

use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged;

use crate::covers::Covers;
use crate::diagnostics::{Findings, quoted};
use crate::directions::{Direction, Otherwise, direction};
use crate::document::Document;
use crate::merge::{ENFORCE, STRICT, amount, joined};
use crate::sources::SourceMap;
use crate::{Facts, Policy};

/// What a project's file is held against.
pub(crate) struct Outer<'a> {
    /// The values in force.
    pub(crate) document: &'a Document<'a>,
    /// What they come to.
    pub(crate) policy: &'a Policy,
    pub(crate) sources: &'a SourceMap<'a>,
    pub(crate) facts: &'a Facts,
}

/// The hint of most refusals.
const MAY_ONLY: &str = "a project's file may only tighten: remove it here, and write it in your own settings if you want it";

impl<'a> Outer<'a> {
    /// The values in force with the project's, each of which is tighter or the same; what is looser is reported and does
    /// not count.
    pub(crate) fn tightened(
        &self,
        project: &Document<'a>,
        findings: &mut Findings,
    ) -> Document<'a> {
        let mut merged = self.document.clone();
        belongs(project, findings);
        for (key, value) in project.values() {
            let outer = self.document.get(key);
            match direction(key) {
                Direction::OfFile => {}
                // Where it belongs is said when it is compiled.
                Direction::Daemon => merged.set(key, value.clone()),
                // A reason that is there already stays.
                Direction::Denies => {
                    let both = match (outer, value) {
                        (Some(outer), Value::Object(_)) => joined(value, outer),
                        (Some(outer), _) => joined(outer, value),
                        (None, _) => value.clone(),
                    };
                    merged.set(key, both);
                }
                Direction::Allows | Direction::Narrows => {
                    let covers = Covers {
                        outer: self,
                        project,
                    };
                    covers.check(key, value, findings);
                    merged.set(key, value.clone());
                }
                Direction::Neutral => {}
                direction => {
                    if self.is_tighter(key, direction, value, outer, findings) {
                        merged.set(key, value.clone());
                    }
                }
            }
        }
        self.settle(project, &mut merged);
        merged
    }

    /// What a tighter value of one key makes of another.
    fn settle(&self, project: &Document<'a>, merged: &mut Document<'a>) {
        let is = |key, value| {
            project
                .bool(key)
                .is_some_and(|literal| literal.value == value)
        };
        // Who wants the list to hold without questions wants it to hold.
        if is(STRICT, true) && project.get(ENFORCE).is_none() {
            merged.remove(ENFORCE);
        }
    }

    /// Whether a single value is tighter than what is in force. One that is looser is reported.
    fn is_tighter(
        &self,
        key: &'static str,
        direction: Direction,
        value: &Value<'_>,
        outer: Option<&Value<'_>>,
        findings: &mut Findings,
    ) -> bool {
        // How loose each of both is; none where the value is none of the key's, which is reported elsewhere.
        let (own, outer_rank, default) = match direction {
            Direction::Bool { tighter, otherwise } => {
                let rank = |value: &Value<'_>| {
                    let literal = value.as_boolean_lit()?;
                    Some(if literal.value == tighter { 0 } else { 2 })
                };
                let (default, word) = match otherwise {
                    Otherwise::Tighter => (0, tighter.to_string()),
                    Otherwise::Between => (1, "neither true nor false".to_owned()),
                    Otherwise::Looser => (2, (!tighter).to_string()),
                };
                (rank(value), outer.map_or(Some(default), rank), word)
            }
            Direction::Smaller { otherwise } => {
                let default = otherwise.unwrap_or(u64::MAX);
                let word = otherwise.map_or_else(|| "no limit".to_owned(), |most| most.to_string());
                (amount(value), outer.map_or(Some(default), amount), word)
            }
            Direction::Ordered { words, .. } => {
                let rank = |value: &Value<'_>| {
                    let word = value.as_string_lit()?;
                    let rank = words.iter().position(|known| *known == word.value)?;
                    u64::try_from(rank).ok()
                };
                let default = self.default_word(key, direction);
                let at = words.iter().position(|known| *known == default);
                let default_rank = at.and_then(|rank| u64::try_from(rank).ok());
                (
                    rank(value),
                    outer.map_or(default_rank, rank),
                    format!("{default:?}"),
                )
            }
            _ => return false,
        };
        let (Some(own), Some(in_force)) = (own, outer_rank) else {
            return false;
        };
        if own > in_force {
            let place = match outer {
                Some(outer) => {
                    format!("{} ({})", word_of(outer), self.sources.shown(outer.start()))
                }
                None => format!("{default} (built-in)"),
            };
            findings.error(
                value.start(),
                format!(
                    "{key}: {} is looser than what is in force: {place}",
                    word_of(value)
                ),
                Some(MAY_ONLY.to_owned()),
            );
        }
        own < in_force
    }

    fn default_word(&self, key: &str, direction: Direction) -> &'static str {
        match direction {
            // Without any file it is another one.
            Direction::Ordered { .. } if key == "filesystem.mode" => {
                self.policy.filesystem.mode().word()
            }
            Direction::Ordered { otherwise, .. } => otherwise,
            _ => "",
        }
    }
}

/// Reports the keys that are not a project's to say.
pub(crate) fn belongs(project: &Document<'_>, findings: &mut Findings) {
    for (key, value) in project.values() {
        if direction(key) == Direction::Neutral {
            findings.error(
                value.start(),
                format!("{key} does not belong in a project's file"),
                Some("what a project may say is what its servers may not do: write it in your own settings".to_owned()),
            );
        }
    }
}

/// A value as the document has it.
fn word_of(value: &Value<'_>) -> String {
    match value {
        Value::StringLit(text) => quoted(&text.value),
        Value::NumberLit(number) => number.value.to_owned(),
        Value::BooleanLit(literal) => literal.value.to_string(),
        _ => "it".to_owned(),
    }
}

/// Reports an entry of a list that allows more than what is in force.
pub(crate) fn looser(
    offset: usize,
    entry: &str,
    key: &str,
    in_force: &str,
    findings: &mut Findings,
) {
    findings.error(
        offset,
        format!(
            "{} in {key} is looser than what is in force: {in_force}",
            quoted(entry)
        ),
        Some(MAY_ONLY.to_owned()),
    );
}

#[cfg(test)]
#[path = "tighten_tests.rs"]
mod tests;
