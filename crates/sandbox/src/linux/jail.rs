//! `srt-jail`: the two stages that run between the daemon and the server. Single-threaded, no async runtime.
//!
//! Each step stands in the order that the kernel asks for, preceded by the reason, and fails in its own name.

use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, pipe2};

use super::handshake::{Argument, Go, Report, Setup, receive, send};
use super::{broker, landlock, limits, listeners, netns, seccomp, terminal};
use crate::{Step, signals};

/// A failed step.
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) errno: i32,
    pub(super) message: String,
}

pub(super) fn failed<E: Into<io::Error>>(
    step: Step,
    what: impl std::fmt::Display,
) -> impl FnOnce(E) -> Failure {
    move |error| {
        let error = error.into();
        Failure {
            step,
            errno: error.raw_os_error().unwrap_or(0),
            message: format!("{what}: {error}"),
        }
    }
}

/// The program `srt-jail`. Returns only when something failed: the exit status.
pub fn jail_main() -> i32 {
    let arguments: Vec<String> = std::env::args().collect();
    // Neither stage may be looked into or have its descriptors taken by the user's other processes.
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        eprintln!("srt-jail: cannot make myself undumpable: {error}");
        return 1;
    }
    let (stream, result) = match arguments.get(1).map(String::as_str) {
        Some("outside") => {
            // SAFETY: descriptor 0 is open, it was given to us as standard input, and nothing else in this
            // process uses it: std's stdin is never touched.
            let given = UnixStream::from(unsafe { OwnedFd::from_raw_fd(0) });
            // Away from 0, which becomes /dev/null for bubblewrap.
            let Ok(stream) = given.try_clone() else {
                return 1;
            };
            drop(given);
            let result = outside(&stream);
            (stream, result)
        }
        Some("inside") => {
            let Some(fd) = arguments
                .get(2)
                .and_then(|text| text.parse::<RawFd>().ok())
                .filter(|fd| *fd > 2)
            else {
                return usage();
            };
            // SAFETY: stage 1 left this very number open for us across bubblewrap, and passed it as our
            // argument; nothing else in this process knows it.
            let stream = UnixStream::from(unsafe { OwnedFd::from_raw_fd(fd) });
            let result = inside(&stream);
            (stream, result)
        }
        Some("probe") => return probe(),
        _ => return usage(),
    };
    let Err(Failure {
        step,
        errno,
        message,
    }) = result;
    let _ = send(
        &stream,
        &Report::Failed {
            step,
            errno,
            message,
        },
        &[],
    );
    1
}

fn usage() -> i32 {
    eprintln!(
        "srt-jail is a private helper of srtd; it is of no use on its own\nhint: see \"srt --help\""
    );
    2
}

