//! What a server tried to do with files and was refused, for the record.
//!
//! A thread of its own reads the path of each call and lets the call go on; what takes longer comes after. What was seen is not evidence against a server that wants to be seen
//! wrongly (it can change the path meanwhile); what it could do was decided elsewhere.

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use super::notify::{Listener, Notification, Use, call};
use crate::{Access, SandboxSpec, Violation};

/// Different violations of one launch that are told; what comes beyond is counted by the last report.
const MOST: usize = 1024;

/// `PATH_MAX` (limits.h).
const LONGEST_PATH: usize = 4096;

/// Where programs and their libraries are: readable in every sandbox, and opened more than anything else. A link
/// from there to a hidden place would be followed by the kernel to a refusal that is not told here.
const PLAIN: &[&str] = &[
    "/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/proc", "/sys", "/dev",
];

/// Observes until no process of the sandbox is left. `report` must not wait.
pub(crate) fn observe(listener: OwnedFd, spec: &SandboxSpec, report: &dyn Fn(Violation)) {
    let listener = Listener::new(listener);
    let mut seen: HashMap<(PathBuf, bool), (String, u64)> = HashMap::new();
    let mut beyond = 0;
    while let Ok(Some(notification)) = listener.next() {
        let used = read(&notification);
        // Where the name itself is refused, the caller is looked at while it waits: it may be gone right after.
        let mut violation = None;
        let mut open = None;
        match used {
            Some(used) if refuses(spec, &used, &used.path) => {
                violation = told(used, notification.pid)
            }
            other => open = other,
        }
        listener.let_go_on(notification.id);
        let followed = open.and_then(|used| follow(spec, used));
        let Some(violation) = violation.or_else(|| told(followed?, notification.pid)) else {
            continue;
        };
        let key = (violation.path.clone(), violation.write);
        if let Some((_, times)) = seen.get_mut(&key) {
            *times += 1;
        } else if seen.len() < MOST {
            seen.insert(key, (violation.program.clone(), 1));
            report(violation);
        } else {
            beyond += 1;
        }
    }
    for ((path, write), (program, times)) in seen {
        if times > 1 {
            report(Violation {
                path,
                write,
                program,
                times: times - 1,
                again: true,
            });
        }
    }
    if beyond > 0 {
        report(Violation {
            path: "(other paths)".into(),
            write: false,
            program: String::new(),
            times: beyond,
            again: true,
        });
    }
}

/// A use of a path.
#[derive(Debug, PartialEq, Eq)]
struct Used {
    path: PathBuf,
    write: bool,
    create: bool,
}

fn read(notification: &Notification) -> Option<Used> {
    let call = call(notification.number)?;
    let arguments = &notification.arguments;
    let pid = notification.pid;
    let (write, create) = match call.use_ {
        Use::Write => (true, false),
        Use::Create => (true, true),
        Use::Flags(argument) => writes(arguments[argument]),
        Use::How(argument) => {
            let mut flags = [0; 8];
            (copy(pid, arguments[argument], &mut flags) == flags.len()).then_some(())?;
            writes(u64::from_ne_bytes(flags))
        }
    };
    let mut bytes = [0; LONGEST_PATH];
    let length = copy(pid, arguments[call.path], &mut bytes);
    let end = bytes[..length].iter().position(|byte| *byte == 0)?;
    let named = Path::new(std::str::from_utf8(&bytes[..end]).ok()?);
    let path = if named.is_absolute() {
        named.to_owned()
    } else {
        let folder = match call.folder.map(|index| arguments[index] as i32) {
            None | Some(libc::AT_FDCWD) => format!("/proc/{pid}/cwd"),
            Some(fd) => format!("/proc/{pid}/fd/{fd}"),
        };
        std::fs::read_link(folder).ok()?.join(named)
    };
    Some(Used {
        path: normal(&path),
        write,
        create,
    })
}

fn writes(flags: u64) -> (bool, bool) {
    let flags = flags as i32;
    let write =
        flags & libc::O_ACCMODE != libc::O_RDONLY || flags & (libc::O_CREAT | libc::O_TRUNC) != 0;
    (write, false)
}

/// Whether the spec refuses this use of a path.
fn refuses(spec: &SandboxSpec, used: &Used, path: &Path) -> bool {
    match spec.access(path) {
        Access::None => true,
        Access::Read => used.write,
        Access::ReadWrite => false,
    }
}

/// The name is fine; what it leads to may not be.
fn follow(spec: &SandboxSpec, used: Used) -> Option<Used> {
    if PLAIN.iter().any(|plain| used.path.starts_with(plain)) {
        return None;
    }
    let path = std::fs::canonicalize(&used.path).ok()?;
    (path != used.path && refuses(spec, &used, &path)).then_some(Used { path, ..used })
}

/// What is told of a refused use.
fn told(used: Used, pid: u32) -> Option<Violation> {
    // Making what is there already fails for that reason, and programs do it as a matter of course.
    if used.create && used.path.exists() {
        return None;
    }
    let program = program(pid).unwrap_or_default();
    Some(Violation {
        path: used.path,
        write: used.write,
        program: program.trim_end().to_owned(),
        times: 1,
        again: false,
    })
}

/// The name of the program whose thread this is: threads have names of their own.
fn program(thread: u32) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    std::fs::read_to_string(format!("/proc/{}/comm", process.trim())).ok()
}

/// Copies from another process's memory as much as is there, page by page: where one is missing, the bytes before
/// it still come (process_vm_readv(2): partial transfers end at an element).
fn copy(pid: u32, address: u64, into: &mut [u8]) -> usize {
    let (Ok(pid), Ok(address)) = (i32::try_from(pid), usize::try_from(address)) else {
        return 0;
    };
    let page = rustix::param::page_size();
    let mut remote = Vec::with_capacity(into.len() / page + 2);
    let mut base = address;
    let Some(end) = address.checked_add(into.len()) else {
        return 0;
    };
    while base < end {
        let next = (base / page + 1) * page;
        remote.push(RemoteIoVec {
            base,
            len: next.min(end) - base,
        });
        base = next;
    }
    process_vm_readv(Pid::from_raw(pid), &mut [IoSliceMut::new(into)], &remote).unwrap_or(0)
}

/// Without `.` and `..`, lexically.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_copied_up_to_where_it_ends() {
        let text = b"/some/path\0";
        let mut bytes = [0; LONGEST_PATH];
        let length = copy(std::process::id(), text.as_ptr() as u64, &mut bytes);
        assert!(bytes[..length].starts_with(text));
        assert_eq!(copy(std::process::id(), 8, &mut bytes), 0);
        assert_eq!(copy(std::process::id(), u64::MAX - 1, &mut bytes), 0);
    }

    #[test]
    fn flags_tell_writing() {
        for (flags, write) in [
            (libc::O_RDONLY, false),
            (libc::O_RDONLY | libc::O_DIRECTORY, false),
            (libc::O_WRONLY, true),
            (libc::O_RDWR, true),
            (libc::O_RDONLY | libc::O_CREAT, true),
        ] {
            assert_eq!(writes(flags as u64).0, write, "{flags:#o}");
        }
        assert_eq!(normal(Path::new("/a/./b/../c")), Path::new("/a/c"));
    }
}
