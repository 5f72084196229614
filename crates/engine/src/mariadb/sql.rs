//! Sessions at a server: text statements in, tables of text out.
//!
//! A [`Sessions`] keeps a few warm connections over the unix socket. Who needs one takes it, and it goes back when it
//! is known to be healthy; a session whose statement was cut short by a time-out is not used again.

use crate::config::{InstanceConfig, Login};
use crate::error::EngineError;
use firedrill_model::Endpoint;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder, Row, Value};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Idle sessions kept open: one for a command, one for a second command beside it.
const IDLE_MAX: usize = 2;

/// How much of a statement is quoted in an error.
const QUOTE_CHARS_MAX: usize = 120;

/// How long to wait for a new session. A server that is stopped accepts the connection and never greets.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// One result set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

/// One row of a [`Table`], by column name.
#[derive(Debug, Clone, Copy)]
pub struct TableRow<'a> {
    columns: &'a [String],
    cells: &'a [Option<String>],
}

impl Table {
    #[cfg(test)]
    pub(crate) fn of(columns: &[&str], rows: &[&[Option<&str>]]) -> Self {
        Self {
            columns: columns.iter().map(|&name| name.to_owned()).collect(),
            rows: rows.iter().map(|row| row.iter().map(|cell| cell.map(str::to_owned)).collect()).collect(),
        }
    }

    /// All rows.
    pub fn rows(&self) -> impl Iterator<Item = TableRow<'_>> {
        self.rows.iter().map(|cells| TableRow { columns: &self.columns, cells })
    }

    /// The first row.
    #[must_use]
    pub fn first(&self) -> Option<TableRow<'_>> {
        self.rows().next()
    }
}

impl<'a> TableRow<'a> {
    /// The cell of that column (names compare without case, as the server's do); `None` when NULL or not there.
    #[must_use]
    pub fn get(self, column: &str) -> Option<&'a str> {
        let at = self.columns.iter().position(|name| name.eq_ignore_ascii_case(column))?;
        self.cells.get(at)?.as_deref()
    }

    /// The cell at that place.
    #[must_use]
    pub fn at(self, index: usize) -> Option<&'a str> {
        self.cells.get(index)?.as_deref()
    }
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    conn: Conn,
    at: Arc<str>,
}

impl Session {
    /// Runs one or several statements separated by `;`, and answers with their result sets (statements without one
    /// leave none). Ends at the first refusal. Must be awaited to its end, or the session dropped.
    ///
    /// # Errors
    /// [`EngineError::Refused`] when the server says no, [`EngineError::NotConnected`] when the session is lost.
    pub async fn run(&mut self, statements: &str) -> Result<Vec<Table>, EngineError> {
        let failed = |error| explain(error, &self.at, statements);
        let mut result = self.conn.query_iter(statements).await.map_err(failed)?;
        let mut tables = Vec::new();
        while let Some(columns) = result.columns() {
            let mut rows = Vec::new();
            while let Some(row) = result.next().await.map_err(failed)? {
                rows.push(cells(row));
            }
            if !columns.is_empty() {
                let columns = columns.iter().map(|column| column.name_str().into_owned()).collect();
                tables.push(Table { columns, rows });
            }
        }
        // A refusal of a later statement waits here, and would otherwise meet whoever uses the session next.
        result.next().await.map_err(failed)?;
        Ok(tables)
    }

    /// The server's number for this session.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.conn.id()
    }
}

fn cells(row: Row) -> Vec<Option<String>> {
    row.unwrap()
        .into_iter()
        .map(|value| match value {
            Value::NULL => None,
            Value::Bytes(bytes) => Some(match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(problem) => String::from_utf8_lossy(problem.as_bytes()).into_owned(),
            }),
            // The text protocol has no other kinds.
            other => Some(other.as_sql(true)),
        })
        .collect()
}

fn explain(error: mysql_async::Error, at: &str, statements: &str) -> EngineError {
    match error {
        mysql_async::Error::Server(refusal) => {
            EngineError::Refused { code: refusal.code, statement: quote(statements), message: refusal.message }
        }
        other => EngineError::NotConnected { at: at.to_owned(), message: other.to_string() },
    }
}

/// The beginning of a statement; nothing after a password is shown.
fn quote(statement: &str) -> String {
    let shown = match statement.to_ascii_uppercase().find("PASSWORD") {
        Some(at) => format!("{}…", &statement[..at]),
        None => statement.to_owned(),
    };
    match shown.char_indices().nth(QUOTE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &shown[..at]),
        None => shown,
    }
}