/// Stage 1, on the host: namespaces, listeners, bubblewrap.
fn outside(stream: &UnixStream) -> Result<Infallible, Failure> {
    // The launch must not outlive the daemon. The parent is a thread that lives as long as the daemon does; if it
    // went before this call, the stream is at its end and `receive` says so.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(failed(Step::Handshake, "PR_SET_PDEATHSIG"))?;
    // Nothing up to the next message depends on the launch: it is done ahead of it.
    enter_network()?;
    let mut opened = listeners::open_standard().map_err(failed(Step::Listeners, "listen"))?;
    let setup: Setup = receive(stream)
        .map_err(failed(Step::Handshake, "setup"))?
        .ok_or_else(|| Failure {
            step: Step::Handshake,
            errno: 0,
            message: "the daemon is gone".into(),
        })?
        .message;
    listeners::open_named(&mut opened, &setup.network)
        .map_err(failed(Step::Listeners, "listen"))?;
    let report = Report::Listening {
        labels: opened.labels.clone(),
        partial: opened.partial.clone(),
    };
    send(stream, &report, &opened.fds()).map_err(failed(Step::Handshake, "listeners"))?;
    // Ours are closed by the exec; the daemon alone accepts.
    if !setup.overlays.is_empty() {
        unshare(CloneFlags::CLONE_NEWNS).map_err(failed(Step::Overlay, "unshare"))?;
    }
    for overlay in &setup.overlays {
        super::overlay::mount(overlay)?;
    }

    // The helper itself is handed on as an open file, so that it need not be visible inside.
    let myself = open("/proc/self/exe", OFlag::O_RDONLY, Mode::empty())
        .map_err(failed(Step::Arguments, "srt-jail"))?;
    let myself = keep(myself).map_err(failed(Step::Arguments, "srt-jail"))?;
    let handshake = stream
        .try_clone()
        .and_then(|copy| keep(copy.into()))
        .map_err(failed(Step::Arguments, "handshake"))?;
    let mut text = Vec::new();
    for argument in &setup.arguments {
        match argument {
            Argument::Text(word) => text.extend(word.as_bytes()),
            Argument::Data(bytes) => text.extend(memory(bytes)?.to_string().as_bytes()),
            Argument::Host(path) => {
                let file = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
                    .map_err(failed(Step::Arguments, path.display()))?;
                let fd = keep(file).map_err(failed(Step::Arguments, path.display()))?;
                text.extend(fd.to_string().as_bytes());
            }
        }
        text.push(0);
    }
    let arguments = memory(&text)?;
    let null = open("/dev/null", OFlag::O_RDWR, Mode::empty())
        .map_err(failed(Step::Stdio, "/dev/null"))?;
    // bubblewrap keeps 0, 1 and 2 open for as long as it lives: they must not be the server's.
    for standard in [0, 1] {
        replace(null.as_raw_fd(), standard).map_err(failed(Step::Stdio, "/dev/null"))?;
    }
    let words = [
        "bwrap",
        "--args",
        &arguments.to_string(),
        "--",
        &format!("/proc/self/fd/{myself}"),
        "inside",
        &handshake.to_string(),
    ]
    .map(|word| CString::new(word).unwrap_or_default());
    let program = c_string(Step::Bubblewrap, setup.bwrap.as_os_str().as_encoded_bytes())?;
    first_of_its_namespace()?;
    // Nothing of the daemon's environment goes any further.
    nix::unistd::execve(&program, &words, &[] as &[CString])
        .map_err(failed(Step::Bubblewrap, setup.bwrap.display()))
}

/// Goes on as process 1 of a pid namespace whose end is the end of everything in it.
///
/// bubblewrap asks to die with its parent only some time after it has forked; a daemon killed in between would leave
/// a process behind that nobody knows. Process 1 of this namespace dies with its parent from the first moment, and
/// the kernel then ends the namespace. The parent stays to hand the exit status on.
fn first_of_its_namespace() -> Result<(), Failure> {
    let fork_failed = |what: &'static str| failed::<nix::Error>(Step::Bubblewrap, what);
    let (alive, hold) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(fork_failed("pipe"))?;
    // SAFETY: this process has a single thread, so the child may do whatever a process may do.
    match unsafe { fork() }.map_err(fork_failed("fork"))? {
        ForkResult::Child => {
            drop(hold);
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
                .map_err(fork_failed("PR_SET_PDEATHSIG"))?;
            // The parent may have gone before the line above: then its end of the pipe is closed.
            match nix::unistd::read(&alive, &mut [0]) {
                Err(nix::Error::EAGAIN) => Ok(()),
                _ => Err(fork_failed("the daemon is gone")(nix::Error::ESRCH)),
            }
        }
        ForkResult::Parent { child } => {
            // SAFETY: every descriptor goes but the pipe's, whose closing tells the child of our end. Nothing below
            // uses any other, and the process exits without dropping their owners.
            unsafe {
                let keep = hold.as_raw_fd().unsigned_abs();
                if keep > 0 {
                    libc::close_range(0, keep - 1, 0);
                }
                libc::close_range(keep + 1, libc::c_uint::MAX, 0);
            }
            let code = loop {
                match waitpid(child, None) {
                    Ok(WaitStatus::Exited(_, code)) => break code,
                    Ok(WaitStatus::Signaled(_, signal, _)) => break 128 + signal as i32,
                    Err(nix::Error::EINTR) | Ok(_) => {}
                    Err(_) => break 1,
                }
            };
            std::process::exit(code);
        }
    }
}

/// Enters a user and a network namespace of our own, in which every address is local; and for children a pid
/// namespace.
fn enter_network() -> Result<(), Failure> {
    // A user namespace comes first: it owns the network namespace, and so gives CAP_NET_ADMIN over it. It cannot
    // be bubblewrap's, which makes a second one inside the first.
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    let namespaces =
        CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID;
    unshare(namespaces).map_err(failed(Step::UserNamespace, "unshare"))?;
    // The map of groups needs setgroups switched off first (user_namespaces(7)). The files belong to root while
    // we are not dumpable, so for these three writes we are.
    let _ = nix::sys::prctl::set_dumpable(true);
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{uid} {uid} 1")),
        ("/proc/self/gid_map", format!("{gid} {gid} 1")),
    ] {
        std::fs::write(file, text).map_err(failed(Step::IdMaps, file))?;
    }
    let _ = nix::sys::prctl::set_dumpable(false);
    netns::set_up().map_err(failed(Step::Routes, "lo"))
}

