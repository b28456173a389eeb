//! Which files a server may read and write by one policy and not by another.
//!
//! What a policy decides changes only at the paths that its rules name. So it is asked about each of these, and a folder's
//! answer is told for all that is below it. What a pattern matches is told by the pattern.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::{Difference, Effect};
use crate::{FileOverlay, FileRule, FileRuleKind, FilesystemPolicy, Origin};

pub(super) fn differences(before: &FilesystemPolicy, after: &FilesystemPolicy) -> Vec<Difference> {
    let mut found = paths(before, after);
    found.extend(patterns(before, after));
    found.extend(overlays(before, after));
    found
}

/// What may be done with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct May {
    read: bool,
    write: bool,
}

impl May {
    fn of(policy: &FilesystemPolicy, path: &Path) -> Self {
        Self {
            read: policy.decide_read(path).allowed,
            write: policy.decide_write(path).allowed,
        }
    }
}

/// A path that rules name.
struct Candidate<'a> {
    was: May,
    is: May,
    /// The rules about it: in the older policy, and in the newer.
    old: Vec<&'a FileRule>,
    new: Vec<&'a FileRule>,
}

impl<'a> Candidate<'a> {
    fn new(before: &FilesystemPolicy, after: &FilesystemPolicy, path: &Path) -> Self {
        Self {
            was: May::of(before, path),
            is: May::of(after, path),
            old: Vec::new(),
            new: Vec::new(),
        }
    }

    /// As a person wrote it, if one did; else with the reason of who else did.
    fn text(&self, path: &Path) -> String {
        let rules = || self.new.iter().chain(&self.old);
        let written = rules().find(|rule| matches!(rule.origin, Origin::File { .. }));
        match (written, rules().next()) {
            (Some(rule), _) => rule.text.clone(),
            (None, Some(rule)) => match &rule.origin {
                Origin::BuiltIn(reason) if rule.is_store() => format!("{} ({reason})", rule.text),
                _ => rule.text.clone(),
            },
            (None, None) => path.display().to_string(),
        }
    }
}

fn is_plain(rule: &&FileRule) -> bool {
    rule.pattern.is_none() && rule.kind != FileRuleKind::Protected
}

fn paths(before: &FilesystemPolicy, after: &FilesystemPolicy) -> Vec<Difference> {
    let mut candidates: BTreeMap<PathBuf, Candidate<'_>> = BTreeMap::new();
    let mut note = |rule: &'_ FileRule| -> PathBuf {
        let path = rule.path.clone();
        candidates
            .entry(path.clone())
            .or_insert_with(|| Candidate::new(before, after, &path));
        path
    };
    for rule in before.rules().iter().chain(after.rules()).filter(is_plain) {
        note(rule);
    }
    for rule in before.rules().iter().filter(is_plain) {
        if let Some(candidate) = candidates.get_mut(&rule.path) {
            candidate.old.push(rule);
        }
    }
    for rule in after.rules().iter().filter(is_plain) {
        if let Some(candidate) = candidates.get_mut(&rule.path) {
            candidate.new.push(rule);
        }
    }
    let mut found = Vec::new();
    for (path, candidate) in &candidates {
        let above = path
            .ancestors()
            .skip(1)
            .find_map(|folder| candidates.get(folder));
        // The same becomes of the folder above: that says it.
        let news = |of: fn(&May) -> bool| {
            let (was, is) = (of(&candidate.was), of(&candidate.is));
            let said = above.is_some_and(|above| (of(&above.was), of(&above.is)) == (was, is));
            (was != is && !said).then_some(is)
        };
        let (read, write) = (news(|may| may.read), news(|may| may.write));
        match (read, write) {
            (None, None) => found.extend(said_otherwise(candidate)),
            (Some(read), Some(write)) if read == write => {
                let but = exceptions(&candidates, path, |may| may.read || may.write, read);
                found.push(told(path, candidate, "read and write", read, &but));
            }
            (read, write) => {
                found.extend(read.map(|may| {
                    let but = exceptions(&candidates, path, |may| may.read, may);
                    told(path, candidate, "read", may, &but)
                }));
                found.extend(write.map(|may| {
                    let but = exceptions(&candidates, path, |may| may.write, may);
                    told(path, candidate, "write", may, &but)
                }));
            }
        }
    }
    found
}

/// What below a path fares otherwise, by what a person wrote: " but for ./src".
fn exceptions(
    candidates: &BTreeMap<PathBuf, Candidate<'_>>,
    path: &Path,
    of: fn(&May) -> bool,
    may: bool,
) -> String {
    let written = |rule: &&FileRule| matches!(rule.origin, Origin::File { .. });
    let found: Vec<&str> = candidates
        .iter()
        .filter(|(below, other)| below.starts_with(path) && *below != path && of(&other.is) != may)
        .filter_map(|(_, other)| other.new.iter().copied().find(written))
        .map(|rule| rule.text.as_str())
        .collect();
    match found.as_slice() {
        [] => String::new(),
        few if few.len() <= 3 => format!(" but for {}", few.join(", ")),
        many => format!(
            " but for {} and {} more",
            many[..2].join(", "),
            many.len() - 2
        ),
    }
}

