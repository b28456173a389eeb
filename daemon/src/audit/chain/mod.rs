//! The keyed hash chain that makes the audit log one that can be believed.
//!
//! Each row of the log has an HMAC-SHA256 over everything in it, the log's id and the MAC of the row before. Whoever lacks
//! the key can neither change a row, nor put one anywhere, nor take one out, nor bring rows of another log, without a row
//! that no longer fits. What a chain cannot show by itself, that its end is cut off, an [`Anchor`] beside the database
//! shows. Runs of rows are closed by a [`Seal`], which stays when its rows are pruned.
//!
//! Pure: rows, seals and anchors come as arguments.

mod anchor;
mod finding;
mod seal;
mod verify;

use std::fmt;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use uuid::Uuid;

pub use anchor::{Anchor, Slots, missed};
pub use finding::{Finding, Flaw, NOTICED, QUARANTINED, RENEWED};
pub use seal::Seal;
pub use verify::{Begin, Evidence, Kept, Row, Strange, Suspect, Verdict, Verifier};

type HmacSha256 = Hmac<Sha256>;

/// What a MAC is about comes first in what it covers, so that none can stand for another. The numbers are those of the
/// encodings: an encoding that changes gets another.
mod purpose {
    pub(super) const ENTRY: &[u8] = b"srtd audit entry 1\0";
    pub(super) const SEAL: &[u8] = b"srtd audit seal 1\0";
    pub(super) const ANCHOR: &[u8] = b"srtd audit anchor 1\0";
    pub(super) const CHAIN: &[u8] = b"srtd audit chain 1\0";
    pub(super) const KEY: &[u8] = b"srtd audit key 1\0";
}

/// An HMAC-SHA256.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Mac(pub [u8; 32]);

impl Mac {
    /// What stands before the first row.
    pub const NONE: Self = Self([0; 32]);

    /// From a column; `None` where that holds no MAC.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes from hexadecimal; `None` where it is none, or of another length.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digit = |digit: u8| (digit as char).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(bytes)
}

/// The secret that the chain is made with.
#[derive(Clone)]
pub struct Key {
    /// The MAC's state after the secret, so that no row pays for that again.
    begun: HmacSha256,
    id: String,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl Key {
    /// A key's length in bytes.
    pub const LENGTH: usize = 32;

    /// The key with these secret bytes.
    pub fn new(secret: &[u8; Self::LENGTH]) -> Self {
        // Any length is a key of HMAC: this never fails.
        let begun = <HmacSha256 as hmac::Mac>::new_from_slice(secret).unwrap_or_else(|_| {
            unreachable!("HMAC takes keys of any length");
        });
        let mut key = Self {
            begun,
            id: String::new(),
        };
        key.id = hex(&key.mac(purpose::KEY, &[]).0[..8]);
        key
    }

    /// A name of the key that tells nothing of it: 16 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn mac(&self, purpose: &[u8], text: &[u8]) -> Mac {
        let mut mac = self.begun.clone();
        mac.update(purpose);
        mac.update(text);
        Mac(mac.finalize().into_bytes().into())
    }
}

/// A row of the log as its columns are, numbers and MACs aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns<'a> {
    /// Microseconds since 1970.
    pub at: i64,
    /// The kind's name.
    pub kind: &'a str,
    /// The server's name.
    pub server: Option<&'a str>,
    /// The launch's id, as text.
    pub launch: Option<&'a str>,
    /// The subject.
    pub subject: &'a str,
    /// The detail object, as text.
    pub detail: &'a str,
}

/// One log's chain: its key and its id.
#[derive(Clone, Debug)]
pub struct Chain {
    key: Key,
    database: Uuid,
}

impl Chain {
    /// The chain of this log.
    pub fn new(key: Key, database: Uuid) -> Self {
        Self { key, database }
    }

    /// The log's id, which no other database has.
    pub fn database(&self) -> Uuid {
        self.database
    }

    /// The key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The MAC of the row with this number after the row with the MAC `prev`. `buffer` is for the encoding; what is in it
    /// does not matter.
    pub fn entry(&self, buffer: &mut Vec<u8>, prev: &Mac, seq: u64, columns: &Columns<'_>) -> Mac {
        buffer.clear();
        buffer.extend_from_slice(self.database.as_bytes());
        buffer.extend_from_slice(&prev.0);
        buffer.extend_from_slice(&seq.to_le_bytes());
        buffer.extend_from_slice(&columns.at.to_le_bytes());
        text(buffer, columns.kind);
        maybe_text(buffer, columns.server);
        maybe_text(buffer, columns.launch);
        text(buffer, columns.subject);
        text(buffer, columns.detail);
        self.key.mac(purpose::ENTRY, buffer)
    }

