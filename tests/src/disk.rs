//! Disks that fail: a small one that is filled, one that may not be written, and one that answers with errors.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::{Beside, SOON, World};

impl World {
    /// The daemon's state folder.
    pub fn state(&self) -> PathBuf {
        self.path("home/.local/state/srt")
    }

    /// A world whose daemon has a disk of so many MiB for its state alone. Only what runs by [`World::bare`] sees it.
    ///
    /// # Panics
    ///
    /// As [`World::with_network`].
    pub fn with_disk(names: &[(&str, &str)], size: u32) -> Self {
        let disk = Some(size);
        let beside = Beside {
            disk,
            ..Beside::default()
        };
        Self::with_network_and(names, &beside)
    }

    /// Fills that disk to its last page.
    pub fn fill_disk(&self) {
        self.reshape("dd if=/dev/zero of=\"$STATE/ballast\" bs=4096 2>/dev/null; true");
    }

    /// Makes room again.
    pub fn free_disk(&self) {
        self.reshape("rm \"$STATE/ballast\"");
    }

    /// Makes that disk read-only; the kernel refuses that while a file on it is open for writing.
    pub fn seal_disk(&self) {
        self.reshape("mount -o remount,ro \"$STATE\"");
    }

    /// A line for the shell that made this world's network and mounts.
    ///
    /// # Panics
    ///
    /// When it fails.
    #[track_caller]
    pub fn reshape(&self, line: &str) {
        let holder = self.network.as_ref().expect("a world with a network");
        let mut holder = holder.lock().expect("no test panics holding it");
        holder.send(line);
        let said = holder.line(SOON);
        assert_eq!(said.as_deref(), Some(&b"done\n"[..]), "{}", holder.stderr());
    }

    /// Has the C library of whatever is started from now on answer writes of the database as [`World::fault`] says: stands in
    /// for a disk that fails, which no test has.
    ///
    /// # Panics
    ///
    /// When the C compiler, which SQLite needs too, does not make it.
    pub fn with_faults(&mut self) {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/faults/disk.c");
        let library = self.path("faults.so");
        let made = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&library)
            .args([source, "-ldl"])
            .output()
            .unwrap_or_else(|error| panic!("cannot run cc: {error}"));
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{said}");
        self.set("LD_PRELOAD", &library.display().to_string());
        let fault = self.path("fault").display().to_string();
        self.set("SRT_TEST_FAULT", &fault);
    }

    /// What the disk answers from now on: `write 5` is EIO for every write, `sync 5` for every sync; none: it is well.
    ///
    /// # Panics
    ///
    /// When the file that says so cannot be written.
    pub fn fault(&self, fault: Option<&str>) {
        let place = self.path("fault");
        match fault {
            // In one step: whoever reads it sees the whole of it.
            Some(fault) => {
                fs::write(place.with_extension("new"), fault).expect("a file in our folder");
                fs::rename(place.with_extension("new"), place).expect("a file in our folder");
            }
            None => fs::remove_file(place).expect("the fault that was set"),
        }
    }
}
