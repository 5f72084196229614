//! One line of a database server's option file, chosen by whoever brings a sandbox up.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Names and values are a few words; a longer one is a mistake.
const BYTES_MAX: usize = 200;

/// `name=value`, as MariaDB's option file takes it; it wins over the sandbox's own settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerSetting {
    name: String,
    value: String,
}

/// Why a text is no setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no server setting: it must be NAME=VALUE on one line of at most {BYTES_MAX} bytes, with a name of a-z, \
     0-9, - and _, as in sync-binlog=0"
)]
pub struct ServerSettingError {
    text: String,
}

impl FromStr for ServerSetting {
    type Err = ServerSettingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let failed = || ServerSettingError { text: text.chars().take(BYTES_MAX).collect() };
        let (name, value) = text.split_once('=').ok_or_else(failed)?;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        let named = name.starts_with(|first: char| first.is_ascii_lowercase()) && name.bytes().all(plain);
        if !named || text.len() > BYTES_MAX || value.is_empty() || value.chars().any(char::is_control) {
            return Err(failed());
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

impl TryFrom<String> for ServerSetting {
    type Error = ServerSettingError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ServerSetting> for String {
    fn from(setting: ServerSetting) -> Self {
        setting.to_string()
    }
}

impl fmt::Display for ServerSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_one_line_of_the_option_file() {
        let setting: ServerSetting = "innodb-flush-log-at-trx-commit=2".parse().expect("a setting");
        assert_eq!(setting.to_string(), "innodb-flush-log-at-trx-commit=2");
        for text in ["sync-binlog", "=1", "x=", "a b=1", "[mysqld]=1", "x=1\n!include /etc/shadow", "-x=1", "#x=1"] {
            assert!(text.parse::<ServerSetting>().is_err(), "{text}");
        }
    }
}
