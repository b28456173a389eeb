//! Why a launch failed: the step, what the system said, and the remedy.

use std::io;
use std::path::PathBuf;

/// A step of a launch, in the order in which they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
    /// Starting the helper.
    Spawn,
    /// Talking to the helper.
    Handshake,
    /// `unshare(CLONE_NEWUSER | CLONE_NEWNET)`.
    UserNamespace,
    /// Writing the id maps.
    IdMaps,
    /// Bringing `lo` up and routing every address to it.
    Routes,
    /// Redirecting every port to the transparent listener.
    Redirect,
    /// Binding the listeners.
    Listeners,
    /// Mounting an overlay.
    Overlay,
    /// Handing arguments and files to bubblewrap.
    Arguments,
    /// Executing bubblewrap.
    Bubblewrap,
    /// Setting up mounts and namespaces (bubblewrap's own work).
    Mounts,
    /// Entering the working directory.
    WorkingDirectory,
    /// `setrlimit`.
    Limits,
    /// Landlock.
    Landlock,
    /// seccomp.
    Seccomp,
    /// seccomp's user notification, by which files are judged when they are used.
    Notify,
    /// Putting standard input, output and error in place.
    Stdio,
    /// Making the server's own terminal.
    Terminal,
    /// Executing the server.
    Exec,
}

impl Step {
    /// What the step does, as the object of "cannot …".
    pub fn what(self) -> &'static str {
        match self {
            Self::Spawn => "start the helper srt-jail",
            Self::Handshake => "talk to the helper srt-jail",
            Self::UserNamespace => "create a user and network namespace",
            Self::IdMaps => "map the user id into the namespace",
            Self::Routes => "set up the sandbox's loopback",
            Self::Redirect => "redirect the sandbox's connections",
            Self::Listeners => "listen inside the sandbox",
            Self::Overlay => "put a private layer over a folder",
            Self::Arguments => "hand the sandbox's layout to bubblewrap",
            Self::Bubblewrap => "run bubblewrap",
            Self::Mounts => "lay out the sandbox's files",
            Self::WorkingDirectory => "enter the working directory",
            Self::Limits => "set the resource limits",
            Self::Landlock => "apply Landlock",
            Self::Seccomp => "apply the seccomp filter",
            Self::Notify => "stop the server's calls that name files (seccomp user notification)",
            Self::Stdio => "connect standard input and output",
            Self::Terminal => "make a terminal for the program",
            Self::Exec => "run the server's command",
        }
    }
}

/// A launch that did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// A step failed.
    #[error("cannot {}: {message}{}", step.what(), hint(*step, *errno, message))]
    Failed {
        /// The step.
        step: Step,
        /// The system's error number; 0 where there is none.
        errno: i32,
        /// What was said, with the path or name that it is about.
        message: String,
    },
    /// A path is not valid UTF-8 and so cannot be handed over.
    #[error(
        "{path:?} is not valid UTF-8\nhint: rename it, or keep it out of the policy and the working directory"
    )]
    NotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// A limit that cannot be enforced on this host.
    #[error("{key} cannot be enforced: {why}\nhint: {}", limit_hint())]
    Limit {
        /// The dotted key.
        key: &'static str,
        /// What is missing.
        why: String,
    },
    /// A step did not answer in time.
    #[error(
        "the sandbox was not ready after {seconds} s\nhint: \"srtctl doctor\" checks each mechanism on its own"
    )]
    TimedOut {
        /// How long was waited, in seconds.
        seconds: u64,
    },
}

impl LaunchError {
    pub(crate) fn io(step: Step, context: impl std::fmt::Display, error: &io::Error) -> Self {
        Self::Failed {
            step,
            errno: error.raw_os_error().unwrap_or(0),
            message: format!("{context}: {error}"),
        }
    }

    /// The failed step, where one is known.
    pub fn step(&self) -> Option<Step> {
        match self {
            Self::Failed { step, .. } => Some(*step),
            Self::Limit { .. } => Some(Step::Limits),
            _ => None,
        }
    }
}

fn limit_hint() -> &'static str {
    if cfg!(target_os = "macos") {
        "macOS has no such limit for a group of processes: remove the key, or write \"limits\": \"best-effort\" to launch without it"
    } else {
        "run srtd as a systemd user service, whose cgroup is delegated to it (\"systemctl --user enable --now srtd\"), as an ordinary user; or write \"limits\": \"best-effort\" in the settings file to launch without the limit"
    }
}

/// Some limit of `/proc/sys/user` is reached (namespaces(7)); bubblewrap tells it in words.
const NO_ROOM: &str = "no more namespaces of some kind may be made: \"srtctl doctor\" names the limit; raise it (sysctl user.max_*_namespaces) or end some sandboxes";

fn hint(step: Step, errno: i32, message: &str) -> String {
    let text = match (step, errno) {
        (Step::UserNamespace | Step::IdMaps, libc::EPERM | libc::EACCES) => {
            "this system does not let ordinary users create user namespaces; \"srtctl doctor\" prints the remedy for it"
        }
        (Step::UserNamespace, libc::ENOSPC | libc::EUSERS) => NO_ROOM,
        (Step::Mounts, _) if message.contains("_namespaces exceeded") => NO_ROOM,
        (Step::Overlay, _) => {
            "unprivileged overlayfs needs Linux 5.11 and a state folder whose file system has user xattrs (ext4, xfs, btrfs); or open the folder with allowWrite"
        }
        (Step::Notify, libc::EBUSY) => {
            "another program already watches the daemon's system calls: start srtd outside of it"
        }
        (Step::Notify, _) => {
            "rules that are judged when a file is used need Linux 5.14; a policy without allowWrite and without patterns does not"
        }
        (Step::Terminal, libc::ENOSYS) => {
            "pass --no-direct, or give it a pipe in the place of each terminal: srt --direct COMMAND < FILE 2>&1 | cat"
        }
        (Step::Terminal, libc::ENOSPC) => {
            "too many pseudo-terminals: raise kernel.pty.max with sysctl, or end some"
        }
        (Step::Spawn, libc::ENOENT) => {
            "srt-jail belongs beside srtd: reinstall with \"make install\""
        }
        (Step::Bubblewrap, libc::ENOENT) => {
            "install bubblewrap: apt install bubblewrap (or your system's package of that name)"
        }
        (Step::Exec, libc::ENOENT) => {
            "give the command's full path, or make sure that the host's PATH has its folder"
        }
        (Step::Exec, libc::EACCES) => {
            "the file is not executable, or policy hides it: \"srtctl policy show NAME\" lists the rules"
        }
        (Step::WorkingDirectory, libc::ENOENT | libc::EACCES) => {
            "the working directory must exist and be readable: --cwd chooses another, allowRead opens it"
        }
        (Step::Mounts, _) if message.contains("execvp /proc/self/fd") => {
            "policy hides the system's own libraries: with denyRead of \"/\" or \"/usr\", let allowRead name /usr, /lib, /lib64, /bin and /etc"
        }
        (Step::Mounts, _) if message.contains("uid map") || message.contains("namespace") => {
            "this system does not let ordinary users create user namespaces; \"srtctl doctor\" prints the remedy for it"
        }
        _ => return String::new(),
    };
    format!("\nhint: {text}")
}
