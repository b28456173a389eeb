//! What /proc tells: which processes belong to a test, how much they hold.

use std::fs;
use std::path::{Path, PathBuf};

/// A process that carries a mark.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its executable, empty where the kernel would not say.
    pub exe: PathBuf,
    /// Its arguments, joined by blanks.
    pub arguments: String,
}

/// Every process whose executable, arguments, environment or working directory names `mark`; not ourselves, and
/// not our own children that have ended and wait for us.
pub fn marked(mark: &Path) -> Vec<Process> {
    let mark = mark.as_os_str().as_encoded_bytes();
    let holds = |bytes: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir("/proc") else {
        return found;
    };
    for entry in entries.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
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
        {
            let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
            found.push(Process {
                pid,
                exe,
                arguments: arguments.trim_end().to_owned(),
            });
        }
    }
    found
}

/// How many descriptors a process holds; none when it is gone.
pub fn descriptors(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
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
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| Some(!stat.rsplit_once(") ")?.1.starts_with('Z')))
        .unwrap_or(false)
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

/// Lines of our mount table that name `mark`.
pub fn mounts(mark: &Path) -> Vec<String> {
    let mark = mark.to_string_lossy();
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap_or_default()
        .lines()
        .filter(|line| line.contains(&*mark))
        .map(str::to_owned)
        .collect()
}
