//! New names for files, where a sandbox has an overlay and reading is judged.
//!
//! An overlay is the sandbox's own to write, so a call about it would go on to the kernel. But overlayfs copies a file
//! of the host's into the layer to rename or link it, and asks nobody whether it may be read: under a new name, about
//! which no rule is, it could be. So here no such call goes on, whatever it seems to be about, since the kernel reads
//! the path again: what is the sandbox's own is renamed by the folders that were found, and what was judged is what
//! gets the name.

use std::ffi::OsString;

use rustix::fs::{self as at, AtFlags, FileType, RenameFlags};
use rustix::io::Errno;

use super::calls::Named;
use super::hand::{Hand, Not, is_among};
use super::listener::Answer;
use super::view::Found;
use crate::{Access, Judged};

/// A name in a folder, as the sandbox sees it.
struct Name {
    folder: Found,
    name: OsString,
}

impl Hand<'_> {
    /// Whether no renaming or linking may go on to the kernel.
    pub(super) fn names_are_judged(&self) -> bool {
        let reads = |judged: &Judged| judged.reads;
        !self.spec.overlays.is_empty() && self.spec.judged.as_ref().is_some_and(reads)
    }

    /// rename(2) and its like, where both names are in places of the sandbox's own; `None` where neither is.
    pub(super) fn rename_own(
        &self,
        to: Named,
        from: Named,
        flags: u32,
    ) -> Result<Option<Answer>, Not> {
        let (from, to) = (self.name(from)?, self.name(to)?);
        if !self.are_own(&from, &to)? {
            return Ok(None);
        }
        let flags = RenameFlags::from_bits(flags)
            .filter(|flags| !flags.contains(RenameFlags::WHITEOUT))
            .ok_or(Errno::INVAL)?;
        self.may_be_read(&from)?;
        if flags.contains(RenameFlags::EXCHANGE) {
            self.may_be_read(&to)?;
        }
        self.still()?;
        at::renameat_with(
            &from.folder.file,
            &from.name,
            &to.folder.file,
            &to.name,
            flags,
        )?;
        Ok(Some(Answer::Done))
    }

    /// link(2) and its like, the same way. A link is linked itself, as link(2) does.
    pub(super) fn link_own(
        &self,
        to: Named,
        from: Named,
        flags: AtFlags,
    ) -> Result<Option<Answer>, Not> {
        if flags.contains(AtFlags::EMPTY_PATH) {
            // What a descriptor is open on has been opened, and so judged; but it cannot be linked from here.
            return Err(Errno::NOENT.into());
        }
        let mut from = self.name(from)?;
        if flags.contains(AtFlags::SYMLINK_FOLLOW) {
            let path = from.folder.path.join(&from.name);
            let found = self
                .view
                .existing(self.target, &path, true)
                .map_err(Not::Possible)?;
            let (folder, name) = self
                .view
                .parent(self.target, &found.path)
                .map_err(Not::Possible)?;
            from = Name { folder, name };
        }
        let to = self.name(to)?;
        if !self.are_own(&from, &to)? {
            return Ok(None);
        }
        self.may_be_read(&from)?;
        self.still()?;
        at::linkat(
            &from.folder.file,
            &from.name,
            &to.folder.file,
            &to.name,
            AtFlags::empty(),
        )?;
        Ok(Some(Answer::Done))
    }

    fn name(&self, named: Named) -> Result<Name, Not> {
        let path = self.absolute(named).map_err(|not| match not {
            Not::Ours => self.unnamed(named).into(),
            other => other,
        })?;
        let (folder, name) = self
            .view
            .parent(self.target, &path)
            .map_err(Not::Possible)?;
        Ok(Name { folder, name })
    }

    /// Both are the sandbox's own, or neither; from one to the other nothing is renamed or linked.
    fn are_own(&self, from: &Name, to: &Name) -> Result<bool, Not> {
        let own = |name: &Name| self.spec.is_own(&name.folder.path.join(&name.name));
        match (own(from), own(to)) {
            (true, true) => Ok(true),
            (false, false) => Ok(false),
            _ => Err(Errno::XDEV.into()),
        }
    }

    /// In a layer a file gets a new name only if it may be read by its old one.
    fn may_be_read(&self, name: &Name) -> Result<(), Not> {
        let path = name.folder.path.join(&name.name);
        if self.spec.overlay_of(&path).is_none() {
            return Ok(());
        }
        let stat = at::statat(&name.folder.file, &name.name, AtFlags::SYMLINK_NOFOLLOW)?;
        // Folders of the host's cannot be renamed in an overlay (EXDEV), and those of the layer's own hold nothing of
        // the host's.
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Ok(());
        }
        let judged = self.judged()?;
        if judged.judge.access(&path) == Access::None || self.is_hidden_alias(judged, &path) {
            return Err(Errno::ACCESS.into());
        }
        Ok(())
    }

    /// Whether the host has at a path of an overlay what a rule hides by another name: overlayfs gives its files numbers
    /// of its own.
    pub(super) fn is_hidden_alias(&self, judged: &Judged, path: &std::path::Path) -> bool {
        at::statat(at::CWD, path, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| is_among(&stat, &judged.unreadable))
    }
}
