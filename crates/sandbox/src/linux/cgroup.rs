//! Limits that only a cgroup can hold (cgroups(7), cgroup-v2.rst): memory and CPU of a whole launch, and for root the
//! number of its processes.
//!
//! An ordinary user may make cgroups only below one that was *delegated* to them: systemd does so for a user unit with
//! `Delegate=yes`. A cgroup whose children have controllers may hold no processes itself ("no internal processes"), so
//! the daemon moves into a leaf of its own first.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::process;
use crate::{LaunchError, Limits};

/// The daemon's own cgroup below the delegated one. systemd's DelegateSubgroup= may have put us there already.
const LEAF: &str = "srtd";
/// How the cgroups of launches begin; the daemon's pid, its start time and a number follow.
const PREFIX: &str = "srt-launch-";
/// What launches are limited by.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// The period of `cpu.max`, in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;
/// Processes of a launch that are not the server's: stage 1, which hands the exit status on, bubblewrap, and
/// process 1 inside.
const OURS: u64 = 3;
/// How long the processes of a killed cgroup may take to go.
const PATIENCE: Duration = Duration::from_secs(5);

/// A cgroup below which we may make others.
#[derive(Debug)]
pub(crate) struct Delegation {
    root: PathBuf,
    /// What its children can be limited by.
    controllers: BTreeSet<String>,
    /// The cgroups of launches that were found at the beginning and removed.
    swept: Vec<String>,
}

/// The cgroup that was delegated to this process, ready for others below it, or why there is none. Looked for once.
pub(crate) fn ours() -> Result<&'static Delegation, &'static str> {
    static OURS: OnceLock<Result<Delegation, String>> = OnceLock::new();
    OURS.get_or_init(|| {
        let root = delegated()?;
        let me = std::process::id();
        let mut delegation =
            Delegation::enable(root, |pid| pid == me || process::descends_from(pid, me))?;
        // One of our own pid is of the program that was this process before us: this one has made none yet.
        delegation.swept =
            delegation.sweep(|pid, start| pid != me && process::is_alive(pid, start));
        Ok(delegation)
    })
    .as_ref()
    .map_err(String::as_str)
}

/// The controllers of the cgroup that is delegated to this process, or why there is none. Nothing is changed.
pub(crate) fn find() -> Result<BTreeSet<String>, String> {
    Ok(words(&delegated()?.join("cgroup.controllers")))
}

fn delegated() -> Result<PathBuf, String> {
    let text = |path: &str| {
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))
    };
    let mount =
        mount_point(&text("/proc/self/mountinfo")?).ok_or("cgroup v2 is not mounted here")?;
    let own = own_path(&text("/proc/self/cgroup")?).ok_or("this process is in no cgroup v2")?;
    delegated_root(&mount, &own)
}

/// Where the hierarchy is mounted (proc_pid_mountinfo(5): the fifth field, and the file system's type after the
/// dash). Blanks in it stand as `\040`; no system mounts it at such a place.
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ").then_some(())?;
        mount.split(' ').nth(4).map(PathBuf::from)
    })
}

/// The path in it of a process (cgroups(7): hierarchy 0 is version 2).
fn own_path(cgroup: &str) -> Option<String> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    // Outside of what our mount shows.
    (!path.starts_with("/..")).then(|| path.to_owned())
}

impl Delegation {
    /// Moves what is in the cgroup into a leaf, and enables the controllers for the cgroups beside.
    ///
    /// A terminal's cgroup may be written as well, though nobody delegated it; its other programs are not ours to move.
    fn enable(root: PathBuf, is_ours: impl Fn(u32) -> bool) -> Result<Self, String> {
        if !words(&root.join("cgroup.procs"))
            .iter()
            .all(|pid| pid.parse().is_ok_and(&is_ours))
        {
            return Err(format!(
                "srtd shares the cgroup {} with other programs",
                root.display()
            ));
        }
        let available = words(&root.join("cgroup.controllers"));
        let wanted: Vec<&str> = CONTROLLERS
            .into_iter()
            .filter(|name| available.contains(*name))
            .collect();
        let mut enabled = words(&root.join("cgroup.subtree_control"));
        if wanted.iter().any(|name| !enabled.contains(*name)) {
            enable(&root, &wanted).map_err(|error| {
                format!(
                    "cannot enable {} below {}: {error}",
                    wanted.join(", "),
                    root.display()
                )
            })?;
            enabled = words(&root.join("cgroup.subtree_control"));
        }
        Ok(Self {
            root,
            controllers: enabled,
            swept: Vec::new(),
        })
    }

