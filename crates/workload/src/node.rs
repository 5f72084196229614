//! Questions to one node about itself and about everything it holds.

use firedrill_ledger::Token;
use firedrill_ledger::history::{NodeState, TableFingerprint};
use firedrill_ledger::interval::TokenSet;
use firedrill_model::{GtidPos, GtidState};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row};
use std::time::Duration;

/// One table's fingerprint may take this long; a larger table is said to have none.
const FINGERPRINT_SECONDS_MAX: u32 = 10;

/// What a server says of itself.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) server: u32,
    pub(crate) read_only: bool,
    pub(crate) binlog_pos: GtidPos,
    pub(crate) position: GtidPos,
    pub(crate) binlog_state: GtidState,
}

/// Why a node could not be asked, for people.
pub(crate) type Problem = String;

fn problem(error: Error) -> Problem {
    error.to_string()
}

/// Asks who the server is and where it stands.
pub(crate) async fn identity(conn: &mut Conn) -> Result<Identity, Problem> {
    let row: Option<(u32, String, String, String, String)> = conn
        .query_first(
            "SELECT @@server_id, CAST(@@read_only AS CHAR), @@gtid_binlog_pos, @@gtid_current_pos, \
             @@gtid_binlog_state",
        )
        .await
        .map_err(problem)?;
    let (server, read_only, binlog_pos, position, binlog_state) = row.ok_or("the server answered nothing")?;
    let wrong = |error: firedrill_model::gtid::GtidError| error.to_string();
    Ok(Identity {
        server,
        // 10.11 says 0 or 1, newer versions OFF, ON and stricter words.
        read_only: !matches!(read_only.as_str(), "0" | "OFF"),
        binlog_pos: binlog_pos.parse().map_err(wrong)?,
        position: position.parse().map_err(wrong)?,
        binlog_state: binlog_state.parse().map_err(wrong)?,
    })
}

/// Waits until a replica has applied everything up to `target`; false when it has not within the time.
pub(crate) async fn caught_up(conn: &mut Conn, target: &GtidPos, within: Duration) -> Result<bool, Problem> {
    let question = format!("SELECT MASTER_GTID_WAIT('{target}', {:.3})", within.as_secs_f64());
    let answer: Option<Option<i64>> = conn.query_first(question).await.map_err(problem)?;
    Ok(answer.flatten() == Some(0))
}

/// Reads everything that a node holds.
pub(crate) async fn state(conn: &mut Conn, table: &str, converged: bool) -> Result<NodeState, Problem> {
    let (present, duplicates) = tokens(conn, table).await?;
    let tables = fingerprints(conn).await?;
    let identity = identity(conn).await?;
    Ok(NodeState {
        server: identity.server,
        position: identity.position,
        binlog_state: identity.binlog_state,
        converged,
        present,
        duplicates,
        tables,
    })
}

/// The tokens that are there, and those that are there more than once; streamed in the order of the index.
async fn tokens(conn: &mut Conn, table: &str) -> Result<(TokenSet, TokenSet), Problem> {
    let mut rows = conn
        .query_iter(format!("SELECT writer, sequence FROM {table} FORCE INDEX (token) ORDER BY writer, sequence"))
        .await
        .map_err(problem)?;
    let (mut present, mut duplicates, mut last) = (TokenSet::default(), TokenSet::default(), None);
    while let Some(row) = rows.next().await.map_err(problem)? {
        let (writer, sequence) = mysql_async::from_row_opt(row).map_err(|error| error.to_string())?;
        let token = Token { writer, sequence };
        if last.replace(token) == Some(token) {
            duplicates.insert(token);
        } else {
            present.insert(token);
        }
    }
    Ok((present, duplicates))
}

/// Fingerprints of all tables of the connection's database that the user may read.
pub(crate) async fn fingerprints(conn: &mut Conn) -> Result<Vec<TableFingerprint>, Problem> {
    let session = format!("SET SESSION max_statement_time = {FINGERPRINT_SECONDS_MAX}, time_zone = '+00:00'");
    conn.query_drop(session).await.map_err(problem)?;
    let columns: Vec<(String, String)> = conn
        .query(
            "SELECT c.table_name, c.column_name FROM information_schema.columns c \
             JOIN information_schema.tables t USING (table_schema, table_name) \
             WHERE t.table_schema = DATABASE() AND t.table_type = 'BASE TABLE' \
             ORDER BY c.table_name, c.ordinal_position",
        )
        .await
        .map_err(problem)?;
    let mut fingerprints = Vec::new();
    for table in columns.chunk_by(|(one, _), (other, _)| one == other) {
        let name = &table[0].0;
        let statement = fingerprint_statement(name, table.iter().map(|(_, column)| column.as_str()));
        let content = match conn.query_first::<Row, _>(statement).await {
            Ok(row) => row
                .and_then(|row| mysql_async::from_row_opt::<(u64, u64)>(row).ok())
                .ok_or_else(|| "the server answered nothing".to_owned()),
            // The connection is still good when the server answered; only this table has no fingerprint.
            Err(Error::Server(refused)) => Err(refused.to_string()),
            Err(error) => return Err(problem(error)),
        };
        fingerprints.push(TableFingerprint { table: name.clone(), content });
    }
    Ok(fingerprints)
}

/// Counts the rows and combines 64 bits of each row's MD5 by exclusive or, so that the order of rows does not matter.
/// `QUOTE` keeps `NULL`, `'NULL'` and values with separators apart.
fn fingerprint_statement<'a>(table: &str, columns: impl Iterator<Item = &'a str>) -> String {
    let quote = |name: &str| format!("`{}`", name.replace('`', "``"));
    let values: Vec<String> = columns.map(|column| format!("QUOTE({})", quote(column))).collect();
    format!(
        "SELECT COUNT(*), COALESCE(BIT_XOR(CAST(CONV(LEFT(MD5(CONCAT_WS(',', {})), 16), 16, 10) AS UNSIGNED)), 0) \
         FROM {}",
        values.join(", "),
        quote(table)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        let statement = fingerprint_statement("a`b", ["x", "y`"].into_iter());
        assert!(statement.contains("QUOTE(`x`), QUOTE(`y```)") && statement.ends_with("FROM `a``b`"), "{statement}");
    }
}
