//! Limits that a process can hold by itself (setrlimit(2)). Memory and CPU of all together are the cgroup's.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal};

use super::jail::{Failure, failed};
use crate::{Limits, Step};

/// Process 1 inside, which counts as the server's processes do: it has the same user in the same namespace.
const FIRST: u64 = 1;

/// Sets what a process can hold by itself, for the calling process and all that it will start.
pub(super) fn apply(limits: &Limits) -> Result<(), Failure> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(failed(Step::Limits, "RLIMIT_CORE"))?;
    let (inherited, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).map_err(failed(Step::Limits, "RLIMIT_NOFILE"))?;
    let (soft, hard) = match (limits.file_descriptors, limits.soft_file_descriptors) {
        (Some(files), _) => {
            within("maxFileDescriptors", files, hard)?;
            (files, files)
        }
        (None, soft) => (soft.unwrap_or(inherited).min(hard), hard),
    };
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)
        .map_err(failed(Step::Limits, "RLIMIT_NOFILE"))?;
    for (key, wanted, resource) in [
        (
            "maxProcesses",
            limits
                .processes
                .map(|processes| processes.saturating_add(FIRST)),
            Resource::RLIMIT_NPROC,
        ),
        ("maxFileSize", limits.file_size, Resource::RLIMIT_FSIZE),
    ] {
        let Some(wanted) = wanted else { continue };
        let (_, hard) = getrlimit(resource).map_err(failed(Step::Limits, key))?;
        within(key, wanted, hard)?;
        setrlimit(resource, wanted, wanted).map_err(failed(Step::Limits, key))?;
    }
    if limits.file_size.is_some() {
        // Without it the kernel kills for one write too many; ignored, the write fails with EFBIG.
        // SAFETY: SIG_IGN is no handler, so no code of ours can run in a signal's context.
        unsafe { nix::sys::signal::signal(Signal::SIGXFSZ, SigHandler::SigIgn) }
            .map_err(failed(Step::Limits, "SIGXFSZ"))?;
    }
    Ok(())
}

/// A limit cannot be above the one that we were started with.
fn within(key: &str, wanted: u64, hard: u64) -> Result<(), Failure> {
    if wanted <= hard {
        return Ok(());
    }
    Err(Failure {
        step: Step::Limits,
        errno: libc::EPERM,
        message: format!("{key} {wanted} is above this system's limit of {hard}"),
    })
}