    /// Makes the cgroup of a launch.
    fn group(&self, limits: &Limits) -> io::Result<Group> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let me = std::process::id();
        let name = format!(
            "{PREFIX}{me}-{}-{}",
            process::start_time(me).unwrap_or(0),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let group = Group {
            path: self.root.join(name),
            memory: limits.memory,
        };
        std::fs::create_dir(&group.path)?;
        // Dropped where a limit cannot be written, and with it removed.
        if let Some(bytes) = limits.memory {
            group.write("memory.max", &bytes.to_string())?;
            // What does not fit must not go to the disk in its place. A kernel without swap has no such file.
            if group.path.join("memory.swap.max").exists() {
                group.write("memory.swap.max", "0")?;
            }
            // One of its processes gone, a server is no longer what was launched.
            group.write("memory.oom.group", "1")?;
        }
        if let Some(percent) = limits.cpu_percent {
            let quota = (u64::from(percent) * PERIOD / 100).max(1000);
            group.write("cpu.max", &format!("{quota} {PERIOD}"))?;
        }
        if let Some(processes) = limits.processes
            && self.controllers.contains("pids")
        {
            group.write("pids.max", &processes.saturating_add(OURS).to_string())?;
        }
        Ok(group)
    }

    /// The names of those that were removed at the beginning.
    pub(crate) fn swept(&self) -> &[String] {
        &self.swept
    }

    /// Removes the cgroups of launches whose daemon is gone, and whatever still runs in them. Their names.
    fn sweep(&self, is_alive: impl Fn(u32, u64) -> bool) -> Vec<String> {
        let mut swept = Vec::new();
        for entry in std::fs::read_dir(&self.root)
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
                continue;
            };
            let mut numbers = rest.split('-').map(str::parse::<u64>);
            let (Some(Ok(pid)), Some(Ok(start))) = (numbers.next(), numbers.next()) else {
                continue;
            };
            if !u32::try_from(pid).is_ok_and(|pid| is_alive(pid, start)) {
                drop(Group {
                    path: entry.path(),
                    memory: None,
                });
                swept.extend(name.to_str().map(str::to_owned));
            }
        }
        swept
    }
}

/// The delegated cgroup of a process in `own`, in the hierarchy at `mount`.
fn delegated_root(mount: &Path, own: &str) -> Result<PathBuf, String> {
    let here = mount.join(own.trim_start_matches('/'));
    let above = here.parent().filter(|_| here.ends_with(LEAF));
    let root = match above.filter(|above| is_delegated(above)) {
        Some(above) => above.to_owned(),
        None if is_delegated(&here) => here,
        None => {
            return Err(format!(
                "the cgroup {} is not delegated to this user",
                here.display()
            ));
        }
    };
    // Only the hierarchy's own root has no type. It is the machine's, whoever may write it.
    if !root.join("cgroup.type").exists() {
        return Err("srtd is in the machine's own cgroup, which is not delegated".into());
    }
    Ok(root)
}

/// Whether we may make cgroups below and move processes between them (cgroup-v2.rst, "Model of Delegation").
fn is_delegated(cgroup: &Path) -> bool {
    use rustix::fs::{Access, access};
    ["", "cgroup.procs", "cgroup.subtree_control"]
        .iter()
        .all(|file| access(cgroup.join(file), Access::WRITE_OK).is_ok())
}

/// Empties `root` into its leaf, then enables controllers below it.
fn enable(root: &Path, controllers: &[&str]) -> io::Result<()> {
    let leaf = root.join(LEAF);
    match std::fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let wanted: Vec<String> = controllers.iter().map(|name| format!("+{name}")).collect();
    let mut last = None;
    // Between the look and the move a process may have forked: look again.
    for _ in 0..10 {
        for pid in words(&root.join("cgroup.procs")) {
            match std::fs::write(leaf.join("cgroup.procs"), &pid) {
                // It has ended.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                other => other?,
            }
        }
        match std::fs::write(root.join("cgroup.subtree_control"), wanted.join(" ")) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => last = Some(error),
            other => return other,
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::ResourceBusy.into()))
}

