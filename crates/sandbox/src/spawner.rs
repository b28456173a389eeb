//! A thread that starts processes and never ends before we do.
//!
//! `PR_SET_PDEATHSIG` fires when the *thread* that forked ends, not the process (prctl(2)). A helper that is to
//! die with the daemon must therefore be forked by a thread that lives as long as the daemon; a worker of a
//! thread pool would take its sandboxes with it whenever the pool shrinks.

use std::io;
use std::sync::{OnceLock, mpsc};

type Job = Box<dyn FnOnce() + Send>;

fn jobs() -> io::Result<&'static mpsc::Sender<Job>> {
    static JOBS: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    if let Some(jobs) = JOBS.get() {
        return Ok(jobs);
    }
    let (sender, receiver) = mpsc::channel::<Job>();
    std::thread::Builder::new()
        .name("srt-spawner".into())
        .spawn(move || {
            for job in receiver {
                job();
            }
        })?;
    // Where two callers race, the loser's thread ends at once: its sender is dropped here.
    Ok(JOBS.get_or_init(|| sender))
}

/// Runs `command.spawn()` on the thread.
///
/// # Errors
/// What `spawn` says, or that the thread could not be made.
pub(crate) async fn spawn(
    mut command: tokio::process::Command,
) -> io::Result<tokio::process::Child> {
    crate::signals::learn_of_children();
    let runtime = tokio::runtime::Handle::current();
    let (answer, answered) = tokio::sync::oneshot::channel();
    let gone = || io::Error::other("the spawning thread is gone");
    jobs()?
        .send(Box::new(move || {
            let _inside = runtime.enter();
            let _ = answer.send(command.spawn());
        }))
        .map_err(|_| gone())?;
    answered.await.map_err(|_| gone())?
}
