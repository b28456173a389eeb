//! A picture on the terminal that is drawn over itself, without flicker, and gone when it ends.

use crate::errors::Failure;
use crate::terminal::Stream;
use std::io::{self, Write as _};

/// The terminal's other screen (xterm's private mode 1049), without a cursor, until it is dropped.
pub(super) struct Screen(());

const OPEN: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const CLOSE: &str = "\x1b[?25h\x1b[?1049l";

impl Screen {
    /// `None` where stdout is no terminal, or one that cannot.
    pub(super) fn open() -> Option<Self> {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        if dumb || !Stream::Stdout.is_terminal() {
            return None;
        }
        write(OPEN).ok()?;
        Some(Self(()))
    }

    /// Draws over what was there.
    pub(super) fn show(&mut self, text: &str) -> Result<(), Failure> {
        Ok(write(&drawn(text, Stream::Stdout.height()))?)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = write(CLOSE);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// From the upper left corner, the rest of each line and of the screen erased: nothing is blank in between. What does
/// not fit is counted.
fn drawn(text: &str, height: Option<usize>) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let fits = height.map_or(lines.len(), |height| height.saturating_sub(1).max(1));
    let mut out = String::from("\x1b[H");
    let shown = if lines.len() > fits {
        fits.saturating_sub(1)
    } else {
        lines.len()
    };
    for line in &lines[..shown] {
        out += line;
        out += "\x1b[K\n";
    }
    if lines.len() > shown {
        out += &format!("… {} more\x1b[K\n", lines.len() - shown);
    }
    out += "\x1b[J";
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_and_nothing_is_cleared_first() {
        assert_eq!(drawn("a\nb\n", Some(5)), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(
            drawn("a\nb\nc\nd\n", Some(4)),
            "\x1b[Ha\x1b[K\nb\x1b[K\n… 2 more\x1b[K\n\x1b[J"
        );
        for height in 0..9 {
            let lines = drawn("a\nb\nc\nd\ne\n", Some(height)).matches("\n").count();
            assert!(lines < height.max(2), "{height}: {lines}");
        }
    }
}
