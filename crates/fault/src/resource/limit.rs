//! A limit that a process gets through its cgroup, and its way out again: on a group of its own, from which the undo
//! moves back whatever is in it, or on the group where it is, whose limits the undo puts back. [`hierarchy`] chooses.

use super::hierarchy::{Choice, Given, is_limited};
use crate::claim::Claim;
use crate::journal::Undo;
use crate::kinds::{Asked, Failure, Pending, Refusal, StillThere};
use crate::target::{self, Target};
use firedrill_host::HostError;
use firedrill_host::capabilities::Need;
use firedrill_host::cgroup::Cgroup;
use firedrill_host::controller::{Controller, Membership, Version, is_gone};
use firedrill_host::process::{self, Identity};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A group is empty after one move of all that is in it, unless processes fork meanwhile.
const MOVES_MAX: u32 = 20;
/// Each time another attack must end within the same fraction of a millisecond.
const TRIES_MAX: u32 = 5;

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
    pub(super) group: PathBuf,
    /// Its number: a group that is made anew under the same name (a container that was started again) is another one.
    #[serde(default)]
    inode: Option<u64>,
    /// What was in the files of the group before, setting by setting; `None` where nothing was.
    before: Vec<(Setting, Option<String>)>,
    /// The group that the process is moved from, when the limit is on a group of its own.
    pub(super) moved_from: Option<PathBuf>,
    /// What groups above it pass on because of it, from the root down.
    pub(super) given: Vec<Given>,
}

/// A limit, ready to be set.
pub(super) struct Limit {
    pub(super) place: Place,
    pub(super) target: Target,
    /// The group that the process is in: the limited one, or one below it.
    leaf: PathBuf,
    /// What groups above must pass on, whoever tells them to.
    needed: Vec<Given>,
    _claim: Claim,
}

/// Where the process is, and in what kind of hierarchy; or that there is none.
pub(super) fn membership(target: &Target, controller: Controller) -> Result<Membership, Refusal> {
    target.membership(controller)?.ok_or_else(|| Refusal(missing(controller)))
}

/// Limits under which an agent could not work, or would be ended.
const TAKES_DOWN: [&str; 2] = ["memory", "pids"];

/// Limits are files of cgroups.
pub(super) const NEEDS: &[Need] = &[Need::Cgroup];

