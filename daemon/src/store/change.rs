//! The changes of the tables other than the log, as statements.

use sqlx::{SqliteConnection, sqlite::SqliteQueryResult};

use super::StoreError;
use super::convert::{id_text, micros};
use super::read::ALONE;
use super::request::{Change, Receipt};
use super::rows::{EndKind, Grant, InForce, Launch, Policy, Server, Session, Tool};
use super::shipping;

/// What a change came to: the outer error is SQLite's, the inner one says why the change was refused.
type Applied = Result<Result<Receipt, StoreError>, sqlx::Error>;

pub(super) async fn apply(connection: &mut SqliteConnection, change: &Change) -> Applied {
    match change {
        Change::Nothing => Ok(Ok(Receipt::default())),
        // Changes no value, and yet a page goes to the disk.
        Change::Probe => done(
            sqlx::query("UPDATE sqlite_sequence SET seq = seq")
                .execute(connection)
                .await?,
        ),
        Change::Register(server) => register(connection, server).await,
        Change::NoteServer(server) => done(put_server(connection, server).await?),
        Change::RemoveServer(name) => remove(connection, name).await,
        Change::EnableServer { name, enabled } => done(
            sqlx::query(
                "UPDATE servers SET enabled = ?1 WHERE name = ?2 AND registered AND enabled <> ?1",
            )
            .bind(*enabled)
            .bind(name.as_str())
            .execute(connection)
            .await?,
        ),
        Change::Generation(policy) => generation(connection, policy).await,
        Change::InForce(now) => done(in_force(connection, now).await?),
        Change::BeginLaunch(launch) => done(begin_launch(connection, launch).await?),
        Change::LaunchRuns(id, processes) => {
            let result = sqlx::query(
                "UPDATE launches SET pid = ?, pid_start = ?, init_pid = ?, init_start = ?, boot_id = ? \
                 WHERE id = ? AND ended_at IS NULL",
            )
            .bind(processes.pid)
            .bind(processes.pid_start.cast_signed())
            .bind(processes.init_pid)
            .bind(processes.init_start.map(u64::cast_signed))
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
                "UPDATE launches SET ended_at = ?, exit_code = ?, exit_signal = ?, exit_reason = ?, exit_kind = ? \
                 WHERE id = ? AND ended_at IS NULL",
            )
            .bind(micros(exit.at))
            .bind(exit.code)
            .bind(exit.signal)
            .bind(exit.reason.as_str())
            .bind(exit.kind.map(EndKind::as_str))
            .bind(id.to_string())
            .execute(connection)
            .await?;
            if result.rows_affected() == 0 {
                return Ok(Err(StoreError::NoSuchLaunch { id: *id }));
            }
            done(result)
        }
        Change::OpenSession(session) => done(open_session(connection, session).await?),
        Change::MoveSession {
            id,
            launch,
            client_pid,
        } => done(
            sqlx::query(
                "UPDATE sessions SET launch = ?, client_pid = ? WHERE id = ? AND closed_at IS NULL",
            )
            .bind(launch.to_string())
            .bind(client_pid)
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
        Change::CloseTokenless { at } => done(
            sqlx::query(
                "UPDATE sessions SET closed_at = ? WHERE closed_at IS NULL AND token_hash IS NULL",
            )
            .bind(micros(*at))
            .execute(connection)
            .await?,
        ),
        Change::Shipped(shipped) => done(shipping::note(connection, shipped).await?),
        Change::PutTools(tools) => put_tools(connection, tools).await,
        Change::AddGrant(grant) => done(add_grant(connection, grant).await?),
        Change::EndGrant { id, at, reason } => done(
            sqlx::query(
                "UPDATE grants SET ended_at = ?, end_reason = ? WHERE id = ? AND ended_at IS NULL",
            )
            .bind(micros(*at))
            .bind(reason.as_str())
            .bind(id.cast_signed())
            .execute(connection)
            .await?,
        ),
        Change::GrantUsed { id, at } => done(
            sqlx::query("UPDATE grants SET last_used_at = ? WHERE id = ?")
                .bind(micros(*at))
                .bind(id.cast_signed())
                .execute(connection)
                .await?,
        ),
    }
}

