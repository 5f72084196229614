//! A whole local fleet on one machine: every host a network namespace with its own address, cgroup and agent; real
//! database servers from the system's packages; the firedrill server in front.
//!
//! **What it never does**: anything that production needs. It holds no policy and sends no order to a database: it
//! builds machines, starts what would run on them, registers the cluster as an operator would, and takes it all down.
//!
//! Three rules carry it:
//! - *Everything has a name that follows from the sandbox's name* ([`SandboxName`]), and the plan is on disk before
//!   the first thing is made. So [`down`] can remove what a killed [`up`] left, even with the directory gone.
//! - *What runs is read from the kernel* (members of a cgroup, their command lines), never remembered: there is no
//!   pid file that could lie.
//! - *Wanted state is a file*: an agent's configuration appears, and the supervisor starts that agent.
//!
//! **Where to begin**: [`up`], then `layout` (what a sandbox consists of) and `teardown` (how it goes away).

mod claim;
mod databases;
mod enlist;
mod error;
mod hold_back;
mod layout;
mod lock;
mod name;
mod network;
mod observe;
mod plan_file;
mod power;
mod preflight;
mod readiness;
mod running;
mod setting;
mod side_by_side;
mod status;
mod supervise;
mod teardown;
mod up;

pub use error::SandboxError;
pub use layout::Profile;
pub use name::{HOME_VARIABLE, Home, NAME_BYTES_MAX, SandboxName, SandboxNameError};
pub use setting::{ServerSetting, ServerSettingError};
pub use status::{GatewayStatus, HostStatus, NodeStatus, SandboxStatus, ServerStatus};

use std::path::PathBuf;

/// What to bring up.
pub struct UpOptions {
    /// Its name; two sandboxes of different names can run side by side.
    pub name: SandboxName,
    /// Safe, or set up to lose writes.
    pub profile: Profile,
    /// The server's HTTP port on 127.0.0.1; `None`: 7070, or the next free one.
    pub http_port: Option<u16>,
    /// Mount a storage layer under each database node, so that storage faults and power losses can be put in place.
    pub storage_layer: bool,
    /// Lines for the option file of every database server.
    pub settings: Vec<ServerSetting>,
    /// The `firedrill` program that server, agents and supervisor are run from.
    pub program: PathBuf,
    /// Where sandboxes live on disk.
    pub home: Home,
    /// Told one line per stage, for people.
    pub progress: Progress,
}

/// Receives one line per stage of [`up`] and [`down`].
pub type Progress = Box<dyn Fn(&str) + Send + Sync>;

/// What [`down`] took away.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Removed {
    /// Processes that were killed.
    pub processes: u32,
    /// Network namespaces that were deleted.
    pub namespaces: u32,
    /// Whether there was anything at all.
    pub anything: bool,
}

/// Brings a sandbox up and waits until its cluster is fully redundant and its gateway lets connections through.
/// Leftovers of an earlier sandbox of that name are removed first. Must run as root.
///
/// # Errors
/// [`SandboxError`]; whatever was made by then has been taken away again.
pub async fn up(options: UpOptions) -> Result<SandboxStatus, SandboxError> {
    up::run(options).await
}

/// Takes a sandbox down, whatever state it is in; nothing to do is no error.
///
/// # Errors
/// [`SandboxError`] when something would not go away; it is named, and `down` can be repeated.
pub async fn down(home: &Home, name: &SandboxName, progress: &Progress) -> Result<Removed, SandboxError> {
    let _lock = lock::Lock::sandbox(name).await?;
    teardown::remove(home, name, progress).await
}

/// What runs now, from the plan on disk and the kernel; roles are the server's word while it answers.
///
/// # Errors
/// [`SandboxError::Unknown`] when no sandbox of that name was brought up.
pub async fn status(home: &Home, name: &SandboxName) -> Result<SandboxStatus, SandboxError> {
    observe::status(&plan_file::require(home, name)?).await
}

/// Keeps the server and the agents of a sandbox running, until it is killed. Started by [`up`].
///
/// # Errors
/// [`SandboxError`] when it cannot begin; later failures are logged and retried.
pub async fn supervise(home: &Home, name: &SandboxName) -> Result<(), SandboxError> {
    let layout = plan_file::require(home, name)?;
    supervise::take_place(&layout)?;
    supervise::keep_all(&layout).await
}
