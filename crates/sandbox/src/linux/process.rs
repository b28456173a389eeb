//! Processes of a launch, by what cannot be mistaken for another: a pidfd, or a pid with its start time.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::Usage;

/// The processes of one sandbox.
#[derive(Clone, Debug)]
pub struct Processes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    server: u32,
    start_time: u64,
    server_fd: OwnedFd,
    /// Process 1 of the sandbox: its end is the end of every other.
    init: u32,
    init_start: u64,
    init_fd: AsyncFd<OwnedFd>,
}

impl Processes {
    /// Takes hold of a sandbox by its server's pid on the host.
    ///
    /// # Errors
    /// When it is already gone.
    pub(crate) fn of(server: u32) -> io::Result<Self> {
        let stat = Stat::read(server).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let server_fd = open(server)?;
        let init = stat.parent;
        let init_fd = open(init)?;
        let init_start = Stat::read(init)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?
            .start_time;
        // SAFETY: the descriptor is an `OwnedFd` that the `AsyncFd` takes: it stays open, and the same, until
        // the `AsyncFd` is dropped, which deregisters it first.
        let init_fd = unsafe { AsyncFd::register_with_interest(init_fd, Interest::READABLE) }
            .map_err(|error| io::Error::other(error.to_string()))?;
        // The pid was right when the kernel told it to us; if it is still right now that we hold it, it is ours.
        if Stat::read(server).map(|now| (now.start_time, now.parent))
            != Some((stat.start_time, init))
        {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Self(Arc::new(Inner {
            server,
            start_time: stat.start_time,
            server_fd,
            init,
            init_start,
            init_fd,
        })))
    }

    /// The server's process id on the host.
    pub fn pid(&self) -> u32 {
        self.0.server
    }

    /// When the server started, in clock ticks since boot (proc_pid_stat(5), field 22).
    pub fn start_time(&self) -> u64 {
        self.0.start_time
    }

    /// The sandbox's process 1 on the host, and when it started, as [`Self::start_time`]: killed, it takes the others along.
    pub fn init(&self) -> Option<(u32, u64)> {
        Some((self.0.init, self.0.init_start))
    }

    /// Sends a signal to the server. One that has ended is no error.
    pub fn signal(&self, signal: i32) {
        if let Some(signal) = Signal::from_named_raw(signal) {
            let _ = pidfd_send_signal(&self.0.server_fd, signal);
        }
    }

    /// Sends a signal to every process of the sandbox but its process 1.
    pub fn signal_all(&self, signal: i32) {
        let Some(signal) = Signal::from_named_raw(signal) else {
            return;
        };
        for pid in self.members() {
            if pid != self.0.init
                && let Ok(fd) = open(pid)
                // Between the look and the open the pid may have passed to another: look again.
                && descends_from(pid, self.0.init)
            {
                let _ = pidfd_send_signal(&fd, signal);
            }
        }
    }

    /// Kills every process of the sandbox, by killing its process 1.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(self.0.init_fd.get_ref(), Signal::KILL);
    }

    /// Waits until no process of the sandbox is left.
    pub async fn gone(&self) {
        // A pidfd becomes readable when the process ends (pidfd_open(2)); process 1 of a pid namespace ends
        // after all others.
        let _ = self.0.init_fd.readable().await;
    }

    /// Every process of the sandbox, its process 1 included.
    fn members(&self) -> Vec<u32> {
        let table = Table::read();
        table.below(self.0.init).iter().map(|one| one.pid).collect()
    }
}

/// What each of these sandboxes uses, in their order, by one look at the host's processes. It reads all of `/proc`:
/// not for an async task.
pub fn usage<'a>(sandboxes: impl IntoIterator<Item = &'a Processes>) -> Vec<Usage> {
    let table = Table::read();
    let page = rustix::param::page_size() as u64;
    let tick = 1.0 / rustix::param::clock_ticks_per_second().max(1) as f64;
    let of = |processes: &Processes| {
        let members = table.below(processes.0.init);
        // Process 1 is ours, not the server's.
        let servers = members.iter().filter(|one| one.pid != processes.0.init);
        Usage {
            memory: members.iter().map(|one| one.stat.pages).sum::<u64>() * page,
            cpu_seconds: members.iter().map(|one| one.stat.ticks).sum::<u64>() as f64 * tick,
            processes: u32::try_from(servers.count()).unwrap_or(u32::MAX),
        }
    };
    sandboxes.into_iter().map(of).collect()
}

/// The host's processes at one moment, by parent.
struct Table(HashMap<u32, Vec<One>>);

#[derive(Clone, Copy)]
struct One {
    pid: u32,
    stat: Stat,
}

