//! What the store tells of its chain while it runs.

use crate::audit::Kind;
use crate::audit::chain::{Mac, NOTICED, RENEWED};
use crate::store::batch::Numbers;
use crate::store::{Store, StoreError};

/// Where the chain is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// The newest durable entry.
    pub(crate) seq: u64,
    /// Its MAC.
    pub(crate) mac: Mac,
    /// The entry that the anchor names since this store was opened.
    pub(crate) anchored: u64,
    /// Segments that are closed.
    pub(crate) segments: u64,
}

impl Head {
    /// As the numbers are, with the anchor at them.
    pub(crate) fn of(numbers: &Numbers) -> Self {
        Self {
            seq: numbers.head_seq,
            mac: numbers.head,
            anchored: numbers.head_seq,
            segments: numbers.segment.number.saturating_sub(1),
        }
    }
}

/// The chain, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainState {
    /// Where the key is kept: "file" or "keyring".
    pub key_kept: &'static str,
    /// The key's name, which tells nothing of it.
    pub key: String,
    /// The entry at which the log's end was last anchored; 0: none yet.
    pub anchored: u64,
    /// Segments that were closed, those that were pruned since among them.
    pub segments: u64,
    /// The newest entry that tells of something wrong with the log, and what.
    pub noticed: Option<(u64, String)>,
}

impl Store {
    /// Where the audit log's chain is, and what daemons noticed of it when they started.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn chain_state(&self) -> Result<ChainState, StoreError> {
        let head = *self.head.borrow();
        Ok(ChainState {
            key_kept: self.key_kept,
            key: self.chain.key().id().to_owned(),
            anchored: head.anchored,
            segments: head.segments,
            noticed: self.noticed().await?,
        })
    }

    async fn noticed(&self) -> Result<Option<(u64, String)>, StoreError> {
        let newest: Option<(i64, String)> = sqlx::query_as(
            "SELECT seq, COALESCE(json_extract(detail, '$.message'), '') FROM audit \
             WHERE kind = ? AND subject IN (?, ?) ORDER BY seq DESC LIMIT 1",
        )
        .bind(Kind::Daemon.as_str())
        .bind(NOTICED)
        .bind(RENEWED)
        .fetch_optional(&self.reader.pool)
        .await
        .map_err(self.reader.failed("the audit log"))?;
        Ok(newest.map(|(seq, message)| (seq.cast_unsigned(), message)))
    }
}
