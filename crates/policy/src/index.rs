//! Finds the rules that cover a path without asking each: a tree of the names that rules begin with.
//!
//! A decision walks the tree once along the path, and asks a pattern only where its folder is on the way and, if it
//! begins with a plain name or `**/NAME`, only where that name is. So it costs about the same with ten rules as with a thousand.

use crate::FileRule;
use crate::names::{Name, names};
use crate::{FileRuleKind, Origin};

/// The tree. Node 0 is the root folder.
#[derive(Clone, Default)]
pub(crate) struct Index {
    nodes: Vec<Node>,
}

impl std::fmt::Debug for Index {
    /// Its size alone: the rules that it is made from are shown beside it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({} nodes)", self.nodes.len())
    }
}

#[derive(Clone, Default)]
struct Node {
    children: Vec<Child>,
    /// Rules whose path this is, by place in the list, in order.
    rules: Vec<usize>,
    /// Of these, the patterns `NAME…` and `**/NAME…`, sorted by the key of that name.
    named: Vec<(u64, usize)>,
    /// The first rule that denies something below this path and not the path itself.
    beyond: Option<usize>,
}

#[derive(Clone)]
struct Child {
    key: u64,
    name: Box<[u8]>,
    node: usize,
}

/// A rule that covers a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'a> {
    pub(crate) rule: &'a FileRule,
    /// How many names of the path it matches at most.
    pub(crate) depth: usize,
    /// How many names its folder has.
    base: usize,
}

/// The deepest covering rule of each kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Covering<'a> {
    pub(crate) protected: Option<Found<'a>>,
    pub(crate) deny_write: Option<Found<'a>>,
    pub(crate) allow_write: Option<Found<'a>>,
    /// A credential store among them.
    pub(crate) deny_read: Option<Found<'a>>,
    pub(crate) allow_read: Option<Found<'a>>,
    /// Minimal mode's denial of everything.
    pub(crate) all: Option<Found<'a>>,
    /// What minimal mode shows in spite of it.
    pub(crate) shown: Option<Found<'a>>,
    /// How many names the deepest covering credential store has.
    store: Option<usize>,
}

impl Index {
    pub(crate) fn new(rules: &[FileRule]) -> Self {
        let mut index = Self {
            nodes: vec![Node::default()],
        };
        for (place, rule) in rules.iter().enumerate() {
            let mut node = 0;
            for name in names(&rule.path).unwrap_or_default() {
                if rule.denies() {
                    index.nodes[node].beyond.get_or_insert(place);
                }
                node = match index.nodes[node].child(&name) {
                    Some(child) => child,
                    None => {
                        let child = index.nodes.len();
                        index.nodes.push(Node::default());
                        index.nodes[node].children.push(Child {
                            key: name.key,
                            name: name.bytes.into(),
                            node: child,
                        });
                        child
                    }
                };
            }
            let node = &mut index.nodes[node];
            if rule.denies() && rule.pattern.is_some() {
                node.beyond.get_or_insert(place);
            }
            match rule.pattern.as_ref().and_then(|pattern| pattern.needs()) {
                Some(key) => node.named.push((key, place)),
                None => node.rules.push(place),
            }
        }
        for node in &mut index.nodes {
            node.named.sort_unstable();
        }
        index
    }

    /// What covers the path of these names.
    pub(crate) fn covering<'a>(&self, list: &'a [FileRule], names: &[Name<'_>]) -> Covering<'a> {
        let mut covering = Covering::default();
        self.walk(names, |rule, base| {
            covering.consider(&list[rule], base, &names[base..]);
            false
        });
        covering
    }

    /// A denying rule whose matches the path of these names leads to, and a sibling of it would not.
    pub(crate) fn leads<'a>(
        &self,
        list: &'a [FileRule],
        names: &[Name<'_>],
    ) -> Option<&'a FileRule> {
        let mut found = None;
        let end = self.walk(names, |rule, base| {
            let pattern = list[rule].pattern.as_ref();
            if list[rule].denies() && pattern.is_some_and(|own| own.leads(&names[base..])) {
                found = Some(rule);
            }
            found.is_some()
        });
        let beyond = end
            .filter(|_| !names.is_empty())
            .and_then(|node| node.beyond);
        found.or(beyond).map(|rule| &list[rule])
    }

    /// Shows every rule that may be about the path of these names, with the number of names that its folder has, until
    /// `seen` has seen enough. The node of the whole path, if the tree has it.
    fn walk(
        &self,
        names: &[Name<'_>],
        mut seen: impl FnMut(usize, usize) -> bool,
    ) -> Option<&Node> {
        let mut node = self.nodes.first()?;
        for base in 0..=names.len() {
            let below = &names[base..];
            if node.rules.iter().any(|rule| seen(*rule, base)) {
                return None;
            }
            if !node.named.is_empty() {
                for (place, name) in below.iter().enumerate() {
                    let rules = node.named_by(name.key);
                    // A name that comes again asks nothing new: else a path of one name would cost its square.
                    let again = |earlier: &Name<'_>| earlier.key == name.key;
                    if rules.is_empty() || below[..place].iter().any(again) {
                        continue;
                    }
                    if rules.iter().any(|(_, rule)| seen(*rule, base)) {
                        return None;
                    }
                }
            }
            if let Some(name) = below.first() {
                node = self.nodes.get(node.child(name)?)?;
            }
        }
        Some(node)
    }
}

impl Node {
    /// The patterns that begin with a name of this key.
    fn named_by(&self, key: u64) -> &[(u64, usize)] {
        let first = self.named.partition_point(|(own, _)| *own < key);
        let rest = &self.named[first..];
        let same = rest.iter().take_while(|(own, _)| *own == key).count();
        &rest[..same]
    }

    fn child(&self, name: &Name<'_>) -> Option<usize> {
        self.children
            .iter()
            .find(|child| child.key == name.key && *child.name == *name.bytes)
            .map(|child| child.node)
    }
}

impl<'a> Covering<'a> {
    fn consider(&mut self, rule: &'a FileRule, base: usize, below: &[Name<'_>]) {
        let depth = match &rule.pattern {
            None => base,
            Some(pattern) => match pattern.longest(below) {
                Some(more) => base + more,
                None => return,
            },
        };
        let found = Found { rule, depth, base };
        let place = match rule.kind {
            FileRuleKind::Protected => &mut self.protected,
            FileRuleKind::DenyWrite => &mut self.deny_write,
            FileRuleKind::AllowWrite => &mut self.allow_write,
            FileRuleKind::DenyRead if rule.is_built_in() && !rule.is_store() => &mut self.all,
            FileRuleKind::AllowRead if rule.is_built_in() => &mut self.shown,
            FileRuleKind::DenyRead => {
                if rule.is_store() && self.store.is_none_or(|store| store < depth) {
                    self.store = Some(depth);
                    // A store is opened by who names it or something inside, not by a pattern from outside.
                    self.allow_read.take_if(|allow| allow.base < depth);
                }
                &mut self.deny_read
            }
            FileRuleKind::AllowRead => {
                if self.store.is_some_and(|store| base < store) {
                    return;
                }
                &mut self.allow_read
            }
        };
        if place.is_none_or(|best| best.depth < depth) {
            *place = Some(found);
        }
    }
}

impl FileRule {
    /// Whether it is a built-in credential store: built in and about something in particular, which minimal mode's
    /// denial of everything is not.
    pub fn is_store(&self) -> bool {
        self.kind == FileRuleKind::DenyRead && self.is_built_in() && self.path.parent().is_some()
    }

    fn is_built_in(&self) -> bool {
        matches!(self.origin, Origin::BuiltIn(_))
    }
}
