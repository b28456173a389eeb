//! Reading the tables other than the log.

use std::path::PathBuf;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqlitePool};

use super::StoreError;
use super::convert::{id, json, maybe_id, maybe_time, number, parsed, time};
use super::rows::{
    Document, EndKind, Ended, Exit, Generation, Grant, History, Launch, OpenSession, Policy,
    Processes, Said, Server, Tool, Unfinished,
};

/// The source of the policy that no document says, as generations have it.
const BUILT_IN: &str = "built-in";

/// Whose a document is that has no columns of its own: what stands alone is read as a server's own is.
pub(super) const ALONE: &str = "server";

/// The read-only connections.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) pool: SqlitePool,
    pub(super) path: PathBuf,
}

impl Reader {
    pub(super) fn failed(&self, what: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
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
            "SELECT ended_at, exit_code, exit_signal, exit_reason, exit_kind FROM launches \
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

    pub(super) async fn grants(&self) -> Result<Vec<Grant>, StoreError> {
        let rows = sqlx::query("SELECT * FROM grants ORDER BY id")
            .fetch_all(&self.pool)
            .await
            .map_err(self.failed("the grants"))?;
        rows.iter()
            .map(grant)
            .collect::<Result<_, _>>()
            .map_err(self.failed("the grants"))
    }

    pub(super) async fn tools(&self, server: &str) -> Result<Vec<Tool>, StoreError> {
        let failed = || self.failed("the tools of a server");
        let rows = sqlx::query("SELECT * FROM tools WHERE server = ? ORDER BY name")
            .bind(server)
            .fetch_all(&self.pool)
            .await
            .map_err(failed())?;
        rows.iter()
            .map(tool)
            .collect::<Result<_, _>>()
            .map_err(failed())
    }

    pub(super) async fn open_sessions(&self) -> Result<Vec<OpenSession>, StoreError> {
        let failed = || self.failed("the open sessions");
        let rows = sqlx::query(
            "SELECT id, server, token_hash FROM sessions \
             WHERE closed_at IS NULL AND token_hash IS NOT NULL ORDER BY opened_at",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed())?;
        rows.iter()
            .map(open_session)
            .collect::<Result<_, _>>()
            .map_err(failed())
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

fn open_session(row: &SqliteRow) -> Result<OpenSession, sqlx::Error> {
    Ok(OpenSession {
        id: id(row, "id")?,
        server: row.try_get("server")?,
        token_hash: row.try_get("token_hash")?,
    })
}

fn grant(row: &SqliteRow) -> Result<Grant, sqlx::Error> {
    let ended = match maybe_time(row, "ended_at")? {
        Some(at) => Some(Ended {
            at,
            reason: row.try_get("end_reason")?,
        }),
        None => None,
    };
    Ok(Grant {
        id: number(row, "id")?,
        server: row.try_get("server")?,
        host: row.try_get("host")?,
        port: row.try_get("port")?,
        scope: parsed(row, "scope", str::parse)?,
        launch: maybe_id(row, "launch")?,
        uid: row.try_get("uid")?,
        user: row.try_get("user")?,
        created_at: time(row, "created_at")?,
        expires_at: maybe_time(row, "expires_at")?,
        last_used_at: maybe_time(row, "last_used_at")?,
        ended,
    })
}

fn tool(row: &SqliteRow) -> Result<Tool, sqlx::Error> {
    let accepted = match (
        row.try_get::<Option<String>, _>("accepted_digest")?,
        maybe_time(row, "accepted_at")?,
    ) {
        (Some(digest), Some(at)) => Some(Said {
            digest,
            text: row.try_get("accepted_text")?,
            at,
        }),
        _ => None,
    };
    Ok(Tool {
        server: row.try_get("server")?,
        name: row.try_get("name")?,
        said: Said {
            digest: row.try_get("said_digest")?,
            text: row.try_get("said_text")?,
            at: time(row, "said_at")?,
        },
        accepted,
    })
}

fn server(row: &SqliteRow) -> Result<Server, sqlx::Error> {
    Ok(Server {
        name: row.try_get("name")?,
        command: json(row, "command")?,
        cwd: row.try_get("cwd")?,
        settings: row.try_get("settings")?,
        profile: row.try_get("profile")?,
        env: json(row, "env")?,
        registered: row.try_get("registered")?,
        enabled: row.try_get("enabled")?,
        created_at: time(row, "created_at")?,
    })
}

pub(super) fn generation(row: &SqliteRow) -> Result<Generation, sqlx::Error> {
    let (source, text): (String, String) = (row.try_get("source")?, row.try_get("text")?);
    let several: Option<&str> = row.try_get("documents")?;
    let documents = match several {
        Some(_) => json(row, "documents")?,
        None if source == BUILT_IN => Vec::new(),
        None => vec![Document {
            layer: ALONE.to_owned(),
            path: source.clone(),
            text: text.clone(),
        }],
    };
    Ok(Generation {
        id: number(row, "id")?,
        policy: Policy {
            source,
            digest: row.try_get("digest")?,
            text,
            documents,
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
        kind: row
            .try_get::<Option<String>, _>("exit_kind")?
            .and_then(|name| EndKind::named(&name)),
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
            init_start: row
                .try_get::<Option<i64>, _>("init_start")?
                .map(i64::cast_unsigned),
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
