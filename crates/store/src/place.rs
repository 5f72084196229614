//! Where a store is.

use std::path::{Path, PathBuf};

/// Where a store is, as people are told of it: never with a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An SQLite file.
    File(PathBuf),
    /// A PostgreSQL database.
    Postgres(PostgresUrl),
}

/// Which database it is, where that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

impl Place {
    pub(crate) fn file(path: &Path) -> Self {
        Self::File(path.to_owned())
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::File(_) => Kind::Sqlite,
            Self::Postgres(_) => Kind::Postgres,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

/// The address of a PostgreSQL database, `postgres://user@host:port/database`. A password in it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

/// A text is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it must be of the form postgres://user@host:port/database")]
pub struct NoPostgresUrl;

impl std::str::FromStr for PostgresUrl {
    type Err = NoPostgresUrl;

    fn from_str(text: &str) -> Result<Self, NoPostgresUrl> {
        let known = ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
        let options = known.then(|| text.parse::<sqlx::postgres::PgConnectOptions>().ok()).flatten();
        options.filter(|options| options.get_database().is_some()).map(|_| Self(text.to_owned())).ok_or(NoPostgresUrl)
    }
}

impl PostgresUrl {
    pub(crate) fn whole(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("postgres", &self.0));
        let rest = rest.split(['?', '#']).next().unwrap_or(rest);
        match rest.rsplit_once('@') {
            None => write!(f, "{scheme}://{rest}"),
            Some((login, address)) => write!(f, "{scheme}://{}@{address}", login.split(':').next().unwrap_or(login)),
        }
    }
}

impl std::fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let url: PostgresUrl =
            "postgres://drill:hush%40@db.example:5432/fd?password=hush2".parse().expect("an address");
        assert_eq!(format!("{url} {url:?}"), "postgres://drill@db.example:5432/fd postgres://drill@db.example:5432/fd");
        let url: PostgresUrl = "postgresql:///fd?host=/run/postgresql".parse().expect("an address");
        assert_eq!(url.to_string(), "postgresql:///fd");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "postgres://", "postgres://host", "mysql://host/fd", "firedrill.db", "postgres://h:port/fd"] {
            assert_eq!(text.parse::<PostgresUrl>(), Err(NoPostgresUrl), "{text:?}");
        }
    }
}
