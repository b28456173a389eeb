//! The anchor's file: two places of a sector each, written in turn after every commit.
//!
//! It is written in place, which costs a few microseconds and no wait for the disk: a program that is killed leaves it as
//! it wrote it, and a power cut leaves an older one, behind the database by no more than the kernel held back. Replacing
//! the file each time would make every commit wait for the folder, too.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::audit::chain::{Anchor, Chain, Key, Mac, Slots};

/// No anchor is longer; what is longer is none.
const LONGEST: u64 = 64 * 1024;

/// The file, open where it was there or was made.
#[derive(Debug)]
pub(crate) struct AnchorFile {
    path: PathBuf,
    file: Option<File>,
    /// The place that is written next.
    next: usize,
}

impl AnchorFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            next: 0,
        }
    }

    /// What the file holds; `None` where there is none.
    pub(crate) fn read(path: &Path, key: Option<&Key>) -> io::Result<Option<Slots>> {
        let file = match open(path, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut content = Vec::new();
        file.take(LONGEST).read_to_end(&mut content)?;
        Ok(Some(Slots::read(&content, key)))
    }

    /// Notes where the log ends. The first time both places are written, durably.
    pub(crate) fn advance(&mut self, chain: &Chain, seq: u64, mac: Mac) -> io::Result<()> {
        self.write(&Anchor::new(chain, seq, mac).slot(chain.key()))
            .map_err(|error| {
                let path = self.path.display();
                io::Error::new(
                    error.kind(),
                    format!("cannot write the audit log's anchor {path}: {error}"),
                )
            })
    }

    fn write(&mut self, slot: &[u8]) -> io::Result<()> {
        if let Some(file) = &self.file {
            // Written to no name, it would be missed at the next start.
            if file.metadata()?.nlink() > 0 {
                file.write_all_at(slot, (self.next * Anchor::SLOT) as u64)?;
                self.next = 1 - self.next;
                return Ok(());
            }
            tracing::error!(path = %self.path.display(), "the audit log's anchor was removed while the daemon ran; making it anew");
            self.file = None;
        }
        let file = open(&self.path, true)?;
        file.write_all_at(&slot.repeat(2), 0)?;
        file.set_len(2 * Anchor::SLOT as u64)?;
        file.sync_all()?;
        if let Some(folder) = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            File::open(folder)?.sync_all()?;
        }
        self.file = Some(file);
        Ok(())
    }

    /// Makes it durable; at an orderly end.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }
}

fn open(path: &Path, write: bool) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .write(write)
        .create(write)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a file")),
    }
}
