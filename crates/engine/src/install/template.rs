//! The template data directory: made once per server version and set of accounts, then copied.

use super::option_file::REDO_LOG_MIB;
use super::{Accounts, blocking, give, user_ids};
use crate::error::EngineError;
use crate::mariadb::heartbeat;
use crate::mariadb::sql::{identifier, literal};
use crate::preflight::Preflight;
use firedrill_host::process::{Spawn, run, run_with_input};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Making one takes a second; a busy machine may need many.
const MAKE_WITHIN: Duration = Duration::from_secs(120);

/// What becomes the template, in a draft.
const DATA: &str = "data";
/// For the temporary tables of the programs that make it. A server that starts removes those that it finds, so one place
/// must not be shared with another server.
const TEMPORARY: &str = "tmp";

/// Numbers the drafts of this process.
static DRAFTS: AtomicU32 = AtomicU32::new(0);

/// The template for this server version and these accounts: the one in `cache` when it is there, else a new one. Safe
/// beside another process that does the same.
///
/// # Errors
/// When the tools fail or `cache` cannot be written; no half-made template is left under a final name.
pub async fn template(
    cache: &Path,
    preflight: &Preflight,
    os_user: Option<&str>,
    accounts: &Accounts,
) -> Result<PathBuf, EngineError> {
    template_made_in(&Workshop { dir: cache, cgroup: None }, cache, preflight, os_user, accounts).await
}

/// Where a template is made before it is moved to its place.
#[derive(Debug, Clone, Copy)]
pub struct Workshop<'a> {
    /// On the file system of the cache. What an interrupted call left is in it.
    pub dir: &'a Path,
    /// The control group of the programs that make it: whoever ends the group ends them, when the caller was killed.
    pub cgroup: Option<&'a Path>,
}

/// As [`template`], for a caller who can say what is to be cleaned up when he is killed.
///
/// # Errors
/// As [`template`].
pub async fn template_made_in(
    workshop: &Workshop<'_>,
    cache: &Path,
    preflight: &Preflight,
    os_user: Option<&str>,
    accounts: &Accounts,
) -> Result<PathBuf, EngineError> {
    let version = preflight.version().await?;
    let place = cache.join(key(&version, os_user, accounts));
    if place.is_dir() {
        return Ok(place);
    }
    let draft = workshop.dir.join(format!("draft-{}-{}", std::process::id(), DRAFTS.fetch_add(1, Ordering::Relaxed)));
    let made = make(&draft, workshop.cgroup, preflight, os_user, accounts).await;
    let (from, to) = (draft.join(DATA), place.clone());
    let moved = match made {
        Err(error) => Err(error),
        Ok(()) => match std::fs::rename(&from, &to) {
            // Somebody else was faster; his is as good.
            Err(_) if to.is_dir() => Ok(()),
            other => other.map_err(|problem| EngineError::file("move the template to", &to, problem)),
        },
    };
    if draft.exists() {
        blocking(move || {
            std::fs::remove_dir_all(&draft).map_err(|problem| EngineError::file("remove", &draft, problem))
        })
        .await?;
    }
    moved.map(|()| place)
}

/// The directory's name: what the content depends on. Passwords appear only as part of a hash.
fn key(version: &str, os_user: Option<&str>, accounts: &Accounts) -> String {
    let mut hasher = DefaultHasher::new();
    (os_user, accounts, REDO_LOG_MIB, heartbeat::CREATE).hash(&mut hasher);
    let version: String =
        version.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    format!("mariadb-{version}-{:016x}", hasher.finish())
}

