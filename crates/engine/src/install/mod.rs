//! Making database servers from nothing, for the sandbox: a template data directory, made once and kept, and a copy of
//! it for each node with an option file.
//!
//! The template holds every account and schema, written without a binary log. So all nodes begin with the same users
//! and the same empty GTID position, and the first of them to be opened is the start of everybody's history.

mod option_file;
mod template;

use crate::config::{InstanceConfig, Login};
use crate::error::EngineError;
use firedrill_host::HostError;
use std::path::Path;

pub use template::{Workshop, template, template_made_in};

/// Accounts and schema of a sandbox's servers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Accounts {
    /// Replicas come with it.
    pub replication: Login,
    /// The write heartbeat's; see [`InstanceConfig::heartbeat`].
    pub heartbeat: Login,
    /// The application's: everything in `database`, nothing else.
    pub application: Login,
    /// The application's schema.
    pub database: String,
}

/// How a server is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// InnoDB's buffer pool, mebibytes.
    pub buffer_pool_mib: u32,
    /// What an OK is worth.
    pub profile: Profile,
    /// More lines for the section `[mariadbd]`, last so that they win.
    pub extra: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { buffer_pool_mib: 64, profile: Profile::Safe, extra: Vec::new() }
    }
}

/// What an OK is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Everything is flushed before it is acknowledged: redo log, binary log, relay log.
    Safe,
    /// Set up to lose writes: nothing is flushed at commit, and replicas receive no faster than this, so that they fall
    /// behind under load. (Semi-sync is switched by `Open`, not here.)
    Unsafe {
        /// `read_binlog_speed_limit`, KiB/s; 0: no limit.
        receive_kib_per_second: u32,
    },
}

/// Puts a node's data directory and option file in place, owned by the node's user. The data directory must not exist
/// or be empty; so a second call after an interrupted one says what is in the way.
///
/// # Errors
/// [`EngineError::Invalid`] when there is data already; [`EngineError::File`] with the path that could not be made.
pub async fn place(template: &Path, config: &InstanceConfig, settings: &Settings) -> Result<(), EngineError> {
    let (template, config) = (template.to_owned(), config.clone());
    let text = option_file::text(&config, settings);
    let work = move || {
        let owner = config.os_user.as_deref().map(user_ids).transpose()?;
        if std::fs::read_dir(&config.data_dir).is_ok_and(|mut entries| entries.next().is_some()) {
            let place = config.data_dir.display();
            return Err(EngineError::Invalid(format!("{place} holds data already; remove it or choose another place")));
        }
        make_dir(&config.work_dir, owner)?;
        make_dir(&option_file::temporary_dir(&config), owner)?;
        for file in [&config.socket, &config.pid_file, &config.error_log] {
            if let Some(dir) = file.parent().filter(|dir| !dir.exists()) {
                make_dir(dir, owner)?;
            }
        }
        template::copy(&template, &config.data_dir, owner)?;
        std::fs::write(&config.config_file, text)
            .map_err(|problem| EngineError::file("write", &config.config_file, problem))
    };
    blocking(work).await
}

fn make_dir(dir: &Path, owner: Option<(u32, u32)>) -> Result<(), EngineError> {
    std::fs::create_dir_all(dir).map_err(|problem| EngineError::file("make", dir, problem))?;
    give(dir, owner)
}

fn give(path: &Path, owner: Option<(u32, u32)>) -> Result<(), EngineError> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))
        .map_err(|problem| EngineError::file("change the owner of", path, problem))
}

/// User and group id of a system user.
pub(crate) fn user_ids(name: &str) -> Result<(u32, u32), EngineError> {
    match nix::unistd::User::from_name(name) {
        Ok(Some(user)) => Ok((user.uid.as_raw(), user.gid.as_raw())),
        _ => Err(HostError::NoUser { name: name.to_owned() }.into()),
    }
}

/// Runs file work where it does not hold up anything else.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(stopped) => match stopped.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(stopped) => Err(EngineError::Failed(format!("work on files was given up: {stopped}"))),
        },
    }
}
