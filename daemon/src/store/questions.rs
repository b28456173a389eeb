//! What the audit log is asked: which entries, and who touched something.
//!
//! Every condition has an index (migrations 9 and 13), and what an index does not give in the order of the log is put in order by
//! number alone before a row is read.

use jiff::{SignedDuration, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite};
use uuid::Uuid;

use super::convert::{json, maybe_id, micros, number, parsed, time};
use super::pages::{Paged, Pages};
use super::{Store, StoreError};
use crate::audit::{Entry, Kind, Record};

/// Which audit entries.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// About this server only.
    pub server: Option<String>,
    /// About this launch only.
    pub launch: Option<Uuid>,
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// Not newer than this.
    pub until: Option<Timestamp>,
    /// Of this kind only.
    pub kind: Option<Kind>,
    /// About this host only, in lower case, without a port.
    pub host: Option<String>,
    /// About this port of a host only.
    pub port: Option<u16>,
    /// About this absolute path and what is below it only.
    pub path: Option<String>,
    /// Launches that were given this variable only.
    pub variable: Option<String>,
    /// That tell of something that was not over before the first of the two times, and may have begun before the
    /// second. Wants the server.
    pub during: Option<(Timestamp, Timestamp)>,
    /// With a greater number only.
    pub after_seq: u64,
    /// With a lesser number only.
    pub before_seq: Option<u64>,
    /// The newest so many; `None`: all.
    pub limit: Option<u32>,
    /// The limit leaves the oldest instead.
    pub oldest: bool,
}

/// What lasted as long has its beginning in an index; what lasted less is near its end (migration 9).
const LONG: SignedDuration = SignedDuration::from_secs(60);
const HOUR: i64 = 3_600_000_000;

impl Paged for AuditQuery {
    type Item = Record;
    const WHAT: &'static str = "audit entries";
    const TABLE: &'static str = "audit";
    const KEY: &'static str = "seq";
    const COLUMNS: &'static str = "seq, at, kind, server, launch, subject, detail";

    fn after(&self) -> u64 {
        self.after_seq
    }
    fn before(&self) -> Option<u64> {
        self.before_seq
    }
    fn limit(&self) -> Option<u32> {
        self.limit
    }
    fn oldest_first(&self) -> bool {
        self.oldest
    }
    fn window(&self) -> Option<QueryBuilder<Sqlite>> {
        if self.since.is_none() && self.until.is_none() {
            return None;
        }
        let hour = |at: Timestamp| micros(at).div_euclid(HOUR);
        // What is written later may still have happened before a time to come.
        let until = self.until.filter(|until| *until < Timestamp::now());
        let last = until.map_or("NULL", |_| "MAX(last)");
        let mut window = QueryBuilder::new(format!(
            "SELECT MIN(first), {last} FROM audit_hours WHERE hour >= "
        ));
        window
            .push_bind(self.since.map_or(i64::MIN, hour))
            .push(" AND hour <= ")
            .push_bind(until.map_or(i64::MAX, hour));
        Some(window)
    }
    fn scattered(&self) -> bool {
        self.host.is_some()
            || self.path.is_some()
            || self.variable.is_some()
            || self.during.is_some()
    }
    fn index(&self) -> &'static str {
        let (server, kind) = (self.server.is_some(), self.kind.is_some());
        if self.variable.is_some() || self.during.is_some() {
            // They bring numbers of their own.
            "NOT INDEXED"
        } else if self.host.is_some() {
            "INDEXED BY audit_by_host"
        } else if self.path.is_some() {
            "INDEXED BY audit_by_path"
        } else if server && kind {
            "INDEXED BY audit_by_server_kind"
        } else if server {
            "INDEXED BY audit_by_server"
        } else if kind {
            "INDEXED BY audit_by_kind"
        } else {
            "NOT INDEXED"
        }
    }
    fn conditions(&self, query: &mut QueryBuilder<Sqlite>) {
        if let Some(since) = self.since {
            query.push(" AND +at >= ").push_bind(micros(since));
        }
        if let Some(until) = self.until {
            query.push(" AND +at <= ").push_bind(micros(until));
        }
        if let Some(server) = &self.server {
            query.push(" AND server = ").push_bind(server.as_str());
        }
        if let Some(launch) = self.launch {
            query.push(" AND launch = ").push_bind(launch.to_string());
        }
        if let Some(kind) = self.kind {
            query.push(" AND kind = ").push_bind(kind.as_str());
        }
        if let Some(host) = &self.host {
            query.push(" AND host = ").push_bind(host.as_str());
        }
        if let Some(port) = self.port {
            let end = format!(":{port}");
            query
                .push(format!(" AND substr(subject, -{}) = ", end.len()))
                .push_bind(end);
        }
        if let Some(path) = &self.path {
            at_or_below(path, query);
        }
        if let Some(name) = &self.variable {
            query
                .push(" AND seq IN (SELECT seq FROM audit_variables WHERE name = ")
                .push_bind(name.as_str())
                .push(")");
        }
        if let (Some((since, until)), Some(server)) = (self.during, &self.server) {
            let near = until.checked_add(LONG).unwrap_or(Timestamp::MAX);
            query
                .push(" AND seq IN (SELECT seq FROM audit WHERE server = ")
                .push_bind(server.as_str())
                .push(" AND at >= ")
                .push_bind(micros(since))
                .push(" AND at <= ")
                .push_bind(micros(near))
                .push(" UNION SELECT seq FROM audit WHERE begun IS NOT NULL AND server = ")
                .push_bind(server.as_str())
                .push(" AND begun <= ")
                .push_bind(micros(until))
                .push(" AND +at >= ")
                .push_bind(micros(since))
                .push(")");
        }
    }
    fn item(row: &SqliteRow) -> Result<Record, sqlx::Error> {
        Ok(Record {
            seq: number(row, "seq")?,
            entry: Entry {
                at: time(row, "at")?,
                kind: parsed(row, "kind", str::parse)?,
                server: row.try_get("server")?,
                launch: maybe_id(row, "launch")?,
                subject: row.try_get("subject")?,
                detail: json(row, "detail")?,
            },
        })
    }
}