async fn make(
    draft: &Path,
    cgroup: Option<&Path>,
    preflight: &Preflight,
    os_user: Option<&str>,
    accounts: &Accounts,
) -> Result<(), EngineError> {
    let owner = os_user.map(user_ids).transpose()?;
    for place in [draft, &draft.join(DATA), &draft.join(TEMPORARY)] {
        std::fs::create_dir_all(place).map_err(|problem| EngineError::file("make", place, problem))?;
        give(place, owner)?;
    }
    let places = ["datadir", "tmpdir"].into_iter().zip([DATA, TEMPORARY]);
    let places = places.map(|(name, place)| format!("--{name}={}", draft.join(place).display()));
    let mut install = Spawn::new(&preflight.install_db)
        .arg("--no-defaults")
        .args(places.clone())
        .args(["--auth-root-authentication-method=socket", "--auth-root-socket-user=root"])
        .args(["--skip-test-db", "--skip-name-resolve"])
        .arg(format!("--innodb-log-file-size={REDO_LOG_MIB}M"));
    let mut bootstrap = Spawn::new(&preflight.binaries.mariadbd)
        .args(["--no-defaults", "--bootstrap", "--skip-log-bin"])
        .args(places)
        .arg(format!("--innodb-log-file-size={REDO_LOG_MIB}M"));
    if let Some(cgroup) = cgroup {
        install = install.cgroup(cgroup);
        bootstrap = bootstrap.cgroup(cgroup);
    }
    if let Some(user) = os_user {
        install = install.arg(format!("--user={user}"));
        bootstrap = bootstrap.user(user);
    }
    run(install, MAKE_WITHIN).await?;
    run_with_input(bootstrap, statements(accounts).into_bytes(), MAKE_WITHIN).await?;
    Ok(())
}

/// One statement per line, as a server in bootstrap mode reads them. `FLUSH PRIVILEGES` comes first: before it such a
/// server has no accounts that could be changed.
fn statements(accounts: &Accounts) -> String {
    let account = |login: &crate::Login, host: &str| format!("{}@{}", literal(&login.user), literal(host));
    let create = |login: &crate::Login, host: &str| {
        format!("CREATE USER {} IDENTIFIED BY {};\n", account(login, host), literal(&login.password))
    };
    let (replication, beat, application) = (
        account(&accounts.replication, "%"),
        account(&accounts.heartbeat, "localhost"),
        account(&accounts.application, "%"),
    );
    let database = identifier(&accounts.database);
    [
        "FLUSH PRIVILEGES;\n".to_owned(),
        heartbeat::CREATE.replace("; ", ";\n") + ";\n",
        create(&accounts.replication, "%"),
        format!("GRANT REPLICATION SLAVE ON *.* TO {replication};\n"),
        create(&accounts.heartbeat, "localhost"),
        format!("GRANT ALL ON {}.* TO {beat};\n", identifier(heartbeat::SCHEMA)),
        format!("CREATE DATABASE {database};\n"),
        create(&accounts.application, "%"),
        format!("GRANT ALL ON {database}.* TO {application};\n"),
    ]
    .concat()
}

/// Copies a template; the copy is complete when this answers without an error.
pub(super) fn copy(from: &Path, to: &Path, owner: Option<(u32, u32)>) -> Result<(), EngineError> {
    std::fs::create_dir_all(to).map_err(|problem| EngineError::file("make", to, problem))?;
    give(to, owner)?;
    let entries = std::fs::read_dir(from).map_err(|problem| EngineError::file("list", from, problem))?;
    for entry in entries {
        let entry = entry.map_err(|problem| EngineError::file("list", from, problem))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target, owner)?;
        } else {
            std::fs::copy(&source, &target)
                .map_err(|problem| EngineError::file("copy the template to", &target, problem))?;
            give(&target, owner)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Login;

    fn accounts(password: &str) -> Accounts {
        let login = |user: &str| Login { user: user.into(), password: password.into() };
        Accounts {
            replication: login("repl"),
            heartbeat: login("beat"),
            application: login("app"),
            database: "shop".into(),
        }
    }

    #[test]
    fn another_password_is_another_template_and_is_not_in_its_name() {
        let first = key("10.11.19-MariaDB", None, &accounts("hush"));
        assert_ne!(first, key("10.11.19-MariaDB", None, &accounts("hash")));
        assert!(first.starts_with("mariadb-10.11.19-MariaDB-") && !first.contains("hush"));
    }

    #[test]
    fn each_statement_has_a_line() {
        let text = statements(&accounts("it's"));
        assert!(text.lines().all(|line| line.ends_with(';')), "{text}");
        assert!(text.contains("IDENTIFIED BY 'it''s';"));
        assert!(!text.contains("SUPER"));
    }
}
