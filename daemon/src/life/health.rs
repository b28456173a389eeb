//! The watchdog: a service manager that wants to hear from us hears it while what matters answers, and no longer.

use std::time::Duration;

use crate::life::notify;
use crate::supervisor::Supervisor;

/// Tells the service manager that the daemon is well, as often as it asked for, until cancelled. Returns at once where
/// nobody asked (sd_watchdog_enabled(3)).
///
/// Well means: the store's writer took a request through a transaction of its own, and every server's actor took an
/// order. Both must answer within a quarter of the manager's limit, so that the word comes in half of it. A database that
/// *refuses* a write (a full disk) is no reason to be killed: launches are refused with that reason, and a new daemon
/// would find the same disk.
pub(crate) async fn keep_watch(supervisor: &Supervisor) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let quarter = limit / 4;
    tracing::info!(?limit, "the service manager watches over this daemon");
    let mut trouble = None;
    loop {
        match ask(supervisor, quarter).await {
            Ok(()) => notify::alive(),
            Err(silent) => {
                tracing::error!(within = ?quarter, "no answer from {silent}: not telling the service manager that the daemon is well");
            }
        }
        let now = supervisor.shared.store.health().trouble;
        if now != trouble {
            notify::status(now.as_deref().unwrap_or("ready"));
            trouble = now;
        }
        tokio::time::sleep(quarter).await;
    }
}

/// Asks everything that must answer; who did not, within the time.
async fn ask(supervisor: &Supervisor, within: Duration) -> Result<(), String> {
    let store = async {
        tokio::time::timeout(within, supervisor.shared.store.answers())
            .await
            .map_err(|_elapsed| "the store".to_owned())
    };
    let (store, servers) = tokio::join!(store, supervisor.answer(within));
    store.and(servers)
}
