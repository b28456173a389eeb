//! What this host can enforce: each mechanism tried for real, each missing one with its exact remedy.

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It works.
    Ok,
    /// The sandbox holds without it, but less is covered or shown.
    Warning,
    /// No sandbox without it.
    Missing,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The mechanism.
    pub name: &'static str,
    /// How it ended.
    pub status: Status,
    /// What was found: a version, or what failed.
    pub found: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Check {
    /// It works.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            status: Status::Ok,
            found: found.into(),
            remedy: None,
        }
    }
    /// Something is not covered.
    pub fn warning(
        name: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            name,
            status: Status::Warning,
            found: found.into(),
            remedy: Some(remedy.into()),
        }
    }
    /// No sandbox without it.
    pub fn missing(
        name: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            name,
            status: Status::Missing,
            found: found.into(),
            remedy: Some(remedy.into()),
        }
    }
}
