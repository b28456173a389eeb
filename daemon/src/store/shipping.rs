//! How far the audit log has been shipped.

use sqlx::sqlite::{SqliteQueryResult, SqliteRow};
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use super::convert::{id, number};
use super::request::Change;
use super::{Store, StoreError};

/// How far one collector has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// Its URL.
    pub endpoint: String,
    /// With a number it names an entry for ever, however often it is sent.
    pub instance: Uuid,
    /// Every entry up to this number was taken, or is counted below.
    pub seq: u64,
    /// Entries that the collector would not take.
    pub rejected: u64,
    /// Entries that were pruned before they could be shipped.
    pub missed: u64,
}

impl Store {
    /// How far `endpoint` has got; one that is new begins with the first entry.
    ///
    /// # Errors
    /// When the database cannot be read, or, of a new one, not be written.
    pub async fn shipped(&self, endpoint: &str) -> Result<Shipped, StoreError> {
        let failed = |source| StoreError::read("what was shipped", &self.reader.path, source);
        let row = sqlx::query("SELECT * FROM shipping WHERE endpoint = ?")
            .bind(endpoint)
            .fetch_optional(&self.reader.pool)
            .await
            .map_err(failed)?;
        if let Some(row) = row {
            return shipped(&row).map_err(failed);
        }
        // One for all, as the entries are the same.
        let known: Option<String> = sqlx::query_scalar("SELECT instance FROM shipping LIMIT 1")
            .fetch_optional(&self.reader.pool)
            .await
            .map_err(failed)?;
        let known = known.and_then(|text| Uuid::parse_str(&text).ok());
        let new = Shipped {
            endpoint: endpoint.to_owned(),
            instance: known.unwrap_or_else(Uuid::new_v4),
            seq: 0,
            rejected: 0,
            missed: 0,
        };
        self.note_shipped(new.clone()).await?;
        Ok(new)
    }

    /// Records how far a collector has got.
    ///
    /// # Errors
    /// When the database cannot be written: what was shipped since will be shipped again.
    pub async fn note_shipped(&self, shipped: Shipped) -> Result<(), StoreError> {
        self.change(Change::Shipped(shipped), None).await?;
        Ok(())
    }
}

fn shipped(row: &SqliteRow) -> Result<Shipped, sqlx::Error> {
    Ok(Shipped {
        endpoint: row.try_get("endpoint")?,
        instance: id(row, "instance")?,
        seq: number(row, "shipped")?,
        rejected: number(row, "rejected")?,
        missed: number(row, "missed")?,
    })
}

pub(super) async fn note(
    connection: &mut SqliteConnection,
    shipped: &Shipped,
) -> Result<SqliteQueryResult, sqlx::Error> {
    sqlx::query(
        "INSERT INTO shipping (endpoint, instance, shipped, rejected, missed) VALUES (?, ?, ?, ?, ?) \
         ON CONFLICT (endpoint) DO UPDATE SET \
         shipped = excluded.shipped, rejected = excluded.rejected, missed = excluded.missed",
    )
    .bind(shipped.endpoint.as_str())
    .bind(shipped.instance.to_string())
    .bind(shipped.seq.cast_signed())
    .bind(shipped.rejected.cast_signed())
    .bind(shipped.missed.cast_signed())
    .execute(connection)
    .await
}
