//! Patterns as regular expressions, for Seatbelt (macOS), where rules are text that the kernel matches paths with.
//!
//! Only what every dialect has is written: `^`, `$`, groups, `|`, `*`, `?`, `+`, and bracket expressions of plain
//! characters; a backslash takes a character's meaning away outside of brackets. `.` is not used, since dialects differ
//! on whether a line feed is one.
//!
//! A regular expression knows no case: macOS's file systems usually do not regard it, so each ASCII letter of a pattern
//! stands for both. What else such a file system takes for the same (the long s, the Kelvin sign) is not covered.

use std::path::Path;

use crate::names::names;
use crate::{FileRule, Glob};

/// What is covered goes on below.
const AND_BELOW: &str = "($|/)";

impl FileRule {
    /// A regular expression for the absolute paths, without links, that a rule with a pattern covers. It may cover more
    /// than the rule where a name has letters of another case. `None` without a pattern.
    pub fn regex(&self) -> Option<String> {
        self.regex_below(Path::new("/"))
    }

    /// As [`regex`](Self::regex), but for matches that begin strictly below `folder` (absolute): those by which the
    /// rule is more specific than one about `folder` itself. `None` also where there can be none.
    pub fn regex_below(&self, folder: &Path) -> Option<String> {
        let pattern = self.pattern.as_ref()?;
        let (own, wanted) = (names(&self.path)?, names(folder)?);
        let agree = own.iter().zip(&wanted).all(|(a, b)| a.bytes == b.bytes);
        if !agree {
            return None;
        }
        let mut reached = pattern.start();
        for name in wanted.iter().skip(own.len()) {
            reached = pattern.step(reached, name);
        }
        let rest = pattern.regex_from(reached)?;
        let base = if own.len() > wanted.len() {
            own
        } else {
            wanted
        };
        let base: String = base.iter().map(|name| slashed(name.bytes)).collect();
        Some(format!("^{base}/{rest}{AND_BELOW}"))
    }

    /// Regular expressions for the paths that a rule with a pattern leads through, themselves and nothing below: its
    /// folder with what is above, and each part of the pattern that has a name of its own, as `.git` for
    /// `**/.git/hooks`. Whoever may rename those, or put something else there, takes the rule away from what it is
    /// about. What `**` stands for, and a `*` that comes first or right after it, could be anything and is left out.
    pub fn regexes_leading(&self) -> Vec<String> {
        let (Some(pattern), Some(own)) = (&self.pattern, names(&self.path)) else {
            return Vec::new();
        };
        let mut leading = Vec::new();
        if let Some((first, rest)) = own.split_first() {
            let rest = rest.iter().rev().fold(String::new(), |below, name| {
                format!("({}{below})?", slashed(name.bytes))
            });
            leading.push(format!("^{}{rest}$", slashed(first.bytes)));
        }
        let base: String = own.iter().map(|name| slashed(name.bytes)).collect();
        leading.extend(pattern.leading().map(|front| format!("^{base}/{front}$")));
        leading
    }
}

/// A slash and a name, as they are.
fn slashed(name: &[u8]) -> String {
    format!("/{}", plain(name, false))
}

/// A name that is matched as it is, or in any case.
pub(crate) fn plain(name: &[u8], any_case: bool) -> String {
    let mut out = String::new();
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            push(&mut out, character, any_case);
        }
        // A profile is text: what is none is any byte.
        out.extend(chunk.invalid().iter().map(|_| "[^/]"));
    }
    out
}

/// A pattern within a name, in any case. It has been read before, so it is whole.
pub(crate) fn wild(text: &str) -> String {
    let mut out = String::new();
    let mut at = 0;
    while let Some(character) = text[at..].chars().next() {
        let next = at + character.len_utf8();
        at = match character {
            '*' => {
                out += "[^/]*";
                next
            }
            '?' => {
                out += "[^/]";
                next
            }
            '[' => match crate::braces::class_end(text.as_bytes(), at) {
                Some(end) => {
                    out += &class(&text.as_bytes()[next..end]);
                    end + 1
                }
                None => next,
            },
            '\\' => match text[next..].chars().next() {
                Some(escaped) => {
                    push(&mut out, escaped, true);
                    next + escaped.len_utf8()
                }
                None => next,
            },
            other => {
                push(&mut out, other, true);
                next
            }
        };
    }
    out
}

