//! A question of somebody's own to the server: one value, read only, bounded in time and size.

use super::server::Server;
use super::sql::{Sessions, Table, identifier};
use crate::config::Login;
use crate::error::EngineError;
use firedrill_model::Span;
use std::sync::PoisonError;
use std::time::Duration;

/// The share of the time after which the server itself ends the query, so that it does not go on when nobody waits.
const STATEMENT_SHARE: f64 = 0.9;

/// Most bytes of a value that is taken; what is compared is a number or a word.
const VALUE_BYTES_MAX: usize = firedrill_model::probe::VALUE_BYTES_MAX;

impl Server {
    /// The first value of the first row; `None` for NULL.
    pub(crate) async fn ask(
        &self,
        login: Login,
        database: &str,
        query: &str,
        within: Duration,
    ) -> Result<Option<String>, EngineError> {
        let sessions = self.sessions_of(login);
        // Read-only is for what the account may write; of a large answer the server sends one row.
        let statements = format!(
            "SET SESSION TRANSACTION READ ONLY; SET SESSION sql_select_limit=1, max_statement_time={:.3}; USE {}; {query}",
            within.mul_f64(STATEMENT_SHARE).as_secs_f64(),
            identifier(database)
        );
        let asked = tokio::time::timeout(within, sessions.run(&statements));
        let tables =
            asked.await.map_err(|_| EngineError::TimedOut(format!("no answer within {}", Span::from(within))))??;
        let answer = |message: &str| EngineError::Answer { statement: query.to_owned(), message: message.to_owned() };
        let row = tables.last().and_then(Table::first).ok_or_else(|| answer("there is no row"))?;
        match row.at(0) {
            Some(value) if value.len() > VALUE_BYTES_MAX => {
                Err(answer(&format!("the value has {} bytes, at most {VALUE_BYTES_MAX} are compared", value.len())))
            }
            value => Ok(value.map(str::to_owned)),
        }
    }

    /// Warm sessions of the last account that asked: in practice there is one.
    fn sessions_of(&self, login: Login) -> Sessions {
        let mut known = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        match known.as_ref() {
            Some((whose, sessions)) if *whose == login => sessions.clone(),
            _ => {
                let sessions = Sessions::of(&self.config, login.clone());
                *known = Some((login, sessions.clone()));
                sessions
            }
        }
    }
}