impl Table {
    fn read() -> Self {
        let mut children: HashMap<u32, Vec<One>> = HashMap::new();
        for pid in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            if let Some(pid) = pid.file_name().to_str().and_then(|name| name.parse().ok())
                && let Some(stat) = Stat::read(pid)
            {
                let one = One { pid, stat };
                children.entry(stat.parent).or_default().push(one);
            }
        }
        Self(children)
    }

    /// A process 1 and all of its sandbox: orphans inside are given to it, so all descend from it.
    fn below(&self, init: u32) -> Vec<One> {
        let first = Stat::read(init).map(|stat| One { pid: init, stat });
        let mut members: Vec<One> = first.into_iter().collect();
        let mut next = 0;
        while let Some(one) = members.get(next).copied() {
            members.extend(self.0.get(&one.pid).into_iter().flatten());
            next += 1;
        }
        members
    }
}

/// Closes every descriptor but standard input, output and error, which whoever started us left open by mistake: they
/// would stay open for as long as we live, and whoever waits for their end would wait.
///
/// For the first line of `main`, before anything is opened.
pub fn close_inherited() {
    // SAFETY: close_range(2) takes no pointers. Called before this process opened anything, there is no owner in it
    // whose descriptor is closed.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
}

/// Whether a process is there that has this pid and started at this time. One that has ended and waits for its parent to
/// notice is not.
pub fn is_alive(pid: u32, start_time: u64) -> bool {
    Stat::read(pid).is_some_and(|stat| stat.start_time == start_time && !stat.ended)
}

/// Kills a process if it is the one that started at this time. Whether it was there.
pub fn kill_if(pid: u32, start_time: u64) -> bool {
    let Ok(fd) = open(pid) else { return false };
    is_alive(pid, start_time) && pidfd_send_signal(&fd, Signal::KILL).is_ok()
}

/// When a process started, in clock ticks since boot.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    Stat::read(pid).map(|stat| stat.start_time)
}

/// The device of a process's controlling terminal: major and minor number. `None` where it has none.
pub(crate) fn terminal(pid: u32) -> Option<(u32, u32)> {
    let number = u64::from(Stat::read(pid)?.terminal);
    // As struct stat has it (makedev(3)) up to 20 bits of the minor number.
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    (number != 0).then_some((major, minor))
}

fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(pidfd_open(pid, PidfdFlags::NONBLOCK)?)
}

pub(crate) fn descends_from(mut pid: u32, ancestor: u32) -> bool {
    while let Some(stat) = Stat::read(pid) {
        if stat.parent == ancestor {
            return true;
        }
        if stat.parent <= 1 {
            return false;
        }
        pid = stat.parent;
    }
    false
}

/// What is needed of `/proc/PID/stat` (proc_pid_stat(5)).
#[derive(Clone, Copy)]
struct Stat {
    /// Zombie or dead (proc_pid_stat(5)).
    ended: bool,
    parent: u32,
    /// The controlling terminal's device; 0 where there is none.
    terminal: u32,
    start_time: u64,
    /// Time on a CPU in clock ticks, of children that were waited for, too: one that ended is counted by its parent.
    ticks: u64,
    /// Resident.
    pages: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The second field is a name in parentheses that may hold anything: the last `)` ends it.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields = rest.split_ascii_whitespace().collect::<Vec<_>>();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            ended: matches!(fields.first(), Some(&("Z" | "X"))),
            parent: fields.get(1)?.parse().ok()?,
            // Written as a signed number.
            terminal: fields.get(4)?.parse::<i32>().ok()?.cast_unsigned(),
            start_time: number(19)?,
            // utime, stime, cutime, cstime: fields 14 to 17.
            ticks: (11..=14).filter_map(number).sum(),
            pages: number(21).unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_confuse() {
        let text = format!(
            "7 (a) b (c) S 42 7 7 34817 {} 1 2 3 4 {} 99 8192 5",
            ["0"; 6].join(" "),
            ["0"; 4].join(" ")
        );
        let stat = Stat::parse(&text).unwrap();
        assert_eq!((stat.parent, stat.start_time), (42, 99));
        assert_eq!((stat.ticks, stat.pages), (10, 5));
        assert_eq!(stat.terminal, 0x8801);
    }

    #[test]
    fn a_pid_is_not_trusted_without_its_start_time() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let stat = Stat::read(child.id()).unwrap();
        assert_eq!(stat.parent, std::process::id());
        assert!(!kill_if(child.id(), stat.start_time + 1));
        assert!(child.try_wait().unwrap().is_none());
        assert!(kill_if(child.id(), stat.start_time));
        child.wait().unwrap();
    }
}