fn push(out: &mut String, character: char, any_case: bool) {
    if any_case && character.is_ascii_alphabetic() {
        out.push('[');
        out.push(character.to_ascii_lowercase());
        out.push(character.to_ascii_uppercase());
        out.push(']');
        return;
    }
    if r"\.^$*+?()[]{}|".contains(character) {
        out.push('\\');
    }
    out.push(character);
}

/// What is between brackets: ASCII, without a backslash and without a slash.
fn class(inside: &[u8]) -> String {
    let (negated, members) = match inside {
        [b'!' | b'^', members @ ..] => (true, members),
        members => (false, members),
    };
    let mut wanted = [false; 128];
    let mut at = 0;
    while let Some(first) = members.get(at) {
        let last = match members.get(at + 1..at + 3) {
            Some([b'-', last]) => {
                at += 3;
                last
            }
            _ => {
                at += 1;
                first
            }
        };
        for byte in *first..=*last {
            if let Some(place) = wanted.get_mut(usize::from(byte)) {
                *place = true;
            }
        }
    }
    let members = (0_u8..128)
        .filter(|byte| *byte != b'/' && wanted[usize::from(*byte)])
        .map(char::from);
    if negated {
        // Dialects differ on these within brackets: they are left to match, which denies no less.
        let safe: String = members
            .filter(|member| !r"[]\^-".contains(*member))
            .collect();
        return format!("[^/{safe}]");
    }
    let each: Vec<String> = members
        .map(|member| {
            let mut one = String::new();
            push(&mut one, member, true);
            one
        })
        .collect();
    format!("({})", each.join("|"))
}

