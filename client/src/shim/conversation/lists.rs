//! The lists that the host has seen, so that it is told of a new launch's only where they differ.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// So many pages of a list are fetched at most.
const PAGES: usize = 64;
/// So many entries of a list are remembered, 8 bytes each. Of a longer one nothing is known.
const ENTRIES: usize = 65_536;

/// What a host may list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum List {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl List {
    pub(super) const ALL: [Self; 4] =
        [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    pub(super) fn of_method(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|list| list.method() == method)
    }

    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// What a server must declare to send [`List::notification`].
    pub(super) fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates => "resources",
        }
    }

    /// What a modern host listens for.
    pub(super) fn wanted(self) -> &'static str {
        match self {
            Self::Tools => "toolsListChanged",
            Self::Prompts => "promptsListChanged",
            Self::Resources | Self::Templates => "resourcesListChanged",
        }
    }

    pub(super) fn notification(self) -> &'static str {
        match self {
            Self::Tools => "notifications/tools/list_changed",
            Self::Prompts => "notifications/prompts/list_changed",
            Self::Resources | Self::Templates => "notifications/resources/list_changed",
        }
    }
}

/// A list as far as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Read {
    /// The entries' digests, in the list's order.
    entries: Vec<u64>,
    pages: usize,
    /// There was no next page.
    complete: bool,
    /// It was too long to be remembered.
    unknown: bool,
}

impl Read {
    fn add(&mut self, list: List, result: &RawValue) {
        let Some((entries, next)) = page(list, result) else {
            self.unknown = true;
            return;
        };
        self.pages += 1;
        self.complete = next.is_none();
        if self.entries.len() + entries.len() > ENTRIES {
            self.unknown = true;
            self.entries = Vec::new();
        } else if !self.unknown {
            self.entries.extend(entries);
        }
    }

    fn differs(&self, other: &Self) -> bool {
        // The order of a list says nothing.
        let sorted = |read: &Self| {
            let mut entries = read.entries.clone();
            entries.sort_unstable();
            entries
        };
        self.unknown
            || other.unknown
            || self.complete != other.complete
            || sorted(self) != sorted(other)
    }
}

/// What comes after an answer to a private request for a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask for the page with this cursor.
    Ask(String),
    /// It is another list than the host saw.
    Changed,
    /// Nothing: it is the same, or the host knows better by now.
    Same,
}

/// What the host saw, and what is being compared.
#[derive(Debug, Default)]
pub(super) struct Lists {
    seen: HashMap<List, Read>,
    checks: HashMap<List, Read>,
}

impl Lists {
    /// The host got a page.
    pub(super) fn saw(&mut self, list: List, first: bool, result: &RawValue) {
        if first {
            self.seen.remove(&list);
            // It is the new launch's own list now.
            self.checks.remove(&list);
        }
        // A later page of a list that began before us is a list that we do not know.
        if let Some(read) = match first {
            true => Some(self.seen.entry(list).or_default()),
            false => self.seen.get_mut(&list),
        } {
            read.add(list, result);
        }
    }

    /// The lists that the host has asked for.
    pub(super) fn seen(&self) -> Vec<List> {
        List::ALL
            .into_iter()
            .filter(|list| self.seen.contains_key(list))
            .collect()
    }

    /// A new launch's list is compared from here on.
    pub(super) fn begin(&mut self, list: List) {
        self.checks.insert(list, Read::default());
    }

    /// The launch is dead, or what it has is told already.
    pub(super) fn forget_checks(&mut self) {
        self.checks.clear();
    }

    /// The server itself says that what stands behind `notification` changed.
    pub(super) fn announced(&mut self, notification: &str) {
        self.checks
            .retain(|list, _| list.notification() != notification);
    }

    /// A private page came; `None`: the server refused it.
    pub(super) fn page(&mut self, list: List, result: Option<&RawValue>) -> Next {
        let (Some(mut check), Some(seen)) = (self.checks.remove(&list), self.seen.get(&list))
        else {
            return Next::Same;
        };
        let Some(result) = result else {
            return Next::Changed;
        };
        check.add(list, result);
        // The host did not look further, either.
        let enough = check.pages >= seen.pages.min(PAGES);
        if let Some((_, Some(cursor))) = page(list, result)
            && !enough
        {
            self.checks.insert(list, check);
            return Next::Ask(cursor);
        }
        match seen.differs(&check) {
            true => Next::Changed,
            false => Next::Same,
        }
    }
}

#[derive(Deserialize)]
struct Entries<'a> {
    #[serde(borrow)]
    tools: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    prompts: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    resources: Option<Vec<&'a RawValue>>,
    #[serde(borrow, rename = "resourceTemplates")]
    templates: Option<Vec<&'a RawValue>>,
    #[serde(rename = "nextCursor")]
    next: Option<String>,
}

