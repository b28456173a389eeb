//! Why a launch did not happen.

use std::io;
use std::path::PathBuf;

use srt_sandbox::LaunchError;

use crate::layers::LayerError;

/// Why a launch did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The sandbox could not be built, or the command not run in it.
    #[error(transparent)]
    Sandbox(#[from] LaunchError),
    /// The launch's folder could not be made.
    #[error("cannot make the launch's folder in {}: {source}\nhint: the state folder must be writable and have space left", path.display())]
    Folder {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A link that a server could replace decides what a rule opens.
    #[error(
        "{} is a symbolic link in a folder that a server may write, so it could lead {rule:?} anywhere\nhint: name the place itself: {}", link.display(), target.display()
    )]
    LooseLink {
        /// The link.
        link: PathBuf,
        /// The rule's path, as written.
        rule: String,
        /// Where it led just now.
        target: PathBuf,
    },
    /// The working directory cannot be used.
    #[error("the working directory {} {why}\nhint: --cwd chooses another", path.display())]
    WorkingDirectory {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A folder could not be overlaid.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The proxies could not be served.
    #[error(transparent)]
    Egress(#[from] srt_egress::ServeError),
}
