//! Which settings files a command line means: files, folders of them, patterns, and stdin.

use std::io;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

/// What one word of a command line comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    File(PathBuf),
    /// `-`.
    Stdin,
    /// There is no such file.
    Nothing {
        path: PathBuf,
        why: String,
    },
}

impl Named {
    /// As shown to a person.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Nothing { path, .. } => path,
            Self::Stdin => Path::new("stdin"),
        }
    }
}

/// No deeper below a folder, and no more files: whoever names `/` has made a mistake.
const DEEPEST: usize = 32;
const MOST: usize = 10_000;

/// The files that these words name, each once, in the order of the words and below a folder by name. A word that names
/// none is told as such.
pub(crate) fn named(words: &[PathBuf]) -> Vec<Named> {
    let mut found: Vec<Named> = Vec::new();
    for word in words {
        for named in of_word(word) {
            if !found.contains(&named) {
                found.push(named);
            }
        }
    }
    found
}

fn of_word(word: &Path) -> Vec<Named> {
    let nothing = |why: String| {
        let path = word.to_owned();
        vec![Named::Nothing { path, why }]
    };
    if word == Path::new("-") {
        return vec![Named::Stdin];
    }
    if word.is_dir() {
        return match below(word, is_json) {
            Ok(files) if files.is_empty() => {
                nothing("no *.json file is in this folder or below it".to_owned())
            }
            Ok(files) => files.into_iter().map(Named::File).collect(),
            Err(error) => nothing(format!("cannot read this folder: {error}")),
        };
    }
    let text = word.to_string_lossy();
    // A file may be called so: what is there goes first.
    if word.exists() || !text.contains(['*', '?', '[']) {
        return vec![Named::File(word.to_owned())];
    }
    let (base, glob) = match pattern(&text) {
        Ok(pattern) => pattern,
        Err(why) => return nothing(format!("it is no pattern: {why}")),
    };
    match below(&base, |path| glob.is_match(path)) {
        Ok(files) if files.is_empty() => nothing("no file matches this pattern".to_owned()),
        Ok(files) => files.into_iter().map(Named::File).collect(),
        Err(error) => nothing(format!("cannot read {}: {error}", base.display())),
    }
}

/// The folder that a pattern begins in, and the pattern.
fn pattern(text: &str) -> Result<(PathBuf, GlobMatcher), String> {
    let plain = text
        .trim_start_matches("./")
        .split('/')
        .take_while(|part| !part.contains(['*', '?', '[']));
    let base = plain.collect::<Vec<_>>().join("/");
    let base = match (base.is_empty(), text.starts_with('/')) {
        (true, true) => PathBuf::from("/"),
        (true, false) => PathBuf::from("."),
        (false, _) => PathBuf::from(base),
    };
    // What is found below "." is spelled without it.
    let text = text.trim_start_matches("./");
    let glob = GlobBuilder::new(text)
        .literal_separator(true)
        .build()
        .map_err(|error| error.kind().to_string())?;
    Ok((base, glob.compile_matcher()))
}

fn is_json(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "json")
}

/// The files below a folder for which `wanted` holds, by name. Links are not followed.
fn below(folder: &Path, wanted: impl Fn(&Path) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    walk(folder, 0, &wanted, &mut found)?;
    found.sort();
    Ok(found)
}

fn walk(
    folder: &Path,
    depth: usize,
    wanted: &dyn Fn(&Path) -> bool,
    found: &mut Vec<PathBuf>,
) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        // "./a.json" is shown as "a.json".
        let path = match folder.to_str() {
            Some(".") => PathBuf::from(&name),
            _ => folder.join(&name),
        };
        if kind.is_file() && wanted(&path) {
            if found.len() == MOST {
                return Err(io::Error::other(format!(
                    "more than {MOST} files are below it"
                )));
            }
            found.push(path);
        } else if kind.is_dir() && !left_out(&name.to_string_lossy()) {
            if depth == DEEPEST {
                return Err(io::Error::other(format!(
                    "folders are more than {DEEPEST} deep"
                )));
            }
            walk(&path, depth + 1, wanted, found)?;
        }
    }
    Ok(())
}

/// Folders in which nobody keeps settings, and which may hold thousands of files.
fn left_out(name: &str) -> bool {
    name.starts_with('.') || name == "node_modules" || name == "target"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_patterns_name_files() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [
            "a.json",
            ".srt.json",
            "notes.txt",
            "sub/b.json",
            "sub/deep/c.json",
            "sub/[x].json",
            "node_modules/d.json",
            ".git/e.json",
        ] {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            std::fs::write(at(name), "{}").unwrap();
        }
        std::os::unix::fs::symlink(at("sub"), at("link")).unwrap();
        let check = |word: &str, expected: &[&str]| {
            let expected: Vec<_> = expected.iter().map(|name| Named::File(at(name))).collect();
            assert_eq!(named(&[at(word)]), expected, "{word}");
        };
        check(
            "",
            &[
                ".srt.json",
                "a.json",
                "sub/[x].json",
                "sub/b.json",
                "sub/deep/c.json",
            ],
        );
        check("sub", &["sub/[x].json", "sub/b.json", "sub/deep/c.json"]);
        check("*.json", &[".srt.json", "a.json"]);
        check("**/?.json", &["a.json", "sub/b.json", "sub/deep/c.json"]);
        check("sub/[x].json", &["sub/[x].json"]);
        check("gone.json", &["gone.json"]);
        for (word, why) in [("*.yaml", "no file matches"), (".git/none", "")] {
            let found = named(&[at(word)]);
            match &found[..] {
                [Named::Nothing { why: said, .. }] => assert!(said.contains(why), "{said}"),
                other => assert_eq!(other, [Named::File(at(word))]),
            }
        }
        std::fs::create_dir(at("empty")).unwrap();
        assert!(matches!(
            &named(&[at("empty")])[..],
            [Named::Nothing { .. }]
        ));
        assert_eq!(named(&["-".into(), "-".into()]), [Named::Stdin]);
    }
}
