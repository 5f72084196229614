//! A limit that a process gets through its cgroup, and its way out again.
//!
//! In version 1 the process moves into a group of its own below the one where it is, so that no limit of others is
//! touched; the undo moves back whatever is in that group, and removes it. In version 2 a group with processes can have
//! none below it, so the limit of the group itself is set, and the undo puts back what was there before.

use crate::claim::Claim;
use crate::journal::Undo;
use crate::kinds::{Asked, Failure, Pending, Refusal, StillThere};
use crate::target::Target;
use firedrill_host::HostError;
use firedrill_host::cgroup::Cgroup;
use firedrill_host::controller::{Controller, Membership, Version, is_gone};
use firedrill_host::process::Identity;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A group is empty after one move of all that is in it, unless processes fork meanwhile.
const MOVES_MAX: u32 = 20;
const NAME: &str = "firedrill-";

/// Something written to a file of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Setting {
    pub(super) file: String,
    /// The line that it is about begins with this, where a file has one for each device.
    pub(super) key: Option<String>,
    /// What is written, after the key.
    pub(super) during: String,
    /// What is written when nothing was set before.
    pub(super) unset: String,
}

/// Where a limit is set. This is also its undo record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    claim: String,
    group: PathBuf,
    /// Its number: a group that is made anew under the same name (a container that was started again) is another one.
    #[serde(default)]
    inode: Option<u64>,
    /// What was in the files of the group before, setting by setting; `None` where nothing was.
    before: Vec<(Setting, Option<String>)>,
    /// The group that the process is moved from, when the limit is on a group of its own.
    moved_from: Option<PathBuf>,
    /// What was given to the groups below this one.
    enabled: Option<(PathBuf, String)>,
}

/// A limit, ready to be set.
pub(super) struct Limit {
    pub(super) place: Place,
    pub(super) target: Target,
    /// The group that the process is in: the limited one, or one below it.
    leaf: PathBuf,
    _claim: Claim,
}

/// Where the process is, and in what kind of hierarchy; or that there is none.
pub(super) fn membership(target: &Target, controller: Controller) -> Result<Membership, Refusal> {
    target.membership(controller)?.ok_or_else(|| Refusal(missing(controller)))
}

/// By which mechanism, for a host that is asked what it can do.
pub(super) fn available(controller: Controller) -> Result<String, String> {
    let own = Identity::current().and_then(|own| Membership::of(own, controller)).map_err(|problem| problem.full())?;
    match own.map(|member| member.version) {
        Some(Version::One) => Ok("cgroup version 1: a group of its own, left again".to_owned()),
        Some(Version::Two) => Ok("cgroup version 2: the limit of its group, put back".to_owned()),
        None => Err(missing(controller)),
    }
}

fn missing(controller: Controller) -> String {
    format!(
        "no cgroup hierarchy with the {controller:?} controller is mounted; mount -t cgroup2 none /sys/fs/cgroup, and boot \
         with that controller enabled"
    )
}

impl Limit {
    /// Chooses the place, or says why there is none.
    pub(super) fn prepare(
        asked: &Asked,
        target: Target,
        member: &Membership,
        settings: Vec<Setting>,
        whole_group: bool,
    ) -> Result<Self, Refusal> {
        let controller = controller_of(&settings);
        let whole_group = target.means_whole_group(whole_group);
        let own = |group: PathBuf| (group, None, None);
        let below = |dir: &PathBuf| dir.join(format!("{NAME}{}", asked.id));
        let here = member.group.dir().to_owned();
        let (group, moved_from, enabled) = match (member.version, whole_group, member.is_root()) {
            (_, true, true) => {
                let name = &target.name;
                return Err(Refusal(format!(
                    "{name} is in no cgroup of its own: there is no whole group to be limited"
                )));
            }
            (_, true, false) => own(here),
            (Version::One, false, _) => (below(&here), Some(here), None),
            (Version::Two, false, true) => {
                let enabled = to_be_enabled(member, &settings)?;
                (below(&here), Some(here), enabled)
            }
            (Version::Two, false, false) => {
                alone(&target, &member.group)?;
                own(here)
            }
        };
        let object = if moved_from.is_some() {
            // Its group is another one as soon as it was moved once.
            format!("the {controller} cgroup of process {}", target.identity.pid)
        } else {
            format!("the {controller} limits of the cgroup {}", group.display())
        };
        let claim = Claim::take(object, asked)?;
        let is_new = moved_from.is_some();
        if is_new && group.exists() {
            return Err(Refusal(format!("the cgroup {} is there already, and not of this attack", group.display())));
        }
        let settings = settings.into_iter().map(|setting| {
            let before = if is_new { None } else { setting.read(&Cgroup::in_dir(&group))? };
            Ok((setting, before))
        });
        let before = settings.collect::<Result<_, HostError>>()?;
        let inode = if is_new { None } else { inode(&group) };
        let place = Place { claim: claim.object().to_owned(), group, inode, before, moved_from, enabled };
        // A group with limits of its own may have groups below it, and then takes no processes itself.
        let leaf = if is_new { place.group.clone() } else { member.leaf.dir().to_owned() };
        Ok(Self { place, target, leaf, _claim: claim })
    }

