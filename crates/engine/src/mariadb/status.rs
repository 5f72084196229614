//! What a server says of itself, read from its tables of text. Pure.

use super::sql::{Table, TableRow};
use firedrill_model::observation::{Receiver, Replication, SemiSync, ServerStatus};
use firedrill_model::{Endpoint, GtidPos, Span};
use std::net::IpAddr;
use std::str::FromStr;

/// Everything one observation needs, in one round trip. `SHOW STATUS LIKE` of a prefix is cheap: the server leaves the
/// other variables uncomputed.
pub(crate) const LOOK: &str = "SELECT @@server_id AS server_id, @@version AS version, @@read_only AS read_only, \
     @@gtid_binlog_state AS binlog_state, @@gtid_current_pos AS current_pos, @@gtid_slave_pos AS slave_pos, \
     @@rpl_semi_sync_master_enabled AS primary_enabled, @@rpl_semi_sync_slave_enabled AS acker_enabled; \
     SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync%'; \
     SHOW ALL SLAVES STATUS";

/// One look at a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    /// What the keeper is told.
    pub status: ServerStatus,
    /// Changes whenever anything at all arrived from the source.
    pub heard: Option<Heard>,
    /// Sessions wait because a volume of the server is full; known only when [`FULL`] was asked, too.
    pub waits_for_room: bool,
}

/// Asked when commits do not end. A server whose binary log has no room keeps a commit waiting, all others behind it,
/// and looks once a minute whether there is room again (`my_write` with `MY_WAIT_IF_FULL`). Its other volumes may be well.
pub(crate) const FULL: &str = "SELECT COUNT(*) AS waiting FROM information_schema.PROCESSLIST \
     WHERE STATE='Waiting for someone to free space'";

/// Reads the answer to [`FULL`].
pub(crate) fn waits_for_room(tables: &[Table]) -> bool {
    tables.first().and_then(Table::first).and_then(|row| row.get("waiting")).is_some_and(|count| count != "0")
}

/// What moves when something arrives from the source: a heartbeat is counted, an event moves the position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    heartbeats: u64,
    log_file: String,
    log_position: u64,
    gtid: String,
}

/// Why an answer is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{column} is {value:?}")]
pub(crate) struct Unreadable {
    column: &'static str,
    value: Option<String>,
}

/// Reads the answer to [`LOOK`].
pub(crate) fn read(tables: &[Table]) -> Result<Look, Unreadable> {
    let row = tables.first().and_then(Table::first).ok_or(Unreadable { column: "server_id", value: None })?;
    let status_table = tables.get(1);
    let replica = tables.get(2).and_then(Table::first);
    let applied: GtidPos = parse(row, "slave_pos")?;
    let (replication, heard) = match replica {
        Some(replica) => (Some(replication(replica, &applied)?), Some(heard(replica))),
        None => (None, None),
    };
    let status = ServerStatus {
        server_id: parse(row, "server_id")?,
        version: row.get("version").unwrap_or_default().to_owned(),
        read_only: is_on(row.get("read_only")),
        binlog_state: parse(row, "binlog_state")?,
        position: parse(row, "current_pos")?,
        semi_sync: SemiSync {
            primary_enabled: is_on(row.get("primary_enabled")),
            acker_enabled: is_on(row.get("acker_enabled")),
            primary_active: is_on(status_value(status_table, "Rpl_semi_sync_master_status")),
            acker_active: is_on(status_value(status_table, "Rpl_semi_sync_slave_status")),
            ackers_connected: count(status_value(status_table, "Rpl_semi_sync_master_clients")),
            waiting_sessions: count(status_value(status_table, "Rpl_semi_sync_master_wait_sessions")),
            unacknowledged_commits: count(status_value(status_table, "Rpl_semi_sync_master_no_tx")),
        },
        replication,
        write_heartbeat_age: None,
    };
    Ok(Look { status, heard, waits_for_room: false })
}

/// Reads one row of `SHOW ALL SLAVES STATUS`.
pub(crate) fn replication(row: TableRow<'_>, applied: &GtidPos) -> Result<Replication, Unreadable> {
    let received: GtidPos = parse(row, "Gtid_IO_Pos")?;
    Ok(Replication {
        source: Endpoint { address: source_address(row)?, port: parse(row, "Master_Port")? },
        receiver: receiver(row),
        applier_running: row.get("Slave_SQL_Running") == Some("Yes"),
        received: received.union(applied),
        applied: applied.clone(),
        last_heard: None,
        lag: row.get("Seconds_Behind_Master").and_then(|text| text.parse().ok()).map(Span::secs),
        receiver_error: problem(row, "Last_IO_Errno", "Last_IO_Error"),
        applier_error: problem(row, "Last_SQL_Errno", "Last_SQL_Error"),
    })
}

/// The state of the receiving thread.
pub(crate) fn receiver(row: TableRow<'_>) -> Receiver {
    match row.get("Slave_IO_Running") {
        Some("Yes") => Receiver::Connected,
        Some("Connecting" | "Preparing") => Receiver::Connecting,
        _ => Receiver::Stopped,
    }
}

/// True when the source has accepted the position that was asked for. "Running" comes before the source has looked
/// for the position; only its first event, a rotate event with the name of its log, says that it was found.
pub(crate) fn is_streaming(row: TableRow<'_>) -> bool {
    receiver(row) == Receiver::Connected && row.get("Master_Log_File").is_some_and(|name| !name.is_empty())
}