/// The warm connections of one account at one server; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    opts: Opts,
    at: Arc<str>,
    idle: Arc<Mutex<Vec<Session>>>,
}

impl Sessions {
    /// The administrator, recognised by the unix socket.
    pub(crate) const ADMINISTRATOR: &str = "root";

    /// As the administrator.
    pub(crate) fn admin(config: &InstanceConfig) -> Self {
        Self::administrator_at(&config.socket)
    }

    /// As the administrator of the server behind a unix socket.
    pub(crate) fn administrator_at(socket: &Path) -> Self {
        Self::at(socket, Login { user: Self::ADMINISTRATOR.to_owned(), password: String::new() })
    }

    /// As somebody else, over the unix socket too.
    pub(crate) fn of(config: &InstanceConfig, login: Login) -> Self {
        Self::at(&config.socket, login)
    }

    /// As somebody at the server behind a unix socket.
    pub(crate) fn at(socket: &Path, login: Login) -> Self {
        let socket = socket.display().to_string();
        Self::with(OptsBuilder::default().socket(Some(&socket)), login, socket)
    }

    /// At another server, over the network.
    pub(crate) fn remote(endpoint: Endpoint, login: Login) -> Self {
        let opts = OptsBuilder::default().ip_or_hostname(endpoint.address.to_string()).tcp_port(endpoint.port);
        Self::with(opts, login, endpoint.to_string())
    }

    fn with(opts: OptsBuilder, login: Login, at: String) -> Self {
        let opts = opts
            .user(Some(login.user))
            .pass(Some(login.password).filter(|password| !password.is_empty()))
            // Both would be asked of the server at each connect.
            .max_allowed_packet(Some(16 << 20))
            .wait_timeout(Some(28_800))
            .prefer_socket(false)
            .stmt_cache_size(0)
            // The session must outlive quiet hours.
            .setup(vec!["SET SESSION wait_timeout=2147483"])
            .into();
        Self { opts, at: at.into(), idle: Arc::default() }
    }

    /// A new session.
    pub(crate) async fn connect(&self) -> Result<Session, EngineError> {
        let at = Arc::clone(&self.at);
        match tokio::time::timeout(CONNECT_WITHIN, Conn::new(self.opts.clone())).await {
            Ok(Ok(conn)) => Ok(Session { conn, at }),
            Ok(Err(error)) => Err(explain(error, &self.at, "connect")),
            Err(_) => Err(EngineError::NotConnected {
                at: at.to_string(),
                message: format!("no greeting within {CONNECT_WITHIN:?}"),
            }),
        }
    }

    /// Puts a healthy session back.
    pub(crate) fn give_back(&self, session: Session) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(session);
        }
    }

    /// Drops all idle sessions: the server they belonged to is gone.
    pub(crate) fn forget(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Runs statements on a warm session. An idle session may have died with an earlier server process: then a new
    /// one is tried, once. Statements that reach here are idempotent, so one that was cut off may be repeated.
    pub(crate) async fn run(&self, statements: &str) -> Result<Vec<Table>, EngineError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(mut session) = idle {
            match session.run(statements).await {
                Err(EngineError::NotConnected { .. }) => self.forget(),
                other => {
                    self.give_back(session);
                    return other;
                }
            }
        }
        let mut session = self.connect().await?;
        let answer = session.run(statements).await;
        if !matches!(answer, Err(EngineError::NotConnected { .. })) {
            self.give_back(session);
        }
        answer
    }
}

/// A text as an SQL literal. The server runs without `NO_BACKSLASH_ESCAPES`, so both kinds of escape are needed.
#[must_use]
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A name as an SQL identifier.
#[must_use]
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_statement_shows_no_password() {
        assert_eq!(quote("CHANGE MASTER TO MASTER_PASSWORD='x'"), "CHANGE MASTER TO MASTER_…");
        assert_eq!(quote("SELECT 1"), "SELECT 1");
        assert!(quote(&"é".repeat(500)).chars().count() <= QUOTE_CHARS_MAX + 1);
    }

    #[test]
    fn literals_and_identifiers_cannot_be_left() {
        assert_eq!(literal(r"a'b\"), r"'a''b\\'");
        assert_eq!(identifier("a`b"), "`a``b`");
    }

    #[test]
    fn columns_are_found_without_case() {
        let table = Table::of(&["Gtid_IO_Pos", "x"], &[&[Some("0-1-2"), None]]);
        let row = table.first().expect("one row");
        assert_eq!(row.get("gtid_io_pos"), Some("0-1-2"));
        assert_eq!((row.get("x"), row.get("y"), row.at(0)), (None, None, Some("0-1-2")));
    }
}
