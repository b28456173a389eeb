//! Whether a stream is a terminal, how wide it is, and whether it may be coloured.

use anstyle::{AnsiColor, Style};
use std::io::IsTerminal as _;

/// Something is wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// Something is under way or wants attention.
pub const BUSY: Style = AnsiColor::Yellow.on_default();
/// Something is well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// A heading.
pub const STRONG: Style = Style::new().bold();

/// One of our two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// What was asked for.
    Stdout,
    /// What went wrong.
    Stderr,
}

impl Stream {
    /// Whether a person sees it directly.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => std::io::stdout().is_terminal(),
            Self::Stderr => std::io::stderr().is_terminal(),
        }
    }

    /// Colours `text`, on a terminal, unless `NO_COLOR` is set to anything or the terminal is a dumb one.
    pub fn paint(self, style: Style, text: &str) -> String {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        if refused || !self.is_terminal() {
            return text.to_owned();
        }
        format!("{style}{text}{style:#}")
    }

    /// The terminal's width in columns, if it is one and knows.
    pub fn width(self) -> Option<usize> {
        self.size()
            .map(|size| usize::from(size.ws_col))
            .filter(|columns| *columns > 0)
    }

    /// The terminal's height in lines, if it is one and knows.
    pub fn height(self) -> Option<usize> {
        self.size()
            .map(|size| usize::from(size.ws_row))
            .filter(|lines| *lines > 0)
    }

    fn size(self) -> Option<rustix::termios::Winsize> {
        if !self.is_terminal() {
            return None;
        }
        let size = match self {
            Self::Stdout => rustix::termios::tcgetwinsize(std::io::stdout()),
            Self::Stderr => rustix::termios::tcgetwinsize(std::io::stderr()),
        };
        size.ok()
    }
}
