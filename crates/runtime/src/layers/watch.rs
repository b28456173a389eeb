//! Watching a layer while a server writes to it: that it does not grow beyond its bound, and what comes into it.
//!
//! An unprivileged user has no quotas for a folder, and a file system of fixed size in memory would not outlive the
//! launch. So the layer is measured from outside. To walk it takes time that grows with it; what takes none is to ask
//! how much room its file system has left. That is asked ten times a second, and when more has gone than the layer had
//! left to it, the layer is measured at once. It can so outgrow its bound by what the disk takes in a tenth of a second
//! and the time of one walk, no more; and it is then the server's end.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::bases::Bases;
use super::error::failed;
use super::look::{Amount, look};
use super::tree::Folder;
use super::{Layer, LayerError, now};

/// How often the room left is asked for.
const BEAT: Duration = Duration::from_millis(100);
/// When the layer is first looked at: not while the launch is still on its way to its first byte.
const FIRST: Duration = Duration::from_millis(10);
/// How often the layer is looked at, whatever the room left says.
const ROUND: Duration = Duration::from_secs(2);
/// A look of some duration is followed by a pause of this many times that.
const REST: u32 = 4;
/// After so many looks in a row that failed nobody can say how much the layer holds.
const MOST_FAILURES: u32 = 3;

/// A layer under watch, for as long as a launch uses it.
#[derive(Debug)]
pub(crate) struct Watch {
    layer: Layer,
    stop: CancellationToken,
    task: Option<JoinHandle<Option<Looks>>>,
}

/// What looks go on from.
#[derive(Debug)]
struct Looks {
    upper: PathBuf,
    folder: PathBuf,
    bases: PathBuf,
    /// What the last look found.
    amount: PathBuf,
    /// When the last look began.
    before: i64,
}

impl Looks {
    fn of(layer: &Layer) -> Self {
        let overlay = layer.overlay();
        Self {
            upper: overlay.upper,
            folder: overlay.path,
            bases: layer.claim.home.join("bases"),
            amount: layer.claim.home.join("amount"),
            before: 0,
        }
    }

    fn recorded(&self) -> Option<Amount> {
        serde_json::from_slice(&std::fs::read(&self.amount).ok()?).ok()
    }

    fn look(&mut self) -> std::io::Result<Amount> {
        let begun = now();
        let home = self.upper.parent().unwrap_or(&self.upper);
        let upper = Folder::layer(home)?.folder("upper".as_ref())?;
        // A folder that the host took away has nothing to be noted.
        let lower = Folder::host(&self.folder).ok();
        let mut bases = Bases::read(self.bases.clone())?;
        let amount = look(&upper, lower.as_ref(), &mut bases, self.before)?;
        bases.save()?;
        self.before = begun;
        Ok(amount)
    }
}

impl Layer {
    /// Refuses a layer that is full. The last watch left its amount; only one that was full then is measured anew.
    pub(super) fn check(&self, most: u64) -> Result<(), LayerError> {
        let mut looks = Looks::of(self);
        let full = |amount: &Amount| amount.bytes >= most || amount.too_deep;
        if !looks.recorded().as_ref().is_some_and(full) {
            return Ok(());
        }
        let amount = looks.look().map_err(failed("read", &self.claim.home))?;
        if !full(&amount) {
            return Ok(());
        }
        Err(LayerError::Full {
            server: self.record.server.clone(),
            number: self.record.number,
            folder: self.record.folder.clone(),
            bytes: amount.bytes,
            most,
        })
    }
}

impl Watch {
    /// Begins to watch; the first look is at once. Should the layer hold more than `most` bytes, `tell` is given the
    /// reason for which the launch is to end.
    pub(super) fn begin(layer: Layer, most: u64, tell: watch::Sender<Option<String>>) -> Self {
        let stop = CancellationToken::new();
        let looks = Looks::of(&layer);
        let task = tokio::spawn(watch_over(looks, most, tell, stop.clone()));
        Self {
            layer,
            stop,
            task: Some(task),
        }
    }

    pub(crate) fn layer(&self) -> &Layer {
        &self.layer
    }

    /// Looks for the last time and gives the layer back. To be called when nothing of the launch is left.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        let Some(task) = self.task.take() else { return };
        let Ok(Some(mut looks)) = task.await else {
            return;
        };
        let looked = tokio::task::spawn_blocking(move || {
            let amount = looks.look()?;
            std::fs::write(&looks.amount, serde_json::to_vec(&amount)?)?;
            drop(self);
            Ok::<_, std::io::Error>(())
        });
        if let Ok(Err(error)) = looked.await {
            tracing::warn!(%error, "cannot look at a layer after its launch");
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn watch_over(
    mut looks: Looks,
    most: u64,
    tell: watch::Sender<Option<String>>,
    stop: CancellationToken,
) -> Option<Looks> {
    let mut room = room_left(&looks.upper);
    let folder = looks.folder.clone();
    let mut amount = Amount::default();
    let mut looked: Option<Instant> = None;
    let mut took = Duration::ZERO;
    let mut failures = 0;
    loop {
        let beat = if looked.is_some() { BEAT } else { FIRST };
        tokio::select! {
            () = stop.cancelled() => return Some(looks),
            () = tokio::time::sleep(beat) => {}
        }
        let gone = room.saturating_sub(room_left(&looks.upper));
        let pressing = gone >= most.saturating_sub(amount.bytes);
        let wait = if pressing { Duration::ZERO } else { ROUND };
        if looked.is_some_and(|looked| looked.elapsed() < wait.max(took * REST)) {
            continue;
        }
        let begun = Instant::now();
        room = room_left(&looks.upper);
        let done = tokio::task::spawn_blocking(move || {
            let amount = looks.look();
            (looks, amount)
        });
        let Ok((back, result)) = done.await else {
            // The look panicked; without looks the bound would not hold.
            tell.send_replace(Some("its layer can no longer be measured".into()));
            return None;
        };
        looks = back;
        (looked, took) = (Some(Instant::now()), begun.elapsed());
        let why = match result {
            Ok(now) if now.too_deep => Some("it nested folders too deep".to_owned()),
            Ok(now) if now.bytes >= most => Some(format!(
                "what it changed in {} takes {} bytes, and may take {most} (filesystem.overlayMax)",
                folder.display(),
                now.bytes
            )),
            Ok(now) => {
                amount = now;
                failures = 0;
                None
            }
            Err(error) => {
                tracing::warn!(%error, folder = %folder.display(), "cannot look at a layer");
                failures += 1;
                (failures >= MOST_FAILURES)
                    .then(|| format!("its layer can no longer be measured: {error}"))
            }
        };
        if why.is_some() {
            tell.send_replace(why);
        }
    }
}

/// In bytes, of the file system that a path is on; 0 where it does not say.
fn room_left(path: &std::path::Path) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |stat| stat.f_bfree.saturating_mul(stat.f_frsize))
}
