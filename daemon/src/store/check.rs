//! Whether the database is as it should be: whole, of this program's schema, without gaps, and private. Changes nothing but
//! that damage is noted for the daemon's next start.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use super::chain::{Against, VerifyError, verify};
use super::{Store, StoreError, files, quarantine, reading};

/// What was looked at, and what was found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was looked at, in a word.
    pub what: &'static str,
    /// What is wrong, a line each; empty where nothing is.
    pub problems: Vec<String>,
    /// What was found where nothing is wrong.
    pub found: String,
    /// What to do where something is.
    pub hint: String,
}

/// Problems of one sort that are shown; the number of the others is.
const SHOWN: usize = 20;

impl Store {
    /// Looks through the database at `path`, which a daemon may have open.
    ///
    /// # Errors
    /// When there is none, or it cannot be looked at at all.
    pub async fn examine(path: &Path) -> Result<Vec<Finding>, StoreError> {
        let failed = |source| StoreError::Open {
            path: path.into(),
            source: Arc::new(source),
        };
        if !path.exists() {
            return Err(StoreError::Missing { path: path.into() });
        }
        let mut connection = reading(path).connect().await.map_err(failed)?;
        let whole = match integrity(&mut connection).await {
            Ok(whole) => whole,
            // What cannot even be looked through.
            Err(error) if super::error::is_damage(&error) => vec![error.to_string()],
            Err(error) => return Err(failed(error)),
        };
        let damaged = !whole.is_empty();
        if damaged {
            quarantine::suspect(path, &whole[0]);
        }
        let restart = "restart the daemon (srtctl daemon stop): it moves the file aside and keeps of it what it can";
        let mut findings = vec![
            private(path),
            finding("whole", whole, "every page and index", restart),
        ];
        // Whatever else is asked of a damaged file only repeats that.
        if !damaged {
            findings.push(references(&mut connection).await.map_err(failed)?);
            findings.push(schema(&mut connection).await.map_err(failed)?);
            findings.push(numbers(&mut connection).await.map_err(failed)?);
            findings.push(log(path).await);
        }
        connection.close().await.map_err(failed)?;
        Ok(findings)
    }
}

fn finding(what: &'static str, problems: Vec<String>, found: &str, hint: &str) -> Finding {
    let more = problems.len().saturating_sub(SHOWN);
    let mut problems = problems;
    problems.truncate(SHOWN);
    if more > 0 {
        problems.push(format!("and {more} more"));
    }
    Finding {
        what,
        problems,
        found: found.to_owned(),
        hint: hint.to_owned(),
    }
}

/// The database, its log and their folder are for their owner alone.
fn private(path: &Path) -> Finding {
    let us = rustix::process::getuid().as_raw();
    let mut problems = Vec::new();
    let folder = path.parent().map(Path::to_owned);
    let files = std::iter::once(path.to_owned())
        .chain(files::BESIDE.map(|suffix| files::beside(path, suffix)));
    for file in files.chain(folder) {
        let Ok(meta) = fs::symlink_metadata(&file) else {
            continue;
        };
        if meta.uid() != us {
            problems.push(format!("{} belongs to uid {}", file.display(), meta.uid()));
        }
        let mode = meta.mode() & 0o777;
        if mode & 0o077 != 0 {
            problems.push(format!("{} has mode {mode:04o}", file.display()));
        }
    }
    finding(
        "private",
        problems,
        "the files are ours alone",
        "chown and chmod go-rwx; the daemon does so for what is its own when it starts",
    )
}

async fn integrity(connection: &mut SqliteConnection) -> Result<Vec<String>, sqlx::Error> {
    let lines: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(100)")
        .fetch_all(connection)
        .await?;
    // Several problems may stand in one row, a line each.
    let lines = lines.iter().flat_map(|text| text.lines());
    let problem = |line: &&str| *line != "ok" && !line.starts_with("*** in database");
    Ok(lines.filter(problem).map(str::to_owned).collect())
}

async fn references(connection: &mut SqliteConnection) -> Result<Finding, sqlx::Error> {
    let rows: Vec<(String, Option<i64>, String)> =
        sqlx::query_as("SELECT \"table\", rowid, parent FROM pragma_foreign_key_check")
            .fetch_all(connection)
            .await?;
    let problems = rows
        .iter()
        .map(|(table, row, parent)| {
            let row = row.unwrap_or_default();
            format!("row {row} of {table} refers to a row of {parent} that is not there")
        })
        .collect();
    Ok(finding(
        "references",
        problems,
        "every row that is referred to is there",
        "rows were removed behind the daemon's back; nothing stops working, but history has holes",
    ))
}