/// The digests of a page's entries, and the next one's cursor. `None` where it is no such page.
fn page(list: List, result: &RawValue) -> Option<(Vec<u64>, Option<String>)> {
    let entries: Entries<'_> = serde_json::from_str(result.get()).ok()?;
    let found = match list {
        List::Tools => entries.tools,
        List::Prompts => entries.prompts,
        List::Resources => entries.resources,
        List::Templates => entries.templates,
    }?;
    let digests: Option<Vec<u64>> = found.into_iter().map(digest).collect();
    Some((digests?, entries.next))
}

/// Equal where two entries say the same, in whichever order their keys stand.
fn digest(entry: &RawValue) -> Option<u64> {
    let value: Value = serde_json::from_str(entry.get()).ok()?;
    let mut hasher = DefaultHasher::new();
    write(&value, &mut hasher);
    Some(hasher.finish())
}

fn write(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.iter().collect();
            keys.sort_unstable_by_key(|(key, _)| *key);
            (b'{', keys.len()).hash(hasher);
            for (key, value) in keys {
                key.hash(hasher);
                write(value, hasher);
            }
        }
        Value::Array(values) => {
            (b'[', values.len()).hash(hasher);
            for value in values {
                write(value, hasher);
            }
        }
        Value::String(text) => (b'"', text).hash(hasher),
        other => (b'0', other.to_string()).hash(hasher),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        serde_json::from_str(text).unwrap()
    }

    /// What is found of a list that the host read in `seen`, and the new launch has in `new`; with how many pages were
    /// asked for.
    fn compared(seen: &[&str], new: &[&str]) -> (Next, usize) {
        let mut lists = Lists::default();
        for (number, text) in seen.iter().enumerate() {
            lists.saw(List::Tools, number == 0, &raw(text));
        }
        lists.begin(List::Tools);
        for (number, text) in new.iter().enumerate() {
            match lists.page(List::Tools, Some(&raw(text))) {
                Next::Ask(_) => {}
                last => return (last, number + 1),
            }
        }
        panic!("it asks for more pages than there are")
    }

    #[test]
    fn a_list_is_compared_by_what_it_says() {
        let one = r#"{"tools":[{"name":"a","x":{"b":1,"c":[2]}},{"name":"b"}],"ttlMs":5}"#;
        let spelt = r#"{"tools":[{"name":"b"},{"x":{"c":[2],"b":1},"name":"\u0061"}],"ttlMs":6}"#;
        let other = r#"{"tools":[{"name":"a","x":{"b":1,"c":[3]}},{"name":"b"}]}"#;
        assert_eq!(compared(&[one], &[spelt]), (Next::Same, 1));
        assert_eq!(compared(&[one], &[other]), (Next::Changed, 1));
        assert_eq!(compared(&[one], &[r#"{"tools":[]}"#]).0, Next::Changed);
        assert_eq!(compared(&[one], &[r#"{"prompts":[]}"#]).0, Next::Changed);
    }

    #[test]
    fn as_many_pages_are_compared_as_the_host_has_read() {
        let (one, two) = (r#"{"tools":[1],"nextCursor":"x"}"#, r#"{"tools":[2]}"#);
        assert_eq!(compared(&[one, two], &[one, two]), (Next::Same, 2));
        assert_eq!(compared(&[one], &[one, "never"]), (Next::Same, 1));
        assert_eq!(
            compared(&[one, two], &[r#"{"tools":[1,2]}"#]),
            (Next::Same, 1)
        );
        assert_eq!(compared(&[two], &[one]).0, Next::Changed);
        let endless = vec![one; PAGES + 1];
        assert_eq!(compared(&endless, &endless), (Next::Changed, PAGES));
    }

    #[test]
    fn what_the_host_knows_already_is_not_compared() {
        let mut lists = Lists::default();
        let tools = raw(r#"{"tools":[1]}"#);
        lists.saw(List::Tools, true, &tools);
        lists.saw(List::Prompts, false, &raw(r#"{"prompts":[1]}"#));
        assert_eq!(lists.seen(), [List::Tools]);
        lists.begin(List::Tools);
        lists.announced("notifications/prompts/list_changed");
        lists.announced("notifications/tools/list_changed");
        assert_eq!(lists.page(List::Tools, None), Next::Same);
        lists.begin(List::Tools);
        lists.saw(List::Tools, true, &tools);
        assert_eq!(lists.page(List::Tools, None), Next::Same);
        lists.begin(List::Tools);
        assert_eq!(lists.page(List::Tools, None), Next::Changed);
    }

    #[test]
    fn a_list_that_is_too_long_counts_as_changed() {
        let long = format!(r#"{{"tools":[{}0]}}"#, "0,".repeat(ENTRIES));
        assert_eq!(compared(&[&long], &[&long]).0, Next::Changed);
    }
}
