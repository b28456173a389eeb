//! What of a stream is MCP. Any program may run behind these streams: what is no MCP passes as it comes.

use bytes::Bytes;

use crate::{Lines, Piece, read};

/// What a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is not known yet.
    Unknown,
    /// Messages, a line each.
    Mcp,
    /// Something else, until its end.
    Raw,
}

/// One direction of a conversation, in pieces.
///
/// The host's first line that is not blank decides for both directions: if it reads as a message, they are MCP from
/// there on, and otherwise they never are. Of the host's side only a line that begins as a message is ever held; of the
/// server's nothing is, before it is MCP.
#[derive(Debug)]
pub struct Wire {
    lines: Lines,
    mode: Mode,
    host: bool,
}

impl Wire {
    /// What comes from the host.
    pub fn of_host() -> Self {
        Self {
            lines: Lines::default(),
            mode: Mode::Unknown,
            host: true,
        }
    }

    /// What comes from the server. Its mode is set by whoever knows the host's.
    pub fn of_server() -> Self {
        Self {
            host: false,
            ..Self::of_host()
        }
    }

    /// What it is, as far as it is known.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// It is this from now on: because the other direction is, or because a rule says so. A line that is under way
    /// and has passed in part goes on passing.
    pub fn set(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// Adds what came. Call [`Wire::next`] until there is nothing before the next one.
    pub fn push(&mut self, bytes: &[u8]) {
        self.lines.push(bytes);
    }

    /// The next piece, where there is one. Of a stream that is no MCP all pieces are parts.
    #[allow(
        clippy::should_implement_trait,
        reason = "there may be another one after None"
    )]
    pub fn next(&mut self) -> Option<Piece> {
        match self.mode {
            Mode::Mcp => self.lines.next(),
            Mode::Raw => self.lines.next_part(),
            Mode::Unknown if !self.host => self.lines.next_part(),
            Mode::Unknown => {
                let piece = self.lines.next()?;
                self.mode = match &piece {
                    Piece::Line(line) if read(line).is_some() => Mode::Mcp,
                    Piece::Part { bytes, last: true } if bytes.trim_ascii().is_empty() => {
                        Mode::Unknown
                    }
                    _ => Mode::Raw,
                };
                Some(match piece {
                    Piece::Line(bytes) if self.mode == Mode::Raw => {
                        Piece::Part { bytes, last: true }
                    }
                    piece => piece,
                })
            }
        }
    }

    /// Whether a line is under way.
    pub fn is_within(&self) -> bool {
        self.lines.is_within()
    }

    /// Whether bytes of a line have passed that is not at its end.
    pub fn is_within_parts(&self) -> bool {
        self.lines.is_within_parts()
    }

    /// What is held of a line that has no end: the stream is at its own.
    pub fn rest(&mut self) -> Bytes {
        self.lines.rest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: &str = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n";

    /// What passes as parts and as lines of a stream that comes in these chunks, and its mode.
    fn pass(wire: &mut Wire, chunks: &[&str]) -> (String, Vec<String>) {
        let (mut parts, mut lines) = (String::new(), Vec::new());
        for chunk in chunks {
            wire.push(chunk.as_bytes());
            while let Some(piece) = wire.next() {
                match piece {
                    Piece::Line(line) => lines.push(String::from_utf8_lossy(&line).into_owned()),
                    Piece::Part { bytes, .. } => parts.push_str(&String::from_utf8_lossy(&bytes)),
                }
            }
        }
        (parts, lines)
    }

    #[test]
    fn the_hosts_first_line_decides() {
        let check = |chunks: &[&str], mode: Mode, parts: &str, lines: &[&str]| {
            let mut wire = Wire::of_host();
            let (found, whole) = pass(&mut wire, chunks);
            assert_eq!(
                (wire.mode(), found.as_str()),
                (mode, parts),
                "of {chunks:?}"
            );
            assert_eq!(whole, lines, "{chunks:?}");
        };
        check(&[PING], Mode::Mcp, "", &[PING]);
        check(&[&PING[..9]], Mode::Unknown, "", &[]);
        check(&[&PING[..9], &PING[9..]], Mode::Mcp, "", &[PING]);
        check(&["\n", PING], Mode::Mcp, "\n", &[PING]);
        check(
            &[PING, "noise\n", PING],
            Mode::Mcp,
            "noise\n",
            &[PING, PING],
        );
        // A shell, a document, and a message that comes too late.
        check(&["ech"], Mode::Raw, "ech", &[]);
        check(&["{\n", "{"], Mode::Raw, "{\n{", &[]);
        check(&["ls\n", PING], Mode::Raw, &format!("ls\n{PING}"), &[]);
    }

    #[test]
    fn the_servers_side_is_told_and_what_has_passed_in_part_goes_on() {
        let mut wire = Wire::of_server();
        assert_eq!(pass(&mut wire, &["{\"a\""]), ("{\"a\"".to_owned(), vec![]));
        assert!(wire.is_within_parts());
        wire.set(Mode::Mcp);
        let (parts, lines) = pass(&mut wire, &[":1}\n", PING, "{"]);
        assert_eq!((parts.as_str(), lines), (":1}\n", vec![PING.to_owned()]));
        assert_eq!(&wire.rest()[..], b"{");

        let mut wire = Wire::of_server();
        assert_eq!(pass(&mut wire, &["ready\n"]).0, "ready\n");
        assert!(!wire.is_within_parts());
        wire.set(Mode::Mcp);
        assert_eq!(pass(&mut wire, &[PING]).1, [PING]);
    }
}
