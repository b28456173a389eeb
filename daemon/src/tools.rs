//! Finding the programs that a launch needs.

use std::path::{Path, PathBuf};

use srt_runtime::Tools;

/// `srt-jail` from beside this program, bubblewrap from PATH or the usual places.
pub fn find() -> Tools {
    let beside = std::env::current_exe()
        .ok()
        // Where its file was replaced while we run its name cannot be resolved, and the folder is still the right one.
        .map(|myself| std::fs::canonicalize(&myself).unwrap_or(myself))
        .and_then(|myself| myself.parent().map(Path::to_owned));
    let jail = match beside {
        Some(folder) => folder.join("srt-jail"),
        None => on_path("srt-jail").unwrap_or_else(|| "srt-jail".into()),
    };
    // A daemon started by a host may have a short PATH.
    let bwrap = on_path("bwrap").unwrap_or_else(|| "/usr/bin/bwrap".into());
    Tools { jail, bwrap }
}

fn on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|candidate| rustix::fs::access(candidate, rustix::fs::Access::EXEC_OK).is_ok())
}
