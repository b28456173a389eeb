//! A path as the names that it is made of, each with a number by which it is compared first.

use std::borrow::Cow;
use std::path::Path;

/// One name of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a> {
    pub(crate) bytes: &'a [u8],
    /// [`key`] of it.
    pub(crate) key: u64,
}

impl<'a> Name<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            key: key(bytes),
        }
    }
}

/// The names of an absolute path, without `.`, `..` and repeated slashes, by its letters alone, as
/// [`normalise`](crate::paths::normalise) takes them. `None` where it is relative.
pub(crate) fn names(path: &Path) -> Option<Vec<Name<'_>>> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.first() != Some(&b'/') {
        return None;
    }
    let mut names = Vec::with_capacity(16);
    for name in bytes.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                names.pop();
            }
            name => names.push(Name::new(name)),
        }
    }
    Some(names)
}

/// A number that is the same for names that differ in case alone (FNV-1a of the folded name). Equal numbers are no
/// proof of equal names.
pub(crate) fn key(name: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let hash =
        |hash: u64, byte: &u8| (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(PRIME);
    if name.is_ascii() {
        name.iter().fold(OFFSET, hash)
    } else {
        fold(name).iter().fold(OFFSET, hash)
    }
}

/// Whether a file system that does not regard case may take the two for the same. `plain` is ASCII.
pub(crate) fn same_but_for_case(name: &[u8], plain: &[u8]) -> bool {
    if name.is_ascii() {
        name.eq_ignore_ascii_case(plain)
    } else {
        fold(name).eq_ignore_ascii_case(plain)
    }
}

/// The name with what file systems fold into ASCII beside its case: the Kelvin sign and the long s are letters, and
/// characters that cannot be seen are nothing (HFS+ and ext4's `casefold` ignore them, which once got a `.git` past
/// git: CVE-2014-9390). What is no UTF-8 has no case.
fn fold(name: &[u8]) -> Cow<'_, [u8]> {
    let Ok(text) = std::str::from_utf8(name) else {
        return Cow::Borrowed(name);
    };
    let folded: String = text
        .chars()
        .filter_map(|character| match character {
            '\u{212a}' => Some('k'),
            '\u{17f}' => Some('s'),
            '\u{ad}'
            | '\u{34f}'
            | '\u{180b}'..='\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' => None,
            other => Some(other),
        })
        .collect();
    Cow::Owned(folded.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_its_names() {
        #[track_caller]
        fn check(path: &str, expected: Option<&[&str]>) {
            let found = names(Path::new(path));
            let found: Option<Vec<&str>> = found.map(|names| {
                let text = |name: &Name<'static>| std::str::from_utf8(name.bytes).expect("UTF-8");
                names
                    .iter()
                    .map(|name| text(&Name::new(name.bytes.to_vec().leak())))
                    .collect()
            });
            assert_eq!(found.as_deref(), expected, "{path}");
        }
        check("/", Some(&[]));
        check("/a//b/./c/", Some(&["a", "b", "c"]));
        check("/a/../../b", Some(&["b"]));
        check("a", None);
        check("", None);
    }

    #[test]
    fn names_that_a_file_system_may_take_for_one() {
        #[track_caller]
        fn check(name: &str, plain: &str, same: bool) {
            assert_eq!(
                same_but_for_case(name.as_bytes(), plain.as_bytes()),
                same,
                "{name:?}"
            );
            assert_eq!(
                key(name.as_bytes()) == key(plain.as_bytes()),
                same,
                "{name:?}"
            );
        }
        check(".git", ".git", true);
        check(".GIT", ".git", true);
        check(".gi", ".git", false);
        check(".g\u{200c}it", ".git", true);
        check(".v\u{17f}code", ".vscode", true);
        check("hoo\u{212a}s", "hooks", true);
        check(".gît", ".git", false);
    }
}
