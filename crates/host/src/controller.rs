//! Where a process is in the cgroup hierarchy that limits a resource, and the files that set the limits.

use crate::HostError;
use crate::cgroup::Cgroup;
use crate::process::Identity;
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What a hierarchy can limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// Processor time.
    Cpu,
    /// Reads and writes of devices.
    Io,
    /// Stopping and continuing all processes of a group.
    Freezer,
    /// Memory.
    Memory,
    /// The number of processes and threads.
    Pids,
}

impl Controller {
    /// Its name in version 1, and in version 2.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Cpu => ("cpu", "cpu"),
            Self::Io => ("blkio", "io"),
            Self::Freezer => ("freezer", ""),
            Self::Memory => ("memory", "memory"),
            Self::Pids => ("pids", "pids"),
        }
    }
}

/// The two kinds of hierarchies, with different files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Version {
    /// One hierarchy for each controller.
    One,
    /// One hierarchy for all; groups with processes have no groups below.
    Two,
}

/// The group of a process in the hierarchy of a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Of which kind the hierarchy is.
    pub version: Version,
    /// Where the hierarchy is mounted.
    pub mount: PathBuf,
    /// The group.
    pub group: Cgroup,
    /// Where the process itself is: the group, or one below it when the group is that of its container.
    pub leaf: Cgroup,
}

impl Membership {
    /// Finds it; `None` when no mounted hierarchy has the controller.
    pub fn of(process: Identity, controller: Controller) -> Result<Option<Self>, HostError> {
        let (groups, mounts) = groups_and_mounts(process)?;
        let (one, two) = controller.names();
        if let Some((mount, dir)) = find(&groups, &mounts, "cgroup", one) {
            return Ok(Some(Self::at(Version::One, mount, Cgroup::in_dir(dir))));
        }
        let Some((mount, dir)) = find(&groups, &mounts, "cgroup2", "") else { return Ok(None) };
        let offered = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
        let has = two.is_empty() || offered.split_whitespace().any(|offer| offer == two);
        Ok(has.then(|| Self::at(Version::Two, mount, Cgroup::in_dir(dir))))
    }

    /// Its group of version 2, whatever that can limit there; `None` when there is no such mount.
    pub fn of_version_2(process: Identity) -> Result<Option<Self>, HostError> {
        let (groups, mounts) = groups_and_mounts(process)?;
        let found = find(&groups, &mounts, "cgroup2", "");
        Ok(found.map(|(mount, dir)| Self::at(Version::Two, mount, Cgroup::in_dir(dir))))
    }

    fn at(version: Version, mount: PathBuf, group: Cgroup) -> Self {
        Self { version, mount, leaf: group.clone(), group }
    }

    /// Whether it is the group of all that is in no other one, which cannot be limited. The root that a container sees
    /// in version 2 is an ordinary group, and can; only those have a type.
    #[must_use]
    pub fn is_root(&self) -> bool {
        let is_top = self.group.dir() == self.mount;
        is_top && (self.version == Version::One || !self.mount.join("cgroup.type").exists())
    }
}

/// The groups of a process, and what is mounted here.
fn groups_and_mounts(process: Identity) -> Result<(String, String), HostError> {
    let read = |path: PathBuf| fs::read_to_string(&path).map_err(|problem| HostError::at("read", &path, problem));
    let groups = match read(PathBuf::from(format!("/proc/{}/cgroup", process.pid))) {
        Err(problem) if matches!(problem.errno(), Some(libc::ENOENT | libc::ESRCH)) => {
            return Err(HostError::NoProcess { pid: process.pid });
        }
        other => other?,
    };
    Ok((groups, read(PathBuf::from("/proc/self/mountinfo"))?))
}

/// The mount of a hierarchy and the directory in it where a process is. Lines of a process's `cgroup` file are
/// `number:controllers:path`; the controllers of version 2 are empty.
fn find(groups: &str, mounts: &str, kind: &str, controller: &str) -> Option<(PathBuf, PathBuf)> {
    let path = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let controllers = parts.nth(1)?;
        controllers.split(',').any(|one| one == controller).then(|| parts.next())?
    })?;
    mounts.lines().find_map(|line| {
        // `id parent major:minor root mount-point options … - type source super-options`
        let (first, second) = line.split_once(" - ")?;
        let (mut first, mut second) = (first.split(' '), second.split(' '));
        let (root, point) = (first.nth(3)?, first.next()?);
        let (its_kind, options) = (second.next()?, second.nth(1)?);
        let has = kind == "cgroup2" || options.split(',').any(|option| option == controller);
        if its_kind != kind || !has {
            return None;
        }
        let below = Path::new(path).strip_prefix(root).ok()?;
        let mount = PathBuf::from(point);
        let dir = if below.as_os_str().is_empty() { mount.clone() } else { mount.join(below) };
        Some((mount, dir))
    })
}

