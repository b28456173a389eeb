//! Verification: rows in their order, held against their MACs, their neighbours, the seals and the anchor.
//!
//! One pass finds the first row that does not fit; what happened to it shows by where its content and the rightful row's
//! are now, which whoever holds the rows looks up ([`Suspect`]).

use serde_json::Value;

use super::finding::{NOTICED, QUARANTINED, RENEWED};
use super::{Anchor, Chain, Columns, Finding, Flaw, Mac, Seal, Slots, missed, unhex};
use crate::audit::Kind;

/// What the database says of its chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begin {
    /// When it was begun, in microseconds since 1970.
    pub at: i64,
    /// Rows up to this number were there before and were chained as they were found.
    pub adopted: u64,
}

/// A row with its MACs as they stand; `None` for one that is none.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Its number.
    pub seq: u64,
    /// Its content.
    pub columns: Columns<'a>,
    /// The MAC of the row before.
    pub prev: Option<Mac>,
    /// Its own.
    pub mac: Option<Mac>,
}

impl Row<'_> {
    /// Whether its MAC is that of a row with this number and content.
    pub fn is_authentic(&self, chain: &Chain, buffer: &mut Vec<u8>) -> bool {
        self.would_be(chain, buffer, self.seq)
    }

    /// Whether its MAC is that of a row with its content and the number `seq`.
    fn would_be(&self, chain: &Chain, buffer: &mut Vec<u8>, seq: u64) -> bool {
        match (&self.prev, self.mac) {
            (Some(prev), Some(mac)) => chain.entry(buffer, prev, seq, &self.columns) == mac,
            _ => false,
        }
    }

    /// The number that its content was written with, looked for up to `most`; `None` where it has no MAC that fits any.
    pub fn original(&self, chain: &Chain, most: u64) -> Option<u64> {
        let mut buffer = Vec::new();
        self.prev.and(self.mac)?;
        (1..=most).find(|seq| self.would_be(chain, &mut buffer, *seq))
    }
}

/// The first place where the rows do not fit, and what is needed to tell why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Where.
    pub seq: u64,
    /// The MAC that the row in this place must have as its `prev`, where that is known.
    pub after: Option<Mac>,
    /// What is there.
    pub what: Strange,
}

/// What does not fit in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strange {
    /// Nothing is there; the next row has this number.
    Gap {
        /// The next row's.
        next: u64,
    },
    /// A row without a MAC.
    Bare,
    /// A row whose MAC is not that of its content.
    Changed,
    /// A row that is as it was written, after another one.
    Unlinked,
}

/// What was looked up about a [`Suspect`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence {
    /// Where a row stands whose `prev` is the suspect's `after`: the rightful row, elsewhere.
    pub rightful: Option<u64>,
    /// The number that the row in the place was written with.
    pub original: Option<u64>,
    /// Whether the row with that number still stands there as it was written.
    pub original_stands: bool,
}