    /// For the description of the mechanism.
    pub(super) fn describe(&self) -> String {
        let group = self.place.group.display();
        match &self.place.moved_from {
            Some(from) => format!("{} moved from the cgroup {} to {group}", self.target.name, from.display()),
            None => format!("limit of the cgroup {group}, where {} is", self.target.name),
        }
    }

    pub(super) fn group(&self) -> Cgroup {
        Cgroup::in_dir(&self.place.group)
    }

    /// Where a worker comes under the limit.
    pub(super) fn leaf(&self) -> &Path {
        &self.leaf
    }

    /// The limit is set before the process comes under it.
    pub(super) fn set(&self) -> Result<(), Failure> {
        let group = self.group();
        if let Some((dir, controller)) = &self.place.enabled {
            Cgroup::in_dir(dir).write("cgroup.subtree_control", &format!("+{controller}"))?;
        }
        if self.place.moved_from.is_some() {
            group.make()?;
        }
        for (setting, _) in &self.place.before {
            setting.write(&group, &setting.during)?;
        }
        if self.place.moved_from.is_some() {
            group.add(self.target.identity.pid)?;
        }
        Ok(())
    }

    /// Whether the process still is under the limit.
    pub(super) fn holds(&self) -> Result<(), String> {
        self.target.still_runs()
    }
}

/// Files are named after their controller.
fn controller_of(settings: &[Setting]) -> &str {
    settings.first().and_then(|setting| setting.file.split('.').next()).unwrap_or_default()
}

/// What must be given to the groups below the root, if it is not given yet.
fn to_be_enabled(member: &Membership, settings: &[Setting]) -> Result<Option<(PathBuf, String)>, Refusal> {
    let controller = controller_of(settings);
    let given = member.group.read("cgroup.subtree_control")?;
    let missing = !given.split_whitespace().any(|one| one == controller);
    Ok(missing.then(|| (member.mount.clone(), controller.to_owned())))
}

/// Others in the group would come under the limit, too.
fn alone(target: &Target, group: &Cgroup) -> Result<(), Refusal> {
    let others = group.processes()?.iter().filter(|pid| **pid != target.identity.pid).count();
    if others > 0 {
        return Err(Refusal(format!(
            "{others} other processes are in {}, the cgroup of {}; say `whole_group: true` to limit them, too",
            group.dir().display(),
            target.name
        )));
    }
    Ok(())
}

fn inode(group: &Path) -> Option<u64> {
    std::fs::metadata(group).ok().map(|seen| seen.ino())
}

impl Place {
    /// Whether the group is not the one that was limited any more.
    fn is_gone(&self) -> bool {
        self.inode.is_some() && inode(&self.group) != self.inode
    }
}

impl Setting {
    /// What is set now: the line with the key, without it, or all of the file.
    fn read(&self, group: &Cgroup) -> Result<Option<String>, HostError> {
        let text = group.read(&self.file)?;
        Ok(match &self.key {
            None => Some(text.trim().to_owned()),
            Some(key) => line_of(&text, key),
        })
    }

    fn write(&self, group: &Cgroup, value: &str) -> Result<(), HostError> {
        let key = self.key.as_ref().map(|key| format!("{key} ")).unwrap_or_default();
        group.write(&self.file, &format!("{key}{value}"))
    }
}

fn line_of(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).map(|rest| rest.trim().to_owned())
}

