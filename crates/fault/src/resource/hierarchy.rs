//! On which cgroup a limit is set, how the process gets there, and what must be given to that group from above.
//!
//! In version 1 the process moves into a group below the one where it is, in the hierarchy of that controller alone. In
//! version 2 a group with processes can have none below it that is limited. So where the process is alone in its group,
//! or all of the group is meant, the limit of that group is changed; otherwise the process moves into a new group
//! beside it. Attacks with different controllers on one process share that new group, and the last one removes it.
//! Limits work only in groups whose parents, from the root down, pass the controller on: what is not passed on yet is,
//! for as long as somebody uses it.

use super::limit::Place;
use crate::journal::Journal;
use crate::kinds::{Asked, Refusal};
use crate::target::Target;
use firedrill_host::HostError;
use firedrill_host::cgroup::Cgroup;
use firedrill_host::controller::{Membership, Version, is_gone};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Groups that are made here begin with it.
const NAME: &str = "firedrill-";
const PASSED_ON: &str = "cgroup.subtree_control";
/// Files of version 2 that hold a limit or a share, and what the kernel puts there first.
const UNUSED: [(&str, &str, &[&str]); 9] = [
    ("cpu", "cpu.max", &["max"]),
    ("cpu", "cpu.weight", &["100"]),
    ("io", "io.max", &[]),
    ("io", "io.weight", &["default", "100"]),
    ("memory", "memory.max", &["max"]),
    ("memory", "memory.high", &["max"]),
    ("memory", "memory.low", &["0"]),
    ("memory", "memory.min", &["0"]),
    ("pids", "pids.max", &["max"]),
];

/// A controller that a group passes on to those below it because of an attack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Given {
    dir: PathBuf,
    controller: String,
}

/// Where a limit will be.
pub(super) struct Choice {
    pub(super) group: PathBuf,
    /// Where the process comes from, when the group was made for attacks.
    pub(super) moved_from: Option<PathBuf>,
    /// Another attack has made it and moved the process.
    pub(super) shared: bool,
    /// What is to be passed on because of attacks, from the root down, and taken back when nobody uses it.
    pub(super) given: Vec<Given>,
    /// All that must be passed on, also by others.
    pub(super) needed: Vec<Given>,
}

impl Choice {
    /// Chooses, or says why there is no place.
    pub(super) fn of(
        asked: &Asked,
        target: &Target,
        member: &Membership,
        controller: &str,
        whole_group: bool,
    ) -> Result<Self, Refusal> {
        let here = member.group.dir().to_owned();
        let name = format!("{NAME}{}", asked.id);
        let new = |dir: &Path| (dir.join(&name), Some(here.clone()), false);
        if whole_group && member.is_root() {
            let name = &target.name;
            return Err(Refusal(format!("{name} is in no cgroup of its own; leave out `whole_group`")));
        }
        let records = places(asked)?;
        let (group, moved_from, shared) = if member.version == Version::One {
            if whole_group { (here, None, false) } else { new(&here) }
        } else if is_ours(&here) {
            let from = made_by_another(&here, &records, target, whole_group)?;
            (here, Some(from), true)
        } else if member.is_root() {
            new(&here)
        } else if whole_group || alone(target, &member.group)? {
            (here, None, false)
        } else {
            new(beside(&here, member, target)?)
        };
        let needed = match member.version {
            Version::One => Vec::new(),
            Version::Two => needed(member, &group, controller)?,
        };
        let mut given = Vec::new();
        for one in &needed {
            if one.is_ours()? {
                given.push(one.clone());
            }
        }
        Ok(Self { group, moved_from, shared, given, needed })
    }
}

/// What other attacks have done to groups.
fn places(asked: &Asked) -> Result<Vec<Place>, Refusal> {
    let records = Journal::open(&asked.journal)?.records()?;
    Ok(records.iter().filter_map(|record| record.undo.read::<Place>().ok()?).collect())
}

fn is_ours(group: &Path) -> bool {
    group.file_name().is_some_and(|name| name.to_string_lossy().starts_with(NAME))
}

/// Where the process was before another attack made this group and moved it here.
fn made_by_another(here: &Path, records: &[Place], target: &Target, whole_group: bool) -> Result<PathBuf, Refusal> {
    let (name, here) = (&target.name, here.to_owned());
    if whole_group {
        return Err(Refusal(format!(
            "another attack has moved {name} into {}; undo that one first, or leave out `whole_group`",
            here.display()
        )));
    }
    let from = records.iter().filter(|place| place.group == here).find_map(|place| place.moved_from.clone());
    from.ok_or_else(|| {
        Refusal(format!(
            "{name} is in {}, which an attack of another agent has made; undo that one first",
            here.display()
        ))
    })
}

/// Others in the group would come under the limit, too.
fn alone(target: &Target, group: &Cgroup) -> Result<bool, Refusal> {
    Ok(group.processes()?.iter().all(|pid| *pid == target.identity.pid))
}

fn beside<'a>(here: &'a Path, member: &Membership, target: &Target) -> Result<&'a Path, Refusal> {
    here.parent().filter(|parent| parent.starts_with(&member.mount)).ok_or_else(|| {
        Refusal(format!(
            "{} shares its cgroup with other processes, and there is no other one within this container; say \
             `whole_group: true` to limit them all",
            target.name
        ))
    })
}