impl Suspect {
    /// What happened.
    pub fn finding(&self, evidence: &Evidence) -> Finding {
        let seq = self.seq;
        let moved = |rightful: u64| {
            Finding::new(
                Flaw::Reordered,
                seq,
                format!("entry {seq} stands in the place of entry {rightful}"),
            )
        };
        match (self.what, evidence) {
            (
                Strange::Gap { .. },
                Evidence {
                    rightful: Some(place),
                    ..
                },
            ) => moved(*place),
            (Strange::Gap { next }, _) => {
                let message = match next - seq {
                    1 => format!("entry {seq} is missing"),
                    _ => format!("entries {seq} to {} are missing", next - 1),
                };
                Finding::new(Flaw::Deleted, seq, message)
            }
            (Strange::Bare, _) => Finding::new(
                Flaw::Inserted,
                seq,
                format!("entry {seq} has no MAC: it was put in without the key"),
            ),
            (
                Strange::Changed,
                Evidence {
                    original: Some(original),
                    original_stands: true,
                    ..
                },
            ) => Finding::new(
                Flaw::Duplicated,
                seq,
                format!("entry {seq} is a copy of entry {original}"),
            ),
            (
                Strange::Changed,
                Evidence {
                    original: Some(_),
                    rightful: Some(place),
                    ..
                },
            ) => moved(*place),
            (
                Strange::Changed,
                Evidence {
                    original: Some(original),
                    ..
                },
            ) => Finding::new(
                Flaw::Deleted,
                seq,
                format!("entry {seq} is missing: entry {original} was given its number"),
            ),
            (Strange::Changed, _) => Finding::new(
                Flaw::Edited,
                seq,
                format!("entry {seq} was changed: its MAC is not that of its content"),
            ),
            (Strange::Unlinked, _) => Finding::new(
                Flaw::Spliced,
                seq,
                format!(
                    "entry {seq} was written after another entry than the one before it: it is of another history of this log"
                ),
            ),
        }
    }
}

/// What a verification came to, the suspect aside.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// How many rows were read.
    pub rows: u64,
    /// The number of the first; 0 where there is none.
    pub first: u64,
    /// The number of the newest; 0 where there is none.
    pub last: u64,
    /// Rows that do not fit.
    pub bad: u64,
    /// Numbers that no row has, between those that are there.
    pub missing: u64,
    /// Rows up to this number were pruned, by the newest entry that says so; 0: none.
    pub pruned: u64,
    /// The first place where rows do not fit.
    pub suspect: Option<Suspect>,
    /// What else is wrong.
    pub findings: Vec<Finding>,
}

/// What a log is held against besides its key.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// What the database says of its chain.
    pub begin: Begin,
    /// Every seal, by segment.
    pub seals: Vec<Seal>,
    /// The anchor; `None`: the end is not checked, as of a copy without one.
    pub anchor: Option<Slots>,
}

/// A verification under way.
#[derive(Debug)]
pub struct Verifier {
    chain: Chain,
    kept: Kept,
    buffer: Vec<u8>,
    verdict: Verdict,
    /// The MAC of the newest row that is as it was written; of a row before the first one what is known of it.
    head: Option<Mac>,
    /// What a changed row says its MAC is: the next one goes by it.
    claimed: Option<Mac>,
    /// The MAC of the row that the anchor names, as it stands.
    at_anchor: Option<Mac>,
    /// The seal that the next row may begin or end, as an index.
    seal: usize,
    /// The newest segment that an entry tells of.
    told: u64,
}

/// Of noticed trouble so much is told.
const MOST_NOTICED: usize = 20;

impl Verifier {
    /// Begins; rows follow in their order.
    pub fn new(chain: Chain, kept: Kept) -> Self {
        Self {
            chain,
            kept,
            buffer: Vec::with_capacity(512),
            verdict: Verdict::default(),
            head: None,
            claimed: None,
            at_anchor: None,
            seal: 0,
            told: 0,
        }
    }

