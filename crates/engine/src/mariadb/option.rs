//! What is read from a server's option file when the server cannot be asked.

use crate::config::InstanceConfig;

/// What the server calls its binary logs when the option has no value of its own and `log-basename` is not set.
const DEFAULT_BASE: &str = "binlog";

/// The first part of the names of the binary logs.
pub(super) fn binlog_base(config: &InstanceConfig) -> String {
    // Unreadable options are as good as none: the listing that follows says which file it looked for.
    std::fs::read_to_string(&config.config_file).ok().and_then(|text| base_in(&text)).unwrap_or(DEFAULT_BASE.to_owned())
}

fn base_in(text: &str) -> Option<String> {
    text.lines().rev().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        let named = matches!(name.trim(), "log-bin" | "log_bin");
        let value = value.trim().trim_matches(['"', '\'']);
        let value = value.rsplit('/').next().unwrap_or(value);
        let base = value.split('.').next().unwrap_or(value);
        (named && !base.is_empty()).then(|| base.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_log_bin_counts() {
        assert_eq!(base_in("[mariadbd]\nlog-bin=a\nlog_bin = /var/log/mysql/b.log\n").as_deref(), Some("b"));
        assert_eq!(base_in("log-bin-index=x\nport=1"), None);
    }
}
