//! The policy as a judge of real paths, at the moment of their use.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use srt_policy::{FileRule, FilesystemPolicy};
use srt_sandbox::{Access, Judge};

use crate::lower::RUNTIME;

/// Answers by the rules of a launch, their paths without links.
#[derive(Clone, Debug)]
pub(crate) struct PolicyJudge {
    files: Arc<FilesystemPolicy>,
    /// Without links.
    cwd: PathBuf,
}

impl PolicyJudge {
    pub(crate) fn new(files: Arc<FilesystemPolicy>, cwd: PathBuf) -> Self {
        Self { files, cwd }
    }

    /// Whether a path may be read.
    pub(crate) fn reads(&self, path: &Path) -> bool {
        self.access(path) != Access::None
    }

    /// Of the host's `/run` a sandbox has nothing but what a rule names, or the working directory.
    fn is_shown(&self, path: &Path, rule: Option<&FileRule>) -> bool {
        !path.starts_with(RUNTIME)
            || rule.is_some_and(|rule| rule.path.starts_with(RUNTIME))
            || path.starts_with(&self.cwd) && self.cwd.starts_with(RUNTIME)
    }
}

impl Judge for PolicyJudge {
    fn access(&self, path: &Path) -> Access {
        let read = self.files.decide_read(path);
        if !read.allowed {
            return Access::None;
        }
        let write = self.files.decide_write(path);
        if write.allowed && self.is_shown(path, write.rule) {
            Access::ReadWrite
        } else if self.is_shown(path, read.rule) {
            Access::Read
        } else {
            Access::None
        }
    }

    fn may_be_file(&self, path: &Path) -> bool {
        self.files.leads_to(path).is_none()
    }

    fn is_opened(&self, path: &Path) -> bool {
        let mut rules = self.files.rules().iter();
        rules.any(|rule| rule.allows() && rule.path == path)
    }

    fn may_move(&self, from: &Path, to: &Path, is_folder: bool) -> bool {
        self.files.moves(from, to, is_folder).is_ok()
    }
}