    /// Takes the next row.
    pub fn row(&mut self, row: &Row<'_>) {
        let authentic = row.is_authentic(&self.chain, &mut self.buffer);
        let seals = &self.kept.seals;
        while seals.get(self.seal).is_some_and(|seal| seal.last < row.seq) {
            self.seal += 1;
        }
        let seal = seals
            .get(self.seal)
            .filter(|seal| seal.first <= row.seq)
            .cloned();
        if self.verdict.rows == 0 {
            self.verdict.first = row.seq;
            self.head = match &seal {
                _ if row.seq == 1 => Some(Mac::NONE),
                Some(seal) if seal.first == row.seq => Some(seal.before),
                // In the middle of a segment that is being pruned.
                _ => row.prev,
            };
        }
        let next = match self.verdict.rows {
            0 => row.seq,
            _ => self.verdict.last + 1,
        };
        let linked = row.prev.is_some() && (row.prev == self.head || row.prev == self.claimed);
        let gap = row.seq != next && !(linked && row.seq <= self.kept.begin.adopted);
        if gap {
            self.verdict.missing += row.seq - next;
            self.suspect(next, Strange::Gap { next: row.seq });
        }
        let strange = match (authentic, row.prev.and(row.mac)) {
            (false, None) => Some(Strange::Bare),
            (false, Some(_)) => Some(Strange::Changed),
            (true, _) if !linked && !gap => Some(Strange::Unlinked),
            (true, _) => None,
        };
        if let Some(strange) = strange {
            self.verdict.bad += 1;
            self.suspect(row.seq, strange);
        }
        if authentic {
            (self.head, self.claimed) = (row.mac, None);
            if let Some(seal) = &seal {
                self.sealed(seal, row);
            }
            self.meaning(row);
        } else {
            self.claimed = row.mac;
        }
        if self.anchor().is_some_and(|anchor| anchor.seq == row.seq) {
            self.at_anchor = row.mac;
        }
        self.verdict.rows += 1;
        self.verdict.last = row.seq;
    }

    fn anchor(&self) -> Option<&Anchor> {
        let (anchor, _) = self.kept.anchor.as_ref()?.newest.as_ref()?;
        Some(anchor)
    }

    fn suspect(&mut self, seq: u64, what: Strange) {
        let after = self.head;
        self.verdict
            .suspect
            .get_or_insert(Suspect { seq, after, what });
    }

    fn found(&mut self, flaw: Flaw, seq: impl Into<Option<u64>>, message: String) {
        self.verdict.findings.push(Finding::new(flaw, seq, message));
    }

    /// Whether a row that begins or ends a segment is the one that was sealed.
    fn sealed(&mut self, seal: &Seal, row: &Row<'_>) {
        let begins = row.seq == seal.first && row.prev != Some(seal.before);
        let ends = row.seq == seal.last && row.mac != Some(seal.end);
        if begins || ends {
            let message = format!(
                "the seal of segment {} is not that of its entries",
                seal.segment
            );
            self.found(Flaw::Seal, seal.first, message);
        }
    }

    /// What the entries about the log itself say.
    fn meaning(&mut self, row: &Row<'_>) {
        let ours = [Kind::Seal, Kind::Prune, Kind::Daemon]
            .into_iter()
            .find(|kind| kind.as_str() == row.columns.kind);
        let Some(kind) = ours else { return };
        if kind == Kind::Daemon && ![NOTICED, QUARANTINED, RENEWED].contains(&row.columns.subject) {
            return;
        }
        let Ok(detail) = serde_json::from_str::<Value>(row.columns.detail) else {
            return;
        };
        match kind {
            // It tells of a seal that was made with another key.
            Kind::Seal if row.seq <= self.kept.begin.adopted => {
                self.told = detail["segment"].as_u64().unwrap_or(self.told);
            }
            Kind::Seal => {
                let (Some(segment), Some(mac)) = (
                    detail["segment"].as_u64(),
                    detail["seal"].as_str().and_then(unhex).map(Mac),
                ) else {
                    return;
                };
                self.told = segment;
                let seals = &self.kept.seals;
                let index = usize::try_from(segment)
                    .ok()
                    .and_then(|number| number.checked_sub(1));
                match index.and_then(|index| seals.get(index)) {
                    Some(seal) if seal.segment == segment && seal.mac == mac => {}
                    Some(seal) if seal.segment == segment => {
                        let first = seal.first;
                        self.found(Flaw::Seal, first, format!("the seal of segment {segment} is not the one that entry {} tells of", row.seq));
                    }
                    _ => {
                        let first = detail["first"].as_u64();
                        self.found(Flaw::Seal, first, format!("the seal of segment {segment}, which entry {} tells of, is missing", row.seq));
                    }
                }
            }
            Kind::Prune => {
                let through = detail["through"].as_u64().unwrap_or_default();
                self.verdict.pruned = self.verdict.pruned.max(through);
            }
            _ if row.columns.subject == QUARANTINED => {
                let place = detail["moved_to"].as_str().unwrap_or_default();
                let message = format!(
                    "the log before this one was damaged: it was moved to {place} (entry {})",
                    row.seq
                );
                self.found(Flaw::OtherDatabase, row.seq, message);
            }
            _ if row.columns.subject == RENEWED => {
                let message = detail["message"].as_str().unwrap_or_default();
                let message = format!("{message} (entry {})", row.seq);
                self.found(Flaw::KeyLost, detail["first"].as_u64(), message);
            }
            _ if self.verdict.findings.len() < MOST_NOTICED => {
                let flaw = detail["flaw"].as_str().and_then(Flaw::parse);
                let message = detail["message"].as_str().unwrap_or_default();
                let message = format!(
                    "noticed when the daemon started, by entry {}: {message}",
                    row.seq
                );
                self.found(
                    flaw.unwrap_or(Flaw::Anchor),
                    detail["seq"].as_u64(),
                    message,
                );
            }
            _ => {}
        }
    }

