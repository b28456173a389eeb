//! What becomes a server's standard input, output and error: descriptors, or a terminal of its own.

use std::os::fd::OwnedFd;

/// The descriptors that become the server's 0, 1 and 2. In the place of `None` it has a terminal of its own: one for
/// all that are `None`, and its controlling one.
#[derive(Debug)]
pub struct Stdio {
    /// Standard input.
    pub stdin: Option<OwnedFd>,
    /// Standard output.
    pub stdout: Option<OwnedFd>,
    /// Standard error.
    pub stderr: Option<OwnedFd>,
    /// What the terminal is like at first, where there is one. Linux only.
    pub terminal: Terminal,
}

impl Stdio {
    /// Without a terminal.
    pub fn of(stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd) -> Self {
        Self {
            stdin: Some(stdin),
            stdout: Some(stdout),
            stderr: Some(stderr),
            terminal: Terminal::default(),
        }
    }

    /// Whether the server is to have a terminal.
    pub fn has_terminal(&self) -> bool {
        self.parts().iter().any(|part| part.is_none())
    }

    pub(crate) fn parts(&self) -> [Option<&OwnedFd>; 3] {
        [
            self.stdin.as_ref(),
            self.stdout.as_ref(),
            self.stderr.as_ref(),
        ]
    }
}

/// What a server's own terminal is like at first.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Terminal {
    /// Lines; 0: not known (ioctl_tty(2), TIOCSWINSZ).
    pub rows: u16,
    /// Characters in a line; 0: not known.
    pub columns: u16,
    /// In pixels; 0: not known.
    pub width: u16,
    /// In pixels; 0: not known.
    pub height: u16,
    /// `None`: as the kernel makes one.
    pub modes: Option<TerminalModes>,
}

/// The modes of a terminal (termios(3)), as the kernel of this machine numbers them.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TerminalModes {
    /// `c_iflag`.
    pub input: u32,
    /// `c_oflag`.
    pub output: u32,
    /// `c_lflag`.
    pub local: u32,
    /// `c_cc`, in this order: INTR, QUIT, ERASE, KILL, EOF, START, STOP, SUSP, EOL, REPRINT, DISCARD, WERASE, LNEXT,
    /// EOL2. What is missing stays as the kernel has it.
    pub special: Vec<u8>,
}
