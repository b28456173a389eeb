//! What /proc tells: which processes belong to a test, how much they hold.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A process that carries a mark.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// The process that made it, or that took it over.
    pub parent: u32,
    /// Its executable, empty where the kernel would not say.
    pub exe: PathBuf,
    /// Its arguments, joined by blanks.
    pub arguments: String,
}

/// Every process whose executable, arguments, environment, working directory or open files name `mark`, and all
/// their descendants; not ourselves, and none that has ended and waits to be reaped.
///
/// Descendants, because a sandbox's own processes carry nothing of ours: bwrap runs with an empty environment and
/// its arguments in a descriptor. Open files, because one that was cut off half-made has lost its parent, too: a
/// bwrap that waits for one that was killed still holds the descriptor of its helper.
pub fn marked(mark: &Path) -> Vec<Process> {
    let mark = mark.as_os_str().as_encoded_bytes();
    let holds = |bytes: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut all = Vec::new();
    let mut ours = BTreeSet::new();
    for entry in entries.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let Some(parent) = parent(pid) else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        let folder = entry.path();
        let exe = fs::read_link(folder.join("exe")).unwrap_or_default();
        let cwd = fs::read_link(folder.join("cwd")).unwrap_or_default();
        let arguments = fs::read(folder.join("cmdline")).unwrap_or_default();
        let environment = fs::read(folder.join("environ")).unwrap_or_default();
        if holds(exe.as_os_str().as_encoded_bytes())
            || holds(cwd.as_os_str().as_encoded_bytes())
            || holds(&arguments)
            || holds(&environment)
            || open_files(pid).any(|file| holds(file.as_os_str().as_encoded_bytes()))
        {
            ours.insert(pid);
        }
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        let arguments = arguments.trim_end().to_owned();
        all.push(Process {
            pid,
            parent,
            exe,
            arguments,
        });
    }
    loop {
        let known = ours.len();
        for process in &all {
            if ours.contains(&process.parent) {
                ours.insert(process.pid);
            }
        }
        if ours.len() == known {
            break;
        }
    }
    all.into_iter()
        .filter(|process| ours.contains(&process.pid))
        .collect()
}

/// The parent of a process that is there and has not ended.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.next()?.parse().ok()
}

/// How many descriptors a process holds; none when it is gone.
pub fn descriptors(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// What those descriptors are open on: `/path`, `socket:[number]`.
pub fn open_files(pid: u32) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
}

/// A figure of /proc/PID/status in bytes: `VmRSS` (resident now), `VmHWM` (the most it ever was).
pub fn memory(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kibibytes * 1024)
}

/// How many bytes a process has written so far, to whatever.
pub fn written(pid: u32) -> Option<u64> {
    fs::read_to_string(format!("/proc/{pid}/io"))
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix("wchar: "))?
        .parse()
        .ok()
}

/// Whether a process is there and has not ended.
pub fn lives(pid: u32) -> bool {
    parent(pid).is_some()
}

/// Sends a signal; that the process is gone is no error.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Lines of any process's mount table that name `mark`, each once.
///
/// Of any process, because a sandbox's mounts are in a namespace of its own: one that outlived its launch shows in
/// the tables of whoever still is in it.
pub fn mounts(mark: &Path) -> BTreeSet<String> {
    let mark = mark.to_string_lossy();
    let mut found = BTreeSet::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        // Other users' tables cannot be read, and whatever has no table is no process.
        let table = fs::read_to_string(process.path().join("mountinfo")).unwrap_or_default();
        let lines = table.lines().filter(|line| line.contains(&*mark));
        found.extend(lines.map(str::to_owned));
    }
    found
}

/// Lines of our network namespace's table of Unix sockets (proc_net(5)) that name `mark`: those that a process
/// still holds, whether or not a file of theirs is left.
pub fn unix_sockets(mark: &Path) -> Vec<String> {
    let mark = mark.to_string_lossy();
    fs::read_to_string("/proc/net/unix")
        .unwrap_or_default()
        .lines()
        .filter(|line| line.contains(&*mark))
        .map(str::to_owned)
        .collect()
}