    /// Ends: what is missing at both ends, the seals among themselves, the anchor.
    pub fn finish(mut self) -> Verdict {
        self.front();
        self.seals();
        self.end();
        self.verdict
            .findings
            .sort_by_key(|finding| finding.seq.unwrap_or(0));
        self.verdict
    }

    fn front(&mut self) {
        let expected = self.verdict.pruned + 1;
        if self.verdict.rows > 0 && self.verdict.first > expected {
            let next = self.verdict.first;
            self.verdict.missing += next - expected;
            let seals = &self.kept.seals;
            let seal = seals.iter().find(|seal| seal.first == expected);
            let after = match expected {
                1 => Some(Mac::NONE),
                _ => seal.map(|seal| seal.before),
            };
            let gap = Suspect {
                seq: expected,
                after,
                what: Strange::Gap { next },
            };
            // It comes before whatever else was found.
            self.verdict.suspect = Some(gap);
        }
    }

    fn seals(&mut self) {
        let (mut before, mut last) = (Mac::NONE, 0);
        let seals = std::mem::take(&mut self.kept.seals);
        for (number, seal) in (1..).zip(&seals) {
            let first = Some(seal.first);
            if seal.segment != number {
                self.found(
                    Flaw::Seal,
                    last + 1,
                    format!("the seal of segment {number} is missing"),
                );
                return;
            }
            if seal.expected(&self.chain, &before) != seal.mac {
                self.found(
                    Flaw::Seal,
                    first,
                    format!("the seal of segment {number} was changed"),
                );
                return;
            }
            // Two that are as they were written and do not follow each other are of two histories.
            if seal.first <= last {
                self.found(
                    Flaw::Seal,
                    first,
                    format!("the seal of segment {number} does not follow the one before it"),
                );
            }
            (before, last) = (seal.mac, seal.last);
        }
        // The entry that tells of a seal is the first of the next segment.
        let told = self.told;
        let end = self.verdict.last;
        if let Some(seal) = seals
            .iter()
            .find(|seal| seal.segment > told && seal.last < end)
        {
            let message = format!("no entry tells of the seal of segment {}", seal.segment);
            self.found(Flaw::Seal, seal.last + 1, message);
        }
        if last > self.verdict.last {
            let message = format!(
                "the log ends with entry {}, and entries up to {last} were sealed",
                self.verdict.last
            );
            self.found(Flaw::Truncated, self.verdict.last + 1, message);
        }
    }

    fn end(&mut self) {
        if let Some(slots) = self.kept.anchor.take() {
            let at_anchor = self.at_anchor;
            let missed = missed(&self.chain, Some(&slots), self.verdict.last, at_anchor);
            self.verdict.findings.extend(missed);
        }
    }
}