fn words(path: &Path) -> BTreeSet<String> {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// The cgroup of one launch. Dropping it kills what is in it and removes it.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
    memory: Option<u64>,
}

impl Group {
    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        let path = self.path.join(file);
        std::fs::write(&path, text)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    /// Moves a process in; what it starts from now on is in it too.
    pub(crate) fn add(&self, pid: u32) -> io::Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// The memory limit, in bytes, if the kernel killed for it.
    pub(crate) fn out_of_memory(&self) -> Option<u64> {
        let killed = events(&self.path.join("memory.events"), "oom_kill");
        self.memory.filter(|_| killed > 0)
    }

    /// Kills every process in it (Linux 5.14; before that the pid namespace's end has to do).
    fn kill(&self) {
        let _ = std::fs::write(self.path.join("cgroup.kill"), "1");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        let begun = Instant::now();
        loop {
            match std::fs::remove_dir(&self.path) {
                // Its last process is on its way.
                Err(error)
                    if error.raw_os_error() == Some(libc::EBUSY) && begun.elapsed() < PATIENCE =>
                {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::error!(%error, cgroup = %self.path.display(), "cannot remove a launch's cgroup");
                    return;
                }
                _ => return,
            }
        }
    }
}

/// A number of a file of `name number` lines.
fn events(path: &Path, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        .unwrap_or(0)
}

/// A limit that this host cannot enforce, with its key and why.
type Missing = (&'static str, String);

/// What cannot be enforced of `limits`, given the delegation.
fn missing(limits: &Limits, delegation: Result<&Delegation, &str>, root: bool) -> Vec<Missing> {
    let lacks = |controller: &str| match delegation {
        Err(why) => Some(why.to_owned()),
        Ok(delegation) if delegation.controllers.contains(controller) => None,
        Ok(delegation) => Some(format!(
            "the controller {controller} is not delegated to {}",
            delegation.root.display()
        )),
    };
    let mut missing = Vec::new();
    if limits.memory.is_some() {
        missing.extend(lacks("memory").map(|why| ("runtime.memoryMax", why)));
    }
    if limits.cpu_percent.is_some() {
        missing.extend(lacks("cpu").map(|why| ("runtime.cpuQuota", why)));
    }
    // RLIMIT_NPROC binds everybody but root (setrlimit(2)), for whom only the cgroup counts.
    if limits.processes.is_some() && root {
        missing.extend(lacks("pids").map(|why| {
            let why = format!("RLIMIT_NPROC does not bind root, and {why}");
            ("runtime.maxProcesses", why)
        }));
    }
    missing
}

/// The cgroup that the limits of a launch need, if they need one, and what is left out where that is allowed.
///
/// # Errors
/// When a limit cannot be enforced and must be.
pub(crate) fn for_launch(limits: &Limits) -> Result<(Option<Group>, Vec<String>), LaunchError> {
    let root = nix::unistd::geteuid().is_root();
    let needs_one = limits.memory.is_some()
        || limits.cpu_percent.is_some()
        || limits.processes.is_some() && root;
    if !needs_one {
        return Ok((None, Vec::new()));
    }
    let delegation = ours();
    let mut limits = *limits;
    let mut notes = Vec::new();
    for (key, why) in missing(&limits, delegation, root) {
        if !limits.best_effort {
            return Err(LaunchError::Limit { key, why });
        }
        notes.push(format!("{key} is not enforced: {why}"));
        match key {
            "runtime.memoryMax" => limits.memory = None,
            "runtime.cpuQuota" => limits.cpu_percent = None,
            _ => limits.processes = None,
        }
    }
    let group = match delegation {
        Ok(delegation) if notes.len() < 3 => Some(delegation.group(&limits).map_err(|error| {
            LaunchError::io(crate::Step::Limits, "the launch's cgroup", &error)
        })?),
        _ => None,
    };
    Ok((group, notes))
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