/// Stage 1 without a launch, for `doctor`: says whether every port is captured, or what failed.
fn probe() -> i32 {
    let tried = enter_network()
        .and_then(|()| listeners::open_standard().map_err(failed(Step::Listeners, "listen")));
    match tried {
        Ok(opened) => {
            match opened.partial {
                None => println!("ok"),
                Some(why) => println!("partial: {why}"),
            }
            0
        }
        Err(failure) => {
            println!("cannot {}: {}", failure.step.what(), failure.message);
            1
        }
    }
}

/// Stage 2, inside: the last restrictions, then the server.
fn inside(stream: &UnixStream) -> Result<Infallible, Failure> {
    send(stream, &Report::Inside, &[]).map_err(failed(Step::Handshake, "inside"))?;
    let received = receive::<Go>(stream)
        .map_err(failed(Step::Handshake, "go"))?
        .ok_or_else(|| Failure {
            step: Step::Handshake,
            errno: 0,
            message: "the launch was given up".into(),
        })?;
    let go = received.message;
    std::env::set_current_dir(&go.cwd).map_err(failed(Step::WorkingDirectory, go.cwd.display()))?;
    are_there(&go.expected)?;
    let program = find(&go)?;

    // The server's own descriptors, then nothing else: everything from 3 on closes at the exec, whose success
    // the daemon learns from the handshake's end.
    let own = if go.on_terminal.contains(&true) {
        let (ours, theirs) = terminal::make(&go.terminal)?;
        send(stream, &Report::Terminal, &[ours.as_raw_fd()])
            .map_err(failed(Step::Handshake, "terminal"))?;
        Some(theirs)
    } else {
        None
    };
    let mut given = received.fds.iter();
    for (standard, on_terminal) in go.on_terminal.into_iter().enumerate() {
        let fd = if on_terminal {
            own.as_ref()
        } else {
            given.next()
        };
        let fd = fd.ok_or_else(|| {
            failed(Step::Stdio, "three descriptors")(io::Error::from(io::ErrorKind::InvalidData))
        })?;
        replace(fd.as_raw_fd(), standard as RawFd).map_err(failed(Step::Stdio, "dup2"))?;
    }
    // SAFETY: close_range(2) with CLOSE_RANGE_CLOEXEC only sets a flag on descriptors; it closes none, so no
    // owner in this process is left with a closed one.
    let marked = unsafe {
        libc::close_range(
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC as libc::c_int,
        )
    };
    if marked != 0 {
        return Err(failed(Step::Stdio, "close_range")(
            io::Error::last_os_error(),
        ));
    }

    // What the server would have found bare: the host's mask, and no signal ignored or blocked. Rust's runtime
    // ignores SIGPIPE, and whoever started the daemon may have ignored others (nohup(1), a shell's `&`): an exec hands
    // that on.
    nix::sys::stat::umask(Mode::from_bits_truncate(go.umask & 0o777));
    signals::to_default();
    SigSet::empty()
        .thread_set_mask()
        .map_err(failed(Step::Exec, "signal mask"))?;

    limits::apply(&go.limits)?;
    // Landlock after the mounts are made, because it forbids mounting; seccomp last, because it forbids the rest.
    nix::sys::prctl::set_no_new_privs().map_err(failed(Step::Seccomp, "no_new_privs"))?;
    landlock::confine_writes(&go.writable)
        .map_err(|error| failed(Step::Landlock, "ruleset")(io::Error::other(error)))?;
    let words = c_strings(Step::Exec, go.arguments.iter().cloned())?;
    let environment = c_strings(
        Step::Exec,
        go.environment
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    )?;
    let filters = seccomp::programs(go.seccomp)
        .map_err(|error| failed(Step::Seccomp, "filter")(io::Error::other(error)))?;
    for filter in &filters {
        seccompiler::apply_filter(filter)
            .map_err(|error| failed(Step::Seccomp, "install")(io::Error::other(error)))?;
    }
    // From here on calls that name files wait for the broker: none of ours does, until the server's first.
    let listener = match go.stop.map(broker::install) {
        Some(Err(error)) if go.judged => return Err(failed(Step::Notify, "seccomp")(error)),
        other => other.and_then(Result::ok),
    };
    let fds: Vec<RawFd> = listener
        .iter()
        .map(|listener| listener.as_raw_fd())
        .collect();
    send(stream, &Report::Executing, &fds).map_err(failed(Step::Handshake, "executing"))?;
    drop(listener);
    nix::unistd::execve(&program, &words, &environment)
        .map_err(failed(Step::Exec, &go.arguments[0]))
}