/// Groups from the root down to the one above, all of which must pass the controller on.
fn needed(member: &Membership, group: &Path, controller: &str) -> Result<Vec<Given>, Refusal> {
    let above: Vec<&Path> = group.ancestors().skip(1).take_while(|dir| dir.starts_with(&member.mount)).collect();
    let mut needed = Vec::new();
    for dir in above.into_iter().rev() {
        let one = Given { dir: dir.to_owned(), controller: controller.to_owned() };
        if !one.in_force()? && !is_true_root(dir) && !own_processes(dir)?.is_empty() {
            return Err(Refusal(format!(
                "the cgroup {} has processes of its own, so that the kernel limits none below it: move them into a group \
                 below it",
                dir.display()
            )));
        }
        needed.push(one);
    }
    Ok(needed)
}

/// Whether it is the group of the whole machine, which alone may have processes beside groups that are limited.
fn is_true_root(dir: &Path) -> bool {
    !dir.join("cgroup.type").exists()
}

fn own_processes(dir: &Path) -> Result<String, HostError> {
    Cgroup::in_dir(dir).read("cgroup.procs")
}

impl Given {
    /// Whether the group passes it on.
    pub(super) fn in_force(&self) -> Result<bool, HostError> {
        let passed_on = Cgroup::in_dir(&self.dir).read(PASSED_ON)?;
        Ok(passed_on.split_whitespace().any(|one| one == self.controller))
    }

    /// Nobody passes it on yet, or an attack of this or another agent has begun to: that agent may end earlier.
    fn is_ours(&self) -> Result<bool, HostError> {
        Ok(!self.in_force()? || Cgroup::in_dir(&self.dir).is_marked(&self.controller))
    }

    /// Passes it on. What is passed on already stays as it is.
    pub(super) fn give(&self) -> Result<(), HostError> {
        if self.in_force()? {
            return Ok(());
        }
        let group = Cgroup::in_dir(&self.dir);
        group.mark(&self.controller);
        group.write(PASSED_ON, &format!("+{}", self.controller))
    }

    /// Ends that, unless somebody uses it: the kernel would take away all that is set below without a word.
    pub(super) fn take_back(&self) -> Result<(), HostError> {
        let group = Cgroup::in_dir(&self.dir);
        if !self.is_out()? {
            match group.write(PASSED_ON, &format!("-{}", self.controller)) {
                // A group below passes it on since a moment ago: the next attack takes it back.
                Err(problem) if problem.errno() == Some(libc::EBUSY) => return Ok(()),
                Err(problem) if !is_gone(&problem) => return Err(problem),
                _ => {}
            }
        } else if self.is_used() {
            return Ok(());
        }
        // Whoever passes it on from now on is not us.
        group.unmark(&self.controller);
        Ok(())
    }

    /// It is not passed on any more, or for somebody else only.
    pub(super) fn is_out(&self) -> Result<bool, HostError> {
        match self.in_force() {
            Ok(in_force) => Ok(!in_force || self.is_used()),
            Err(problem) if is_gone(&problem) => Ok(true),
            Err(problem) => Err(problem),
        }
    }

    /// Whether a group below has a limit of that controller, or passes it on.
    fn is_used(&self) -> bool {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        below.map(|entry| Cgroup::in_dir(entry.path())).any(|group| {
            let passed_on = group.read(PASSED_ON).unwrap_or_default();
            passed_on.split_whitespace().any(|one| one == self.controller)
                || limited(&group, |controller| controller == self.controller)
        })
    }
}

/// Whether somebody has set a limit of version 2 on a group.
pub(super) fn is_limited(group: &Cgroup) -> bool {
    limited(group, |_| true)
}

fn limited(group: &Cgroup, means: impl Fn(&str) -> bool) -> bool {
    UNUSED.iter().filter(|(controller, ..)| means(controller)).any(|(_, file, first)| {
        // Without the file there is no such limit. The period in `cpu.max` limits nothing.
        let text = group.read(file).unwrap_or_default();
        let mut words = text.split_whitespace();
        let is_first = first.iter().all(|word| words.next() == Some(word));
        !text.trim().is_empty() && (!is_first || (first.is_empty() && words.next().is_some()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("temp dir");
        for (file, text) in files {
            std::fs::write(dir.path().join(file), text).expect("writes");
        }
        dir
    }

    #[test]
    fn what_the_kernel_puts_there_first_is_no_limit() {
        let is = |files: &[(&str, &str)]| is_limited(&Cgroup::in_dir(group_with(files).path()));
        assert!(!is(&[]));
        assert!(!is(&[
            ("cpu.max", "max 100000\n"),
            ("cpu.weight", "100\n"),
            ("io.max", ""),
            ("io.weight", "default 100\n")
        ]));
        assert!(is(&[("cpu.max", "20000 100000\n")]));
        assert!(is(&[("cpu.weight", "200\n")]));
        assert!(is(&[("io.max", "254:0 rbps=max wbps=1048576 riops=max wiops=max\n")]));
    }

    #[test]
    fn what_somebody_uses_is_not_taken_back() {
        let dir = group_with(&[(PASSED_ON, "cpu io\n")]);
        let given = |controller: &str| Given { dir: dir.path().to_owned(), controller: controller.to_owned() };
        std::fs::create_dir(dir.path().join("other")).expect("makes");
        std::fs::write(dir.path().join("other/cpu.max"), "5000 100000").expect("writes");
        given("cpu").take_back().expect("leaves it");
        assert!(given("cpu").is_out().expect("reads"), "it is the other's now");
        assert!(!given("io").is_out().expect("reads"));
        given("io").take_back().expect("writes");
        assert_eq!(std::fs::read_to_string(dir.path().join(PASSED_ON)).expect("reads"), "-io");
        drop(dir);
        let nowhere = Given { dir: PathBuf::from("/nowhere"), controller: "cpu".to_owned() };
        nowhere.take_back().expect("a group that is gone passes nothing on");
    }
}
