//! Rows of the log as they stand, for whoever holds them against their MACs.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::audit::chain::{Columns, Mac, Row};

/// The columns, in the order in which [`row`] reads them.
pub(crate) const SELECT: &str =
    "SELECT seq, at, kind, server, launch, subject, detail, prev, mac FROM audit";

/// Reads a row. One whose content cannot be read, which no daemon wrote, becomes one whose MAC does not fit.
pub(crate) fn row(row: &SqliteRow) -> Result<Row<'_>, sqlx::Error> {
    let seq = row.try_get::<i64, _>(0)?.cast_unsigned();
    let mac = |column: usize| {
        let bytes = row.try_get::<Option<&[u8]>, _>(column).ok().flatten();
        bytes.and_then(Mac::from_bytes)
    };
    let (prev, mac) = (mac(7), mac(8));
    let columns = columns(row);
    Ok(Row {
        seq,
        columns: columns.as_ref().copied().unwrap_or(Columns {
            at: 0,
            kind: "",
            server: None,
            launch: None,
            subject: "",
            detail: "",
        }),
        prev,
        mac: mac.map(|mac| match columns {
            Ok(_) => mac,
            Err(_) => Mac::NONE,
        }),
    })
}

fn columns(row: &SqliteRow) -> Result<Columns<'_>, sqlx::Error> {
    Ok(Columns {
        at: row.try_get(1)?,
        kind: row.try_get(2)?,
        server: row.try_get(3)?,
        launch: row.try_get(4)?,
        subject: row.try_get(5)?,
        detail: row.try_get(6)?,
    })
}