pub(super) fn undo(undo: &Undo) -> Pending<'_, Result<(), Failure>> {
    Box::pin(async move {
        let Some(place) = undo.read::<Place>()? else { return Ok(()) };
        let group = Cgroup::in_dir(&place.group);
        match &place.moved_from {
            Some(from) => move_back(&group, &Cgroup::in_dir(from))?,
            None if place.is_gone() => {}
            None => put_back(&group, &place)?,
        }
        if let Some((dir, controller)) = &place.enabled {
            let given = Cgroup::in_dir(dir);
            // Refused as long as other groups use it, made meanwhile by others: then it is theirs.
            let _theirs = given.write("cgroup.subtree_control", &format!("-{controller}"));
        }
        Ok(())
    })
}

fn put_back(group: &Cgroup, place: &Place) -> Result<(), Failure> {
    for (setting, before) in &place.before {
        match setting.write(group, before.as_ref().unwrap_or(&setting.unset)) {
            Err(problem) if !is_gone(&problem) => return Err(problem.into()),
            _ => {}
        }
    }
    Ok(())
}

fn move_back(group: &Cgroup, from: &Cgroup) -> Result<(), Failure> {
    for _ in 0..MOVES_MAX {
        let inside = group.processes()?;
        if inside.is_empty() {
            break;
        }
        for pid in inside {
            match from.add(pid) {
                Ok(()) | Err(HostError::NoProcess { .. }) => {}
                Err(problem) => return Err(problem.into()),
            }
        }
    }
    Ok(group.remove()?)
}

pub(super) fn verify_undone(undo: &Undo) -> Pending<'_, Result<String, StillThere>> {
    Box::pin(async move {
        let Some(place) = undo.read::<Place>()? else { return Ok("no limit was set".to_owned()) };
        let group = Cgroup::in_dir(&place.group);
        if let Some(from) = &place.moved_from {
            return if group.exists() {
                Err(StillThere(format!("the cgroup {} is still there", group.dir().display())))
            } else {
                Ok(format!("the cgroup {} is gone, and its processes are in {}", group.dir().display(), from.display()))
            };
        }
        if place.is_gone() {
            return Ok(format!("the cgroup {} that was limited is gone", group.dir().display()));
        }
        for (setting, before) in &place.before {
            match setting.read(&group) {
                Ok(now) if now == *before => {}
                Ok(now) => {
                    let (file, now) = (&setting.file, now.unwrap_or_default());
                    return Err(StillThere(format!("{file} of {} still reads {now:?}", group.dir().display())));
                }
                Err(problem) if is_gone(&problem) => {
                    return Ok(format!("the cgroup {} is gone", group.dir().display()));
                }
                Err(problem) => return Err(problem.into()),
            }
        }
        Ok(format!("the limits of the cgroup {} are what they were", group.dir().display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_its_line() {
        let text = "254:0 rbps=max wbps=1048576 riops=max wiops=max\n254:16 rbps=1 wbps=max\n";
        assert_eq!(line_of(text, "254:16"), Some("rbps=1 wbps=max".to_owned()));
        assert_eq!(line_of(text, "254:1"), None, "not the beginning of another's number");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_limit_of_a_group_in_place_is_put_back() {
        let dir = tempfile::tempdir().expect("temp dir");
        let group = Cgroup::in_dir(dir.path());
        group.write("cpu.max", "50000 100000").expect("writes");
        let setting = Setting { file: "cpu.max".into(), key: None, during: "20000 100000".into(), unset: "max".into() };
        let before = setting.read(&group).expect("reads");
        setting.write(&group, &setting.during).expect("writes");
        let place = Place {
            claim: "x".to_owned(),
            group: dir.path().to_owned(),
            inode: inode(dir.path()),
            before: vec![(setting, before)],
            moved_from: None,
            enabled: None,
        };
        let record = Undo::by(&place).expect("JSON");
        assert!(verify_undone(&record).await.is_err_and(|still| still.0.contains("20000 100000")));
        for _ in 0..2 {
            undo(&record).await.expect("puts back");
            verify_undone(&record).await.expect("is what it was");
        }
        assert_eq!(group.read("cpu.max").expect("reads"), "50000 100000");
        drop(dir);
        undo(&record).await.expect("a group that is gone is no error");
        verify_undone(&record).await.expect("nothing is left of it");
    }
}
