//! Whose settings a file holds, and which of several files for different surroundings is meant.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::Source;

/// Whose settings a file holds. The order is that in which they count: each may be tightened by the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The user's own, for every server.
    User,
    /// One server's, or the file that was given for it.
    Server,
    /// The project's, in the working directory: it may tighten and nothing else.
    Project,
}

impl Layer {
    /// Every layer, in the order in which they count.
    pub const ALL: [Self; 3] = [Self::User, Self::Server, Self::Project];

    /// As messages name it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Server => "server",
            Self::Project => "project",
        }
    }
}

/// A layer's file with what it extends, as [`gather`](crate::gather) found them.
#[derive(Clone, Debug)]
pub struct Layered {
    /// Whose they are.
    pub layer: Layer,
    /// The files that are extended first, each once; the layer's own file is the last.
    pub files: Vec<Source>,
}

impl Layered {
    /// One file that extends none.
    pub fn alone(layer: Layer, file: Source) -> Self {
        Self {
            layer,
            files: vec![file],
        }
    }

    /// The layer's own file.
    pub fn main(&self) -> Option<&Source> {
        self.files.last()
    }
}

/// The name of a profile: for which surroundings a file is (`dev`, `prod`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Profile(String);

impl Profile {
    /// No name is longer, in bytes.
    pub const LONGEST: usize = 32;

    /// Reads a name: letters of ASCII, digits, `_` and `-`, from 1 to [`LONGEST`](Self::LONGEST) of them.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(name: &str) -> Result<Self, &'static str> {
        let fits = (1..=Self::LONGEST).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        fits.then(|| Self(name.to_owned()))
            .ok_or("a profile's name has letters, digits, dash and underscore, at most 32 of them")
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This profile's own file in place of `file`: `policy.dev.json` beside `policy.json`. `None` where the file's name
    /// does not end in `.json`.
    pub fn variant(&self, file: &Path) -> Option<PathBuf> {
        let stem = file.file_name()?.to_str()?.strip_suffix(".json")?;
        Some(file.with_file_name(format!("{stem}.{self}.json")))
    }

    /// The profile for which `variant` stands in the place of `file`.
    pub fn of_variant(file: &Path, variant: &Path) -> Option<Self> {
        let name = |path: &Path| {
            Some(
                path.file_name()?
                    .to_str()?
                    .strip_suffix(".json")?
                    .to_owned(),
            )
        };
        if file.parent() != variant.parent() {
            return None;
        }
        let (stem, name) = (name(file)?, name(variant)?);
        Self::parse(name.strip_prefix(&stem)?.strip_prefix('.')?).ok()
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_profiles() {
        for good in ["dev", "PROD", "ci_2", "a-b", "1", &"x".repeat(32)] {
            assert_eq!(
                Profile::parse(good).map(|profile| profile.0),
                Ok(good.to_owned())
            );
        }
        for bad in [
            "",
            ".",
            "..",
            "a.b",
            "a/b",
            "a b",
            "ä",
            "a\n",
            &"x".repeat(33),
        ] {
            assert!(Profile::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_profiles_file_is_beside_the_file() {
        let dev = Profile::parse("dev").unwrap();
        for (file, variant) in [
            ("/p/policy.json", "/p/policy.dev.json"),
            ("/p/.srt.json", "/p/.srt.dev.json"),
            ("/h/.srt-settings.json", "/h/.srt-settings.dev.json"),
            ("/p/a.b.json", "/p/a.b.dev.json"),
        ] {
            let (file, variant) = (Path::new(file), Path::new(variant));
            assert_eq!(dev.variant(file).as_deref(), Some(variant));
            assert_eq!(Profile::of_variant(file, variant), Some(dev.clone()));
            assert_eq!(Profile::of_variant(file, file), None);
        }
        assert_eq!(dev.variant(Path::new("/p/policy")), None);
        assert_eq!(dev.variant(Path::new("/")), None);
        let other = Path::new("/q/policy.dev.json");
        assert_eq!(
            Profile::of_variant(Path::new("/p/policy.json"), other),
            None
        );
        let dotted = Path::new("/p/policy.a.b.json");
        assert_eq!(
            Profile::of_variant(Path::new("/p/policy.json"), dotted),
            None
        );
    }
}
