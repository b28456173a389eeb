//! A seal closes a run of rows: it says which they were and how they began and ended, and stays when they are pruned.

use super::{Chain, Mac, purpose};

/// A closed segment of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Its number: 1 for the first, one more for each that follows.
    pub segment: u64,
    /// The number of its first row.
    pub first: u64,
    /// The number of its last row.
    pub last: u64,
    /// The MAC before its first row.
    pub before: Mac,
    /// The MAC of its last row.
    pub end: Mac,
    /// When it was closed, in microseconds since 1970.
    pub at: i64,
    /// Of everything above and of the seal before it.
    pub mac: Mac,
}

impl Seal {
    /// The MAC that a seal with these fields has after the seal with the MAC `previous`.
    pub fn expected(&self, chain: &Chain, previous: &Mac) -> Mac {
        let mut buffer = Vec::with_capacity(160);
        buffer.extend_from_slice(chain.database.as_bytes());
        buffer.extend_from_slice(&previous.0);
        for number in [self.segment, self.first, self.last] {
            buffer.extend_from_slice(&number.to_le_bytes());
        }
        buffer.extend_from_slice(&self.before.0);
        buffer.extend_from_slice(&self.end.0);
        buffer.extend_from_slice(&self.at.to_le_bytes());
        chain.key.mac(purpose::SEAL, &buffer)
    }

    /// The same, sealed after the seal with the MAC `previous`.
    #[must_use]
    pub fn sealed(mut self, chain: &Chain, previous: &Mac) -> Self {
        self.mac = self.expected(chain, previous);
        self
    }
}
