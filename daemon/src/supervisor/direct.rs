//! Direct mode: a launch whose streams are not ours.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use srt_runtime::Stdio;

use super::{Control, Tap};

/// Numbers that are the same on every OS that we run on (signal(7)).
const SIGHUP: i32 = 1;
const SIGTERM: i32 = 15;

/// How a host and its launch are connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By pipes that are ours.
    Session,
    /// By what the host handed over.
    Direct {
        /// Whether it has a terminal of its own.
        terminal: bool,
        /// What 0, 1 and 2 are, for a person.
        told: Arc<[String; 3]>,
        /// The client that handed them over, on the host.
        client_pid: Option<u32>,
    },
}

impl Mode {
    /// What 0, 1 and 2 are, where they were handed over.
    pub(super) fn told(&self) -> Option<&[String; 3]> {
        match self {
            Self::Session => None,
            Self::Direct { told, .. } => Some(told),
        }
    }

    /// What a launch is asked to end by, one after the other; `None`: by its stdin, which whoever holds it closes.
    pub(super) fn polite(&self) -> [Option<i32>; 2] {
        match self {
            Self::Session => [None, Some(SIGTERM)],
            // What a closed terminal says: an interactive shell ignores SIGTERM.
            Self::Direct { terminal: true, .. } => [Some(SIGHUP), Some(SIGTERM)],
            // Its stdin is not ours to close.
            Self::Direct {
                terminal: false, ..
            } => [Some(SIGTERM), Some(SIGTERM)],
        }
    }
}

/// What becomes a program's 0, 1 and 2.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) stdio: Stdio,
    /// What each of them is, for a person.
    pub(crate) told: Arc<[String; 3]>,
}

/// A running launch in direct mode.
#[derive(Debug)]
pub(crate) struct Direct {
    pub(crate) control: Control,
    /// The other side of its terminal, where it has one: closed, it hangs the program up.
    pub(crate) terminal: Option<OwnedFd>,
    /// What is to be said to the host meanwhile.
    pub(crate) notes: Tap,
    pub(crate) notices: Vec<String>,
}
