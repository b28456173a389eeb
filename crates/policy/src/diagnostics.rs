//! Findings about a document and where they point.

use std::path::PathBuf;

use crate::sources::SourceMap;

/// Where a line of policy comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Built in, with the reason.
    BuiltIn(&'static str),
    /// A document, 1-based.
    File {
        /// The document's path.
        path: PathBuf,
        /// Its line, from 1.
        line: u32,
        /// Its column in characters, from 1.
        column: u32,
    },
    /// An approval that is recorded in the daemon's store.
    Grant {
        /// Its number or name there.
        id: String,
    },
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The document means what it says, but perhaps not what was wanted.
    Warning,
    /// The document cannot be used.
    Error,
}

/// One finding about a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The document's path.
    pub path: PathBuf,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

impl std::fmt::Display for Origin {
    /// `built-in: REASON`, `PATH:LINE:COLUMN`, or `grant ID`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BuiltIn(reason) => write!(f, "built-in: {reason}"),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Grant { id } => write!(f, "grant {id}"),
        }
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

impl std::fmt::Display for Diagnostic {
    /// `PATH:LINE:COLUMN: SEVERITY: MESSAGE`, and the hint on a line of its own; no newline at the end.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}: {}",
            self.path.display(),
            self.line,
            self.column,
            self.severity,
            self.message
        )?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// A document that cannot be used; at least one diagnostic is an error.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", first_error(diagnostics))]
pub struct InvalidPolicy {
    /// All findings, in the order of the document.
    pub diagnostics: Vec<Diagnostic>,
}

/// The first error, as compilers print theirs: warnings in front of it are not why the document is refused.
fn first_error(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .find(|diagnostic| diagnostic.severity == Severity::Error)
        .map_or_else(String::new, |first| {
            format!(
                "{}:{}:{}: {}",
                first.path.display(),
                first.line,
                first.column,
                first.message
            )
        })
}

/// At most this many findings are reported about one document; a last one says that there are more.
const MOST_FINDINGS: usize = 200;

struct Finding {
    offset: usize,
    severity: Severity,
    message: String,
    hint: Option<String>,
}

/// Collects findings in any order; [`Findings::finish`] puts them in the order of the files.
#[derive(Default)]
pub(crate) struct Findings {
    items: Vec<Finding>,
}

impl Findings {
    pub(crate) fn error(
        &mut self,
        offset: usize,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.push(offset, Severity::Error, message.into(), hint);
    }

    pub(crate) fn warning(
        &mut self,
        offset: usize,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.push(offset, Severity::Warning, message.into(), hint);
    }

    fn push(&mut self, offset: usize, severity: Severity, message: String, hint: Option<String>) {
        self.items.push(Finding {
            offset,
            severity,
            message,
            hint,
        });
    }

    /// Adds those of another.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.items.append(&mut other.items);
    }

    /// Whether there are more than will be shown: then a hint that takes time to find is not worth it.
    pub(crate) fn are_too_many(&self) -> bool {
        self.items.len() > MOST_FINDINGS
    }

    pub(crate) fn any_error(&self) -> bool {
        self.items
            .iter()
            .any(|item| item.severity == Severity::Error)
    }

    pub(crate) fn finish(mut self, sources: &SourceMap<'_>) -> Vec<Diagnostic> {
        // Where there are too many to show, an error must not hide behind two hundred warnings.
        if self.items.len() > MOST_FINDINGS && self.any_error() {
            self.items.retain(|item| item.severity == Severity::Error);
        }
        self.items.sort_by_key(|item| item.offset);
        let more = self.items.len().saturating_sub(MOST_FINDINGS);
        self.items.truncate(MOST_FINDINGS);
        let mut diagnostics: Vec<Diagnostic> = self
            .items
            .into_iter()
            .map(|item| {
                let (path, line, column) = sources.at(item.offset);
                Diagnostic {
                    severity: item.severity,
                    path: path.to_owned(),
                    line,
                    column,
                    message: item.message,
                    hint: item.hint,
                }
            })
            .collect();
        if more > 0
            && let Some(last) = diagnostics.last().cloned()
        {
            diagnostics.push(Diagnostic {
                message: format!("{more} more findings are not shown"),
                hint: Some("correct the ones above first".to_owned()),
                ..last
            });
        }
        diagnostics
    }
}

/// The text in double quotes, at most 80 characters of it, with control characters escaped.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The candidate that `name` was probably meant to be: a few letters away, or one that it begins.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.is_empty() || name.len() > 64 {
        return None;
    }
    let lower = name.to_lowercase();
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let other = candidate.to_lowercase();
            let distance = strsim::osa_distance(&lower, &other);
            // A name of which no letter is left is no likeness.
            let close =
                distance <= 2.max(other.chars().count() / 3) && distance < lower.chars().count();
            let begins = lower.len() >= 4 && other.starts_with(&lower);
            (close || begins).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