/// Whether what was mounted is what was meant.
fn are_there(expected: &[(PathBuf, (u64, u64))]) -> Result<(), Failure> {
    for (path, identity) in expected {
        let stat = rustix::fs::stat(path).map_err(failed(Step::Mounts, path.display()))?;
        if (stat.st_dev, stat.st_ino) != *identity {
            return Err(Failure {
                step: Step::Mounts,
                errno: libc::ESTALE,
                message: format!(
                    "{} was replaced while the sandbox was being built",
                    path.display()
                ),
            });
        }
    }
    Ok(())
}

/// The program to execute: the first argument, or what PATH of the server's own environment has by that name
/// (exec(3): the first that can be executed; EACCES is remembered and told when nothing better comes).
fn find(go: &Go) -> Result<CString, Failure> {
    let Some(name) = go.arguments.first() else {
        return Err(failed(Step::Exec, "command")(io::Error::from(
            io::ErrorKind::InvalidInput,
        )));
    };
    if name.contains('/') {
        return c_string(Step::Exec, name.as_bytes());
    }
    let path = go
        .environment
        .iter()
        .find(|(variable, _)| variable == "PATH")
        .map_or("/usr/local/bin:/usr/bin:/bin", |(_, value)| value);
    let mut error = io::Error::from_raw_os_error(libc::ENOENT);
    for folder in path.split(':') {
        let candidate = if folder.is_empty() {
            PathBuf::from(name)
        } else {
            Path::new(folder).join(name)
        };
        match rustix::fs::access(&candidate, rustix::fs::Access::EXEC_OK) {
            Ok(()) if candidate.is_file() => {
                return c_string(Step::Exec, candidate.as_os_str().as_encoded_bytes());
            }
            Err(rustix::io::Errno::ACCESS) => error = io::Error::from_raw_os_error(libc::EACCES),
            _ => {}
        }
    }
    Err(failed(Step::Exec, name)(error))
}

fn c_string(step: Step, bytes: &[u8]) -> Result<CString, Failure> {
    CString::new(bytes).map_err(|_| Failure {
        step,
        errno: libc::EINVAL,
        message: "an argument or a variable has a NUL byte".into(),
    })
}

fn c_strings(step: Step, texts: impl Iterator<Item = String>) -> Result<Vec<CString>, Failure> {
    texts.map(|text| c_string(step, text.as_bytes())).collect()
}

/// Leaves a descriptor open across the next exec, with a number above the standard ones.
fn keep(fd: OwnedFd) -> io::Result<RawFd> {
    let high = fcntl(&fd, FcntlArg::F_DUPFD(3))?;
    fcntl(
        // SAFETY: `high` was just returned by F_DUPFD, so it is open, and it stays open until the exec.
        unsafe { std::os::fd::BorrowedFd::borrow_raw(high) },
        FcntlArg::F_SETFD(FdFlag::empty()),
    )?;
    Ok(high)
}

/// Bytes as a readable descriptor that stays open across the next exec.
fn memory(bytes: &[u8]) -> Result<RawFd, Failure> {
    let make = || -> io::Result<RawFd> {
        let fd = rustix::fs::memfd_create("srt", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut file = std::fs::File::from(fd);
        io::Write::write_all(&mut file, bytes)?;
        io::Seek::rewind(&mut file)?;
        keep(file.into())
    };
    make().map_err(failed(Step::Arguments, "memfd"))
}

/// `dup2(from, to)`.
fn replace(from: RawFd, to: RawFd) -> nix::Result<()> {
    // SAFETY: dup2(2) closes `to` and makes it a copy of `from`. `to` is 0, 1 or 2, which no owned
    // descriptor of this process has: the handshake, given as 0 to stage 1, was moved away first.
    let result = unsafe { libc::dup2(from, to) };
    nix::errno::Errno::result(result).map(drop)
}
