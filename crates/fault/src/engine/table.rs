//! The table that a fault is about: one of the application's, by name, or one made for the attack, which nobody uses.

use super::cell;
use super::held::Mark;
use firedrill_engine::{EngineError, Session, identifier, literal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The server's limit for the name of a schema or a table, in characters.
const NAME_CHARS_MAX: usize = 64;

/// Schemas without which the server, the keeper or an undo cannot work.
const SPARED: [&str; 5] = ["mysql", "information_schema", "performance_schema", "sys", "firedrill"];

/// A table, as `schema.table`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", title = "table", example = "shop.orders")]
pub(super) struct TableName {
    schema: String,
    table: String,
}

impl TryFrom<String> for TableName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let fits = |name: &str| !name.is_empty() && name.chars().count() <= NAME_CHARS_MAX && !name.contains('\0');
        match text.split_once('.') {
            Some((schema, table)) if fits(schema) && fits(table) => {
                Ok(Self { schema: schema.to_owned(), table: table.to_owned() })
            }
            _ => Err(format!("{text:?} is not a table with its schema such as shop.orders")),
        }
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        format!("{}.{}", name.schema, name.table)
    }
}

impl TableName {
    /// Refuses tables that no fault may touch.
    pub(super) fn check(&self) -> Result<(), String> {
        if SPARED.iter().any(|spared| spared.eq_ignore_ascii_case(&self.schema)) {
            let schema = &self.schema;
            return Err(format!("tables of {schema} are spared: the server itself and the undo need them"));
        }
        Ok(())
    }

    /// As in statements.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(&self.table))
    }

    /// As conditions on the tables of `information_schema`.
    pub(super) fn condition(&self) -> String {
        format!("TABLE_SCHEMA={} AND TABLE_NAME={}", literal(&self.schema), literal(&self.table))
    }
}

/// Where a fault is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In a table of the attack's own, with rows 1 and 2.
    Own,
    /// In a table of the application.
    Named(TableName),
}

impl Place {
    pub(super) fn of(table: Option<TableName>) -> Self {
        table.map_or(Self::Own, Self::Named)
    }

    pub(super) const fn is_own(&self) -> bool {
        matches!(self, Self::Own)
    }

    /// As in statements.
    pub(super) fn name(&self, mark: &Mark) -> String {
        match self {
            Self::Own => format!("{}.t", identifier(mark.schema())),
            Self::Named(name) => name.quoted(),
        }
    }

    /// For people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Own => "a table of the attack's own".to_owned(),
            Self::Named(name) => String::from(name.clone()),
        }
    }

    /// Why it cannot be the place, if so.
    pub(super) async fn check(&self, session: &mut Session) -> Result<Option<String>, EngineError> {
        let Self::Named(name) = self else { return Ok(None) };
        let query = format!("SELECT ENGINE FROM information_schema.TABLES WHERE {}", name.condition());
        let tables = session.run(&query).await?;
        let table = self.describe();
        Ok(match cell(&tables) {
            Some("InnoDB") => None,
            Some(other) => Some(format!("{table} is a table of {other}; choose one of InnoDB")),
            None => Some(format!("there is no table {table}; name one as schema.table")),
        })
    }

    /// Makes the attack's own table. Its schema is known by the record, and nothing of it gets to replicas.
    pub(super) async fn make(&self, mark: &Mark, session: &mut Session) -> Result<(), EngineError> {
        let (schema, table) = (identifier(mark.schema()), self.name(mark));
        let statements = format!(
            "CREATE DATABASE {schema}; \
             CREATE TABLE {table} (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, value BIGINT NOT NULL) ENGINE=InnoDB; \
             INSERT INTO {table} VALUES (1, 0), (2, 0)"
        );
        session.run(&statements).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_schema_and_is_not_the_servers_own() {
        let name = |text: &str| TableName::try_from(text.to_owned());
        assert!(
            ["", "orders", ".x", "x.", &"x.".repeat(65)].iter().all(|text| name(text).is_err() || text.len() > 100)
        );
        let orders = name("shop.or`ders").expect("a table");
        assert_eq!(orders.quoted(), "`shop`.`or``ders`");
        assert!(orders.check().is_ok());
        assert!(name("MySQL.user").expect("a table").check().is_err());
    }
}
