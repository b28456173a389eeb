//! A launch's folder on the host: its temporary folder, and whatever else it has of its own.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use srt_sandbox::Overlay;

const TEMP: &str = "tmp";

/// The folder of one launch.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes `top/name` and the temporary folder in it, both 0700.
    pub(crate) fn create(top: &Path, name: &str) -> io::Result<Self> {
        let private = |recursive| {
            let mut builder = std::fs::DirBuilder::new();
            builder.mode(0o700).recursive(recursive);
            builder
        };
        private(true).create(top)?;
        let folder = Self {
            path: top.join(name),
        };
        private(false).create(&folder.path)?;
        private(false).create(folder.temp())?;
        Ok(folder)
    }

    /// The temporary folder.
    pub(crate) fn temp(&self) -> PathBuf {
        self.path.join(TEMP)
    }

    /// Makes the folders of the private layer number `index` over `path`.
    pub(crate) fn overlay(&self, index: usize, path: PathBuf) -> io::Result<Overlay> {
        let top = self.path.join(format!("layer-{index}"));
        let overlay = Overlay {
            path,
            upper: top.join("upper"),
            work: top.join("work"),
            merged: top.join("merged"),
        };
        for folder in [&top, &overlay.upper, &overlay.work, &overlay.merged] {
            std::fs::DirBuilder::new().mode(0o700).create(folder)?;
        }
        Ok(overlay)
    }

    /// Where the private folder number `index` is, that stands in the place of one of the host's.
    pub(crate) fn own(&self, index: usize) -> PathBuf {
        self.path.join(format!("own-{index}"))
    }

    /// Makes a folder below a private one, with what leads to it.
    pub(crate) fn make_own(&self, path: &Path) -> io::Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700).recursive(true).create(path)
    }

    /// Removes it all. The server may have taken permission bits off its own folders.
    pub(crate) fn remove(&self) -> io::Result<()> {
        remove_all(&self.path)
    }
}

/// Removes what dead launches left below `top`.
///
/// # Errors
/// The first folder that could not be removed.
pub(crate) fn sweep(top: &Path) -> io::Result<Vec<String>> {
    let mut swept = Vec::new();
    let entries = match std::fs::read_dir(top) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(swept),
        other => other?,
    };
    for entry in entries {
        let path = entry?.path();
        remove_all(&path)?;
        swept.extend(
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned()),
        );
    }
    Ok(swept)
}

/// Removes a folder that a server could write, however it left it: permission bits taken off, and nested so deep that
/// a recursive removal would run out of descriptors or stack, and take the daemon with it.
pub(crate) fn remove_all(top: &Path) -> io::Result<()> {
    let mut moved = 0;
    loop {
        let mut found = false;
        let entries = match open_up(top).and_then(|()| std::fs::read_dir(top)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return std::fs::remove_file(top);
            }
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            found = true;
            // `file_type` does not follow links.
            if entry.file_type()?.is_dir() {
                empty_into(&entry.path(), top, &mut moved)?;
                std::fs::remove_dir(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        // What was moved up while we looked may have been missed: look again.
        if !found {
            return std::fs::remove_dir(top);
        }
    }
}

/// Removes what is in `folder`; folders in it that are not empty are moved up into `top`.
fn empty_into(folder: &Path, top: &Path, moved: &mut u64) -> io::Result<()> {
    open_up(folder)?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if !entry.file_type()?.is_dir() {
            std::fs::remove_file(&path)?;
        } else if std::fs::remove_dir(&path).is_err() {
            // A folder that moves is written to: its `..` changes.
            open_up(&path)?;
            loop {
                let place = top.join(format!(".moved-{moved}"));
                *moved += 1;
                if std::fs::symlink_metadata(&place).is_err() {
                    std::fs::rename(&path, place)?;
                    break;
                }
            }
        }
    }
    Ok(())
}

fn open_up(folder: &Path) -> io::Result<()> {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_removes_folders_however_they_were_left() {
        let top = tempfile::tempdir().unwrap();
        let launches = top.path().join("launches");
        let folder = Folder::create(&launches, "one").unwrap();
        let deep = folder.temp().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("c"), "x").unwrap();
        std::fs::set_permissions(
            folder.temp().join("a"),
            std::fs::Permissions::from_mode(0o000),
        )
        .unwrap();
        assert_eq!(sweep(&launches).unwrap(), ["one"]);
        assert_eq!(std::fs::read_dir(&launches).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_nested_without_end_is_removed() {
        use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("deep");
        std::fs::create_dir(&path).unwrap();
        // Deeper than any path is long, as only a process that walks there can make it.
        let mut here = openat(CWD, &path, OFlags::DIRECTORY, Mode::empty()).unwrap();
        for depth in 0..5_000 {
            mkdirat(&here, "d", Mode::RWXU).unwrap();
            if depth % 1000 == 0 {
                mkdirat(&here, ".moved-3", Mode::RWXU).unwrap();
            }
            here = openat(
                &here,
                "d",
                OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .unwrap();
        }
        remove_all(&path).unwrap();
        assert!(!path.exists());
    }
}
