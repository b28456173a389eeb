//! The second wall: where Landlock is there, nothing outside these paths can be written, whatever the mounts say.
//!
//! A read-only mount does not stop writing into a FIFO or a device; Landlock does. Where the kernel lacks it,
//! the mounts stand alone and `srtctl doctor` says so.

use std::path::PathBuf;

use landlock::{
    ABI, AccessFs, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError,
};

/// The newest ABI whose rights are known to be right for this use.
const KNOWN: ABI = ABI::V5;

/// Confines the calling thread, and all that it will start, to writing below `paths`.
///
/// # Errors
/// What the kernel said; a kernel without Landlock is none.
pub(crate) fn confine_writes(paths: &[PathBuf]) -> Result<(), RulesetError> {
    let writing = AccessFs::from_write(KNOWN);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(writing)?
        .create()?;
    for path in paths {
        // Not there inside: then there is nothing to write to either.
        let Ok(fd) = PathFd::new(path) else { continue };
        let rights = if path.is_dir() {
            writing
        } else {
            writing & AccessFs::from_file(KNOWN)
        };
        ruleset = ruleset.add_rule(PathBeneath::new(fd, rights))?;
    }
    ruleset.restrict_self()?;
    Ok(())
}
