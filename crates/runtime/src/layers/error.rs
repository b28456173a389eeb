//! What can go wrong with a layer.

use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be done with a layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The system said no.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is to be overlaid is no folder.
    #[error("filesystem.overlay {text:?}: {} is not a folder\nhint: create it first, or take it out of the list", path.display())]
    NoFolder {
        /// As written.
        text: String,
        /// Where that is.
        path: PathBuf,
    },
    /// The folder is hidden from the server.
    #[error("filesystem.overlay {text:?}: {rule} hides {}, so nothing can be laid over it\nhint: open it with filesystem.allowRead, or take it out of the list", path.display())]
    Hidden {
        /// As written.
        text: String,
        /// Where that is.
        path: PathBuf,
        /// What hides it.
        rule: String,
    },
    /// The layer would lie in the folder that it is over.
    #[error("filesystem.overlay {text:?}: {} contains the daemon's state folder, where its layer would be\nhint: name folders inside it, or set XDG_STATE_HOME", path.display())]
    Contains {
        /// As written.
        text: String,
        /// Where that is.
        path: PathBuf,
    },
    /// This system has no overlays.
    #[error(
        "filesystem.overlay needs Linux: this system cannot lay one folder over another\nhint: take it out of the settings, and name what may be written in filesystem.allowWrite"
    )]
    Unsupported,
    /// Somebody applies or discards it.
    #[error(
        "what server {server:?} changed is being applied or discarded\nhint: try again in a moment"
    )]
    Busy {
        /// The server.
        server: String,
    },
    /// A launch uses it.
    #[error("server {server:?} runs on layer {number}\nhint: srtctl stop {server}{}", if *.live { "; or --live, to apply what is there and leave the layer as it is" } else { "" })]
    InUse {
        /// The server.
        server: String,
        /// The layer.
        number: u32,
        /// Whether there is a way to do it all the same.
        live: bool,
    },
    /// It holds as much as it may.
    #[error("layer {number} of server {server:?} over {} holds {bytes} bytes, and may hold {most}\nhint: srtctl apply {server} or srtctl discard {server}; or raise filesystem.overlayMax", folder.display())]
    Full {
        /// The server.
        server: String,
        /// The layer.
        number: u32,
        /// The overlaid folder.
        folder: PathBuf,
        /// What it holds.
        bytes: u64,
        /// What it may hold.
        most: u64,
    },
    /// There are too many.
    #[error("server {server:?} has {} layers over {}\nhint: srtctl changes {server} shows them; apply or discard some", super::MOST, folder.display())]
    TooMany {
        /// The server.
        server: String,
        /// The overlaid folder.
        folder: PathBuf,
    },
    /// There is none.
    #[error(
        "server {server:?} has no layer {number}\nhint: srtctl changes {server} shows those it has"
    )]
    NoLayer {
        /// The server.
        server: String,
        /// The layer.
        number: u32,
    },
    /// A path that is asked for is in none of them.
    #[error(
        "{path:?} is in no folder that is overlaid for server {server:?}\nhint: paths are relative to the overlaid folder, as srtctl changes {server} prints them"
    )]
    Elsewhere {
        /// The server.
        server: String,
        /// As given.
        path: PathBuf,
    },
}

/// For `map_err`.
pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LayerError {
    move |source| LayerError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}
