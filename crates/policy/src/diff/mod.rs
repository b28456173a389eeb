//! What a server may do under one policy and may not under another, in words.
//!
//! It is what policies decide that is compared and not what documents say: a host that was allowed by name and is now
//! allowed by a wildcard is no difference of the one kind, and said to be one of the other, so that nothing that was
//! written is passed over.

mod files;
mod hosts;
mod keys;

use crate::{Origin, Policy};

/// What a difference does to what a server may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It may do more, or less of what it does is seen.
    Loosens,
    /// It may do less.
    Tightens,
    /// Neither: another spelling of the same, or what is no permission.
    Neutral,
}

/// One difference between two policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What it does.
    pub effect: Effect,
    /// In words whose subject is the server: "may now write ./build". Lower case, no full stop.
    pub text: String,
    /// The dotted key that it is about.
    pub key: &'static str,
    /// Where that is written, or was; `None` where it is no single place.
    pub origin: Option<Origin>,
}

impl Difference {
    fn new(effect: Effect, key: &'static str, text: String, origin: Option<&Origin>) -> Self {
        Self {
            effect,
            text,
            key,
            origin: origin.cloned(),
        }
    }
}

impl Policy {
    /// What changes for a server that had this policy and then has `after`: what loosens first, then what tightens. Both
    /// must be compiled for the same facts but for the protected paths, which are not looked at.
    pub fn differences(&self, after: &Self) -> Vec<Difference> {
        let mut found = hosts::differences(&self.network, &after.network);
        found.extend(files::differences(&self.filesystem, &after.filesystem));
        found.extend(keys::differences(self, after));
        found.sort_by(|a, b| (a.effect, &a.text).cmp(&(b.effect, &b.text)));
        found.dedup();
        found
    }
}
