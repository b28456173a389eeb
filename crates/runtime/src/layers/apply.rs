//! Making the host's copy what the layer has, one path at a time.
//!
//! The layer is a server's work and may be changing; the host's folder may be changing, too. So both are reached by
//! descriptors that follow no link, what is copied is a regular file that did not change while it was read, and what
//! is replaced is looked at again once it is out of its place.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, chmodat, fsync, mkdirat, openat, renameat, renameat_with,
    symlinkat, unlinkat,
};
use uuid::Uuid;

use super::Conflict;
use super::compare::{Change, ChangeKind, What};
use super::look::every;
use super::order::{Outcome, Settlement};
use super::tree::{Folder, Seen};

/// What is under way has a name that begins so, in the folder of what it becomes.
const UNDER_WAY: &str = ".srt-apply-";

/// One apply.
pub(super) struct Work<'a> {
    upper: &'a Folder,
    lower: &'a Folder,
    order: &'a Settlement,
    guard: &'a dyn Fn(&Path) -> Option<String>,
    /// Bits that would keep us from filling a folder, given at the end.
    modes: Vec<(PathBuf, u32)>,
    /// The last folder written to, which becomes durable when another follows.
    last: Option<(PathBuf, Folder)>,
}

/// Why a change was not applied.
enum Stop {
    Conflict(Conflict),
    Failed(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<rustix::io::Errno> for Stop {
    fn from(error: rustix::io::Errno) -> Self {
        io::Error::from(error).into()
    }
}

impl<'a> Work<'a> {
    pub(super) fn new(
        upper: &'a Folder,
        lower: &'a Folder,
        order: &'a Settlement,
        guard: &'a dyn Fn(&Path) -> Option<String>,
    ) -> Self {
        Self {
            upper,
            lower,
            order,
            guard,
            modes: Vec::new(),
            last: None,
        }
    }

    /// Applies one change. Folders come before what is in them.
    pub(super) fn apply(&mut self, change: &Change) -> Outcome {
        if let Some(rule) = &change.guard
            && !(self.order.force && self.is_named(&change.path))
        {
            return Outcome::Guarded(rule.clone());
        }
        if let Some(conflict) = change.conflict
            && !self.order.force
        {
            return Outcome::Conflict(conflict);
        }
        match self.make(change) {
            Ok(()) => Outcome::Done,
            Err(Stop::Conflict(conflict)) => Outcome::Conflict(conflict),
            Err(Stop::Failed(why)) => Outcome::Failed(why),
        }
    }

    /// Makes the last of it durable.
    pub(super) fn finish(mut self) -> io::Result<()> {
        for (path, mode) in std::mem::take(&mut self.modes).into_iter().rev() {
            self.set_mode(&path, mode)?;
        }
        self.leave()
    }

    /// Whether the very path was asked for, or a folder that the rule is about as well.
    fn is_named(&self, path: &Path) -> bool {
        self.order
            .paths
            .iter()
            .any(|named| path == named || path.starts_with(named) && (self.guard)(named).is_some())
    }

    fn make(&mut self, change: &Change) -> Result<(), Stop> {
        let (Some(parent), Some(name)) = (change.path.parent(), change.path.file_name()) else {
            return Err(Stop::Failed("it has no name".into()));
        };
        if change.path.to_str().is_none() {
            let why = "its name is not valid UTF-8: copy it by hand, or discard it";
            return Err(Stop::Failed(why.into()));
        }
        self.enter(parent)?;
        let Some((_, folder)) = self.last.take() else {
            return Err(Stop::Failed("its folder is gone".into()));
        };
        let made = self.make_in(&folder, change, name);
        self.last = Some((parent.to_owned(), folder));
        made
    }

    fn make_in(&mut self, host: &Folder, change: &Change, name: &OsStr) -> Result<(), Stop> {
        if change.kind == ChangeKind::Deleted {
            return self.clear(host, change, name);
        }
        let parent = change.path.parent().unwrap_or(Path::new(""));
        match &change.what {
            What::Special(kind) => Err(Stop::Failed(format!("a {kind} is never applied"))),
            What::Folder => {
                let there = change.lower.is_some_and(|lower| lower.is_folder());
                if !there {
                    self.clear(host, change, name)?;
                    match mkdirat(host, name, Mode::RWXU) {
                        Err(rustix::io::Errno::EXIST) => {
                            return Err(Stop::Conflict(Conflict::Created));
                        }
                        other => other?,
                    }
                }
                if change.mode & 0o700 == 0o700 {
                    chmodat(host, name, bits(change.mode), AtFlags::empty())?;
                } else {
                    self.modes.push((change.path.clone(), change.mode));
                }
                Ok(())
            }
            What::File => {
                let layer = self.upper.descend(parent)?;
                let mut from = layer.file(name)?;
                let before = of(&from)?;
                let (ready, mut file) = self.create(host)?;
                let copied = io::copy(&mut from, &mut file)
                    .and_then(|_| {
                        file.set_permissions(std::fs::Permissions::from_mode(change.mode))
                    })
                    .and_then(|()| file.sync_all())
                    .map_err(Stop::from)
                    .and_then(|()| {
                        if of(&from)? == before {
                            Ok(())
                        } else {
                            Err(Stop::Failed("the server changed it meanwhile".into()))
                        }
                    });
                self.put(host, change, name, &ready, copied)
            }
            What::Link { target, .. } => {
                let ready = under_way();
                let made = symlinkat(target, host, &ready).map_err(Stop::from);
                self.put(host, change, name, &ready, made)
            }
        }
    }

    /// A file in a folder of the host's that nobody else has open.
    fn create(&self, host: &Folder) -> Result<(OsString, File), Stop> {
        let name = under_way();
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(host, &name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok((name, file.into()))
    }

    /// Puts what is ready in its place, if it is; whatever happens, nothing stays under way.
    fn put(
        &self,
        host: &Folder,
        change: &Change,
        name: &OsStr,
        ready: &OsStr,
        made: Result<(), Stop>,
    ) -> Result<(), Stop> {
        let put = made.and_then(|()| self.put_ready(host, change, name, ready));
        // Renamed it is gone from here, exchanged it is the old one.
        let _ = unlinkat(host, ready, AtFlags::empty());
        put
    }

    fn put_ready(
        &self,
        host: &Folder,
        change: &Change,
        name: &OsStr,
        ready: &OsStr,
    ) -> Result<(), Stop> {
        let place = host.look(name)?;
        if place.is_none_or(|seen| seen.is_folder()) || change.lower.is_none() {
            self.clear(host, change, name)?;
            return match renameat_with(host, ready, host, name, RenameFlags::NOREPLACE) {
                Ok(()) => Ok(()),
                Err(rustix::io::Errno::EXIST) => Err(Stop::Conflict(Conflict::Created)),
                // A file system without such a rename (some network ones): looked at a moment ago.
                Err(rustix::io::Errno::INVAL) => Ok(renameat(host, ready, host, name)?),
                Err(error) => Err(error.into()),
            };
        }
        match renameat_with(host, ready, host, name, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) => {
                self.is_unchanged(change, place.as_ref())?;
                return Ok(renameat(host, ready, host, name)?);
            }
            Err(error) => return Err(error.into()),
        }
        // What was there is out of its place now, and cannot be replaced any more.
        let was = host.look(ready)?;
        if let Err(stop) = self.is_unchanged(change, was.as_ref()) {
            renameat_with(host, ready, host, name, RenameFlags::EXCHANGE)?;
            return Err(stop);
        }
        Ok(())
    }

    /// Whether the host's is what the change was listed with.
    fn is_unchanged(&self, change: &Change, now: Option<&Seen>) -> Result<(), Stop> {
        match (change.lower.as_ref(), now) {
            _ if self.order.force => Ok(()),
            (None, None) => Ok(()),
            (None, Some(_)) => Err(Stop::Conflict(Conflict::Created)),
            (Some(_), None) => Err(Stop::Conflict(Conflict::Deleted)),
            (Some(was), Some(now)) if was.identity.is_still(&now.identity) => Ok(()),
            (Some(_), Some(_)) => Err(Stop::Conflict(Conflict::Changed)),
        }
    }

    /// Removes what the host has at a name, if it is what the change was listed with.
    fn clear(&self, host: &Folder, change: &Change, name: &OsStr) -> Result<(), Stop> {
        let Some(now) = host.look(name)? else {
            return Ok(());
        };
        if !now.is_folder() {
            self.is_unchanged(change, Some(&now))?;
            return Ok(unlinkat(host, name, AtFlags::empty())?);
        }
        if change.lower.is_none_or(|was| !was.is_folder()) {
            return Err(Stop::Conflict(Conflict::Changed));
        }
        // All of it is looked at before any of it goes.
        let top = host.folder(name)?;
        let mut stop = None;
        every(&top, &change.path, 0, &mut |path, _| {
            if let Some(rule) = (self.guard)(path)
                && !(self.order.force && self.is_named(path))
            {
                stop = Some(format!("{}: {rule}", path.display()));
            }
            Ok(())
        })?;
        if let Some(rule) = stop {
            return Err(Stop::Failed(format!(
                "in it is what a rule protects: {rule}"
            )));
        }
        empty(&top)?;
        Ok(unlinkat(host, name, AtFlags::REMOVEDIR)?)
    }

    /// Opens the folder of the host's that is written to next.
    fn enter(&mut self, path: &Path) -> Result<(), Stop> {
        if self.last.as_ref().is_some_and(|(last, _)| last == path) {
            return Ok(());
        }
        self.leave()?;
        let folder = self.lower.descend(path).map_err(|error| {
            Stop::Failed(format!(
                "{} is not a folder on the host: {error}",
                path.display()
            ))
        })?;
        self.last = Some((path.to_owned(), folder));
        Ok(())
    }

    fn leave(&mut self) -> io::Result<()> {
        match self.last.take() {
            Some((_, folder)) => Ok(fsync(&folder)?),
            None => Ok(()),
        }
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        let folder = self.lower.descend(path)?;
        Ok(rustix::fs::fchmod(&folder, bits(mode))?)
    }
}

/// Removes all that is in a folder of the host's.
fn empty(folder: &Folder) -> Result<(), Stop> {
    for name in folder.names()? {
        match folder.look(&name)? {
            Some(seen) if seen.is_folder() => {
                empty(&folder.folder(&name)?)?;
                unlinkat(folder, &name, AtFlags::REMOVEDIR)?;
            }
            Some(_) => unlinkat(folder, &name, AtFlags::empty())?,
            None => {}
        }
    }
    Ok(())
}

fn of(file: &File) -> io::Result<super::tree::Identity> {
    super::tree::identity(file)
}

fn bits(mode: u32) -> Mode {
    Mode::from_raw_mode((mode & 0o777) as _)
}

fn under_way() -> OsString {
    format!("{UNDER_WAY}{}", Uuid::new_v4().simple()).into()
}
