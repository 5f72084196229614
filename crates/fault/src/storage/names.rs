//! Changes of names that are not committed yet, so that a power loss can take them back.
//!
//! The model is ext4 with one journal in ordered mode: names are committed all together, in the order in which they
//! were changed, by the sync of any file or directory that needs a commit, and by themselves after
//! [`COMMIT_AFTER`]. What is removed stays in a hidden directory of the same file system until then.

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::{FileStat, Mode, fstatat, mkdirat};
use nix::unistd::{LinkatFlags, UnlinkatFlags, linkat, unlinkat};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// The hidden directory below the mount point.
pub(super) const GRAVEYARD: &str = ".firedrill-graveyard";
/// ext4 commits its journal this often by default.
const COMMIT_AFTER: Duration = Duration::from_secs(5);

/// A change of names. Paths begin below the mount point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Change {
    /// There is a new name.
    Made {
        /// Which.
        path: OsString,
    },
    /// A name is gone; what it stood for is in the graveyard.
    Removed {
        /// Which.
        path: OsString,
        /// Under this number.
        grave: u64,
    },
    /// A name was changed. What had the new name before is in the graveyard.
    Moved {
        /// The old name.
        from: OsString,
        /// The new one.
        to: OsString,
        /// Under this number, if there was anything.
        grave: Option<u64>,
    },
    /// The change before this one came to nothing.
    Void,
}

/// The changes since the last commit.
#[derive(Debug)]
pub(super) struct Names {
    below: OwnedFd,
    log: File,
    changes: Vec<Change>,
    oldest: Option<Instant>,
    next_grave: u64,
}

impl Names {
    /// With what a previous server left in the log. `below` is the directory under the mount.
    pub(super) fn restore(log: &Path, below: OwnedFd) -> std::io::Result<Self> {
        let log = OpenOptions::new().read(true).append(true).create(true).open(log)?;
        let mut changes = Vec::new();
        for line in BufReader::new(&log).lines() {
            // A line that is cut off was not followed by the change.
            match serde_json::from_str(&line?) {
                Ok(Change::Void) => drop(changes.pop()),
                Ok(change) => changes.push(change),
                Err(_) => break,
            }
        }
        let oldest = (!changes.is_empty()).then(Instant::now);
        let mut names = Self { below, log, changes, oldest, next_grave: 1 };
        names.next_grave = names.graves().iter().max().map_or(1, |last| last + 1);
        Ok(names)
    }

    /// Remembers a change that is about to be made.
    pub(super) fn note(&mut self, change: Change) -> Result<(), Errno> {
        self.write(&change)?;
        self.changes.push(change);
        self.oldest.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// The change noted last was not made after all.
    pub(super) fn void(&mut self) {
        self.changes.pop();
        if let Err(problem) = self.write(&Change::Void) {
            tracing::error!(%problem, "the log of names cannot be written");
        }
    }

    fn write(&mut self, change: &Change) -> Result<(), Errno> {
        let mut line = serde_json::to_vec(change).map_err(|_| Errno::EIO)?;
        line.push(b'\n');
        self.log.write_all(&line).map_err(|problem| problem.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    }

    /// A free number in the graveyard, which is made when missing.
    pub(super) fn dig(&mut self) -> Result<u64, Errno> {
        match mkdirat(&self.below, GRAVEYARD, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(problem) => return Err(problem),
        }
        self.next_grave += 1;
        Ok(self.next_grave - 1)
    }

    /// Puts what a name stands for into the graveyard: by a second name where that is possible, so that the first is
    /// never missing before it is changed, and else by a new name.
    pub(super) fn bury(&self, path: &std::ffi::OsStr, grave: u64) -> Result<(), Errno> {
        let grave = grave_path(grave);
        match linkat(&self.below, path, &self.below, grave.as_str(), LinkatFlags::empty()) {
            Err(Errno::EPERM | Errno::EMLINK) => {
                renameat2(&self.below, path, &self.below, grave.as_str(), RenameFlags::RENAME_NOREPLACE)
            }
            other => other,
        }
    }

    /// What was buried for a change that was not made goes back, if it is missing, and else out of the grave.
    pub(super) fn unbury(&mut self, path: &std::ffi::OsStr, grave: u64) {
        let grave = grave_path(grave);
        let back = if self.there(path) { self.remove(grave.as_ref()) } else { self.rename(grave.as_ref(), path) };
        if let Err(problem) = back {
            tracing::error!(%problem, "a name cannot be put back");
        }
    }

    /// All changes are durable.
    pub(super) fn commit(&mut self) {
        if self.changes.is_empty() && self.oldest.is_none() {
            return;
        }
        self.changes.clear();
        self.oldest = None;
        if let Err(problem) = self.log.set_len(0) {
            tracing::error!(%problem, "the log of names cannot be emptied");
        }
        self.empty_graveyard();
    }

    /// Commits when the oldest change is old enough.
    pub(super) fn commit_in_time(&mut self) {
        if self.oldest.is_some_and(|oldest| oldest.elapsed() >= COMMIT_AFTER) {
            self.commit();
        }
    }

    /// Takes all changes back, the last one first, and says how many. A change that was noted and not made is left
    /// alone: each is looked at before.
    pub(super) fn take_back(&mut self) -> Result<u64, Errno> {
        for change in self.changes.iter().rev() {
            match change {
                Change::Made { path } => self.remove(path)?,
                Change::Removed { path, grave } => {
                    if !self.there(path) {
                        self.rename(grave_path(*grave).as_ref(), path)?;
                    }
                }
                Change::Moved { from, to, grave } => {
                    if !self.there(from) {
                        self.rename(to, from)?;
                    }
                    if let Some(grave) = grave
                        && !self.there(to)
                    {
                        self.rename(grave_path(*grave).as_ref(), to)?;
                    }
                }
                Change::Void => {}
            }
        }
        let count = self.changes.len() as u64;
        self.commit();
        Ok(count)
    }

    fn remove(&self, path: &std::ffi::OsStr) -> Result<(), Errno> {
        match unlinkat(&self.below, path, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR | Errno::EPERM) => unlinkat(&self.below, path, UnlinkatFlags::RemoveDir),
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(problem) => Err(problem),
        }
    }

    fn rename(&self, from: &std::ffi::OsStr, to: &std::ffi::OsStr) -> Result<(), Errno> {
        match renameat2(&self.below, from, &self.below, to, RenameFlags::RENAME_NOREPLACE) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(problem) => Err(problem),
        }
    }

