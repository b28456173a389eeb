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
    /// Putting standard input, output and error in place.
    Stdio,
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
            Self::Stdio => "connect standard input and output",
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
            _ => None,
        }
    }
}

fn hint(step: Step, errno: i32, message: &str) -> String {
    let text = match (step, errno) {
        (Step::UserNamespace | Step::IdMaps, libc::EPERM | libc::EACCES) => {
            "this system does not let ordinary users create user namespaces; \"srtctl doctor\" prints the remedy for it"
        }
        (Step::UserNamespace, libc::ENOSPC | libc::EUSERS) => {
            "too many namespaces: raise user.max_user_namespaces and user.max_net_namespaces with sysctl"
        }
        (Step::Overlay, _) => {
            "unprivileged overlayfs needs Linux 5.11 and a state folder whose file system has user xattrs (ext4, xfs, btrfs); or open the folder with allowWrite"
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
