//! The changes of the tables other than the log, as statements.

use sqlx::{SqliteConnection, sqlite::SqliteQueryResult};

use super::StoreError;
use super::convert::micros;
use super::request::{Change, Receipt};
use super::rows::{Launch, Policy, Server, Session};

/// What a change came to: the outer error is SQLite's, the inner one says why the change was refused.
type Applied = Result<Result<Receipt, StoreError>, sqlx::Error>;

pub(super) async fn apply(connection: &mut SqliteConnection, change: &Change) -> Applied {
    match change {
        Change::Register(server) => register(connection, server).await,
        Change::NoteServer(server) => done(put_server(connection, server).await?),
        Change::RemoveServer(name) => remove(connection, name).await,
        Change::Generation(policy) => generation(connection, policy).await,
        Change::BeginLaunch(launch) => done(begin_launch(connection, launch).await?),
        Change::LaunchRuns(id, processes) => {
            let result = sqlx::query(
                "UPDATE launches SET pid = ?, pid_start = ?, init_pid = ?, boot_id = ? \
                 WHERE id = ? AND ended_at IS NULL",
            )
            .bind(processes.pid)
            .bind(processes.pid_start.cast_signed())
            .bind(processes.init_pid)
            .bind(processes.boot_id.as_deref())
            .bind(id.to_string())
            .execute(connection)
            .await?;
            if result.rows_affected() == 0 {
                return Ok(Err(StoreError::NoSuchLaunch { id: *id }));
            }
            done(result)
        }
        Change::EndLaunch(id, exit) => {
            let result = sqlx::query(
                "UPDATE launches SET ended_at = ?, exit_code = ?, exit_signal = ?, exit_reason = ? \
                 WHERE id = ? AND ended_at IS NULL",
            )
            .bind(micros(exit.at))
            .bind(exit.code)
            .bind(exit.signal)
            .bind(exit.reason.as_str())
            .bind(id.to_string())
            .execute(connection)
            .await?;
            if result.rows_affected() == 0 {
                return Ok(Err(StoreError::NoSuchLaunch { id: *id }));
            }
            done(result)
        }
        Change::OpenSession(session) => done(open_session(connection, session).await?),
        Change::MoveSession { id, launch } => done(
            sqlx::query("UPDATE sessions SET launch = ? WHERE id = ? AND closed_at IS NULL")
                .bind(launch.to_string())
                .bind(id.to_string())
                .execute(connection)
                .await?,
        ),
        Change::CloseSession { id, at } => done(
            sqlx::query("UPDATE sessions SET closed_at = ? WHERE id = ? AND closed_at IS NULL")
                .bind(micros(*at))
                .bind(id.to_string())
                .execute(connection)
                .await?,
        ),
        Change::CloseAllSessions { at } => done(
            sqlx::query("UPDATE sessions SET closed_at = ? WHERE closed_at IS NULL")
                .bind(micros(*at))
                .execute(connection)
                .await?,
        ),
    }
}

fn done(result: SqliteQueryResult) -> Applied {
    Ok(Ok(Receipt {
        changed: result.rows_affected() > 0,
        ..Receipt::default()
    }))
}

async fn register(connection: &mut SqliteConnection, server: &Server) -> Applied {
    let taken: Option<bool> = sqlx::query_scalar("SELECT registered FROM servers WHERE name = ?")
        .bind(server.name.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    if taken == Some(true) {
        return Ok(Err(StoreError::ServerExists {
            name: server.name.clone(),
        }));
    }
    done(put_server(connection, server).await?)
}

/// Writes a server; one that a person registered is never replaced by one that was merely seen.
async fn put_server(
    connection: &mut SqliteConnection,
    server: &Server,
) -> Result<SqliteQueryResult, sqlx::Error> {
    let json = |error: serde_json::Error| sqlx::Error::Encode(error.into());
    sqlx::query(
        "INSERT INTO servers (name, command, cwd, settings, env, registered, created_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (name) DO UPDATE SET command = excluded.command, cwd = excluded.cwd, \
         settings = excluded.settings, env = excluded.env, registered = excluded.registered \
         WHERE excluded.registered OR NOT servers.registered",
    )
    .bind(server.name.as_str())
    .bind(serde_json::to_string(&server.command).map_err(json)?)
    .bind(server.cwd.as_deref())
    .bind(server.settings.as_deref())
    .bind(serde_json::to_string(&server.env).map_err(json)?)
    .bind(server.registered)
    .bind(micros(server.created_at))
    .execute(connection)
    .await
}

/// Launches are history and stay; log lines would never be pruned again and go.
async fn remove(connection: &mut SqliteConnection, name: &str) -> Applied {
    let result = sqlx::query("DELETE FROM servers WHERE name = ?")
        .bind(name)
        .execute(&mut *connection)
        .await?;
    if result.rows_affected() > 0 {
        sqlx::query("DELETE FROM logs WHERE server = ?")
            .bind(name)
            .execute(connection)
            .await?;
    }
    done(result)
}

async fn generation(connection: &mut SqliteConnection, policy: &Policy) -> Applied {
    let known: Option<i64> =
        sqlx::query_scalar("SELECT id FROM policy_generations WHERE source = ? AND digest = ?")
            .bind(policy.source.as_str())
            .bind(policy.digest.as_str())
            .fetch_optional(&mut *connection)
            .await?;
    let id = match known {
        Some(id) => id,
        None => sqlx::query(
            "INSERT INTO policy_generations (source, digest, text, compiled_at) VALUES (?, ?, ?, ?)",
        )
        .bind(policy.source.as_str())
        .bind(policy.digest.as_str())
        .bind(policy.text.as_str())
        .bind(micros(policy.compiled_at))
        .execute(connection)
        .await?
        .last_insert_rowid(),
    };
    Ok(Ok(Receipt {
        seq: 0,
        id: id.cast_unsigned(),
        changed: known.is_none(),
    }))
}

async fn begin_launch(
    connection: &mut SqliteConnection,
    launch: &Launch,
) -> Result<SqliteQueryResult, sqlx::Error> {
    sqlx::query(
        "INSERT INTO launches (id, server, generation, restart, temp_dir, started_at) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(launch.id.to_string())
    .bind(launch.server.as_str())
    .bind(launch.generation.cast_signed())
    .bind(launch.restart)
    .bind(launch.temp_dir.as_deref())
    .bind(micros(launch.started_at))
    .execute(connection)
    .await
}

async fn open_session(
    connection: &mut SqliteConnection,
    session: &Session,
) -> Result<SqliteQueryResult, sqlx::Error> {
    sqlx::query(
        "INSERT INTO sessions (id, launch, server, client_pid, opened_at) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(session.id.to_string())
    .bind(session.launch.to_string())
    .bind(session.server.as_str())
    .bind(session.client_pid)
    .bind(micros(session.opened_at))
    .execute(connection)
    .await
}