    fn there(&self, path: &std::ffi::OsStr) -> bool {
        let found: Result<FileStat, Errno> = fstatat(&self.below, path, AtFlags::AT_SYMLINK_NOFOLLOW);
        found.is_ok()
    }

    fn graves(&self) -> Vec<u64> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Ok(dir) = openat(&self.below, GRAVEYARD, flags, Mode::empty()) else { return Vec::new() };
        let Ok(entries) = std::fs::read_dir(super::tree::through(&dir)) else { return Vec::new() };
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    fn empty_graveyard(&self) {
        for grave in self.graves() {
            if let Err(problem) = self.remove(grave_path(grave).as_ref()) {
                tracing::error!(%problem, grave, "a removed file cannot be removed for good");
            }
        }
        // It is made again when needed; not being there is as good.
        let _gone = unlinkat(&self.below, GRAVEYARD, UnlinkatFlags::RemoveDir);
    }
}

fn grave_path(grave: u64) -> String {
    format!("{GRAVEYARD}/{grave}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("temp dir");
            fs::create_dir(dir.path().join("below")).expect("makes");
            Self { dir }
        }

        fn names(&self) -> Names {
            let below = File::open(self.dir.path().join("below")).expect("opens");
            Names::restore(&self.dir.path().join("log"), OwnedFd::from(below)).expect("restores")
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.dir.path().join("below").join(name)
        }

        fn list(&self) -> Vec<String> {
            let mut all: Vec<String> = fs::read_dir(self.path(""))
                .expect("lists")
                .flatten()
                .map(|entry| {
                    let text = fs::read_to_string(entry.path()).unwrap_or_default();
                    format!("{}={text}", entry.file_name().to_string_lossy())
                })
                .collect();
            all.sort();
            all
        }

        fn write(&self, name: &str) {
            fs::write(self.path(name), name).expect("writes");
        }
    }

    /// Makes `new`, replaces `b` by `a`, removes `c`.
    fn changes(place: &Place, names: &mut Names) {
        names.note(Change::Made { path: "new".into() }).expect("notes");
        place.write("new");
        let grave = names.dig().expect("digs");
        names.note(Change::Moved { from: "a".into(), to: "b".into(), grave: Some(grave) }).expect("notes");
        names.bury("b".as_ref(), grave).expect("buries");
        fs::rename(place.path("a"), place.path("b")).expect("renames");
        let grave = names.dig().expect("digs");
        names.note(Change::Removed { path: "c".into(), grave }).expect("notes");
        names.bury("c".as_ref(), grave).expect("buries");
        fs::remove_file(place.path("c")).expect("removes");
    }

    #[test]
    fn changes_are_taken_back_also_by_a_successor() {
        for successor in [false, true] {
            let place = Place::new();
            ["a", "b", "c"].iter().for_each(|name| place.write(name));
            let mut names = place.names();
            changes(&place, &mut names);
            if successor {
                names = place.names();
            }
            assert_eq!(names.take_back().expect("takes back"), 3);
            assert_eq!(place.list(), ["a=a", "b=b", "c=c"]);
            assert_eq!(names.take_back().expect("nothing"), 0);
        }
    }

    #[test]
    fn what_is_committed_stays() {
        let place = Place::new();
        ["a", "b", "c"].iter().for_each(|name| place.write(name));
        let mut names = place.names();
        changes(&place, &mut names);
        names.commit();
        assert_eq!(names.take_back().expect("nothing"), 0);
        assert_eq!(place.list(), ["b=a", "new=new"]);
    }

    #[test]
    fn a_change_that_was_noted_and_not_made_is_left_alone() {
        let place = Place::new();
        ["a", "b", "c"].iter().for_each(|name| place.write(name));
        let mut names = place.names();
        let grave = names.dig().expect("digs");
        names.note(Change::Removed { path: "c".into(), grave }).expect("notes");
        names.note(Change::Moved { from: "a".into(), to: "d".into(), grave: None }).expect("notes");
        names.note(Change::Made { path: "b".into() }).expect("notes");
        names.void();
        let mut successor = place.names();
        assert_eq!(successor.take_back().expect("takes back"), 2);
        assert_eq!(place.list(), ["a=a", "b=b", "c=c"]);
    }
}
