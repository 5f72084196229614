//! The fingerprint of all user tables at one position: two nodes that stand at the same position must have the same.

use super::heartbeat;
use super::server::{Server, parse};
use super::sql::{Session, Table, identifier, literal};
use crate::error::EngineError;
use firedrill_model::command::{Fingerprint, TableFingerprint};
use firedrill_model::{GtidPos, NodeReply};
use std::collections::BTreeMap;

/// Schemas that belong to the server, not to users.
const SYSTEM_SCHEMAS: [&str; 4] = ["mysql", "information_schema", "performance_schema", "sys"];

impl Server {
    /// [`firedrill_model::NodeCommand::Fingerprint`]. Rows are hashed by the server, in one snapshot; a table without
    /// a transactional engine is read as it is at its moment.
    pub(crate) async fn fingerprint(&self) -> Result<NodeReply, EngineError> {
        let mut session = self.admin.connect().await?;
        session
            .run(
                "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET SESSION max_statement_time=0; \
                 SET NAMES utf8mb4; START TRANSACTION WITH CONSISTENT SNAPSHOT",
            )
            .await?;
        let position = snapshot_position(&mut session).await?;
        let mut tables = Vec::new();
        for (name, columns) in columns_by_table(&mut session).await? {
            let statement = hash_statement(&name, &columns);
            let answer = session.run(&statement).await?;
            let row = answer.first().and_then(Table::first);
            tables.push(TableFingerprint {
                table: format!("{}.{}", name.0, name.1),
                rows: parse(&statement, row.and_then(|row| row.at(0)))?,
                hash: parse(&statement, row.and_then(|row| row.at(1)))?,
            });
        }
        session.run("ROLLBACK").await?;
        Ok(NodeReply::Fingerprint(Fingerprint { position, tables }))
    }
}

/// The position of the snapshot itself: the server keeps the binary log's place with it.
async fn snapshot_position(session: &mut Session) -> Result<GtidPos, EngineError> {
    let tables = session.run("SHOW STATUS LIKE 'binlog_snapshot_%'").await?;
    let value = |name: &str| {
        let mut rows = tables.iter().flat_map(Table::rows);
        rows.find(|row| row.at(0).is_some_and(|found| found.eq_ignore_ascii_case(name)))?.at(1)
    };
    let file = value("Binlog_snapshot_file").unwrap_or_default();
    let place = value("Binlog_snapshot_position").unwrap_or_default();
    let statement = format!("SELECT BINLOG_GTID_POS({}, {})", literal(file), literal(place));
    let position = session.run(&statement).await?;
    match position.first().and_then(Table::first).and_then(|row| row.at(0)) {
        Some(text) => parse(&statement, Some(text)),
        None => Err(EngineError::Answer { statement, message: "the binary log has no such place".to_owned() }),
    }
}

type TableName = (String, String);

/// The columns of each user table, in their order, with their types.
async fn columns_by_table(session: &mut Session) -> Result<BTreeMap<TableName, Vec<(String, String)>>, EngineError> {
    let ours = SYSTEM_SCHEMAS.into_iter().chain([heartbeat::SCHEMA]).map(literal).collect::<Vec<_>>().join(", ");
    let answer = session
        .run(&format!(
            "SELECT c.TABLE_SCHEMA, c.TABLE_NAME, c.COLUMN_NAME, c.DATA_TYPE FROM information_schema.COLUMNS c \
             JOIN information_schema.TABLES t USING (TABLE_SCHEMA, TABLE_NAME) \
             WHERE t.TABLE_TYPE='BASE TABLE' AND c.TABLE_SCHEMA NOT IN ({ours}) \
             ORDER BY c.TABLE_SCHEMA, c.TABLE_NAME, c.ORDINAL_POSITION"
        ))
        .await?;
    let mut tables: BTreeMap<TableName, Vec<(String, String)>> = BTreeMap::new();
    for row in answer.iter().flat_map(Table::rows) {
        let cell = |index| row.at(index).unwrap_or_default().to_owned();
        tables.entry((cell(0), cell(1))).or_default().push((cell(2), cell(3)));
    }
    Ok(tables)
}

/// Counts the rows and takes the exclusive-or of their hashes. Each value is written with its length, so that no two
/// rows read the same; NULL is a sign of its own; long values go in by their own hash, or a row could exceed the
/// largest packet and hash to nothing.
fn hash_statement((schema, table): &TableName, columns: &[(String, String)]) -> String {
    let values: Vec<String> = columns
        .iter()
        .map(|(name, kind)| {
            let column = identifier(name);
            if kind.ends_with("text") || kind.ends_with("blob") {
                format!("IFNULL(MD5({column}),'~')")
            } else {
                format!("IFNULL(CONCAT(LENGTH({column}),':',CAST({column} AS BINARY)),'~')")
            }
        })
        .collect();
    format!(
        "SELECT COUNT(*), COALESCE(BIT_XOR(CAST(CONV(LEFT(MD5(CONCAT({})),16),16,10) AS UNSIGNED)),0) FROM {}.{}",
        values.join(","),
        identifier(schema),
        identifier(table)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_hashed_before_they_are_joined() {
        let name = ("shop".to_owned(), "t".to_owned());
        let columns = [("id".to_owned(), "bigint".to_owned()), ("v".to_owned(), "longtext".to_owned())];
        let statement = hash_statement(&name, &columns);
        assert!(statement.contains("LENGTH(`id`)") && statement.contains("MD5(`v`)"), "{statement}");
        assert!(statement.ends_with("FROM `shop`.`t`"));
    }
}
