//! Policy generations and which of them was in force when, as the daemon uses them.

use jiff::Timestamp;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::convert::{maybe_time, number, time};
use super::read::{Reader, generation};
use super::request::Change;
use super::rows::{Generation, InForce, Policy};
use super::{Store, StoreError};

impl Store {
    /// Gives settings their generation number; true when it is new. The same documents from the same places have the
    /// same number for ever.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn generation_of(&self, policy: Policy) -> Result<(u64, bool), StoreError> {
        let receipt = self.change(Change::Generation(policy), None).await?;
        Ok((receipt.id, receipt.changed))
    }

    /// The settings of a generation.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn generation(&self, number: u64) -> Result<Option<Generation>, StoreError> {
        self.reader.generation(number).await
    }

    /// Records that a generation is in force from now on.
    ///
    /// # Errors
    /// When the database cannot be written, or knows no such generation.
    pub async fn put_in_force(&self, now: InForce) -> Result<(), StoreError> {
        self.change(Change::InForce(now), None).await?;
        Ok(())
    }

    /// What was last in force for a server: in this working directory and with these settings if it ever ran so, else
    /// wherever it ran last.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn last_in_force(
        &self,
        server: &str,
        cwd: &str,
        settings: Option<&str>,
    ) -> Result<Option<InForce>, StoreError> {
        self.reader.last_in_force(server, cwd, settings).await
    }

    /// Everything that was in force for a server, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn policy_history(
        &self,
        server: &str,
    ) -> Result<Vec<(InForce, Generation)>, StoreError> {
        self.reader.policy_history(server).await
    }

    /// When a rule last decided something for a server: an entry of the log whose rule is `rule`, wherever that is
    /// written (`KEY: TEXT`, with or without a place after it). `None`: never, as far as the log goes back.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rule_last_used(
        &self,
        server: &str,
        rule: &str,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.reader.rule_last_used(server, rule).await
    }

    /// When the first launch of a server that is recorded began.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn first_launch(&self, server: &str) -> Result<Option<Timestamp>, StoreError> {
        self.reader.first_launch(server).await
    }
}

impl Reader {
    async fn last_in_force(
        &self,
        server: &str,
        cwd: &str,
        settings: Option<&str>,
    ) -> Result<Option<InForce>, StoreError> {
        let failed = || self.failed("a server's policy history");
        let row = sqlx::query(
            "SELECT * FROM policy_history WHERE server = ?1 \
             ORDER BY (cwd = ?2 AND settings IS ?3) DESC, id DESC LIMIT 1",
        )
        .bind(server)
        .bind(cwd)
        .bind(settings)
        .fetch_optional(&self.pool)
        .await
        .map_err(failed())?;
        row.as_ref().map(in_force).transpose().map_err(failed())
    }

    async fn policy_history(&self, server: &str) -> Result<Vec<(InForce, Generation)>, StoreError> {
        let failed = || self.failed("a server's policy history");
        let rows = sqlx::query(
            "SELECT policy_history.server, cwd, settings, generation, at, reason, policy_generations.* \
             FROM policy_history JOIN policy_generations ON policy_generations.id = generation \
             WHERE server = ? ORDER BY policy_history.id",
        )
        .bind(server)
        .fetch_all(&self.pool)
        .await
        .map_err(failed())?;
        rows.iter()
            .map(|row| Ok((in_force(row)?, generation(row)?)))
            .collect::<Result<_, _>>()
            .map_err(failed())
    }

    async fn rule_last_used(
        &self,
        server: &str,
        rule: &str,
    ) -> Result<Option<Timestamp>, StoreError> {
        let failed = || self.failed("the uses of a rule");
        // One step of the index for each place that the rule was ever written at, however many entries name it.
        let row = sqlx::query(
            "WITH RECURSIVE cited (name) AS ( \
               SELECT MIN(rule) FROM audit WHERE server = ?1 AND rule >= ?2 \
               UNION ALL \
               SELECT (SELECT MIN(rule) FROM audit WHERE server = ?1 AND rule > cited.name) \
               FROM cited WHERE cited.name < ?3) \
             SELECT MAX((SELECT MAX(at) FROM audit WHERE server = ?1 AND rule = cited.name)) AS last \
             FROM cited WHERE cited.name = ?2 OR (cited.name >= ?4 AND cited.name < ?3)",
        )
        .bind(server)
        .bind(rule)
        // The place follows in brackets, and `)` comes after `(`.
        .bind(format!("{rule} )"))
        .bind(format!("{rule} ("))
        .fetch_one(&self.pool)
        .await
        .map_err(failed())?;
        maybe_time(&row, "last").map_err(failed())
    }

    async fn first_launch(&self, server: &str) -> Result<Option<Timestamp>, StoreError> {
        let failed = || self.failed("the launches of a server");
        let row = sqlx::query("SELECT MIN(started_at) AS first FROM launches WHERE server = ?")
            .bind(server)
            .fetch_one(&self.pool)
            .await
            .map_err(failed())?;
        maybe_time(&row, "first").map_err(failed())
    }
}

fn in_force(row: &SqliteRow) -> Result<InForce, sqlx::Error> {
    Ok(InForce {
        server: row.try_get("server")?,
        cwd: row.try_get("cwd")?,
        settings: row.try_get("settings")?,
        generation: number(row, "generation")?,
        at: time(row, "at")?,
        reason: row.try_get("reason")?,
    })
}
