//! One form for settings files, with every comment kept: what `policy fmt` writes.
//!
//! Two blanks a level; what is on one line stays there while it has no comment and fits; no trailing commas; at most one
//! empty line between members. Names and values are copied letter for letter, and their order stays.

use crate::commented::{Item, Items, Node, read};
use crate::{InvalidPolicy, Source};

/// A line is at most so long, in characters, where it could be broken.
const WIDTH: usize = 100;

/// The document in its one form. It means the same, and formatting it again changes nothing.
///
/// # Errors
/// When it is no JSON object, or of a version that is not known; whether its keys mean anything is not looked at.
pub fn format(source: &Source) -> Result<String, InvalidPolicy> {
    Ok(written(&read(source, |_, _| {})?.0))
}

/// A whole document as text.
pub(crate) fn written(root: &Items<'_>) -> String {
    let mut out = String::new();
    write_items(root, 0, true, &mut out);
    out.push('\n');
    out
}

impl Node<'_> {
    /// On one line; `None` where something inside needs more.
    fn flat(&self) -> Option<String> {
        let container = match self {
            Node::Scalar(text) => return Some(text.clone().into_owned()),
            Node::Container(container) => container,
        };
        let items = &container.items;
        let (open, close) = (container.open, container.close);
        if items.list.is_empty() && items.rest.is_empty() {
            return Some(format!("{open}{close}"));
        }
        if container.broken || !items.rest.is_empty() {
            return None;
        }
        let inside = items.list.iter().map(|item| {
            let plain = item.before.is_empty() && item.behind.is_empty();
            plain.then(|| item.flat()).flatten()
        });
        let inside = inside.collect::<Option<Vec<_>>>()?.join(", ");
        Some(match open {
            '{' => format!("{{ {inside} }}"),
            _ => format!("[{inside}]"),
        })
    }
}

impl Item<'_> {
    fn flat(&self) -> Option<String> {
        let value = self.value.flat()?;
        Some(match &self.name {
            Some(name) => format!("{name}: {value}"),
            None => value,
        })
    }

    fn write(&self, indent: usize, out: &mut String) {
        let fits = |line: &String| indent + line.chars().count() < WIDTH;
        if let Some(line) = self.flat().filter(fits) {
            out.push_str(&line);
            return;
        }
        if let Some(name) = &self.name {
            out.push_str(name);
            out.push_str(": ");
        }
        match &self.value {
            Node::Scalar(text) => out.push_str(text),
            Node::Container(container) => {
                out.push(container.open);
                if !container.items.list.is_empty() || !container.items.rest.is_empty() {
                    begin_line(indent + 2, out);
                    write_items(&container.items, indent + 2, false, out);
                    begin_line(indent, out);
                }
                out.push(container.close);
            }
        }
    }
}

fn begin_line(indent: usize, out: &mut String) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Members and comments, a line each; the cursor stands where the first begins. At the top there is one value, and no
/// comma.
fn write_items(items: &Items<'_>, indent: usize, top: bool, out: &mut String) {
    let mut first = true;
    let mut line = |after_blank: bool, out: &mut String| {
        if !first {
            if after_blank {
                out.push('\n');
            }
            begin_line(indent, out);
        }
        first = false;
    };
    for (place, item) in items.list.iter().enumerate() {
        for comment in &item.before {
            line(comment.after_blank, out);
            out.push_str(comment.text);
        }
        line(item.after_blank, out);
        item.write(indent, out);
        if !top && place + 1 < items.list.len() {
            out.push(',');
        }
        for comment in &item.behind {
            out.push(' ');
            out.push_str(comment);
        }
    }
    for comment in &items.rest {
        line(comment.after_blank, out);
        out.push_str(comment.text);
    }
}