fn told(path: &Path, candidate: &Candidate<'_>, verb: &str, may: bool, but: &str) -> Difference {
    let text = match (candidate.text(path), path == Path::new("/")) {
        (_, true) => "everything that no rule is about".to_owned(),
        (text, false) => text,
    };
    let (effect, text) = match may {
        true => (Effect::Loosens, format!("may now {verb} {text}{but}")),
        false => (
            Effect::Tightens,
            format!("may no longer {verb} {text}{but}"),
        ),
    };
    // The rule that is there now and was not, else the one that was and is no more.
    let has = |list: &[&FileRule], rule: &FileRule| list.iter().any(|other| same(other, rule));
    let came = candidate.new.iter().find(|rule| !has(&candidate.old, rule));
    let went = candidate.old.iter().find(|rule| !has(&candidate.new, rule));
    let rule = came.or(went);
    let key = match rule {
        Some(rule) if rule.is_store() || matches!(rule.origin, Origin::File { .. }) => {
            rule.kind.key()
        }
        // Rules of minimal mode come and go with it.
        _ => "filesystem.mode",
    };
    Difference::new(effect, key, text, rule.map(|rule| &rule.origin))
}

/// By what a pattern is the same in two policies.
fn written(rule: &FileRule) -> (FileRuleKind, &Path, &str) {
    (rule.kind, &rule.path, &rule.text)
}

fn same(one: &FileRule, other: &FileRule) -> bool {
    one.kind == other.kind && one.path == other.path && one.pattern == other.pattern
}

/// Entries of documents about a path of which the same becomes as before.
fn said_otherwise(candidate: &Candidate<'_>) -> Vec<Difference> {
    let only = |one: &[&FileRule], other: &[&FileRule], words: &str| {
        let mut found = Vec::new();
        for rule in one {
            let written = matches!(rule.origin, Origin::File { .. });
            if written && !other.iter().any(|kept| same(kept, rule)) {
                let key = rule.kind.key();
                let text = format!(
                    "{} is {words} in {key}, which changes nothing else",
                    rule.text
                );
                found.push(Difference::new(
                    Effect::Neutral,
                    key,
                    text,
                    Some(&rule.origin),
                ));
            }
        }
        found
    };
    let mut found = only(&candidate.new, &candidate.old, "now");
    found.extend(only(&candidate.old, &candidate.new, "no longer"));
    found
}

fn patterns(before: &FilesystemPolicy, after: &FilesystemPolicy) -> Vec<Difference> {
    let may_write = |policy: &FilesystemPolicy| {
        let rules = policy.rules().iter();
        rules
            .clone()
            .any(|rule| rule.kind == FileRuleKind::AllowWrite)
            || !policy.overlays().is_empty()
    };
    // Built-in guards come and go with what may be written; of themselves only where that is so in both.
    let both_write = may_write(before) && may_write(after);
    let mut found = Vec::new();
    for (one, other, came) in [(after, before, true), (before, after, false)] {
        let others: HashSet<_> = other.rules().iter().map(written).collect();
        for rule in one.rules().iter().filter(|rule| rule.pattern.is_some()) {
            let built_in = matches!(rule.origin, Origin::BuiltIn(_));
            let kept = others.contains(&written(rule));
            if kept || (built_in && !both_write) {
                continue;
            }
            let (verb, allows) = match rule.kind {
                FileRuleKind::AllowRead => ("read", true),
                FileRuleKind::AllowWrite => ("write", true),
                FileRuleKind::DenyRead => ("read", false),
                FileRuleKind::DenyWrite => ("write", false),
                FileRuleKind::Protected => continue,
            };
            let what = format!("what matches {}", rule.text);
            let (effect, text) = match (came, allows) {
                (true, true) => (Effect::Loosens, format!("may now {verb} {what}")),
                (true, false) => (Effect::Tightens, format!("may no longer {verb} {what}")),
                (false, true) => (Effect::Tightens, format!("may no longer {verb} {what}")),
                (false, false) => (
                    Effect::Loosens,
                    format!("may now {verb} {what}, where nothing else forbids it"),
                ),
            };
            let key = match built_in {
                true => "filesystem.allowGitConfig",
                false => rule.kind.key(),
            };
            found.push(Difference::new(effect, key, text, Some(&rule.origin)));
        }
    }
    found
}

fn overlays(before: &FilesystemPolicy, after: &FilesystemPolicy) -> Vec<Difference> {
    const KEY: &str = "filesystem.overlay";
    let only = |one: &FilesystemPolicy, other: &FilesystemPolicy, words: &str| {
        let kept = |overlay: &FileOverlay| {
            let mut others = other.overlays().iter();
            others.any(|kept| kept.path == overlay.path)
        };
        let mut found = Vec::new();
        for overlay in one.overlays().iter().filter(|overlay| !kept(overlay)) {
            let text = format!("what it changes of {} {words}", overlay.text);
            found.push(Difference::new(
                Effect::Neutral,
                KEY,
                text,
                Some(&overlay.origin),
            ));
        }
        found
    };
    let mut found = only(after, before, "now goes to a layer and not to the host");
    found.extend(only(before, after, "no longer goes to a layer"));
    found
}
