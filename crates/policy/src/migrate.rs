//! Rewrites a document of an older version as one of the newest that means the same, with its comments.

use crate::check::check;
use crate::commented::{Comment, Container, Item, Items, Node, read};
use crate::format::written;
use crate::version::{Change, NEWEST_VERSION, TO_2};
use crate::{InvalidPolicy, Source};

/// A document of the newest version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Its text, in the form of [`format`](crate::format()); as it was where it was of the newest version already.
    pub text: String,
    /// The version that it was of.
    pub from: u64,
    /// What was changed, a line each: lower case, no full stop.
    pub changes: Vec<String>,
}

/// The document as one of the newest version.
///
/// # Errors
/// When it is no JSON object, of a version that is not known, or has unknown keys or values of another type.
pub fn migrate(source: &Source) -> Result<Migrated, InvalidPolicy> {
    let (mut root, from) = read(source, check)?;
    let mut changes = Vec::new();
    if from < 2 {
        if let Some(members) = root.list.first_mut().and_then(Item::members) {
            for change in TO_2 {
                apply(change, members, &mut changes);
            }
            say_version(members);
        }
        changes.push(format!("\"version\" is {NEWEST_VERSION}"));
    }
    let text = match changes.is_empty() {
        true => source.text.clone(),
        false => written(&root),
    };
    Ok(Migrated {
        text,
        from,
        changes,
    })
}

fn apply(change: &Change, members: &mut Items<'_>, changes: &mut Vec<String>) {
    match *change {
        Change::Renamed { section, from, to } => {
            let inside = members.inside(section);
            let item = inside.and_then(|inside| {
                let place = inside.place(from)?;
                inside.list.get_mut(place)
            });
            if let Some(item) = item {
                item.name = Some(format!("\"{to}\"").into());
                changes.push(format!("{section}.{from} is called {section}.{to}"));
            }
        }
        Change::Moved { name, into } => {
            let Some(place) = members.place(name) else {
                return;
            };
            let moved = members.list.remove(place);
            changes.push(format!("{name} is {into}.{name}"));
            let Some(inside) = members.inside(into) else {
                let items = Items {
                    list: vec![moved],
                    rest: Vec::new(),
                };
                let section = Node::Container(Container {
                    open: '{',
                    close: '}',
                    items,
                    broken: false,
                });
                members.list.push(Item::new(into, section));
                return;
            };
            match inside.place(name) {
                // Of the two, the one at the top has the last word.
                Some(own) => {
                    inside.list.insert(own, moved);
                    inside.drop_at(own + 1);
                }
                None => inside.list.push(moved),
            }
        }
        Change::Gone(name) => {
            if let Some(place) = members.place(name) {
                members.drop_at(place);
                changes.push(format!("{name} is gone: it meant nothing here"));
            }
        }
    }
}

/// Writes the version in front, but for the `$schema` that a file may begin with.
fn say_version(members: &mut Items<'_>) {
    let newest = Node::Scalar(NEWEST_VERSION.to_string().into());
    if let Some(place) = members.place("version") {
        members.list[place].value = newest;
        return;
    }
    let first = members.list.first();
    let place = usize::from(first.is_some_and(|item| item.is_named("$schema")));
    members.list.insert(place, Item::new("version", newest));
}

impl<'a> Items<'a> {
    fn place(&self, name: &str) -> Option<usize> {
        self.list.iter().position(|item| item.is_named(name))
    }

    /// What is inside of a member that is an object.
    fn inside(&mut self, name: &str) -> Option<&mut Items<'a>> {
        let place = self.place(name)?;
        self.list[place].members()
    }

    /// Takes a member out whose comments stay, in front of what comes next.
    fn drop_at(&mut self, place: usize) {
        let gone = self.list.remove(place);
        let mut comments = gone.before;
        comments.extend(gone.behind.into_iter().map(|text| Comment {
            text,
            after_blank: false,
        }));
        let next = match self.list.get_mut(place) {
            Some(next) => &mut next.before,
            None => &mut self.rest,
        };
        comments.append(next);
        *next = comments;
    }
}

impl<'a> Item<'a> {
    fn new(name: &str, value: Node<'a>) -> Self {
        Self {
            before: Vec::new(),
            after_blank: false,
            name: Some(format!("\"{name}\"").into()),
            value,
            behind: Vec::new(),
        }
    }

    /// A name may be written with escapes.
    fn is_named(&self, name: &str) -> bool {
        let decoded = self.name.as_deref().map(serde_json::from_str::<String>);
        decoded.is_some_and(|decoded| decoded.is_ok_and(|decoded| decoded == name))
    }

    fn members(&mut self) -> Option<&mut Items<'a>> {
        match &mut self.value {
            Node::Container(container) if container.open == '{' => Some(&mut container.items),
            Node::Container(_) | Node::Scalar(_) => None,
        }
    }
}
