//! Paths as documents write them.

use std::path::{Component, Path, PathBuf};

use crate::braces::expand;
use crate::document::PathEntry;
use crate::moves::depth_at;
use crate::{Facts, Glob};

/// What is wrong with a path, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathError {
    pub(crate) why: String,
    pub(crate) hint: String,
}

/// The path without `.`, `..` and repeated slashes, by its letters alone: the disk is not looked at, so a `..` after
/// a link goes to where the text says, not to where the link leads. `..` at the root stays there.
pub fn normalise(path: &Path) -> PathBuf {
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

/// What an entry is about: a path, or what a pattern matches below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meant {
    pub(crate) path: PathBuf,
    pub(crate) pattern: Option<Glob>,
}

impl Meant {
    /// See [`FileRule::depth_at`](crate::FileRule::depth_at).
    pub(crate) fn depth_at(&self, path: &Path) -> Option<usize> {
        depth_at(&self.path, self.pattern.as_ref(), path)
    }
}

/// No path is longer (PATH_MAX in limits.h), so nothing is lost, and no pattern costs more than it may.
const LONGEST: usize = 4096;

/// What an entry means: `~` is the home folder, a relative path or pattern begins at the working directory, `/**` at
/// the end adds nothing since every rule covers what is below it, braces make several of one. `literal` entries may
/// contain the characters of patterns.
///
/// # Errors
/// When the entry is empty, holds a NUL, is a pattern that has no meaning, another user's home or a shell variable.
pub(crate) fn meant(entry: &PathEntry, facts: &Facts) -> Result<Vec<Meant>, PathError> {
    let text = entry.text.as_str();
    plain_faults(entry)?;
    if entry.literal || !text.contains(['*', '?', '[', '{']) {
        return Ok(vec![Meant {
            path: normalise(&rooted(text, entry.literal, facts)?),
            pattern: None,
        }]);
    }
    let alternatives = expand(text).map_err(|(why, hint)| PathError {
        why: why.to_owned(),
        hint: literal_hint(hint, text),
    })?;
    let mut all = Vec::with_capacity(alternatives.len());
    for alternative in alternatives {
        if alternative.is_empty() {
            return fail(
                "stands for an empty path among others",
                "write \".\" for the working directory".to_owned(),
            );
        }
        let (root, rest) = root(&alternative, facts)?;
        let (base, pattern) = Glob::parse(rest.split('/')).map_err(|(why, hint)| PathError {
            why,
            hint: literal_hint(hint, text),
        })?;
        all.push(Meant {
            path: normalise(&base.iter().fold(root, |path, name| path.join(name))),
            pattern,
        });
    }
    Ok(all)
}

/// The absolute path that an entry means which can be no pattern.
///
/// # Errors
/// As [`meant`], and when it is a pattern.
pub(crate) fn absolute(entry: &PathEntry, facts: &Facts) -> Result<PathBuf, PathError> {
    plain_faults(entry)?;
    let mut text = entry.text.as_str();
    if !entry.literal {
        if let Some(folder) = text.strip_suffix("/**") {
            text = if folder.is_empty() { "/" } else { folder };
        }
        if text.contains(['*', '?', '[', '{']) {
            return fail(
                "is a pattern, and this key takes plain paths",
                literal_hint("name the file or folder itself", text),
            );
        }
    }
    Ok(normalise(&rooted(text, entry.literal, facts)?))
}

fn fail<T>(why: &str, hint: String) -> Result<T, PathError> {
    Err(PathError {
        why: why.to_owned(),
        hint,
    })
}

/// What is wrong with an entry whatever it means.
fn plain_faults(entry: &PathEntry) -> Result<(), PathError> {
    let text = entry.text.as_str();
    if text.is_empty() {
        return fail(
            "is empty",
            "write \".\" for the working directory".to_owned(),
        );
    }
    if text.contains('\0') {
        return fail("contains a NUL character", "no path has one".to_owned());
    }
    if text.len() > LONGEST {
        return fail(
            "is longer than any path can be",
            format!("write at most {LONGEST} bytes"),
        );
    }
    if !entry.literal && text.trim() != text {
        return fail(
            "begins or ends with a space",
            literal_hint("write the path without it", text),
        );
    }
    Ok(())
}

/// The folder in which the rest of the text begins, and that rest.
fn root<'a>(text: &'a str, facts: &Facts) -> Result<(PathBuf, &'a str), PathError> {
    if text.starts_with('$') {
        return fail(
            "begins with a shell variable, and variables are not expanded",
            literal_hint(
                "write \"~\" for the home folder, \".\" for the working directory",
                text,
            ),
        );
    }
    if text == "~" {
        return Ok((facts.home.clone(), ""));
    }
    if let Some(rest) = text.strip_prefix("~/") {
        return Ok((facts.home.clone(), rest));
    }
    if text.starts_with('~') {
        return fail(
            "names another user's home folder",
            "write the absolute path; \"~\" is the home folder of the one who runs the server"
                .to_owned(),
        );
    }
    if text.starts_with('/') {
        return Ok((PathBuf::from("/"), text));
    }
    Ok((facts.cwd.clone(), text))
}

/// The path that a text without patterns means.
fn rooted(text: &str, literal: bool, facts: &Facts) -> Result<PathBuf, PathError> {
    // A literal entry may begin with `$`, never with `~` for anything but the home folder.
    if literal && text.starts_with('$') {
        return Ok(facts.cwd.join(text));
    }
    let (root, rest) = root(text, facts)?;
    // A slash in front must not make `rest` absolute, which would replace the root in `join`.
    Ok(root.join(rest.trim_start_matches('/')))
}

fn literal_hint(hint: &str, text: &str) -> String {
    format!(
        "{hint}; if the name is really like this, write {{ \"path\": {text:?}, \"literal\": true }}"
    )
}
