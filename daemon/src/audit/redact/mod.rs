//! What keeps secrets out of the log: a value that looks like one is replaced before the store takes the entry.
//!
//! Pure. Three things give a secret away: its own form (`shapes`), the name that stands before it (`named`: a flag, a
//! variable, a header, a member of an object), and its place in an address (`address`). What has neither form nor name
//! nor place cannot be told from any other word, so a password that a program takes as its bare argument stays.
//!
//! Hashes, UUIDs and paths stay as they are: they are what the log is asked about.

mod address;
mod named;
mod shapes;

use std::ops::{Deref, Range};

use serde_json::{Map, Value};

use super::Entry;

/// What stands in a secret's place.
const MARK: &str = "[redacted]";

/// An entry without secrets: the only thing that the store's writer takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Redacted(Entry);

impl Redacted {
    /// Takes secrets out of the subject and of every value of the detail. Kind, server and launch are names that the
    /// log is searched by; they stay.
    pub fn of(mut entry: Entry) -> Self {
        // A command is cleaner word by word, where it is clear what belongs to a flag, than joined to one text.
        let command = joined(&entry.detail);
        object(&mut entry.detail);
        match command {
            Some(text) if text == entry.subject => {
                entry.subject = joined(&entry.detail).unwrap_or_default();
            }
            _ => {
                if let Some(clean) = text(&entry.subject) {
                    entry.subject = clean;
                }
            }
        }
        Self(entry)
    }
}

impl Deref for Redacted {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.0
    }
}

/// A command as one text, without secrets: for a subject, from words whose ends are still known.
pub fn command_line(words: &[String]) -> String {
    command(words).join(" ")
}

/// Whether a value of this name is likely a secret: of a variable, say.
pub fn names_a_secret(name: &str) -> bool {
    named::is_secret(name)
}

/// The words of a command, each seen with the one before it.
fn command(words: &[String]) -> Vec<String> {
    let mut before = None;
    let clean = words.iter().map(|this| {
        let clean = word(before, this);
        before = Some(this.as_str());
        clean.unwrap_or_else(|| this.clone())
    });
    clean.collect()
}

fn joined(detail: &Map<String, Value>) -> Option<String> {
    let words = detail.get("command")?.as_array()?;
    let words: Option<Vec<_>> = words.iter().map(Value::as_str).collect();
    Some(words?.join(" "))
}

fn object(members: &mut Map<String, Value>) {
    for (name, member) in members {
        match member {
            Value::String(_) | Value::Number(_) if named::is_secret(name) => hide(name, member),
            _ => value(member),
        }
    }
}

/// Of a member whose name says that it is a secret.
fn hide(name: &str, member: &mut Value) {
    let plain = match &*member {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if named::hides(name, &plain) {
        *member = MARK.into();
    }
}

fn value(value: &mut Value) {
    match value {
        Value::String(whole) => {
            if let Some(clean) = text(whole) {
                *whole = clean;
            }
        }
        Value::Object(members) => object(members),
        Value::Array(values) => words(values),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A list may be a command: a word may say what the next one is.
fn words(values: &mut [Value]) {
    let mut before: Option<String> = None;
    for this in values {
        let whole = this.as_str().map(str::to_owned);
        match &whole {
            Some(whole) => {
                if let Some(clean) = word(before.as_deref(), whole) {
                    *this = clean.into();
                }
            }
            None => value(this),
        }
        before = whole;
    }
}

/// A word of a command, after `before`, without secrets; none: it has none.
fn word(before: Option<&str>, word: &str) -> Option<String> {
    if let Some(start) = named::in_word(before, word) {
        return (&word[start..] != MARK).then(|| format!("{}{MARK}", &word[..start]));
    }
    text(word)
}

/// A text without secrets; none: it has none.
fn text(text: &str) -> Option<String> {
    let mut spans: Vec<Range<usize>> = Vec::new();
    shapes::find(text, &mut spans);
    named::find(text, &mut spans);
    address::find(text, &mut spans);
    if spans.is_empty() {
        return None;
    }
    spans.sort_by_key(|span| (span.start, span.end));
    let mut clean = String::with_capacity(text.len());
    let mut done = 0;
    let mut spans = spans.into_iter().peekable();
    while let Some(mut span) = spans.next() {
        while let Some(next) = spans.next_if(|next| next.start <= span.end) {
            span.end = span.end.max(next.end);
        }
        clean.push_str(&text[done..span.start]);
        clean.push_str(MARK);
        done = span.end;
    }
    clean.push_str(&text[done..]);
    Some(clean)
}

#[cfg(test)]
mod tests;