/// The number and text of a thread's last error.
pub(crate) fn problem(row: TableRow<'_>, number: &str, message: &str) -> Option<String> {
    let number = row.get(number).filter(|number| *number != "0")?;
    Some(format!("{number} {}", row.get(message).unwrap_or_default()))
}

fn heard(row: TableRow<'_>) -> Heard {
    let number = |column| row.get(column).and_then(|text| text.parse().ok()).unwrap_or(0);
    Heard {
        heartbeats: number("Slave_received_heartbeats"),
        log_file: row.get("Master_Log_File").unwrap_or_default().to_owned(),
        log_position: number("Read_Master_Log_Pos"),
        gtid: row.get("Gtid_IO_Pos").unwrap_or_default().to_owned(),
    }
}

/// Host names are not followed (an address is asked for in the configuration), with one exception that needs no resolver.
fn source_address(row: TableRow<'_>) -> Result<IpAddr, Unreadable> {
    match row.get("Master_Host") {
        Some("localhost") => Ok(IpAddr::from([127, 0, 0, 1])),
        _ => parse(row, "Master_Host"),
    }
}

fn parse<T: FromStr>(row: TableRow<'_>, column: &'static str) -> Result<T, Unreadable> {
    let value = row.get(column);
    let wrong = || Unreadable { column, value: value.map(str::to_owned) };
    value.ok_or_else(wrong)?.parse().map_err(|_| wrong())
}

fn status_value<'a>(table: Option<&'a Table>, name: &str) -> Option<&'a str> {
    table?.rows().find(|row| row.at(0).is_some_and(|found| found.eq_ignore_ascii_case(name)))?.at(1)
}

fn is_on(value: Option<&str>) -> bool {
    matches!(value, Some("1" | "ON"))
}

fn count<T: FromStr + Default>(value: Option<&str>) -> T {
    value.and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Table {
        Table::of(
            &[
                "server_id",
                "version",
                "read_only",
                "binlog_state",
                "current_pos",
                "slave_pos",
                "primary_enabled",
                "acker_enabled",
            ],
            &[&[
                Some("2"),
                Some("10.11.19-MariaDB-log"),
                Some("1"),
                Some("0-1-104,0-2-110"),
                Some("0-2-110"),
                Some("0-1-104"),
                Some("0"),
                Some("1"),
            ]],
        )
    }

    fn semi_sync() -> Table {
        Table::of(
            &["Variable_name", "Value"],
            &[
                &[Some("Rpl_semi_sync_master_clients"), Some("2")],
                &[Some("Rpl_semi_sync_master_status"), Some("ON")],
                &[Some("Rpl_semi_sync_slave_status"), Some("OFF")],
                &[Some("Rpl_semi_sync_master_no_tx"), Some("7")],
            ],
        )
    }

    fn replica(running: &str, log: &str, errno: &str) -> Table {
        Table::of(
            &[
                "Master_Host",
                "Master_Port",
                "Slave_IO_Running",
                "Slave_SQL_Running",
                "Master_Log_File",
                "Gtid_IO_Pos",
                "Seconds_Behind_Master",
                "Last_IO_Errno",
                "Last_IO_Error",
                "Last_SQL_Errno",
            ],
            &[&[
                Some("10.0.0.1"),
                Some("3306"),
                Some(running),
                Some("Yes"),
                Some(log),
                Some("0-1-109"),
                None,
                Some(errno),
                Some("Got fatal error"),
                Some("0"),
            ]],
        )
    }

    #[test]
    fn a_replica_holds_what_it_received_and_what_it_applied() {
        let look = read(&[variables(), semi_sync(), replica("Yes", "b.1", "0")]).expect("reads");
        let replication = look.status.replication.expect("is a replica");
        assert_eq!(replication.received.to_string(), "0-1-109");
        assert_eq!(replication.applied.to_string(), "0-1-104");
        assert_eq!((replication.lag, replication.receiver_error), (None, None));
        assert_eq!(look.status.semi_sync.ackers_connected, 2);
        assert_eq!(look.status.semi_sync.unacknowledged_commits, 7);
        assert!(look.status.semi_sync.primary_active && !look.status.semi_sync.acker_active);
    }

    #[test]
    fn a_server_without_replication_is_read() {
        let look = read(&[variables(), semi_sync(), Table::default()]).expect("reads");
        assert_eq!((look.status.replication, look.heard), (None, None));
    }

    #[test]
    fn running_is_not_yet_streaming() {
        let streaming = |table: Table| is_streaming(table.first().expect("one row"));
        assert!(!streaming(replica("Yes", "", "0")));
        assert!(!streaming(replica("Connecting", "b.1", "0")));
        assert!(streaming(replica("Yes", "b.1", "0")));
    }

    #[test]
    fn an_error_has_its_number_in_front() {
        let table = replica("No", "", "1236");
        let row = table.first().expect("one row");
        assert_eq!(problem(row, "Last_IO_Errno", "Last_IO_Error").as_deref(), Some("1236 Got fatal error"));
    }

    #[test]
    fn a_garbled_answer_names_the_column() {
        let wrong = read(&[Table::of(&["slave_pos"], &[&[Some("x")]])]).expect_err("cannot be read");
        assert_eq!(wrong.column, "slave_pos");
    }
}