impl Cgroup {
    /// The group of this directory in any hierarchy, whether or not it exists.
    #[must_use]
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self::of_dir(dir.into())
    }

    /// Makes its directory; one that is there is an error.
    pub fn make(&self) -> Result<(), HostError> {
        fs::create_dir(self.dir()).map_err(|problem| HostError::at("create the cgroup", self.dir(), problem))
    }

    /// Reads one of its files.
    pub fn read(&self, file: &str) -> Result<String, HostError> {
        let path = self.dir().join(file);
        fs::read_to_string(&path).map_err(|problem| HostError::at("read", &path, problem))
    }

    /// Writes to one of its files; one that is not there is an error (`ENOENT`).
    pub fn write(&self, file: &str, text: &str) -> Result<(), HostError> {
        let path = self.dir().join(file);
        // Not asked to make the file: the kernel would say that nobody may, not that it is not there.
        let opened = fs::OpenOptions::new().write(true).truncate(true).open(&path);
        opened
            .and_then(|mut opened| opened.write_all(text.as_bytes()))
            .map_err(|problem| HostError::at("write to", &path, problem))
    }
}

/// Notes on a group itself, in the kernel, where every process sees them and where they end with the group. Kernels
/// before 5.7 keep none.
impl Cgroup {
    /// Whether there is a note of that name.
    #[must_use]
    pub fn is_marked(&self, name: &str) -> bool {
        let Some((path, name)) = self.note(name) else { return false };
        // SAFETY: two C strings that live until the call returns; with a size of 0 nothing is written.
        unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0) >= 0 }
    }

    /// Makes the note; one that is there stays. Where the kernel keeps none, that is no error.
    pub fn mark(&self, name: &str) {
        let Some((path, name)) = self.note(name) else { return };
        // SAFETY: two C strings that live until the call returns, and a value of no bytes.
        let _kept = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), std::ptr::null(), 0, 0) };
    }

    /// Removes the note; none is no error.
    pub fn unmark(&self, name: &str) {
        let Some((path, name)) = self.note(name) else { return };
        // SAFETY: two C strings that live until the call returns.
        let _gone = unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) };
    }

    fn note(&self, name: &str) -> Option<(CString, CString)> {
        let path = CString::new(self.dir().as_os_str().as_encoded_bytes()).ok()?;
        Some((path, CString::new(format!("user.firedrill.{name}")).ok()?))
    }
}

/// A storage device as a whole, which is what can be limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
}

impl std::fmt::Display for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// The device below a file; `None` when its file system is on none, or on several (tmpfs, overlay, btrfs, NFS).
pub fn disk_of(path: &Path) -> Result<Option<Disk>, HostError> {
    let seen = nix::sys::stat::stat(path).map_err(|problem| HostError::at("look at", path, problem))?;
    let numbers = (nix::sys::stat::major(seen.st_dev), nix::sys::stat::minor(seen.st_dev));
    let device = PathBuf::from(format!("/sys/dev/block/{}:{}", numbers.0, numbers.1));
    if !device.exists() {
        return Ok(None);
    }
    if !device.join("partition").exists() {
        return Ok(Some(Disk { major: numbers.0, minor: numbers.1 }));
    }
    // The directory of a partition is in that of its disk.
    let whole = fs::canonicalize(&device).map_err(|problem| HostError::at("look at", &device, problem))?;
    let path = whole.parent().unwrap_or(&whole).join("dev");
    let text = fs::read_to_string(&path).map_err(|problem| HostError::at("read", &path, problem))?;
    let parse = |text: &str| {
        let (major, minor) = text.trim().split_once(':')?;
        Some(Disk { major: major.parse().ok()?, minor: minor.parse().ok()? })
    };
    parse(&text).map(Some).ok_or(HostError::Format { path, text })
}

/// A group that is gone (`ENOENT`, or `ENODEV` between open and write) has no processes and no limits.
#[must_use]
pub fn is_gone(problem: &HostError) -> bool {
    matches!(problem, HostError::System { source, .. }
        if source.kind() == io::ErrorKind::NotFound || source.raw_os_error() == Some(libc::ENODEV))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "30 29 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
                          31 29 0:27 /docker/x /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n\
                          32 29 0:28 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 none rw,nsdelegate\n";

    #[test]
    fn a_group_is_found_below_its_mount() {
        let groups = "3:blkio:/docker/x/y\n2:cpu,cpuacct:/\n0::/system.slice/db.service\n";
        let found = |kind, controller| find(groups, MOUNTS, kind, controller);
        let path = PathBuf::from;
        assert_eq!(found("cgroup", "cpu"), Some((path("/sys/fs/cgroup/cpu"), path("/sys/fs/cgroup/cpu"))));
        assert_eq!(found("cgroup", "blkio"), Some((path("/sys/fs/cgroup/blkio"), path("/sys/fs/cgroup/blkio/y"))));
        let unified = path("/sys/fs/cgroup/unified");
        assert_eq!(found("cgroup2", ""), Some((unified.clone(), unified.join("system.slice/db.service"))));
        assert_eq!(found("cgroup", "memory"), None);
        assert_eq!(find("3:blkio:/elsewhere", MOUNTS, "cgroup", "blkio"), None, "not to be seen through this mount");
    }

    #[test]
    fn a_note_is_there_until_it_is_removed() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("temp dir");
        let group = Cgroup::in_dir(dir.path());
        assert!(!group.is_marked("cpu"));
        group.mark("cpu");
        group.mark("cpu");
        assert!(group.is_marked("cpu") && !group.is_marked("io"));
        group.unmark("cpu");
        group.unmark("cpu");
        assert!(!group.is_marked("cpu"));
    }

    #[test]
    fn memory_is_no_disk() {
        assert_eq!(disk_of(Path::new("/proc")).expect("there"), None);
    }
}
