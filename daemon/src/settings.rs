//! What the user's own settings file says of the daemon as a whole, followed while the daemon runs.

use std::sync::Arc;
use std::time::Duration;

use srt_policy::{DaemonSettings, daemon_settings};
use tokio::sync::watch;

use crate::paths::Paths;
use crate::policies::{PolicyError, read};
use crate::supervisor::Shared;

/// How often the file is looked at. One that was saved counts soon, and a look costs a few microseconds.
const LOOK: Duration = Duration::from_secs(2);

/// The settings in force; cheap to read, and told of when they change.
#[derive(Debug)]
pub(crate) struct Settings(watch::Sender<DaemonSettings>);

impl Settings {
    /// Reads them. Where they cannot be used what holds without them is in force, and the log says so.
    pub(crate) fn open(paths: &Paths) -> Self {
        let (sender, _) = watch::channel(DaemonSettings::default());
        let settings = Self(sender);
        match find(paths) {
            Ok(found) => drop(settings.0.send_replace(found)),
            Err(error) => tracing::error!(
                "{error}\nthe daemon's own settings (audit.retain, audit.otlp, audit.anchor) do not count until it is mended"
            ),
        }
        settings
    }

    /// For whoever goes by them.
    pub(crate) fn subscribe(&self) -> watch::Receiver<DaemonSettings> {
        self.0.subscribe()
    }
}

/// Keeps them what the file says, and the store informed of what it is to keep, until the daemon stops.
pub(crate) async fn follow(shared: Arc<Shared>) {
    let mut trouble = None;
    shared.store.retain(shared.settings.0.borrow().retain);
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = shared.shutdown.cancelled() => return,
        }
        match find(&shared.paths) {
            Ok(found) => {
                trouble = None;
                let changed = shared.settings.0.send_if_modified(|settings| {
                    let changed = *settings != found;
                    *settings = found;
                    changed
                });
                if changed {
                    let settings = shared.settings.0.borrow().clone();
                    tracing::info!(?settings, "the daemon's own settings changed");
                    shared.store.retain(settings.retain);
                }
            }
            Err(error) => {
                let error = error.to_string();
                // Not every two seconds.
                if trouble.as_ref() != Some(&error) {
                    tracing::error!("{error}\nthe daemon's own settings stay as they were");
                    trouble = Some(error);
                }
            }
        }
    }
}

fn find(paths: &Paths) -> Result<DaemonSettings, PolicyError> {
    match read(&paths.user_settings())? {
        Some(source) => daemon_settings(&source, &paths.home).map_err(PolicyError::Invalid),
        None => Ok(DaemonSettings::default()),
    }
}