/// By which mechanism, for a host that is asked what it can do.
pub(super) fn available(controller: Controller) -> Result<String, String> {
    let own = Identity::current().and_then(|own| Membership::of(own, controller)).map_err(|problem| problem.full())?;
    match own.map(|member| member.version) {
        Some(Version::One) => Ok("cgroup version 1: a group of its own, left again".to_owned()),
        Some(Version::Two) => {
            Ok("cgroup version 2: the limit of its group, put back, or a group beside it, left again".to_owned())
        }
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
        let Choice { group, moved_from, shared, given, needed } =
            Choice::of(asked, &target, member, controller, whole_group)?;
        if moved_from.is_none() && TAKES_DOWN.contains(&controller) {
            let inside = Cgroup::in_dir(&group).processes()?;
            if target::own_family(&process::list()?).iter().any(|pid| inside.contains(pid)) {
                return Err(Refusal(format!(
                    "this agent is in the cgroup {} itself, and might end before it could put the limit back; give what is to \
                     be limited a group of its own",
                    group.display()
                )));
            }
        }
        let object = if moved_from.is_some() {
            // Its group is another one as soon as it was moved once.
            format!("the {controller} cgroup of process {}", target.identity.pid)
        } else {
            format!("the {controller} limits of the cgroup {}", group.display())
        };
        let claim = Claim::take(object, asked)?;
        let is_new = moved_from.is_some();
        if is_new && !shared && group.exists() {
            return Err(Refusal(format!("the cgroup {} is there already, and not of this attack", group.display())));
        }
        let settings = settings.into_iter().map(|setting| {
            let before = if is_new { None } else { setting.before(&Cgroup::in_dir(&group), !needed.is_empty())? };
            Ok((setting, before))
        });
        let before = settings.collect::<Result<_, Refusal>>()?;
        let inode = if is_new { None } else { inode(&group) };
        let place = Place { claim: claim.object().to_owned(), group, inode, before, moved_from, given };
        // A group with limits of its own may have groups below it, and then takes no processes itself.
        let leaf = if is_new { place.group.clone() } else { member.leaf.dir().to_owned() };
        Ok(Self { place, target, leaf, needed, _claim: claim })
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

    /// Sets it, and again when another agent, whose attack ends at this moment, has meanwhile had a group above pass on
    /// no more what nobody used yet.
    pub(super) fn set(&self) -> Result<(), Failure> {
        for _ in 1..TRIES_MAX {
            match self.try_set() {
                Err(problem) if is_gone(&problem) => {}
                Ok(()) if !self.needed.iter().all(|one| one.in_force().unwrap_or(false)) => {}
                other => return Ok(other?),
            }
        }
        Ok(self.try_set()?)
    }

    /// The limit is set before the process comes under it.
    fn try_set(&self) -> Result<(), HostError> {
        let group = self.group();
        for one in &self.needed {
            one.give()?;
        }
        // Another attack may have made it, and may end between then and now.
        if self.place.moved_from.is_some() && !group.exists() {
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
        self.target.still_runs()?;
        let (name, group) = (&self.target.name, self.group());
        let inside = group.processes().map_err(|problem| problem.full())?;
        if inside.contains(&self.target.identity.pid) {
            Ok(())
        } else {
            Err(format!("somebody has moved {name} out of the cgroup {}", group.dir().display()))
        }
    }
}

/// Files are named after their controller.
fn controller_of(settings: &[Setting]) -> &str {
    settings.first().and_then(|setting| setting.file.split('.').next()).unwrap_or_default()
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
    /// What is put back later; nothing where the file appears only with what is given to the group.
    fn before(&self, group: &Cgroup, appears: bool) -> Result<Option<String>, Refusal> {
        match self.read(group) {
            Err(problem) if is_gone(&problem) && appears => Ok(None),
            Err(problem) if is_gone(&problem) => Err(Refusal(format!(
                "the cgroup {} has no {}: its controller is not passed on to this container",
                group.dir().display(),
                self.file
            ))),
            other => Ok(other?),
        }
    }

    /// Whether that is what was there before. Without a limit, the kernel shows what limits nothing (`max`).
    fn is_back(&self, now: Option<&str>, before: Option<&str>) -> bool {
        let limits_nothing = |text: &str| text.split_whitespace().next() == Some(&self.unset);
        now == before || (before.is_none() && now.is_none_or(limits_nothing))
    }

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
        if !place.is_gone() {
            put_back(&group, &place)?;
        }
        if let Some(from) = &place.moved_from
            // Another attack limits it with another controller, and moves it back in the end.
            && !is_limited(&group)
        {
            move_back(&group, &Cgroup::in_dir(from))?;
        }
        for given in place.given.iter().rev() {
            given.take_back()?;
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
        if let Some(given) = place.given.iter().find(|given| !given.is_out().unwrap_or(false)) {
            return Err(StillThere(format!("the groups below still have what was given to them: {given:?}")));
        }
        if let Some(from) = &place.moved_from {
            let (there, from) = (group.dir().display(), from.display());
            if !group.exists() {
                return Ok(format!("the cgroup {there} is gone, and its processes are in {from}"));
            }
            if !is_limited(&group) {
                return Err(StillThere(format!("the cgroup {there} is still there")));
            }
        }
        if place.is_gone() {
            return Ok(format!("the cgroup {} that was limited is gone", group.dir().display()));
        }
        for (setting, before) in &place.before {
            match setting.read(&group) {
                Ok(now) if setting.is_back(now.as_deref(), before.as_deref()) => {}
                Ok(now) => {
                    let (file, now) = (&setting.file, now.unwrap_or_default());
                    return Err(StillThere(format!("{file} of {} still reads {now:?}", group.dir().display())));
                }
                // The group, or the file with the controller that is not passed on any more.
                Err(problem) if is_gone(&problem) => {
                    return Ok(format!("the cgroup {} has no such limit any more", group.dir().display()));
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
        std::fs::write(dir.path().join("cpu.max"), "50000 100000").expect("writes");
        let setting = Setting { file: "cpu.max".into(), key: None, during: "20000 100000".into(), unset: "max".into() };
        let before = setting.read(&group).expect("reads");
        setting.write(&group, &setting.during).expect("writes");
        let place = Place {
            claim: "x".to_owned(),
            group: dir.path().to_owned(),
            inode: inode(dir.path()),
            before: vec![(setting, before)],
            moved_from: None,
            given: Vec::new(),
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
