//! Secrets that are known by the name before them: `PASSWORD=…`, `--api-key …`, `"client_secret": "…"`,
//! `Authorization: …`.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::MARK;

/// What a name ends with whose value is nobody else's business whatever it looks like.
const PLAIN: &str = r"pass(?:word|wd|phrase|code)|passwd|pwd|(?:client|app|consumer|shared|user|api|signing|webhook|aws)[_.-]?secret|secret[_.-]?(?:access[_.-]?)?key|private[_.-]?key|authtoken|_auth";
/// What a name ends with whose value may also be a word or a number of another meaning: the token of a parser, a count.
const SHARED: &str = r"secret|token|(?:api|access|account|auth|session|signing|encryption|master|shared|subscription|license|storage)[_.-]?key(?:[_.-]?id)?|apikey|signature|credentials?|bearer";
/// Headers: all that follows is the secret.
const HEADERS: &str = r"(?:proxy-)?authorization|(?:set-)?cookie";

fn compiled(pattern: &str) -> Regex {
    Regex::new(pattern).expect("it is constant, and a test compiles it")
}

/// A name alone. Flags and variables have more before it.
static NAME: LazyLock<Regex> = LazyLock::new(|| {
    compiled(&format!(
        r"(?i)(?:(?P<plain>{PLAIN}|^auth)|(?P<shared>{SHARED}))$|(?P<header>^(?:{HEADERS})$)"
    ))
});
/// A name, what parts it from its value, and no more: values are read by hand, for their quotes may be written in many
/// ways. A flag's value may come after a blank.
static IN_TEXT: LazyLock<Regex> = LazyLock::new(|| {
    compiled(&format!(
        r#"(?i)(?:(?P<header>{HEADERS})|(?P<plain>{PLAIN}|["']auth)|(?P<shared>{SHARED}))(?:(?P<sign>\\*["']?\s*[:=]>?\s*|%3[ADad])|(?P<blank>\s+))"#
    ))
});
/// `Bearer` and its token, wherever; and the password of curl's `-u name:password`.
static OTHER: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r#"(?i:bearer)\s+(?P<bearer>[A-Za-z0-9._~+/=-]{16,})|(?:^|\s)(?:-u|--user|--proxy-user)[\s=]+["']?(?P<user>[^\s:"']+):(?P<password>[^\s"']+)"#,
    )
});

/// Whether a value of this name is likely a secret. What [`hides`] says of the value counts, too.
pub(super) fn is_secret(name: &str) -> bool {
    NAME.is_match(name)
}

/// Whether `value`, of something named `name`, is to be hidden.
pub(super) fn hides(name: &str, value: &str) -> bool {
    NAME.captures(name).is_some_and(|found| {
        !says_nothing(value) && (found.name("shared").is_none() || !is_count(value))
    })
}

/// Where in a word of a command, after the word `before`, a secret begins that reaches to the word's end.
pub(super) fn in_word(before: Option<&str>, word: &str) -> Option<usize> {
    // `--password=secret`, `PASSWORD=secret`, `Authorization: secret`.
    if let Some(at) = word.find(['=', ':']) {
        let (name, value) = (&word[..at], word[at + 1..].trim_start());
        let is_name = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        if is_name && hides(name, value) {
            return Some(word.len() - value.len());
        }
    }
    let flag = before?;
    if matches!(flag, "-u" | "--user" | "--proxy-user") {
        let (user, password) = word.split_once(':')?;
        let ids = is_count(user) && is_count(password);
        return (!ids && !says_nothing(password)).then_some(word.len() - password.len());
    }
    let takes = flag.starts_with('-') && !flag.contains(['=', ':', ' ']) && hides(flag, word);
    (takes && !word.starts_with('-')).then_some(0)
}

