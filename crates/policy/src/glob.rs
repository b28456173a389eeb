//! Patterns in paths: `**` for any number of folders, `*`, `?` and `[…]` within one name.
//!
//! A pattern is a list of segments, one for each name, and is matched name by name with a set of the places in it
//! that have been reached, as a finite automaton is. That costs the length of the path times that of the pattern,
//! however many `**` there are, and what has been reached after a folder tells what may match below it.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};

use crate::braces::class_end;
use crate::names::{Name, key, same_but_for_case};
use crate::regex;

/// A pattern below a folder.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    segments: Vec<Segment>,
    /// Bit n: segment n is `**`.
    deep: u64,
    /// Bit n: segment n is `*`.
    one: u64,
    /// Whether names are the same that differ in case alone.
    any_case: bool,
}

/// What one name, or any number of them, must be.
#[derive(Clone, PartialEq, Eq)]
enum Segment {
    /// `**`
    Deep,
    /// `*`: any one name.
    One,
    /// This name, with its [`key`].
    Literal(Box<[u8]>, u64),
    /// A pattern within a name.
    Wild(Wildcard),
}

#[derive(Clone)]
struct Wildcard {
    text: String,
    matcher: GlobMatcher,
}

impl PartialEq for Wildcard {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Wildcard {}

impl fmt::Display for Glob {
    /// As a document writes it, relative to its folder.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, segment) in self.segments.iter().enumerate() {
            if place > 0 {
                f.write_str("/")?;
            }
            match segment {
                Segment::Deep => f.write_str("**")?,
                Segment::One => f.write_str("*")?,
                Segment::Literal(name, _) => f.write_str(&String::from_utf8_lossy(name))?,
                Segment::Wild(wildcard) => f.write_str(&wildcard.text)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({self})")
    }
}

/// The places in a pattern that have been reached, a bit for each.
pub(crate) type Reached = u64;

/// A pattern has no more segments: a place for each, and one for its end.
const MOST_SEGMENTS: usize = 62;

/// What is wrong with a pattern, and what would be right.
pub(crate) type GlobError = (String, &'static str);

impl Glob {
    /// The pattern of these names, given as a document writes them; the ones before the first that is no plain name
    /// come back apart, unescaped: they are the folder below which the rest is. `None` where nothing is left.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub(crate) fn parse<'a>(
        names: impl Iterator<Item = &'a str>,
    ) -> Result<(Vec<String>, Option<Self>), GlobError> {
        let mut base = Vec::new();
        let mut segments: Vec<Segment> = Vec::new();
        for name in names {
            if name.is_empty() || name == "." {
                continue;
            }
            if name == ".." && !segments.is_empty() {
                return Err((
                    "has \"..\" after a pattern".to_owned(),
                    "write the path without it",
                ));
            }
            match segment(name)? {
                Part::Plain(name) if segments.is_empty() => base.push(name),
                Part::Plain(name) => segments.push(literal(&name)),
                // Two in a row are one.
                Part::Segment(Segment::Deep) if segments.last() == Some(&Segment::Deep) => {}
                Part::Segment(segment) => segments.push(segment),
            }
        }
        // A rule covers what is below its matches anyway.
        segments.pop_if(|segment| *segment == Segment::Deep);
        if segments.len() > MOST_SEGMENTS {
            return Err((
                format!("has more than {MOST_SEGMENTS} parts after its first pattern"),
                "write a shorter pattern",
            ));
        }
        let glob = (!segments.is_empty()).then(|| Self::new(segments, false));
        Ok((base, glob))
    }

    /// `**/` and these names, compared without regard to case; `*` and `**` may stand among them.
    pub(crate) fn at_any_depth(path: &str) -> Self {
        let names = std::iter::once("**").chain(path.split('/'));
        Self::new(names.map(plain_segment).collect(), true)
    }

    /// These names, compared without regard to case.
    pub(crate) fn any_case(path: &str) -> Self {
        Self::new(path.split('/').map(plain_segment).collect(), true)
    }

    fn new(segments: Vec<Segment>, any_case: bool) -> Self {
        let bits = |wanted: &Segment| {
            segments
                .iter()
                .enumerate()
                .filter(|(_, segment)| *segment == wanted)
                .fold(0, |bits, (place, _)| bits | 1 << place)
        };
        Self {
            deep: bits(&Segment::Deep),
            one: bits(&Segment::One),
            segments,
            any_case,
        }
    }

    /// What is reached before the first name.
    pub(crate) fn start(&self) -> Reached {
        self.passed(1)
    }

    /// Whether all of the pattern is behind.
    pub(crate) fn matched(&self, reached: Reached) -> bool {
        reached & self.end() != 0
    }

    /// What is reached after one more name.
    pub(crate) fn step(&self, reached: Reached, name: &Name<'_>) -> Reached {
        let mut next = self.step_unnamed(reached);
        let mut named = reached & !(self.deep | self.one) & (self.end() - 1);
        while named != 0 {
            let place = named.trailing_zeros();
            named &= named - 1;
            if self.segments[place as usize].matches(name, self.any_case) {
                next |= self.passed(1 << (place + 1));
            }
        }
        next
    }

    /// What is reached after one more name that no segment tells from others.
    pub(crate) fn step_unnamed(&self, reached: Reached) -> Reached {
        self.passed((reached & self.deep) | ((reached & self.one) << 1))
    }

    /// `**` may be no folder at all, so what comes after it is reached with it.
    fn passed(&self, reached: Reached) -> Reached {
        reached | ((reached & self.deep) << 1)
    }

    fn end(&self) -> Reached {
        1 << self.len()
    }

    /// How many segments it has.
    pub(crate) fn len(&self) -> usize {
        self.segments.len()
    }

    /// Whether the segment at a place is `**`.
    pub(crate) fn is_deep(&self, place: usize) -> bool {
        self.deep & 1 << place != 0
    }

    /// Whether the segment at a place is `*`.
    pub(crate) fn is_one(&self, place: usize) -> bool {
        self.one & 1 << place != 0
    }

    /// The segments from one place up to another as a regular expression: see [`regex`].
    pub(crate) fn regex_between(&self, from: usize, to: usize) -> String {
        let mut out = String::new();
        for (place, segment) in self.segments.iter().enumerate().take(to).skip(from) {
            out += &match segment {
                Segment::Deep => "([^/]+/)*".to_owned(),
                Segment::One => "[^/]+".to_owned(),
                Segment::Literal(name, _) => regex::plain(name, true),
                Segment::Wild(wildcard) => regex::wild(&wildcard.text),
            };
            if *segment != Segment::Deep && place + 1 < to {
                out.push('/');
            }
        }
        out
    }

    /// How many of `names` the longest match is long; `None` where none of their beginnings matches.
    pub(crate) fn longest(&self, names: &[Name<'_>]) -> Option<usize> {
        let mut reached = self.start();
        let mut longest = None;
        for (place, name) in names.iter().enumerate() {
            reached = self.step(reached, name);
            if self.matched(reached) {
                longest = Some(place + 1);
            } else if reached == 0 {
                break;
            }
        }
        longest
    }

    /// Whether the last of `names` brings one nearer to a match than another name in its place would, with none
    /// matched yet.
    pub(crate) fn leads(&self, names: &[Name<'_>]) -> bool {
        let Some((last, front)) = names.split_last() else {
            return false;
        };
        let mut above = self.start();
        for name in front {
            above = self.step(above, name);
            if above == 0 || self.matched(above) {
                return false;
            }
        }
        let here = self.step(above, last);
        !self.matched(here) && here & !self.step_unnamed(above) != 0
    }

    /// The key of a name without which nothing matches, where the pattern begins `NAME` or `**/NAME`.
    pub(crate) fn needs(&self) -> Option<u64> {
        match self.segments.as_slice() {
            [Segment::Deep, Segment::Literal(_, key), ..] | [Segment::Literal(_, key), ..] => {
                Some(*key)
            }
            _ => None,
        }
    }
}

impl Segment {
    fn matches(&self, name: &Name<'_>, any_case: bool) -> bool {
        match self {
            Self::Deep | Self::One => true,
            Self::Literal(own, key) => {
                *key == name.key
                    && if any_case {
                        same_but_for_case(name.bytes, own)
                    } else {
                        **own == *name.bytes
                    }
            }
            Self::Wild(wildcard) => wildcard.matches(name.bytes),
        }
    }
}

impl Wildcard {
    fn matches(&self, name: &[u8]) -> bool {
        use std::os::unix::ffi::OsStrExt as _;
        self.matcher.is_match(std::ffi::OsStr::from_bytes(name))
    }
}

fn literal(name: &str) -> Segment {
    Segment::Literal(name.as_bytes().into(), key(name.as_bytes()))
}

fn plain_segment(name: &str) -> Segment {
    match name {
        "**" => Segment::Deep,
        "*" => Segment::One,
        _ => literal(name),
    }
}

enum Part {
    Plain(String),
    Segment(Segment),
}

/// Reads one name.
fn segment(name: &str) -> Result<Part, GlobError> {
    match name {
        "**" => return Ok(Part::Segment(Segment::Deep)),
        "*" => return Ok(Part::Segment(Segment::One)),
        _ => {}
    }
    let mut plain = String::new();
    let mut wild = false;
    let mut rest = name.char_indices();
    let mut last_star = None;
    while let Some((at, character)) = rest.next() {
        match character {
            '\\' => match rest.next() {
                Some((_, escaped)) => plain.push(escaped),
                None => {
                    return Err((
                        "ends a name with a backslash".to_owned(),
                        "in a pattern a backslash takes away the meaning of the character after it",
                    ));
                }
            },
            '*' if last_star.is_some_and(|star| star + 1 == at) => {
                return Err((
                    "has \"**\" within a name".to_owned(),
                    "\"**\" stands alone between slashes, for any number of folders; within a name write \"*\"",
                ));
            }
            '*' => {
                last_star = Some(at);
                wild = true;
            }
            '?' => wild = true,
            '[' => {
                wild = true;
                let end = class(name, at)?;
                while rest.offset() <= end {
                    rest.next();
                }
            }
            other => plain.push(other),
        }
    }
    if !wild {
        return Ok(Part::Plain(plain));
    }
    let matcher = GlobBuilder::new(name)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|error| (format!("has {name:?} in it: {}", error.kind()), CLASS_HINT))?
        .compile_matcher();
    Ok(Part::Segment(Segment::Wild(Wildcard {
        text: name.to_owned(),
        matcher,
    })))
}

const CLASS_HINT: &str =
    "write one of these characters as \"[abc]\" or \"[a-z]\", none of them as \"[!abc]\"";

/// Where the class at `open` closes, if it is one that holds.
fn class(name: &str, open: usize) -> Result<usize, GlobError> {
    let fail = |why: &str| Err((why.to_owned(), CLASS_HINT));
    let Some(end) = class_end(name.as_bytes(), open) else {
        return fail("has a \"[\" that is not closed");
    };
    let inside = &name[open + 1..end];
    if inside.starts_with("[:") || inside.contains("[:") {
        return fail("has a named class such as \"[:alpha:]\"");
    }
    if !inside.is_ascii() {
        return fail("has a character other than ASCII between brackets");
    }
    if inside.contains('\\') {
        return fail("has a backslash between brackets");
    }
    Ok(end)
}