/// The schema is that of this program's migrations, with nothing beside it: a trigger could take entries away again.
async fn schema(connection: &mut SqliteConnection) -> Result<Finding, sqlx::Error> {
    let known = sqlx::migrate!("../migrations");
    let applied: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut problems = Vec::new();
    for (version, checksum) in &applied {
        match known.iter().find(|one| one.version == *version) {
            None => problems.push(format!(
                "migration {version} is of a newer srtd than this one"
            )),
            Some(one) if one.checksum.as_ref() != checksum.as_slice() => {
                problems.push(format!("migration {version} is not that of this srtd"))
            }
            Some(_) => {}
        }
    }
    let newer = !problems.is_empty();
    let pending = known
        .iter()
        .filter(|one| !applied.iter().any(|(version, _)| *version == one.version))
        .count();
    // Only where both should be the same.
    if !newer && pending == 0 {
        let expected = objects_of_migrations().await?;
        let found = objects(connection).await?;
        for (name, sql) in &expected {
            match found.get(name) {
                None => problems.push(format!("{name} is missing")),
                Some(other) if other != sql => problems.push(format!("{name} was changed")),
                Some(_) => {}
            }
        }
        let beside = found.keys().filter(|name| !expected.contains_key(*name));
        problems.extend(beside.map(|name| format!("{name} is not the daemon's")));
    }
    let found = match pending {
        0 => format!("version {}", applied.last().map_or(0, |last| last.0)),
        count => format!("{count} migrations are due at the daemon's next start"),
    };
    let hint = if newer {
        "use the srtctl and srtd that made the database, or newer ones"
    } else {
        "somebody changed the database behind the daemon's back: make a backup, look at it, and put another in its place"
    };
    Ok(finding("schema", problems, &found, hint))
}

/// Tables, indexes, triggers and views with their text, by sort and name; those that SQLite makes left out.
async fn objects(
    connection: &mut SqliteConnection,
) -> Result<BTreeMap<String, String>, sqlx::Error> {
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )
    .fetch_all(connection)
    .await?;
    let named = |(sort, name, sql): (String, String, String)| (format!("{sort} {name}"), sql);
    Ok(rows.into_iter().map(named).collect())
}

async fn objects_of_migrations() -> Result<BTreeMap<String, String>, sqlx::Error> {
    let mut fresh = SqliteConnectOptions::new()
        .in_memory(true)
        .disable_statement_logging()
        .connect()
        .await?;
    sqlx::migrate!("../migrations").run(&mut fresh).await?;
    let found = objects(&mut fresh).await?;
    fresh.close().await?;
    Ok(found)
}

/// The audit log's chain, against its key and its anchor.
async fn log(path: &Path) -> Finding {
    let against = Against {
        anchored: true,
        ..Against::default()
    };
    let hint = "the log was changed behind the daemon's back: srtctl audit verify";
    match verify(path, &against).await {
        Ok(report) => {
            let problems = report.findings.iter().map(|one| one.message.clone());
            let verified = format!("{} entries verified", report.verdict.rows);
            finding("log", problems.collect(), &verified, hint)
        }
        Err(VerifyError::Unchained(_)) => {
            let due = "not chained yet; the daemon does that when it starts";
            finding("log", Vec::new(), due, hint)
        }
        Err(error) => {
            let said = error.to_string();
            let (problem, remedy) = said.split_once("\nhint: ").unwrap_or((&said, hint));
            finding("log", vec![problem.to_owned()], "", remedy)
        }
    }
}

/// Entries are numbered without a gap, to the newest that was ever given out.
async fn numbers(connection: &mut SqliteConnection) -> Result<Finding, sqlx::Error> {
    let (count, first, last, given): (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT COUNT(*), COALESCE(MIN(seq), 0), COALESCE(MAX(seq), 0), \
         COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'audit'), 0) FROM audit",
    )
    .fetch_one(connection)
    .await?;
    let mut problems = Vec::new();
    let missing = if count == 0 {
        0
    } else {
        last - first + 1 - count
    };
    if missing > 0 {
        problems.push(format!(
            "{missing} entries between {first} and {last} are missing"
        ));
    }
    if count > 0 && given != last {
        problems.push(format!(
            "the newest entry is {last}, and {given} was given out"
        ));
    }
    Ok(finding(
        "numbers",
        problems,
        &match count {
            0 => "no audit entry yet".to_owned(),
            _ => format!("{count} audit entries, {first} to {last}"),
        },
        "entries were removed or changed behind the daemon's back",
    ))
}
