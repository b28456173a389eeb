//! Where programs are: the srtd that belongs to us, and what a word on a command line names.

use crate::errors::Failure;
use srt_proto::exit;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The srtd that belongs to us: beside our own executable, else on PATH.
///
/// # Errors
/// Exit status 5 when there is none.
pub fn srtd() -> Result<PathBuf, Failure> {
    let beside = std::env::current_exe()
        .and_then(std::fs::canonicalize)
        .ok()
        .map(|path| path.with_file_name("srtd"));
    beside
        .filter(|path| is_executable(path))
        .or_else(|| on_path("srtd"))
        .ok_or_else(|| {
            Failure::new(
                exit::UNREACHABLE,
                "the daemon's program srtd is neither beside srt nor on PATH",
            )
            .hint("install srtd with srt: make install")
        })
}

/// The first executable file of that name on PATH. Relative entries do not count: the working directory is a
/// project's, and a project must not choose our daemon.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|path| is_executable(path))
}

/// Whether somebody may execute this file.
pub fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