impl Glob {
    /// What is left to match from these places of the pattern on, but for its end. `None` where nothing is.
    fn regex_from(&self, reached: crate::glob::Reached) -> Option<String> {
        let starts: Vec<String> = (0..self.len())
            .filter(|place| reached & 1 << place != 0)
            // `**` may be nothing, so it begins with what comes after it too.
            .filter(|place| {
                *place == 0 || !self.is_deep(place - 1) || reached & 1 << (place - 1) == 0
            })
            .map(|place| self.regex_between(place, self.len()))
            .collect();
        match starts.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            several => Some(format!("({})", several.join("|"))),
        }
    }

    /// The beginnings of the pattern that end in a name of its own, the whole pattern not among them.
    fn leading(&self) -> impl Iterator<Item = String> {
        (1..self.len())
            .filter(|end| self.is_own(end - 1))
            .map(|end| self.regex_between(0, end))
    }

    /// Whether the segment at a place tells its names from others: a name or a pattern within one, or a `*` after such.
    fn is_own(&self, place: usize) -> bool {
        let named = (0..=place).rev().find(|place| !self.is_one(*place));
        named.is_some_and(|named| !self.is_deep(named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Facts, FileRuleKind, Source, compile};

    fn rules(entries: &str) -> Vec<FileRule> {
        let facts = Facts {
            home: "/Users/u".into(),
            cwd: "/Users/u/p".into(),
            protected: vec![],
            program: vec![],
            macos: true,
        };
        let source = Source {
            path: "/s.json".into(),
            text: format!(r#"{{"filesystem": {{"allowWrite": ["."], "denyWrite": [{entries}]}}}}"#),
        };
        let compiled = compile(Some(&source), &facts).unwrap();
        let rules = compiled.policy.filesystem.rules().to_vec();
        rules
            .into_iter()
            .filter(|rule| rule.kind == FileRuleKind::DenyWrite && rule.pattern.is_some())
            .collect()
    }

    /// The rule of this entry of a document, or of a guard that is written so.
    fn rule(entry: &str) -> FileRule {
        let found = rules(&format!("{:?}", entry))
            .into_iter()
            .rfind(|rule| rule.text == entry);
        found.unwrap_or_else(|| panic!("{entry} is a pattern"))
    }

    fn matches(regex: &str, path: &str) -> bool {
        let regex = regex::bytes::RegexBuilder::new(regex)
            .unicode(false)
            .build();
        regex.unwrap().is_match(path.as_bytes())
    }

    #[test]
    fn the_text() {
        for (entry, expected) in [
            ("**/.env", r"^/Users/u/p/([^/]+/)*\.[eE][nN][vV]($|/)"),
            ("a+b/*/c?", r"^/Users/u/p/a\+b/[^/]+/[cC][^/]($|/)"),
            ("**/[!a-c]", r"^/Users/u/p/([^/]+/)*[^/abc]($|/)"),
            ("/x/*\\*[].]", r"^/x/[^/]*\*(\.|\])($|/)"),
        ] {
            assert_eq!(rule(entry).regex().as_deref(), Some(expected), "{entry}");
        }
        let plain = FileRule {
            pattern: None,
            ..rule("**/.env")
        };
        assert_eq!(plain.regex(), None);
    }

    #[test]
    fn a_regex_covers_what_its_rule_covers() {
        let entries = [
            "**/.env",
            "a/**/b",
            "*.p?m",
            "**/x[a-c]/*/d",
            "/Users/**/[!x]y",
            "**/a/**/b/c",
            "**/\\[*",
        ];
        let names = [
            "a", "b", "c", "d", ".env", "q.pem", "xa", "zy", "xy", "[1", "a\nb", "é", "env",
        ];
        let mut paths = vec!["/Users/u/p".to_owned(), "/Users".into(), "/".into()];
        for one in names {
            for two in names {
                for three in names {
                    paths.push(format!("/Users/u/p/{one}/{two}/{three}"));
                }
            }
        }
        let mut covered = 0;
        for entry in entries {
            let rule = rule(entry);
            for folder in [
                "/",
                "/Users/u/p",
                "/Users/u/p/a",
                "/Users/u/p/a/b",
                "/Users/u/p/.env",
            ] {
                let regex = rule.regex_below(Path::new(folder)).unwrap_or("$x".into());
                let regex = regex::bytes::RegexBuilder::new(&regex)
                    .unicode(false)
                    .build()
                    .unwrap();
                let depth = names_in(folder);
                for path in &paths {
                    let expected = Path::new(path).starts_with(folder)
                        && rule
                            .depth_at(Path::new(path))
                            .is_some_and(|found| found > depth);
                    covered += usize::from(expected);
                    assert_eq!(
                        regex.is_match(path.as_bytes()),
                        expected,
                        "{entry} {folder} {path:?}: {regex}"
                    );
                }
            }
        }
        assert!(covered > 1000, "{covered}");
    }

    fn names_in(path: &str) -> usize {
        path.split('/').filter(|name| !name.is_empty()).count()
    }

    #[test]
    fn guards_hold_in_any_case_and_what_leads_to_them_too() {
        let guards = rules("");
        assert!(guards.len() > 100, "{}", guards.len());
        let held = |path: &str| {
            guards
                .iter()
                .any(|rule| matches(&rule.regex().unwrap(), path))
        };
        let leads = |path: &str| {
            let mut leading = guards.iter().flat_map(FileRule::regexes_leading);
            leading.any(|regex| matches(&regex, path))
        };
        for (path, guarded, leading) in [
            ("/Users/u/p/.git/hooks", true, false),
            ("/Users/u/p/.GIT/Hooks/pre-commit", true, false),
            ("/x/sub/.mcp.json", true, false),
            ("/.git/modules/a/b/hooks/x", true, false),
            ("/Users/u/.config/fish/config.fish", true, false),
            ("/Users/u/p/.git", false, true),
            ("/Users/u/p/.git/modules", false, true),
            ("/x/.git/worktrees/w", false, true),
            ("/Users/u", false, true),
            ("/Users", false, true),
            ("/Users/u/p/.git/index.lock", false, false),
            ("/Users/u/p/.git/modules/a", false, false),
            ("/Users/u/p/src/x.mcp.json", false, false),
            ("/Users/u/p", false, false),
        ] {
            assert_eq!(held(path), guarded, "{path}");
            assert_eq!(leads(path), leading, "{path}");
        }
    }

    #[test]
    fn what_could_be_anything_does_not_lead() {
        assert_eq!(rule("*/x").regexes_leading().len(), 1, "the folder alone");
        let leading = rule("**/*/k").regexes_leading();
        assert!(!leading.iter().any(|regex| matches(regex, "/Users/u/p/a")));
        let leading = rule("**/s/*/k").regexes_leading();
        assert!(leading.iter().any(|regex| matches(regex, "/Users/u/p/s/a")));
    }
}
