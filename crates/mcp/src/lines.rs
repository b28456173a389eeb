//! Bytes to lines. What is or may be a message is held until its line is whole; everything else passes as it comes.

use bytes::{Bytes, BytesMut};

/// No line is held that is longer, in bytes. The SDKs close a connection at 10 to 12 MiB a line.
pub const LONGEST: usize = 16 * 1024 * 1024;

/// What comes next of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A whole line with its line feed, which begins as a message does: with `{` or `[` after blanks.
    Line(Bytes),
    /// Bytes of a line that begins otherwise, or is longer than [`LONGEST`]: they pass as they come. Of a stream that
    /// is no MCP they may be several lines.
    Part {
        /// The bytes.
        bytes: Bytes,
        /// They end a line.
        last: bool,
    },
}

/// Splits a stream.
#[derive(Debug, Default)]
pub struct Lines {
    buffer: BytesMut,
    /// So many bytes of the buffer are known to have no line feed.
    looked: usize,
    /// The line under way passes in parts.
    parts: bool,
}

impl Lines {
    /// Adds what came. Call [`Lines::next`] until there is nothing before the next one.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece, where there is one.
    #[allow(
        clippy::should_implement_trait,
        reason = "there may be another one after None"
    )]
    pub fn next(&mut self) -> Option<Piece> {
        if self.buffer.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', &self.buffer[self.looked..]).map(|at| self.looked + at + 1);
        if !self.parts {
            let line = &self.buffer[..end.unwrap_or(self.buffer.len())];
            self.parts = match line.iter().find(|byte| !byte.is_ascii_whitespace()) {
                Some(b'{' | b'[') => {
                    self.buffer.len() > LONGEST && end.is_none_or(|end| end > LONGEST)
                }
                Some(_) => true,
                // Blanks alone are no message; without a line feed they may be followed by one.
                None => end.is_some(),
            };
        }
        match (end, self.parts) {
            (Some(end), parts) => {
                self.looked = 0;
                self.parts = false;
                let bytes = self.buffer.split_to(end).freeze();
                Some(if parts {
                    Piece::Part { bytes, last: true }
                } else {
                    Piece::Line(bytes)
                })
            }
            (None, true) => {
                self.looked = 0;
                let bytes = self.buffer.split().freeze();
                Some(Piece::Part { bytes, last: false })
            }
            (None, false) => {
                self.looked = self.buffer.len();
                None
            }
        }
    }

    /// What has come of the next line, or the rest of the one under way: nothing is held.
    pub(crate) fn next_part(&mut self) -> Option<Piece> {
        if self.buffer.is_empty() {
            return None;
        }
        let end = memchr::memrchr(b'\n', &self.buffer).map(|at| at + 1);
        let bytes = self
            .buffer
            .split_to(end.unwrap_or(self.buffer.len()))
            .freeze();
        self.looked = 0;
        self.parts = end.is_none();
        Some(Piece::Part {
            bytes,
            last: end.is_some(),
        })
    }

    /// Whether a line is under way.
    pub fn is_within(&self) -> bool {
        self.parts || !self.buffer.is_empty()
    }

    /// Whether bytes of a line have passed that is not at its end.
    pub fn is_within_parts(&self) -> bool {
        self.parts
    }

    /// What is held of a line that has no end: the stream is at its own.
    pub fn rest(&mut self) -> Bytes {
        self.looked = 0;
        self.parts = false;
        self.buffer.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(chunks: &[&[u8]]) -> (Vec<Piece>, Bytes) {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for chunk in chunks {
            lines.push(chunk);
            while let Some(piece) = lines.next() {
                found.push(piece);
            }
        }
        (found, lines.rest())
    }

    fn line(text: &str) -> Piece {
        Piece::Line(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn part(text: &str, last: bool) -> Piece {
        Piece::Part {
            bytes: Bytes::copy_from_slice(text.as_bytes()),
            last,
        }
    }

    #[test]
    fn messages_are_held_and_everything_else_passes() {
        let (found, rest) = pieces(&[b"{\"a\":", b"1}\n [2]\r\nhel", b"lo\n\n  \n{", b"x"]);
        assert_eq!(
            found,
            [
                line("{\"a\":1}\n"),
                line(" [2]\r\n"),
                part("hel", false),
                part("lo\n", true),
                part("\n", true),
                part("  \n", true),
            ]
        );
        assert_eq!(&rest[..], b"{x");
    }

    #[test]
    fn wherever_a_stream_is_cut_it_is_the_same_lines() {
        let text = b"{\"jsonrpc\":\"2.0\"}\n{\"a\":\"b\"}\r\n";
        for cut in 0..text.len() {
            let (found, rest) = pieces(&[&text[..cut], &text[cut..]]);
            assert_eq!(
                found,
                [line("{\"jsonrpc\":\"2.0\"}\n"), line("{\"a\":\"b\"}\r\n")]
            );
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn a_line_that_is_too_long_passes_in_parts_and_the_next_is_a_line() {
        let mut lines = Lines::default();
        let mut passed = 0;
        lines.push(b"{");
        for _ in 0..=LONGEST / (1 << 20) {
            lines.push(&vec![b'x'; 1 << 20]);
            while let Some(piece) = lines.next() {
                let Piece::Part { bytes, last: false } = piece else {
                    panic!("it is too long to be a line")
                };
                passed += bytes.len();
            }
            assert!(lines.buffer.len() <= LONGEST);
        }
        assert!(lines.is_within_parts());
        lines.push(b"}\n{}\n");
        assert_eq!(lines.next(), Some(part("}\n", true)));
        assert_eq!(lines.next(), Some(line("{}\n")));
        assert_eq!(passed, 1 + LONGEST + (1 << 20));
        assert!(!lines.is_within());
    }
}