    /// The MAC of what the database says of the chain itself.
    pub fn begin(&self, begin: &Begin) -> Mac {
        let mut buffer = Vec::with_capacity(64);
        buffer.extend_from_slice(self.database.as_bytes());
        text(&mut buffer, self.key.id());
        buffer.extend_from_slice(&begin.at.to_le_bytes());
        buffer.extend_from_slice(&begin.adopted.to_le_bytes());
        self.key.mac(purpose::CHAIN, &buffer)
    }
}

/// A text is preceded by its length, so that none can reach into its neighbour.
fn text(buffer: &mut Vec<u8>, text: &str) {
    buffer.extend_from_slice(&(text.len() as u64).to_le_bytes());
    buffer.extend_from_slice(text.as_bytes());
}

fn maybe_text(buffer: &mut Vec<u8>, maybe: Option<&str>) {
    buffer.push(u8::from(maybe.is_some()));
    if let Some(some) = maybe {
        text(buffer, some);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Columns<'static> {
        Columns {
            at: 1,
            kind: "deny",
            server: Some("git"),
            launch: None,
            subject: "a",
            detail: "{}",
        }
    }

    fn chain(secret: u8, database: u128) -> Chain {
        Chain::new(Key::new(&[secret; 32]), Uuid::from_u128(database))
    }

    /// The encoding stands in databases: it never changes. The value was computed apart from this code (Python's hmac).
    #[test]
    fn the_encoding_is_fixed() {
        let mac = chain(7, 1).entry(&mut Vec::new(), &Mac([9; 32]), 5, &columns());
        assert_eq!(mac.to_string(), include_str!("entry.hex").trim());
        assert_eq!(Key::new(&[7; 32]).id(), include_str!("key.hex").trim());
    }

    #[test]
    fn a_mac_covers_every_column_and_no_text_reaches_into_the_next() {
        let base = chain(7, 1).entry(&mut Vec::new(), &Mac::NONE, 1, &columns());
        let of = |chain: Chain, prev: Mac, seq: u64, columns: Columns<'_>| {
            chain.entry(&mut vec![1, 2, 3], &prev, seq, &columns)
        };
        let none = Mac::NONE;
        assert_eq!(of(chain(7, 1), none, 1, columns()), base);
        let others = [
            of(chain(8, 1), none, 1, columns()),
            of(chain(7, 2), none, 1, columns()),
            of(chain(7, 1), Mac([1; 32]), 1, columns()),
            of(chain(7, 1), none, 2, columns()),
            of(chain(7, 1), none, 1, Columns { at: 2, ..columns() }),
            of(
                chain(7, 1),
                none,
                1,
                Columns {
                    kind: "den",
                    server: Some("ygit"),
                    ..columns()
                },
            ),
            of(
                chain(7, 1),
                none,
                1,
                Columns {
                    server: None,
                    ..columns()
                },
            ),
            of(
                chain(7, 1),
                none,
                1,
                Columns {
                    server: None,
                    launch: Some("git"),
                    ..columns()
                },
            ),
            of(
                chain(7, 1),
                none,
                1,
                Columns {
                    launch: Some(""),
                    ..columns()
                },
            ),
            of(
                chain(7, 1),
                none,
                1,
                Columns {
                    subject: "",
                    detail: "a{}",
                    ..columns()
                },
            ),
            of(
                chain(7, 1),
                none,
                1,
                Columns {
                    subject: "a{",
                    detail: "}",
                    ..columns()
                },
            ),
        ];
        for (number, other) in others.iter().enumerate() {
            assert_ne!(*other, base, "{number}");
        }
    }

    #[test]
    fn a_key_does_not_show_itself() {
        let key = Key::new(&[0xab; 32]);
        let shown = format!("{key:?} {:?}", Chain::new(key.clone(), Uuid::nil()));
        assert!(
            !shown.contains("abab") && !shown.contains("171, 171"),
            "{shown}"
        );
        assert_eq!(key.id().len(), 16);
        assert_ne!(key.id(), Key::new(&[0xac; 32]).id());
    }

    #[test]
    fn hexadecimal_reads_back() {
        assert_eq!(unhex(&hex(&[0, 1, 0xfe])), Some([0, 1, 0xfe]));
        for wrong in ["", "0", "0g", "000", "é", "+1"] {
            assert_eq!(unhex::<1>(wrong), None, "{wrong}");
        }
    }
}
