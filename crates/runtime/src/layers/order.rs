//! What is asked of a layer by a person: to list, show, apply or discard what it changed, all of it or by path.

use std::io;
use std::path::{Component, Path, PathBuf};

use srt_policy::FilesystemPolicy;

use super::compare::{Change, Sides};
use super::diff::{self, Diff};
use super::error::failed;
use super::look::Amount;
use super::{Conflict, Held, LayerError, LayerInfo, Layers, look, now};
use crate::denial::rule_text;
use crate::disk::Disk;
use crate::lower::Look as _;

/// How changes are to be settled.
#[derive(Clone, Debug, Default)]
pub struct Settlement {
    /// Relative to the overlaid folder; empty: everything.
    pub paths: Vec<PathBuf>,
    /// Apply over what changed on the host meanwhile, and, where the path is named, over a rule.
    pub force: bool,
    /// Apply while a launch uses the layer, and leave the layer as it is.
    pub live: bool,
}

/// What came of one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is settled.
    Done,
    /// It would undo something of the host's.
    Conflict(Conflict),
    /// A rule keeps servers from writing it.
    Guarded(String),
    /// It cannot be done, with the reason.
    Failed(String),
}

impl LayerInfo {
    /// A path as a person gives it, relative to the overlaid folder: relative to it already, or absolute. `None` where
    /// it is not in that folder.
    pub fn inside(&self, path: &Path) -> Option<PathBuf> {
        let relative = if path.is_absolute() {
            path.strip_prefix(&self.folder).ok()?
        } else {
            path
        };
        let mut inside = PathBuf::new();
        for part in relative.components() {
            match part {
                Component::Normal(name) => inside.push(name),
                Component::CurDir => {}
                _ => return None,
            }
        }
        Some(inside)
    }
}

impl Layers {
    /// Tells every change of a layer, each with what it would show as text where `with_diff` is set; the layer may be
    /// in use, or be taken into use meanwhile. `paths` are relative to the overlaid folder; empty: everything.
    ///
    /// # Errors
    /// When the layer or the folder cannot be read. An error of `sink` ends the listing.
    pub fn changes(
        &self,
        info: &LayerInfo,
        files: &FilesystemPolicy,
        paths: &[PathBuf],
        with_diff: bool,
        sink: &mut dyn FnMut(Change, Option<Diff>) -> io::Result<()>,
    ) -> Result<(), LayerError> {
        let Some(held) = self.peek(info)? else {
            return Ok(());
        };
        let guard = guard(files, &info.folder);
        held.sides(&guard, paths)
            .compare(&mut |change| {
                let diff = with_diff
                    .then(|| diff::of(&held.upper, &held.lower, &change))
                    .transpose()?;
                sink(change, diff)
            })
            .map_err(failed("compare", &info.folder))
    }

    /// How much a layer holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn amount(&self, info: &LayerInfo) -> Result<Amount, LayerError> {
        let Some(mut held) = self.peek(info)? else {
            return Ok(Amount::default());
        };
        look::look(&held.upper, Some(&held.lower), &mut held.bases, 0)
            .map_err(failed("read", &info.home))
    }

    /// Makes the host's copy what the layer has, file by file: each is written beside its place, made durable, and
    /// renamed into it. What is applied is no longer in the layer, unless a launch goes on using it.
    ///
    /// # Errors
    /// When the layer is in use, or it or the folder cannot be read. What cannot be applied is told to `sink`, whose
    /// error ends the work between two files.
    pub fn apply(
        &self,
        server: &str,
        info: &LayerInfo,
        files: &FilesystemPolicy,
        order: &Settlement,
        sink: &mut dyn FnMut(&Change, &Outcome) -> io::Result<()>,
    ) -> Result<(), LayerError> {
        let mut held = self.hold(server, info, order.live, true)?;
        let guard = guard(files, &info.folder);
        let mut applied = Vec::new();
        let mut work = super::apply::Work::new(&held.upper, &held.lower, order, &guard);
        let result = held.sides(&guard, &order.paths).compare(&mut |change| {
            let outcome = work.apply(&change);
            if outcome == Outcome::Done {
                applied.push(change.path.clone());
            }
            sink(&change, &outcome)
        });
        let finished = work.finish();
        held.applied(&applied)
            .and(finished)
            .and(result)
            .map_err(failed("apply changes to", &info.folder))
    }

    /// Takes changes out of the layer; the host's copy stays as it is. Returns how many of its entries went.
    ///
    /// # Errors
    /// When the layer is in use or cannot be written, or a path is not in it or cannot be taken out alone.
    pub fn discard(
        &self,
        server: &str,
        info: &LayerInfo,
        paths: &[PathBuf],
    ) -> Result<u64, LayerError> {
        let mut held = self.hold(server, info, false, false)?;
        held.discard(paths)
            .map_err(failed("discard changes of", &info.folder))
    }
}

impl Held {
    pub(super) fn sides<'a>(
        &'a self,
        guard: &'a dyn Fn(&Path) -> Option<String>,
        paths: &'a [PathBuf],
    ) -> Sides<'a> {
        Sides {
            upper: &self.upper,
            lower: &self.lower,
            bases: &self.bases,
            guard,
            paths,
        }
    }

    /// Notes what was applied, and takes it out of the layer where nobody uses it.
    fn applied(&mut self, paths: &[PathBuf]) -> io::Result<()> {
        for path in paths {
            let host = match (path.parent(), path.file_name()) {
                (Some(parent), Some(name)) => self
                    .lower
                    .descend(parent)
                    .and_then(|folder| folder.look(name))
                    .ok()
                    .flatten(),
                _ => None,
            };
            self.bases.settle(path, now(), host.as_ref());
        }
        self.bases.save()?;
        match self.claim {
            Some(_) => self.prune(),
            None => Ok(()),
        }
    }
}

/// Which rule of a policy keeps a path of the folder from being written. Asked of the host's copy, where links on the
/// way are refused when it is written.
fn guard(files: &FilesystemPolicy, folder: &Path) -> impl Fn(&Path) -> Option<String> {
    let disk = Disk::default();
    let files = files.resolved(|path| disk.resolve(path));
    let folder = folder.to_owned();
    move |path: &Path| {
        // Without a rule it is no more than what no allowWrite covers, which is what overlays are for.
        let decision = files.decide_write(&folder.join(path));
        decision.rule.filter(|_| !decision.allowed).map(rule_text)
    }
}
