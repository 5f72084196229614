//! What must be on the host before a database can be run here.

use crate::config::Binaries;
use crate::error::EngineError;
use firedrill_host::process::{Spawn, run};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Printing a version takes some milliseconds; more than this is a broken host.
const VERSION_WITHIN: Duration = Duration::from_secs(10);

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preflight {
    /// The programs an instance needs.
    pub binaries: Binaries,
    /// Makes a data directory from nothing; only needed by [`crate::install`].
    pub install_db: PathBuf,
}

impl Preflight {
    /// Asks the server program for its version, e.g. `10.11.19-MariaDB-0+deb12u1`.
    ///
    /// # Errors
    /// When the program does not run, or is not MariaDB's.
    pub async fn version(&self) -> Result<String, EngineError> {
        let program = &self.binaries.mariadbd;
        let output = run(Spawn::new(program).args(["--no-defaults", "--version"]), VERSION_WITHIN).await?;
        let text = output.text();
        version_in(&text).ok_or_else(|| {
            EngineError::Failed(format!(
                "`{} --version` says {text:?}, which is no version of MariaDB",
                program.display()
            ))
        })
    }
}

/// Finds the MariaDB programs in `PATH`, `/usr/sbin` and `/usr/bin`.
///
/// # Errors
/// [`EngineError::NotInstalled`] names every missing program and the packages that have them.
pub fn preflight() -> Result<Preflight, EngineError> {
    let mut missing = Vec::new();
    let mut need = |program: &'static str| {
        find(program).unwrap_or_else(|| {
            missing.push(program);
            PathBuf::new()
        })
    };
    let binaries = Binaries {
        mariadbd: need("mariadbd"),
        mariadb_backup: need("mariadb-backup"),
        mbstream: need("mbstream"),
        mariadb_binlog: need("mariadb-binlog"),
    };
    let install_db = need("mariadb-install-db");
    if missing.is_empty() {
        Ok(Preflight { binaries, install_db })
    } else {
        Err(EngineError::NotInstalled { programs: missing.join(", ") })
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// `mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)`
fn version_in(text: &str) -> Option<String> {
    let mut words = text.split_whitespace().skip_while(|word| *word != "Ver");
    words.nth(1).filter(|word| word.contains("MariaDB")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_in_what_the_server_prints() {
        let text = "mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)";
        assert_eq!(version_in(text).as_deref(), Some("10.11.19-MariaDB-0+deb12u1"));
        assert_eq!(version_in("mysqld  Ver 8.0.36 for Linux"), None);
    }
}
