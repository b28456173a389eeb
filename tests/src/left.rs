//! What launches have on the host, for tests that look whether it goes with them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::World;
use crate::process::{self, Process};

impl World {
    /// The processes of this world but its daemons, and for each daemon the one helper that waits for the next launch
    /// with its namespaces made. Empty where no launch is.
    pub fn of_launches(&self) -> Vec<Process> {
        let all = self.processes();
        let srtd = self.program("srtd");
        let helper = format!("{} outside", self.program("srt-jail").display());
        let mut waiting = Vec::new();
        let mut found = all.clone();
        found.retain(|process| {
            let daemons = all
                .iter()
                .any(|other| other.pid == process.parent && other.exe == srtd);
            let busy = all.iter().any(|other| other.parent == process.pid);
            let spare = daemons && !busy && process.arguments == helper;
            if spare && !waiting.contains(&process.parent) {
                waiting.push(process.parent);
                return false;
            }
            process.exe != srtd
        });
        found
    }

    /// The folders that launches have at the moment, each named by its launch.
    pub fn launches(&self) -> Vec<PathBuf> {
        let folder = self.path("home/.local/state/srt/launches");
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// What launches have on the host beside processes, a line each: their folders, their mounts, and whatever stands
    /// in the daemon's `TMPDIR`. Empty where no launch is, with or without a daemon.
    pub fn traces(&self) -> Vec<String> {
        let mut found: Vec<_> = self
            .launches()
            .iter()
            .map(|folder| format!("a launch's folder: {}", folder.display()))
            .collect();
        let temporary = fs::read_dir(self.path("tmp")).into_iter().flatten();
        found.extend(
            temporary
                .flatten()
                .map(|entry| format!("a temporary file: {}", entry.path().display())),
        );
        let mounts = process::mounts(self.mark());
        found.extend(mounts.iter().map(|line| format!("a mount: {line}")));
        found
    }

    /// The sockets of this world, a line each: files of any kind of socket, and Unix sockets that a process holds.
    pub fn sockets(&self) -> Vec<String> {
        let mut found: Vec<_> = socket_files(self.mark())
            .iter()
            .map(|path| format!("a socket's file: {}", path.display()))
            .collect();
        let held = process::unix_sockets(self.mark());
        found.extend(held.iter().map(|line| format!("a socket: {line}")));
        found
    }
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its kind and its permissions (`st_mode`).
    pub mode: u32,
    /// What a file says; a link: `-> ` and what it leads to; a folder: `/`.
    pub text: String,
    /// Its user and its group.
    pub owner: (u32, u32),
    /// When it was last written: seconds and nanoseconds. Of a folder: when something in it came or went.
    pub changed: (i64, i64),
    /// How many names it has.
    pub names: u64,
}

/// All that stands in a folder, itself among it as the empty path; links as links.
///
/// # Panics
///
/// When something in it cannot be looked at.
pub fn tree(folder: &Path) -> BTreeMap<String, Standing> {
    fn walk(top: &Path, path: &Path, found: &mut BTreeMap<String, Standing>) {
        let looked = "what can be looked at";
        let meta = fs::symlink_metadata(path).expect(looked);
        let text = if meta.is_symlink() {
            format!("-> {}", fs::read_link(path).expect(looked).display())
        } else if meta.is_dir() {
            for entry in fs::read_dir(path).expect(looked).flatten() {
                walk(top, &entry.path(), found);
            }
            "/".to_owned()
        } else if meta.is_file() {
            String::from_utf8_lossy(&fs::read(path).expect(looked)).into_owned()
        } else {
            String::new()
        };
        let name = path.strip_prefix(top).expect("a path below");
        let standing = Standing {
            mode: meta.mode(),
            text,
            owner: (meta.uid(), meta.gid()),
            changed: (meta.mtime(), meta.mtime_nsec()),
            names: meta.nlink(),
        };
        found.insert(name.display().to_string(), standing);
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

fn socket_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            found.extend(socket_files(&entry.path()));
        } else if kind.is_socket() {
            found.push(entry.path());
        }
    }
    found
}
