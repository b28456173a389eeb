//! Paths as documents write them.

use std::path::{Component, Path, PathBuf};

use crate::Facts;
use crate::document::PathEntry;

/// What is wrong with a path, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathError {
    pub(crate) why: String,
    pub(crate) hint: String,
}

/// The path without `.`, `..` and repeated slashes, by its letters alone: the disk is not looked at, so a `..` after
/// a link goes to where the text says, not to where the link leads. `..` at the root stays there.
pub(crate) fn normalise(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

/// The absolute path that an entry means: `~` is the home folder, a relative path begins at the working directory,
/// `/**` at the end adds nothing since every rule covers what is below it. `literal` entries may contain the
/// characters of patterns.
///
/// # Errors
/// When the entry is empty, holds a NUL, a pattern that is not enforced, another user's home or a shell variable.
pub(crate) fn absolute(entry: &PathEntry, facts: &Facts) -> Result<PathBuf, PathError> {
    let fail = |why: &str, hint: String| {
        Err(PathError {
            why: why.to_owned(),
            hint,
        })
    };
    let mut text = entry.text.as_str();
    if text.is_empty() {
        return fail(
            "is empty",
            "write \".\" for the working directory".to_owned(),
        );
    }
    if text.contains('\0') {
        return fail("contains a NUL character", "no path has one".to_owned());
    }
    if !entry.literal {
        if text.trim() != text {
            return fail(
                "begins or ends with a space",
                literal_hint("write the path without it", text),
            );
        }
        if let Some(folder) = text.strip_suffix("/**") {
            text = if folder.is_empty() { "/" } else { folder };
        }
        if let Some(at) = text.find(['*', '?', '[', '{']) {
            let folder = match text[..at].rfind('/') {
                Some(0) => "/",
                Some(end) => &text[..end],
                None => ".",
            };
            return fail(
                "is a pattern, and patterns in paths are not enforced yet",
                literal_hint(
                    &format!(
                        "name the file or folder itself; an entry covers everything below it (\"{folder}\" is the folder here)"
                    ),
                    text,
                ),
            );
        }
        if text.starts_with('$') {
            return fail(
                "begins with a shell variable, and variables are not expanded",
                literal_hint(
                    "write \"~\" for the home folder, \".\" for the working directory",
                    text,
                ),
            );
        }
    }
    let path = if text == "~" {
        facts.home.clone()
    } else if let Some(rest) = text.strip_prefix("~/") {
        // A second slash must not make `rest` absolute, which would replace the home folder in `join`.
        facts.home.join(rest.trim_start_matches('/'))
    } else if text.starts_with('~') {
        return fail(
            "names another user's home folder",
            "write the absolute path; \"~\" is the home folder of the one who runs the server"
                .to_owned(),
        );
    } else {
        facts.cwd.join(text)
    };
    Ok(normalise(&path))
}

fn literal_hint(hint: &str, text: &str) -> String {
    format!(
        "{hint}; if the name is really like this, write {{ \"path\": {text:?}, \"literal\": true }}"
    )
}
