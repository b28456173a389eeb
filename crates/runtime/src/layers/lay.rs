//! The layers of one launch: each folder that policy overlays has one, watched for as long as the launch lasts.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use srt_policy::{FilesystemPolicy, Policy};
use srt_sandbox::Overlay;
use tokio::sync::watch;

use super::error::failed;
use super::watch::Watch;
use super::{LayerError, Layers};
use crate::denial::rule_text;
use crate::disk::Disk;
use crate::lower::{Look as _, Place};

/// How long a launch waits for what is being applied or discarded.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it looks whether that is over.
const BEAT: Duration = Duration::from_millis(50);

/// The layers of a launch.
#[derive(Debug, Default)]
pub(crate) struct Laid {
    watches: Vec<Watch>,
    /// Where they tell that one holds more than it may.
    overfull: watch::Sender<Option<String>>,
}

/// Where a layer is to be.
struct Wanted {
    server: String,
    folder: PathBuf,
    settings: Option<PathBuf>,
    cwd: PathBuf,
}

impl Laid {
    /// Takes a layer for each folder that policy overlays. `files` has the paths without links, as has `cwd`.
    ///
    /// # Errors
    /// The folder that cannot be overlaid, with the reason.
    pub(crate) async fn over(
        layers: &Layers,
        server: &str,
        policy: &Policy,
        files: &FilesystemPolicy,
        cwd: &Path,
    ) -> Result<Self, LayerError> {
        let mut laid = Self::default();
        let most = files.overlay_max();
        for folder in folders(layers, files)? {
            let wanted = Wanted {
                server: server.to_owned(),
                folder,
                settings: policy.source().map(Path::to_owned),
                cwd: cwd.to_owned(),
            };
            let watch = begin(layers, wanted, most, &laid.overfull).await?;
            laid.watches.push(watch);
        }
        Ok(laid)
    }

    /// What the sandbox lays over folders.
    pub(crate) fn overlays(&self) -> Vec<Overlay> {
        self.watches
            .iter()
            .map(|watch| watch.layer().overlay())
            .collect()
    }

    /// Waits until a layer holds more than it may, and says so; for ever, as long as none does.
    pub(crate) fn overfull(&self) -> impl Future<Output = String> + Send + use<> {
        let sender = self.overfull.clone();
        async move {
            let mut overfull = sender.subscribe();
            let told = overfull.wait_for(Option::is_some).await;
            match told.ok().and_then(|why| why.clone()) {
                Some(why) => why,
                // Not while we hold a sender.
                None => std::future::pending().await,
            }
        }
    }

    /// Gives them back. To be called when nothing of the launch is left.
    pub(crate) async fn end(&mut self) {
        for watch in std::mem::take(&mut self.watches) {
            watch.end().await;
        }
    }
}

/// Takes a layer and begins to watch it, when nobody settles it any more.
async fn begin(
    layers: &Layers,
    wanted: Wanted,
    most: u64,
    overfull: &watch::Sender<Option<String>>,
) -> Result<Watch, LayerError> {
    let wanted = std::sync::Arc::new(wanted);
    let begun = Instant::now();
    loop {
        let (layers, of, tell) = (layers.clone(), wanted.clone(), overfull.clone());
        // It may have to be measured first.
        let claimed = tokio::task::spawn_blocking(move || {
            let settings = of.settings.as_deref();
            let layer = layers.claim(&of.server, &of.folder, settings, &of.cwd)?;
            layer.check(most)?;
            Ok(layer)
        });
        match claimed.await {
            Ok(Err(LayerError::Busy { .. })) if begun.elapsed() < PATIENCE => {
                tokio::time::sleep(BEAT).await;
            }
            Ok(layer) => return Ok(Watch::begin(layer?, most, tell)),
            Err(error) => {
                return Err(failed("make a layer for", &wanted.folder)(
                    io::Error::other(error),
                ));
            }
        }
    }
}

/// The folders, each once.
fn folders(layers: &Layers, files: &FilesystemPolicy) -> Result<Vec<PathBuf>, LayerError> {
    let disk = Disk::default();
    let mut folders = Vec::new();
    for overlay in files.overlays() {
        if cfg!(not(target_os = "linux")) {
            return Err(LayerError::Unsupported);
        }
        let (path, text) = (overlay.path.clone(), overlay.text.clone());
        if disk.place(&path) != Place::Folder {
            return Err(LayerError::NoFolder { text, path });
        }
        if disk.resolve(layers.top()).starts_with(&path) {
            return Err(LayerError::Contains { text, path });
        }
        let read = files.decide_read(&path);
        if let Some(rule) = read.rule.filter(|_| !read.allowed) {
            let rule = rule_text(rule);
            return Err(LayerError::Hidden { text, path, rule });
        }
        if !folders.contains(&path) {
            folders.push(path);
        }
    }
    Ok(folders)
}
