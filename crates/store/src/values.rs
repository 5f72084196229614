//! Statements whose number of values is known only when they are made.
//!
//! Both databases take `$1`, `$2`, …; the driver's own builder writes `?`, which PostgreSQL does not.

use sqlx::any::{Any, AnyArguments};
use sqlx::query::Query;
use sqlx::{Arguments, AssertSqlSafe, Encode, Type};
use std::fmt::Write;

/// A statement with its values so far. Only text of this program goes into it: values are bound.
pub(crate) struct Statement {
    text: String,
    values: AnyArguments,
    /// The first value that could not be taken; told when the statement is run.
    problem: Option<sqlx::Error>,
}

/// The values of one row.
pub(crate) struct RowValues<'s> {
    statement: &'s mut Statement,
    first: bool,
}

impl Statement {
    pub(crate) fn new(text: &'static str) -> Self {
        Self { text: text.to_owned(), values: AnyArguments::default(), problem: None }
    }

    pub(crate) fn push(&mut self, text: &'static str) {
        self.text.push_str(text);
    }

    /// `(…), (…)`: one parenthesis for each of `rows`.
    pub(crate) fn rows<T>(&mut self, rows: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut RowValues<'_>, T)) {
        for (number, row) in rows.into_iter().enumerate() {
            self.text.push_str(if number == 0 { "(" } else { ", (" });
            each(&mut RowValues { statement: self, first: true }, row);
            self.text.push(')');
        }
    }

    fn bind<'v, T: Encode<'v, Any> + Type<Any>>(&mut self, value: T) {
        match self.values.add(value) {
            Ok(()) => {
                // A string takes any text.
                let _ = write!(self.text, "${}", self.values.len());
            }
            Err(error) => self.problem = self.problem.take().or(Some(sqlx::Error::Encode(error))),
        }
    }

    pub(crate) fn query<'q>(self) -> Result<Query<'q, Any, AnyArguments>, sqlx::Error> {
        match self.problem {
            None => Ok(sqlx::query_with(AssertSqlSafe(self.text), self.values)),
            Some(problem) => Err(problem),
        }
    }
}

impl RowValues<'_> {
    pub(crate) fn bind<'v, T: Encode<'v, Any> + Type<Any>>(&mut self, value: T) -> &mut Self {
        if !self.first {
            self.statement.text.push_str(", ");
        }
        self.first = false;
        self.statement.bind(value);
        self
    }
}
