//! A request's body, followed to its end (RFC 9112, section 6): by the proxy in front of hyper, and in a tunnel whose requests
//! are judged.

use super::head::{Flaw, Framing, chunk, trailer};

/// Where in a body a client is.
#[derive(Debug)]
pub(crate) struct Framed(Part);

#[derive(Debug)]
enum Part {
    /// So many bytes.
    Length(u64),
    /// The line with a chunk's size.
    ChunkSize,
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The line's end after a chunk.
    ChunkEnd,
    /// Of the trailer so many bytes were there when it was last looked at.
    Trailer { seen: usize },
}

/// What the bytes at hand are of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// So many at their front, and there is more to come.
    Some(usize),
    /// So many at their front, with which it ends.
    Last(usize),
    /// It cannot be told before more are there.
    More,
}

impl Framed {
    /// At its beginning; `None` where there is no body.
    pub(crate) const fn new(framing: Framing) -> Option<Self> {
        match framing {
            Framing::Length(0) => None,
            Framing::Length(length) => Some(Self(Part::Length(length))),
            Framing::Chunked => Some(Self(Part::ChunkSize)),
        }
    }

    /// Whether the trailer is what comes.
    pub(super) const fn is_at_trailer(&self) -> bool {
        matches!(self.0, Part::Trailer { .. })
    }

    /// Looks at what has come and was not taken.
    ///
    /// # Errors
    ///
    /// Where the body has no single end.
    pub(crate) fn step(&mut self, held: &[u8]) -> Result<Piece, Flaw> {
        let have = held.len();
        if have == 0 {
            return Ok(Piece::More);
        }
        match &mut self.0 {
            Part::Length(left) | Part::Chunk(left) => {
                let now = usize::try_from(*left).map_or(have, |left| left.min(have));
                *left -= now as u64;
                if *left > 0 {
                    return Ok(Piece::Some(now));
                }
                if matches!(self.0, Part::Length(_)) {
                    return Ok(Piece::Last(now));
                }
                self.0 = Part::ChunkEnd;
                Ok(Piece::Some(now))
            }
            Part::ChunkSize => Ok(match chunk(held)? {
                None => Piece::More,
                Some((line, size)) => {
                    self.0 = match size {
                        0 => Part::Trailer { seen: 0 },
                        size => Part::Chunk(size),
                    };
                    Piece::Some(line)
                }
            }),
            Part::ChunkEnd if have < 2 => Ok(Piece::More),
            Part::ChunkEnd if held[..2] != *b"\r\n" => Err(Flaw::new(
                "a chunk is not as long as its size says: no line ends after it",
            )),
            Part::ChunkEnd => {
                self.0 = Part::ChunkSize;
                Ok(Piece::Some(2))
            }
            Part::Trailer { seen } => Ok(match trailer(held, *seen)? {
                None => {
                    *seen = have;
                    Piece::More
                }
                Some(length) => Piece::Last(length),
            }),
        }
    }
}
