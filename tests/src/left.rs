//! What launches have on the host, for tests that look whether it goes with them.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
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
