//! What a service manager is told (sd_notify(3)), where one listens: where there is none, nothing is.

use sd_notify::NotifyState;

/// The daemon answers requests. `status` is a line for a person, shown by `systemctl --user status`.
pub(crate) fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Another program is about to take this one's place; [`ready`] ends it.
pub(crate) fn reloading(status: &str) {
    // systemd takes the message only with the time (sd_notify(3), MONOTONIC_USEC).
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now, NotifyState::Status(status)]),
        Err(error) => tracing::warn!(%error, "cannot read the clock for the service manager"),
    }
}

/// The orderly end has begun.
pub(crate) fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// A line for a person.
pub(crate) fn status(status: &str) {
    send(&[NotifyState::Status(status)]);
}

/// The daemon is well.
pub(crate) fn alive() {
    send(&[NotifyState::Watchdog]);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell the service manager at $NOTIFY_SOCKET how the daemon is");
    }
}
