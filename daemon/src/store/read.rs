//! Reading the tables other than the log.

use std::path::PathBuf;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqlitePool};

use super::StoreError;
use super::convert::{id, json, number, time};
use super::rows::{Exit, Generation, History, Launch, Policy, Processes, Server, Unfinished};

/// The read-only connections.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) pool: SqlitePool,
    pub(super) path: PathBuf,
}

impl Reader {
    fn failed(&self, what: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
        let path = self.path.clone();
        move |source| StoreError::read(what, &path, source)
    }

    pub(super) async fn servers(&self) -> Result<Vec<Server>, StoreError> {
        let rows = sqlx::query("SELECT * FROM servers ORDER BY name")
            .fetch_all(&self.pool)
            .await
            .map_err(self.failed("the servers"))?;
        rows.iter()
            .map(server)
            .collect::<Result<_, _>>()
            .map_err(self.failed("the servers"))
    }

    pub(super) async fn server(&self, name: &str) -> Result<Option<Server>, StoreError> {
        let row = sqlx::query("SELECT * FROM servers WHERE name = ?")
            .bind(name)
            .fetch_optional(&self.pool)
            .await
            .map_err(self.failed("a server"))?;
        row.as_ref()
            .map(server)
            .transpose()
            .map_err(self.failed("a server"))
    }

    pub(super) async fn generation(&self, number: u64) -> Result<Option<Generation>, StoreError> {
        let row = sqlx::query("SELECT * FROM policy_generations WHERE id = ?")
            .bind(number.cast_signed())
            .fetch_optional(&self.pool)
            .await
            .map_err(self.failed("a policy generation"))?;
        row.as_ref()
            .map(generation)
            .transpose()
            .map_err(self.failed("a policy generation"))
    }

    pub(super) async fn history(&self, server: &str) -> Result<History, StoreError> {
        let failed = || self.failed("the launches of a server");
        // What a server of the same name did before it was removed is not this server's history.
        let since: i64 = sqlx::query_scalar(
            "SELECT COALESCE((SELECT created_at FROM servers WHERE name = ?), 0)",
        )
        .bind(server)
        .fetch_one(&self.pool)
        .await
        .map_err(failed())?;
        let (launches, restarts): (i64, i64) = sqlx::query_as(
            "SELECT COUNT(*), COALESCE(SUM(restart), 0) FROM launches \
             WHERE server = ? AND started_at >= ?",
        )
        .bind(server)
        .bind(since)
        .fetch_one(&self.pool)
        .await
        .map_err(failed())?;
        let last = sqlx::query(
            "SELECT ended_at, exit_code, exit_signal, exit_reason FROM launches \
             WHERE server = ? AND started_at >= ? AND ended_at IS NOT NULL \
             ORDER BY ended_at DESC LIMIT 1",
        )
        .bind(server)
        .bind(since)
        .fetch_optional(&self.pool)
        .await
        .map_err(failed())?;
        Ok(History {
            launches: launches.cast_unsigned(),
            restarts: restarts.cast_unsigned(),
            last_exit: last.as_ref().map(exit).transpose().map_err(failed())?,
        })
    }

    pub(super) async fn unfinished(&self) -> Result<Vec<Unfinished>, StoreError> {
        let failed = || self.failed("unfinished launches");
        let rows = sqlx::query("SELECT * FROM launches WHERE ended_at IS NULL ORDER BY started_at")
            .fetch_all(&self.pool)
            .await
            .map_err(failed())?;
        rows.iter()
            .map(unfinished)
            .collect::<Result<_, _>>()
            .map_err(failed())
    }
}

fn server(row: &SqliteRow) -> Result<Server, sqlx::Error> {
    Ok(Server {
        name: row.try_get("name")?,
        command: json(row, "command")?,
        cwd: row.try_get("cwd")?,
        settings: row.try_get("settings")?,
        env: json(row, "env")?,
        registered: row.try_get("registered")?,
        created_at: time(row, "created_at")?,
    })
}

fn generation(row: &SqliteRow) -> Result<Generation, sqlx::Error> {
    Ok(Generation {
        id: number(row, "id")?,
        policy: Policy {
            source: row.try_get("source")?,
            digest: row.try_get("digest")?,
            text: row.try_get("text")?,
            compiled_at: time(row, "compiled_at")?,
        },
    })
}

fn exit(row: &SqliteRow) -> Result<Exit, sqlx::Error> {
    Ok(Exit {
        at: time(row, "ended_at")?,
        code: row.try_get("exit_code")?,
        signal: row.try_get("exit_signal")?,
        reason: row.try_get("exit_reason")?,
    })
}

fn unfinished(row: &SqliteRow) -> Result<Unfinished, sqlx::Error> {
    let started_at: Timestamp = time(row, "started_at")?;
    let pid: Option<u32> = row.try_get("pid")?;
    let processes = match pid {
        Some(pid) => Some(Processes {
            pid,
            pid_start: number(row, "pid_start")?,
            init_pid: row.try_get("init_pid")?,
            boot_id: row.try_get("boot_id")?,
        }),
        None => None,
    };
    Ok(Unfinished {
        launch: Launch {
            id: id(row, "id")?,
            server: row.try_get("server")?,
            generation: number(row, "generation")?,
            restart: row.try_get("restart")?,
            temp_dir: row.try_get("temp_dir")?,
            started_at,
        },
        processes,
    })
}