/// Where such secrets stand in `text`.
pub(super) fn find(text: &str, spans: &mut Vec<Range<usize>>) {
    let mut from = 0;
    while let Some(found) = IN_TEXT.captures_at(text, from) {
        let whole = found.get_match();
        from = whole.end();
        let (value, quoted) = value_at(text, whole.end());
        let inner = &text[value.clone()];
        let hidden = if found.name("header").is_some() {
            found
                .name("sign")
                .is_some()
                .then(|| header(text, value.clone(), quoted))
        } else if found.name("blank").is_some() {
            // Only a flag has its value there; elsewhere it is the next word of a sentence.
            let flag = is_flag(&text[..whole.start()]);
            let takes = flag && !inner.starts_with('-');
            (takes && (found.name("plain").is_some() || !is_count(inner))).then_some(value)
        } else if found.name("plain").is_some() || quoted || found["sign"].contains('=') {
            let count = found.name("shared").is_some() && is_count(inner);
            (!count).then_some(value)
        } else {
            // `token: word` may be a sentence; a word of letters alone is not taken for a secret there.
            (looks_made(inner) && !is_count(inner)).then_some(value)
        };
        if let Some(hidden) = hidden.filter(|hidden| !says_nothing(&text[hidden.clone()])) {
            from = hidden.end;
            spans.push(hidden);
        }
    }
    for found in OTHER.captures_iter(text) {
        if let Some(bearer) = found.name("bearer") {
            if looks_made(bearer.as_str()) {
                spans.push(bearer.range());
            }
        } else if let (Some(user), Some(password)) = (found.name("user"), found.name("password")) {
            let ids = is_count(user.as_str()) && is_count(password.as_str());
            if !ids && !says_nothing(password.as_str()) {
                spans.push(password.range());
            }
        }
    }
}

/// The value that begins at `start`, without its quotes, and whether it has any. Text within text has backslashes
/// before them: the end is the same quote with as many.
fn value_at(text: &str, start: usize) -> (Range<usize>, bool) {
    let rest = &text[start..];
    let depth = rest.len() - rest.trim_start_matches('\\').len();
    let quote = rest[depth..]
        .chars()
        .next()
        .filter(|c| matches!(c, '"' | '\''));
    let Some(quote) = quote else {
        let end = rest.find(|c: char| c.is_whitespace() || "\"'`&<>\\".contains(c));
        return (start..start + end.unwrap_or(rest.len()), false);
    };
    let begin = start + depth + 1;
    let mut backslashes = 0;
    for (at, c) in text[begin..].char_indices() {
        match c {
            '\\' => backslashes += 1,
            _ if c == quote && backslashes <= depth => {
                return (begin..begin + at - backslashes, true);
            }
            _ => backslashes = 0,
        }
    }
    (begin..text.len(), true)
}

/// What of a header is hidden: all of a quoted one; else its scheme's one value, or the line where it has several.
fn header(text: &str, value: Range<usize>, quoted: bool) -> Range<usize> {
    if quoted {
        return value;
    }
    let rest = &text[value.start..];
    let line = rest
        .find(['\n', '\r', '"', '\'', '\\'])
        .unwrap_or(rest.len());
    let line = rest[..line].trim_end();
    let first = line.find(char::is_whitespace).unwrap_or(line.len());
    let after = line[first..].trim_start();
    let one = ["bearer", "basic", "token", "bot", "apikey", "negotiate"];
    let end = if one.contains(&line[..first].to_ascii_lowercase().as_str()) {
        let second = after.find(char::is_whitespace).unwrap_or(after.len());
        line.len() - after.len() + second
    } else {
        line.len()
    };
    value.start..value.start + end
}

/// Whether `before` ends within a flag: `--db-` of `--db-password`.
fn is_flag(before: &str) -> bool {
    let word = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let word = before[word..].trim_start_matches(['"', '\'', '\\']);
    word.starts_with('-') && !word.contains(['=', ':'])
}

/// What stands for a value, or for none.
fn says_nothing(value: &str) -> bool {
    let word = value.trim_matches(|c: char| "\"'\\,;)]} ".contains(c));
    value.starts_with(MARK)
        || word.is_empty()
        || word.starts_with('$')
        || ["true", "false", "null", "none", "nil", "undefined"]
            .iter()
            .any(|nothing| word.eq_ignore_ascii_case(nothing))
}

/// `max_token=4096`, `docker -u 1000:1000`.
fn is_count(value: &str) -> bool {
    let digits = value.trim_end_matches([',', ';', '}', ')', ']']);
    !digits.is_empty() && digits.len() <= 9 && digits.bytes().all(|b| b.is_ascii_digit())
}

/// More than a word: it has a digit, or capitals within, or is longer than words are.
fn looks_made(value: &str) -> bool {
    let inside = value.chars().skip(1);
    value.len() >= 24
        || (value.len() >= 6
            && (value.bytes().any(|b| b.is_ascii_digit())
                || (inside.clone().any(|c| c.is_ascii_uppercase())
                    && inside.clone().any(|c| c.is_ascii_lowercase()))))
}