/// A range that an index has, and then what in it is no sibling: "/a/b-c" lies between "/a/b" and "/a/b/c".
fn at_or_below(path: &str, query: &mut QueryBuilder<Sqlite>) {
    let path = path.trim_end_matches('/');
    if path.is_empty() {
        query.push(" AND path IS NOT NULL");
        return;
    }
    let below = format!("{path}/");
    query
        .push(" AND path >= ")
        .push_bind(path.to_owned())
        // The character after the slash.
        .push(" AND path < ")
        .push_bind(format!("{path}0"))
        .push(" AND (path = ")
        .push_bind(path.to_owned())
        .push(" OR substr(path, 1, ")
        .push_bind(i64::try_from(below.chars().count()).unwrap_or(i64::MAX))
        .push(") = ")
        .push_bind(below)
        .push(")");
}

impl AuditQuery {
    /// The variable, and what else is asked for, where the variables' table has all of that: the entries themselves lie all
    /// over the log.
    fn of_variable(&self) -> Option<(&str, Self)> {
        let name = self.variable.as_deref()?;
        let more = self.launch.is_some() || self.host.is_some() || self.port.is_some();
        let more = more || self.path.is_some() || self.during.is_some();
        let rest = Self {
            variable: None,
            ..self.clone()
        };
        (!more).then_some((name, rest))
    }
}

/// Entries of one kind about one thing in one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Touch {
    /// The server.
    pub server: Option<String>,
    /// What sort of entry.
    pub kind: Kind,
    /// How many.
    pub count: u64,
    /// The time of the one with the lowest number.
    pub first: Timestamp,
    /// The time of the one with the highest number.
    pub last: Timestamp,
}

impl Store {
    /// Audit entries, in ascending order.
    pub fn audit(&self, query: AuditQuery) -> Pages<AuditQuery> {
        let reader = self.reader.clone();
        Pages::new(reader.pool, reader.path, query, self.audit_tail())
    }

    /// Counts the entries that `query` is about, by server and kind; a limit has no meaning here.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn touches(&self, query: &AuditQuery) -> Result<Vec<Touch>, StoreError> {
        let failed = |source| StoreError::read(AuditQuery::WHAT, &self.reader.path, source);
        let mut select = QueryBuilder::new(
            "SELECT server, kind, count, \
             (SELECT at FROM audit WHERE seq = first) AS first, \
             (SELECT at FROM audit WHERE seq = last) AS last FROM (\
             SELECT server, kind, COUNT(*) AS count, MIN(seq) AS first, MAX(seq) AS last FROM ",
        );
        let of_variable = query.of_variable();
        match &of_variable {
            Some((name, _)) => select
                .push("(SELECT seq, at, server, 'start' AS kind FROM audit_variables WHERE name = ")
                .push_bind(*name)
                .push(")"),
            None => select.push("audit ").push(query.index()),
        };
        select.push(" WHERE +seq <= ");
        let newest = *self.audit_tail.borrow();
        select.push_bind(newest.cast_signed());
        if let Some(mut window) = query.window() {
            let window = window.build_query_as().fetch_one(&self.reader.pool).await;
            let (first, last): (Option<i64>, Option<i64>) = window.map_err(failed)?;
            select
                .push(" AND +seq >= ")
                .push_bind(first.unwrap_or(i64::MAX))
                .push(" AND +seq <= ")
                .push_bind(last.unwrap_or(i64::MAX));
        }
        let rest = of_variable.as_ref().map_or(query, |(_, rest)| rest);
        rest.conditions(&mut select);
        select.push(" GROUP BY server, kind) ORDER BY count DESC, server, kind");
        let rows = select.build().fetch_all(&self.reader.pool).await;
        let rows = rows.map_err(failed)?;
        let touch = |row: &SqliteRow| {
            Ok(Touch {
                server: row.try_get("server")?,
                kind: parsed(row, "kind", str::parse)?,
                count: number(row, "count")?,
                first: time(row, "first")?,
                last: time(row, "last")?,
            })
        };
        rows.iter()
            .map(touch)
            .collect::<Result<_, _>>()
            .map_err(failed)
    }
}
