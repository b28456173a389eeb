//! Layers: what servers changed of overlaid folders (`filesystem.overlay`), kept until somebody applies or discards it.
//!
//! A layer belongs to a server's name and a folder, not to a launch: the next launch of the server sees what the last
//! one changed, and so does a new daemon. It lies in the state folder, each in a folder of its own with everything
//! that is known of it, so that a layer and its record cannot disagree.
//!
//! Two launches of a server at one time cannot share a layer: the kernel leaves undefined what two overlays over one
//! upper folder do. The second gets a layer of its own, with the next number, and what it changes is listed beside.

mod apply;
mod bases;
mod compare;
mod diff;
mod discard;
mod error;
mod lay;
mod look;
mod order;
mod tree;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use srt_sandbox::Overlay;
use uuid::Uuid;

pub use bases::Conflict;
pub use compare::{Change, ChangeKind, What};
pub use diff::Diff;
pub use error::LayerError;
pub(crate) use lay::Laid;
pub use look::Amount;
pub use order::{Outcome, Settlement};

use crate::folder::remove_all;
use bases::Bases;
use error::failed;
use tree::Folder;

/// Layers of one server over one folder: as many launches of it may run at one time.
const MOST: usize = 32;

const RECORD: &str = "layer.json";
/// What is on its way out; a crash leaves it to the next start.
const GONE: &str = ".gone-";

/// What is written down of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    server: String,
    number: u32,
    folder: PathBuf,
    /// Under which its last launch began; `None`: the built-in.
    settings: Option<PathBuf>,
    /// What relative paths in the settings are relative to.
    cwd: PathBuf,
}

/// A layer, for whoever wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    /// Of its server's layers the how manyeth; it keeps its number.
    pub number: u32,
    /// The overlaid folder, without links.
    pub folder: PathBuf,
    /// The settings file under which its last launch began; `None`: the built-in policy.
    pub settings: Option<PathBuf>,
    /// What relative paths in the settings are relative to.
    pub cwd: PathBuf,
    /// Whether a launch uses it now.
    pub in_use: bool,
    home: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Launch,
    Settling,
}

/// The layers of every server.
#[derive(Clone, Debug)]
pub struct Layers {
    top: PathBuf,
    uses: Arc<Mutex<BTreeMap<PathBuf, Use>>>,
}

impl Layers {
    /// The layers in a folder that nobody else uses; what was on its way out when a daemon died is removed.
    ///
    /// # Errors
    /// When that cannot be removed.
    pub(crate) fn new(top: PathBuf) -> io::Result<Self> {
        for server in children(&top)? {
            for layer in children(&server)? {
                if name_of(&layer).starts_with(GONE) {
                    remove_all(&layer)?;
                }
            }
        }
        Ok(Self {
            top,
            uses: Arc::default(),
        })
    }

    /// Where they are.
    pub(crate) fn top(&self) -> &Path {
        &self.top
    }

