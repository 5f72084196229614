//! The freezer: all processes of a cgroup stand still, with what they fork, and none of them can tell.

use crate::HostError;
use crate::cgroup::Cgroup;
use crate::controller::{Membership, Version, is_gone};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How a group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Motion {
    /// Its processes run.
    Running,
    /// It is told to freeze, and not all of its processes stand still yet.
    Freezing,
    /// All of them stand still.
    Frozen,
}

/// The freezer of one group. A group that is made anew under the same name is another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freezer {
    group: PathBuf,
    version: Version,
    inode: u64,
}

impl Freezer {
    /// That of a group.
    ///
    /// # Errors
    /// The group cannot be looked at, or the kernel has no freezer for it (version 2 before Linux 5.2, or the root).
    pub fn of(member: &Membership) -> Result<Self, HostError> {
        let dir = member.group.dir();
        let inode = inode(dir).map_err(|problem| HostError::at("look at", dir, problem))?;
        let freezer = Self { group: dir.to_owned(), version: member.version, inode };
        let file = dir.join(freezer.switch());
        std::fs::metadata(&file).map_err(|problem| HostError::at("look at", &file, problem))?;
        Ok(freezer)
    }

    /// The group's directory.
    #[must_use]
    pub fn group(&self) -> &Path {
        &self.group
    }

    const fn switch(&self) -> &'static str {
        match self.version {
            Version::One => "freezer.state",
            Version::Two => "cgroup.freeze",
        }
    }

    /// Has them freeze or run; does not wait for it. A group that is gone is no error.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set(&self, frozen: bool) -> Result<(), HostError> {
        let value = match (self.version, frozen) {
            (Version::One, true) => "FROZEN",
            (Version::One, false) => "THAWED",
            (Version::Two, true) => "1",
            (Version::Two, false) => "0",
        };
        if !self.exists() {
            return Ok(());
        }
        match Cgroup::in_dir(&self.group).write(self.switch(), value) {
            Err(problem) if is_gone(&problem) => Ok(()),
            other => other,
        }
    }

    /// How they stand; `None` when the group is gone.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn motion(&self) -> Result<Option<Motion>, HostError> {
        let read = |file: &str| Cgroup::in_dir(&self.group).read(file);
        let seen = match self.version {
            Version::One => read("freezer.state").map(|state| one(&state)),
            Version::Two => read("cgroup.freeze").and_then(|told| Ok(two(&told, &read("cgroup.events")?))),
        };
        match seen {
            Err(problem) if is_gone(&problem) => Ok(None),
            other => other.map(|motion| self.exists().then_some(motion)),
        }
    }

    /// Whether the group itself is told to freeze, whatever holds for those above it. One that is gone is not.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn told(&self) -> Result<bool, HostError> {
        let file = match self.version {
            Version::One => "freezer.self_freezing",
            Version::Two => "cgroup.freeze",
        };
        match Cgroup::in_dir(&self.group).read(file) {
            Err(problem) if is_gone(&problem) => Ok(false),
            other => Ok(other?.trim() == "1" && self.exists()),
        }
    }

    fn exists(&self) -> bool {
        inode(&self.group).is_ok_and(|inode| inode == self.inode)
    }
}

fn one(state: &str) -> Motion {
    match state.trim() {
        "FROZEN" => Motion::Frozen,
        "FREEZING" => Motion::Freezing,
        _ => Motion::Running,
    }
}

/// What the group was told, and what its events say: a group may also stand still because one above it is frozen.
fn two(told: &str, events: &str) -> Motion {
    let frozen = events.lines().any(|line| line.trim() == "frozen 1");
    match (frozen, told.trim()) {
        (true, _) => Motion::Frozen,
        (false, "1") => Motion::Freezing,
        (false, _) => Motion::Running,
    }
}

fn inode(dir: &Path) -> std::io::Result<u64> {
    Ok(std::fs::metadata(dir)?.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_say_how_a_group_stands() {
        assert_eq!(
            [one("THAWED\n"), one("FREEZING\n"), one("FROZEN\n")],
            [Motion::Running, Motion::Freezing, Motion::Frozen]
        );
        let events = |frozen: u8| format!("populated 1\nfrozen {frozen}\n");
        assert_eq!(two("0\n", &events(0)), Motion::Running);
        assert_eq!(two("1\n", &events(0)), Motion::Freezing);
        assert_eq!(two("1\n", &events(1)), Motion::Frozen);
        assert_eq!(two("0\n", &events(1)), Motion::Frozen, "by one above it");
    }

    #[test]
    fn a_group_made_anew_is_another_one() {
        let dir = tempfile::tempdir().expect("temp dir");
        let group = dir.path().join("g");
        let make = || {
            std::fs::create_dir(&group).expect("makes");
            std::fs::write(group.join("cgroup.freeze"), "0").expect("writes");
            std::fs::write(group.join("cgroup.events"), "frozen 0").expect("writes");
        };
        make();
        let (mount, own) = (dir.path().to_owned(), Cgroup::in_dir(&group));
        let member = Membership { version: Version::Two, mount, leaf: own.clone(), group: own };
        let freezer = Freezer::of(&member).expect("has one");
        freezer.set(true).expect("writes");
        assert_eq!(freezer.motion().expect("reads"), Some(Motion::Freezing));
        // Two directories at a time have different numbers.
        std::fs::rename(&group, dir.path().join("old")).expect("renames");
        assert_eq!(freezer.motion().expect("reads"), None);
        make();
        assert_eq!(freezer.motion().expect("reads"), None);
        freezer.set(true).expect("nothing to freeze is no error");
        assert_eq!(std::fs::read_to_string(group.join("cgroup.freeze")).expect("reads"), "0");
    }
}
