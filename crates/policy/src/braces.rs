//! `{a,b}` in paths: one entry that means several, told apart before anything else is read, so that alternatives may
//! hold slashes and patterns of their own.

/// An entry means no more paths than this.
const MOST_ALTERNATIVES: usize = 100;
/// An entry has no more pairs of braces than this.
const MOST_BRACES: usize = 16;

/// Every text that the braces of `text` stand for, in order; `text` itself where there are none. A backslash takes a
/// brace's meaning away, and so do the brackets of `[…]`.
///
/// # Errors
/// What is wrong, and what would be right.
pub(crate) fn expand(text: &str) -> Result<Vec<String>, (&'static str, &'static str)> {
    let braces = count(text)?;
    if braces > MOST_BRACES {
        return Err((
            "has more than 16 pairs of braces",
            "write several entries in its place",
        ));
    }
    let mut done = Vec::new();
    // The last is the next to be looked at.
    let mut open = vec![text.to_owned()];
    while let Some(text) = open.pop() {
        let Some((start, end, commas)) = first_pair(&text) else {
            done.push(text);
            continue;
        };
        let mut from = start + 1;
        let mut alternatives = Vec::with_capacity(commas.len() + 1);
        for to in commas.into_iter().chain([end]) {
            alternatives.push([&text[..start], &text[from..to], &text[end + 1..]].concat());
            from = to + 1;
        }
        if done.len() + open.len() + alternatives.len() > MOST_ALTERNATIVES {
            return Err((
                "stands for more than 100 paths",
                "write several entries in its place, or \"*\" for the part that differs",
            ));
        }
        open.extend(alternatives.into_iter().rev());
    }
    Ok(done)
}

/// The places of what has a meaning to braces: escapes and classes are passed over.
fn marks(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(byte) = bytes.get(at) {
            let here = at;
            at += 1;
            match byte {
                b'\\' => at += 1,
                b'[' => at = class_end(bytes, here).map_or(at, |end| end + 1),
                b'{' | b'}' | b',' => return Some((here, *byte)),
                _ => {}
            }
        }
        None
    })
}

/// Where the class that opens at `open` closes; a `]` in front of all else is a member of it.
pub(crate) fn class_end(bytes: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    if matches!(bytes.get(at), Some(b'!' | b'^')) {
        at += 1;
    }
    if bytes.get(at) == Some(&b']') {
        at += 1;
    }
    while let Some(byte) = bytes.get(at) {
        match byte {
            b']' => return Some(at),
            b'/' => return None,
            _ => at += 1,
        }
    }
    None
}

fn count(text: &str) -> Result<usize, (&'static str, &'static str)> {
    const HINT: &str = "write \"{a,b}\", or \"\\\\{\" in JSON for a brace that is part of a name";
    let (mut open, mut pairs) = (0_usize, 0);
    for (_, mark) in marks(text) {
        match mark {
            b'{' => {
                open += 1;
                pairs += 1;
            }
            b'}' => {
                open = open
                    .checked_sub(1)
                    .ok_or(("closes a brace that is not open", HINT))?;
            }
            _ => {}
        }
    }
    if open > 0 {
        return Err(("has a brace that is not closed", HINT));
    }
    Ok(pairs)
}

/// The first pair of braces that is in no other, with the commas between.
fn first_pair(text: &str) -> Option<(usize, usize, Vec<usize>)> {
    let mut marks = marks(text).skip_while(|(_, mark)| *mark != b'{');
    let (start, _) = marks.next()?;
    let (mut depth, mut commas) = (1, Vec::new());
    for (at, mark) in marks {
        match mark {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some((start, at, commas));
                }
            }
            _ if depth == 1 => commas.push(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_stand_for_alternatives() {
        #[track_caller]
        fn check(text: &str, expected: &[&str]) {
            assert_eq!(expand(text).expect(text), expected, "{text}");
        }
        check("a", &["a"]);
        check("{a,b}", &["a", "b"]);
        check("x/{a/b,c}/y", &["x/a/b/y", "x/c/y"]);
        check(".env{,.local}", &[".env", ".env.local"]);
        check("{a,{b,c}d}", &["a", "bd", "cd"]);
        check("{a,b}{c,d}", &["ac", "ad", "bc", "bd"]);
        check("{a}", &["a"]);
        check("{}", &[""]);
        check("a,b", &["a,b"]);
        check("\\{a,b\\}", &["\\{a,b\\}"]);
        check("{a\\,b,c}", &["a\\,b", "c"]);
        check("[{]x[,}]", &["[{]x[,}]"]);
        check("[]{]{a,b}", &["[]{]a", "[]{]b"]);
        check("{é,ü}", &["é", "ü"]);
    }

    #[test]
    fn braces_are_bounded() {
        #[track_caller]
        fn check(text: &str, why: &str) {
            assert_eq!(expand(text).expect_err(text).0, why, "{text}");
        }
        check("{a", "has a brace that is not closed");
        check("a}", "closes a brace that is not open");
        check("}{", "closes a brace that is not open");
        check("{a,b}}", "closes a brace that is not open");
        check("[a{", "has a brace that is not closed");
        check(&"{a,b}".repeat(7), "stands for more than 100 paths");
        check(&"{a}".repeat(17), "has more than 16 pairs of braces");
        check(
            &format!("{}{}", "{".repeat(2000), "}".repeat(2000)),
            "has more than 16 pairs of braces",
        );
        check(
            &format!("{{{}}}", "a,".repeat(100)),
            "stands for more than 100 paths",
        );
        assert_eq!(
            expand(&format!("{{{}}}", "a,".repeat(99)))
                .expect("100")
                .len(),
            100
        );
    }
}