    /// The servers that have layers, sorted.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn servers(&self) -> Result<Vec<String>, LayerError> {
        let mut names = Vec::new();
        for server in self.list(&self.top)? {
            if !self.list(&server)?.is_empty() {
                names.push(name_of(&server));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The layers of a server, by number.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn of(&self, server: &str) -> Result<Vec<LayerInfo>, LayerError> {
        let uses = self.lock();
        let mut layers: Vec<_> = self
            .records(server)?
            .into_iter()
            .map(|(home, record)| LayerInfo {
                number: record.number,
                folder: record.folder,
                settings: record.settings,
                cwd: record.cwd,
                in_use: uses.get(&home) == Some(&Use::Launch),
                home,
            })
            .collect();
        layers.sort_unstable_by_key(|layer| layer.number);
        Ok(layers)
    }

    fn records(&self, server: &str) -> Result<Vec<(PathBuf, Record)>, LayerError> {
        let mut records = Vec::new();
        for home in self.list(&self.top.join(server))? {
            let path = home.join(RECORD);
            let text = match std::fs::read(&path) {
                // Made halfway by a daemon that died: nothing was launched on it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(failed("read", &path))?,
            };
            let record = serde_json::from_slice(&text)
                .map_err(|error| failed("read", &path)(error.into()))?;
            records.push((home, record));
        }
        records.sort_unstable_by_key(|(_, record): &(_, Record)| record.number);
        Ok(records)
    }

    /// Gives a launch the first layer of the server over the folder that no other uses, or a new one.
    pub(crate) fn claim(
        &self,
        server: &str,
        folder: &Path,
        settings: Option<&Path>,
        cwd: &Path,
    ) -> Result<Layer, LayerError> {
        // Under the lock from first to last: two launches must not find the same.
        let mut uses = self.lock();
        let known = self.records(server)?;
        let mut over: Vec<_> = known
            .iter()
            .filter(|(_, one)| one.folder == folder)
            .collect();
        if over
            .iter()
            .any(|(home, _)| uses.get(home) == Some(&Use::Settling))
        {
            let server = server.to_owned();
            return Err(LayerError::Busy { server });
        }
        if over.len() >= MOST {
            return Err(LayerError::TooMany {
                server: server.to_owned(),
                folder: folder.to_owned(),
            });
        }
        over.retain(|(home, _)| !uses.contains_key(home));
        let (home, number) = match over.first() {
            Some((home, free)) => (home.clone(), free.number),
            None => {
                let numbers: Vec<u32> = known.iter().map(|(_, one)| one.number).collect();
                let number = (1..).find(|number| !numbers.contains(number)).unwrap_or(1);
                let home = self.top.join(server).join(Uuid::now_v7().to_string());
                (home, number)
            }
        };
        let record = Record {
            server: server.to_owned(),
            number,
            folder: folder.to_owned(),
            settings: settings.map(Path::to_owned),
            cwd: cwd.to_owned(),
        };
        prepare(&home, &record).map_err(failed("make", &home))?;
        uses.insert(home.clone(), Use::Launch);
        drop(uses);
        let claim = Claim {
            layers: self.clone(),
            home,
        };
        Ok(Layer { record, claim })
    }

    /// Opens a layer to look at it; launches may come and go meanwhile. `None` where it went.
    fn peek(&self, info: &LayerInfo) -> Result<Option<Held>, LayerError> {
        let in_use = self.lock().contains_key(&info.home);
        match Held::open(info, None, !in_use) {
            Ok(held) => Ok(Some(held)),
            Err(_) if !info.home.exists() => Ok(None),
            Err(error) => Err(failed("open", &info.folder)(error)),
        }
    }

    /// Takes a layer to settle it. One that a launch uses is given to those alone who leave it as it is (`shared`).
    fn hold(
        &self,
        server: &str,
        info: &LayerInfo,
        shared: bool,
        live: bool,
    ) -> Result<Held, LayerError> {
        let mut uses = self.lock();
        let in_use = match uses.get(&info.home) {
            Some(Use::Settling) => {
                return Err(LayerError::Busy {
                    server: server.to_owned(),
                });
            }
            Some(Use::Launch) if !shared => {
                return Err(LayerError::InUse {
                    server: server.to_owned(),
                    number: info.number,
                    live,
                });
            }
            Some(Use::Launch) => true,
            None => false,
        };
        let claim = if in_use {
            None
        } else {
            uses.insert(info.home.clone(), Use::Settling);
            Some(Claim {
                layers: self.clone(),
                home: info.home.clone(),
            })
        };
        drop(uses);
        let look = claim.is_some();
        Held::open(info, claim, look).map_err(failed("open", &info.folder))
    }

    fn list(&self, folder: &Path) -> Result<Vec<PathBuf>, LayerError> {
        let mut found = children(folder).map_err(failed("read", folder))?;
        found.retain(|path| !name_of(path).starts_with(GONE));
        Ok(found)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, Use>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody else may have the layer until this is dropped.
#[derive(Debug)]
struct Claim {
    layers: Layers,
    home: PathBuf,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Nothing was changed: then there is nothing to keep.
        if let Err(error) = remove_if_empty(&self.home) {
            tracing::warn!(%error, "cannot remove an empty layer");
        }
        self.layers.lock().remove(&self.home);
    }
}

/// A layer in the hands of a launch.
#[derive(Debug)]
pub(crate) struct Layer {
    record: Record,
    claim: Claim,
}

impl Layer {
    /// What the sandbox lays over the folder.
    pub(crate) fn overlay(&self) -> Overlay {
        overlay(&self.claim.home, &self.record.folder)
    }
}

fn overlay(home: &Path, folder: &Path) -> Overlay {
    Overlay {
        path: folder.to_owned(),
        upper: home.join("upper"),
        work: home.join("work"),
        merged: home.join("merged"),
    }
}

/// Makes the folders of a layer, or those that are missing, and writes its record.
fn prepare(home: &Path, record: &Record) -> io::Result<()> {
    let overlay = overlay(home, &record.folder);
    let mut private = std::fs::DirBuilder::new();
    private.mode(0o700).recursive(true);
    for folder in [&overlay.upper, &overlay.work, &overlay.merged] {
        private.create(folder)?;
    }
    // The layer's own folder is what the server sees as the overlaid one: with the host's bits.
    let mode = std::fs::metadata(&record.folder)?.permissions();
    std::fs::set_permissions(&overlay.upper, mode)?;
    let path = home.join(RECORD);
    let new = path.with_extension("new");
    std::fs::write(&new, serde_json::to_vec(record)?)?;
    std::fs::rename(new, path)
}

/// A layer and the folder that it is over, both open.
#[derive(Debug)]
struct Held {
    upper: Folder,
    lower: Folder,
    bases: Bases,
    home: PathBuf,
    /// `None` where a launch has it.
    claim: Option<Claim>,
}

impl Held {
    /// `look`: whether to note what is in it for the first time. While a server runs its watch does; what that has
    /// not seen yet is in doubt.
    fn open(info: &LayerInfo, claim: Option<Claim>, look: bool) -> io::Result<Self> {
        let home = match &claim {
            Some(_) => Folder::layer_to_change(&info.home)?,
            None => Folder::layer(&info.home)?,
        };
        let mut held = Self {
            upper: home.folder("upper".as_ref())?,
            lower: Folder::host(&info.folder)?,
            bases: Bases::read(info.home.join("bases"))?,
            home: info.home.clone(),
            claim,
        };
        if look {
            look::look(&held.upper, Some(&held.lower), &mut held.bases, 0)?;
            held.bases.save()?;
        }
        Ok(held)
    }
}

/// Removes a layer that holds nothing.
fn remove_if_empty(home: &Path) -> io::Result<()> {
    if children(&home.join("upper"))?.is_empty() {
        return remove(home);
    }
    Ok(())
}

/// Removes a layer with all that it holds, at once for whoever looks.
fn remove(home: &Path) -> io::Result<()> {
    let gone = home.with_file_name(format!("{GONE}{}", Uuid::new_v4().simple()));
    match std::fs::rename(home, &gone) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    remove_all(&gone)?;
    // The server's last; while it has others this fails.
    if let Some(server) = home.parent() {
        let _ = std::fs::remove_dir(server);
    }
    Ok(())
}

fn children(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_nanos()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
