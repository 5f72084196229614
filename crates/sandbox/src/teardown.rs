//! How a sandbox goes away, whatever state it is in: by the names that follow from its own, so that neither a plan on
//! disk nor anything remembered is needed.
//!
//! The order matters: processes first (the supervisor is among them and restarts nothing once it is gone), then what
//! they lived in, then their files.

use crate::error::SandboxError;
use crate::layout::{self, CGROUP_ROOT};
use crate::lock::Lock;
use crate::name::{Home, SandboxName};
use crate::{Progress, Removed};
use firedrill_host::cgroup::Cgroup;
use firedrill_host::{HostError, fuse, link, netns};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A killed process may first have to finish a write to a slow disk.
const KILLED_WITHIN: Duration = Duration::from_secs(20);
/// A control group is busy for a moment after its last process.
const RELEASED_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked again.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What would not go, one sentence each; the work goes on.
#[derive(Default)]
struct Left(Vec<String>);

impl Left {
    fn keep<T>(&mut self, what: &str, result: Result<T, HostError>) -> Option<T> {
        result.map_err(|problem| self.0.push(format!("{what}: {}", problem.full()))).ok()
    }
}

/// Removes everything that the sandbox of that name can consist of. Whatever fails, the rest is still removed.
///
/// # Errors
/// [`SandboxError::Left`], naming what would not go.
pub(crate) async fn remove(home: &Home, name: &SandboxName, progress: &Progress) -> Result<Removed, SandboxError> {
    let mut left = Left::default();
    let mut removed = Removed::default();
    let namespaces = left.keep("the list of network namespaces", present_namespaces(name)).unwrap_or_default();
    let group = left.keep("its control group", Cgroup::at(&layout::cgroup(name)));
    if let Some(group) = &group {
        removed.processes += end_members(group, progress, &mut left).await;
    }
    for namespace in &namespaces {
        let ended = left.keep(&format!("processes in the network namespace {namespace}"), empty(namespace).await);
        removed.processes += ended.unwrap_or(0);
    }
    left.keep("its link to the machine", link::delete(&layout::uplink(name)).await);
    for namespace in &namespaces {
        left.keep(&format!("the network namespace {namespace}"), netns::delete(namespace));
        removed.namespaces += 1;
    }
    if let Some(group) = group.filter(Cgroup::exists) {
        left.keep("its control group", until_released(|| group.remove()).await);
        removed.anything = true;
    }
    let directory = home.sandbox(name);
    left.keep("its storage layers", unmount_below(&directory));
    match std::fs::remove_dir_all(&directory) {
        Ok(()) => removed.anything = true,
        Err(problem) if problem.kind() == ErrorKind::NotFound => {}
        Err(problem) => left.0.push(format!("{}: {problem}", directory.display())),
    }
    release_shared().await?;
    removed.anything |= removed.processes > 0 || removed.namespaces > 0;
    if left.0.is_empty() { Ok(removed) } else { Err(SandboxError::Left { name: name.to_string(), left: left.0 }) }
}

/// Takes off what is mounted below a directory; the processes behind it are gone.
fn unmount_below(directory: &Path) -> Result<(), HostError> {
    let mut mounted = fuse::mounts()?.into_iter().filter(|mount| mount.point.starts_with(directory));
    mounted.try_for_each(|mount| fuse::unmount(&mount.point))
}

/// Whether anything of the sandbox of that name exists in the kernel or on disk.
pub(crate) fn anything_left(home: &Home, name: &SandboxName) -> bool {
    present_namespaces(name).is_ok_and(|present| !present.is_empty())
        || Cgroup::at(&layout::cgroup(name)).is_ok_and(|group| group.exists())
        || home.sandbox(name).exists()
}

fn present_namespaces(name: &SandboxName) -> Result<Vec<String>, HostError> {
    let existing = netns::list()?;
    Ok(layout::namespaces(name).into_iter().filter(|namespace| existing.contains(namespace)).collect())
}

/// Ends all processes of the control group. Returns how many there were at first.
async fn end_members(group: &Cgroup, progress: &Progress, left: &mut Left) -> u32 {
    let members = left.keep("its processes", group.processes()).unwrap_or_default().len();
    if members > 0 {
        progress(&format!("stopping {members} processes"));
    }
    left.keep("its processes", group.kill_all(KILLED_WITHIN).await);
    count(members)
}

/// Ends what lives in a namespace outside of the sandbox's control groups (somebody's `ip netns exec`, or what was
/// left when the groups were removed by hand). Returns how many.
async fn empty(namespace: &str) -> Result<u32, HostError> {
    let path = netns::path(namespace);
    let deadline = Instant::now() + KILLED_WITHIN;
    let mut most = 0;
    loop {
        let inside = count(netns::kill_processes(&path)?);
        most = most.max(inside);
        if inside == 0 {
            return Ok(most);
        }
        if Instant::now() >= deadline {
            let what = format!("killing {inside} processes in the network namespace {namespace}");
            return Err(HostError::TimedOut { what, within: KILLED_WITHIN });
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Repeats what the kernel calls busy for a moment.
async fn until_released(attempt: impl Fn() -> Result<(), HostError>) -> Result<(), HostError> {
    let deadline = Instant::now() + RELEASED_WITHIN;
    loop {
        match attempt() {
            Err(problem) if problem.errno() == Some(libc::EBUSY) && Instant::now() < deadline => {}
            other => return other,
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Removes what the first sandbox made for all, when no other uses it. Under the lock, because a sandbox that is
/// being brought up may be about to.
async fn release_shared() -> Result<(), SandboxError> {
    let _lock = Lock::choosing().await?;
    if let Ok(root) = Cgroup::at(CGROUP_ROOT) {
        remove_when_empty(root.dir())?;
    }
    netns::release_directory().map_err(SandboxError::step("release the directory of network namespaces"))
}

fn remove_when_empty(directory: &Path) -> Result<(), SandboxError> {
    match std::fs::remove_dir(directory) {
        Err(problem) if !matches!(problem.raw_os_error(), Some(libc::ENOENT | libc::EBUSY | libc::ENOTEMPTY)) => {
            Err(SandboxError::file("remove", directory)(problem))
        }
        _ => Ok(()),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
