//! Between a server's calls and the kernel: calls that name files stop here (seccomp_unotify(2)).
//!
//! A thread of its own for each launch carries out what the judge allows ([`act`]), lets the kernel refuse the rest,
//! and tells what was refused. It has no more rights than the sandbox's own processes: no capability but to look at
//! them.

mod act;
mod calls;
mod connect;
mod hand;
mod layered;
mod listener;
mod namespaced;
mod open;
mod target;
mod told;
mod view;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::sched::CloneFlags;
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use self::calls::{Op, writes};
use self::connect::Connector;
use self::listener::{Answer, Listener, Notification};
use self::target::Target;
use self::told::{Told, Used};
use self::view::View;
use crate::{SandboxSpec, UnixSockets, Violation};

pub(crate) use self::calls::Stop;
pub(crate) use self::listener::install;

/// Serves a sandbox's calls until no process of it is left. `report` must not wait.
pub(crate) fn serve(listener: OwnedFd, spec: &SandboxSpec, report: &dyn Fn(Violation)) {
    // Who cannot be sure of its rights carries nothing out: with the listener gone, calls fail (ENOSYS).
    if let Err(error) = settle() {
        tracing::error!(%error, "cannot serve a sandbox's files: its calls that write fail");
        return;
    }
    let listener = Arc::new(Listener::new(listener));
    let sockets = match &spec.unix_sockets {
        UnixSockets::Listed(paths) => paths.as_slice(),
        UnixSockets::All => &[],
    };
    let mut connector = Connector::new(sockets, listener.clone());
    let mut told = Told::new(spec, report);
    let mut view = None;
    let judges_reads = spec.judged.as_ref().is_some_and(|judged| judged.reads);
    while let Ok(Some(notification)) = listener.next() {
        let target = Target {
            thread: notification.pid,
        };
        if view.is_none() {
            view = View::of(target).ok();
        }
        if calls::is_connect(notification.number) {
            match &view {
                Some(view) => connector.connect(view, &notification),
                None => listener.answer(notification.id, Answer::Failed(Errno::ACCESS)),
            }
            continue;
        }
        let (Some(call), Some(view)) = (calls::find(notification.number), &view) else {
            listener.answer(notification.id, Answer::GoOn);
            continue;
        };
        let waits = || listener.waits(notification.id);
        if !judges_reads && reads(&notification, call.op) {
            let used = told::named(&notification, call.named);
            // Where the name itself is refused, the caller is looked at while it waits: it may be gone right after.
            let program = used
                .as_ref()
                .filter(|used| {
                    told.refuses(used) && told.leads_to_refused(used, view, target)
                        || told.is_withheld(used, view, target)
                })
                .map(|_| target.program().unwrap_or_default());
            listener.answer(notification.id, Answer::GoOn);
            if let Some(used) = used {
                told.used(used, target, program);
            }
            continue;
        }
        let outcome = act::act(spec, view, &notification, call, &waits);
        let refused = outcome.refused.map(|(path, write)| {
            let program = target.program().unwrap_or_default();
            (Used { path, write }, program)
        });
        listener.answer(notification.id, outcome.answer);
        if let Some((used, program)) = refused {
            told.tell(used, program);
        }
    }
    connector.close();
    told.close();
}

/// Whether a call only reads.
fn reads(notification: &Notification, op: Op) -> bool {
    match op {
        Op::Open { flags, .. } => !writes(notification.arguments[flags]),
        _ => false,
    }
}

/// Gives up what the sandbox's own processes do not have, for this thread.
fn settle() -> std::io::Result<()> {
    // The mask is shared with the daemon's other threads until then (umask(2)).
    nix::sched::unshare(CloneFlags::CLONE_FS)?;
    rustix::process::umask(rustix::fs::Mode::empty());
    if rustix::process::geteuid().is_root() {
        let kept = CapabilitySet::SYS_PTRACE;
        let sets = CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        };
        rustix::thread::set_capabilities(None, sets)?;
    }
    Ok(())
}