async fn add_grant(
    connection: &mut SqliteConnection,
    grant: &Grant,
) -> Result<SqliteQueryResult, sqlx::Error> {
    sqlx::query(
        "INSERT INTO grants (id, server, host, port, scope, launch, uid, user, created_at, expires_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(grant.id.cast_signed())
    .bind(grant.server.as_str())
    .bind(grant.host.as_str())
    .bind(grant.port)
    .bind(grant.scope.as_str())
    .bind(id_text(grant.launch))
    .bind(grant.uid)
    .bind(grant.user.as_deref())
    .bind(micros(grant.created_at))
    .bind(grant.expires_at.map(micros))
    .execute(connection)
    .await
}

async fn put_tools(connection: &mut SqliteConnection, tools: &[Tool]) -> Applied {
    for tool in tools {
        let accepted = tool.accepted.as_ref();
        sqlx::query(
            "INSERT INTO tools (server, name, said_digest, said_text, said_at, accepted_digest, \
             accepted_text, accepted_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (server, name) DO UPDATE SET said_digest = excluded.said_digest, \
             said_text = excluded.said_text, said_at = excluded.said_at, \
             accepted_digest = excluded.accepted_digest, accepted_text = excluded.accepted_text, \
             accepted_at = excluded.accepted_at",
        )
        .bind(tool.server.as_str())
        .bind(tool.name.as_str())
        .bind(tool.said.digest.as_str())
        .bind(tool.said.text.as_deref())
        .bind(micros(tool.said.at))
        .bind(accepted.map(|said| said.digest.as_str()))
        .bind(accepted.and_then(|said| said.text.as_deref()))
        .bind(accepted.map(|said| micros(said.at)))
        .execute(&mut *connection)
        .await?;
    }
    Ok(Ok(Receipt {
        changed: !tools.is_empty(),
        ..Receipt::default()
    }))
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
        "INSERT INTO servers (name, command, cwd, settings, profile, env, registered, created_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (name) DO UPDATE SET command = excluded.command, cwd = excluded.cwd, \
         settings = excluded.settings, profile = excluded.profile, env = excluded.env, registered = excluded.registered \
         WHERE excluded.registered OR NOT servers.registered",
    )
    .bind(server.name.as_str())
    .bind(serde_json::to_string(&server.command).map_err(json)?)
    .bind(server.cwd.as_deref())
    .bind(server.settings.as_deref())
    .bind(server.profile.as_deref())
    .bind(serde_json::to_string(&server.env).map_err(json)?)
    .bind(server.registered)
    .bind(micros(server.created_at))
    .execute(connection)
    .await
}

/// Launches are history and stay; log lines would never be pruned again and go, as do what is known of its tools and
/// which settings it had: another server of that name has none of it. The audit log keeps what happened.
async fn remove(connection: &mut SqliteConnection, name: &str) -> Applied {
    let result = sqlx::query("DELETE FROM servers WHERE name = ?")
        .bind(name)
        .execute(&mut *connection)
        .await?;
    if result.rows_affected() > 0 {
        for table in ["logs", "tools", "policy_history"] {
            sqlx::query(sqlx::AssertSqlSafe(format!(
                "DELETE FROM {table} WHERE server = ?"
            )))
            .bind(name)
            .execute(&mut *connection)
            .await?;
        }
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
    // One of a server's own stands in `source` and `text`.
    let alone = matches!(policy.documents.as_slice(), [only] if only.layer == ALONE);
    let documents = (!alone && !policy.documents.is_empty())
        .then(|| serde_json::to_string(&policy.documents))
        .transpose()
        .map_err(|error| sqlx::Error::Encode(error.into()))?;
    let id = match known {
        Some(id) => id,
        None => sqlx::query(
            "INSERT INTO policy_generations (source, digest, text, documents, compiled_at) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(policy.source.as_str())
        .bind(policy.digest.as_str())
        .bind(policy.text.as_str())
        .bind(documents)
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

async fn in_force(
    connection: &mut SqliteConnection,
    now: &InForce,
) -> Result<SqliteQueryResult, sqlx::Error> {
    sqlx::query(
        "INSERT INTO policy_history (server, cwd, settings, generation, at, reason) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(now.server.as_str())
    .bind(now.cwd.as_str())
    .bind(now.settings.as_deref())
    .bind(now.generation.cast_signed())
    .bind(micros(now.at))
    .bind(now.reason.as_str())
    .execute(connection)
    .await
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
        "INSERT INTO sessions (id, launch, server, client_pid, opened_at, token_hash) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(session.id.to_string())
    .bind(session.launch.to_string())
    .bind(session.server.as_str())
    .bind(session.client_pid)
    .bind(micros(session.opened_at))
    .bind(session.token_hash.as_deref())
    .execute(connection)
    .await
}
