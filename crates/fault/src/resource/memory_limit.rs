//! Memory limit: a container, or all of a cgroup, can take only so much more memory, as with a limit that is too low for
//! its load. What goes beyond it is ended by the kernel's out-of-memory killer, inside the group and nowhere else.

use super::level::readable;
use super::limit::{self, Setting};
use super::limited::{self, Ground, Limiting, Ruler};
use super::memory::Take;
use crate::kinds::{Effect, Kind, Refusal};
use crate::shape::Parameters;
use crate::target::{self, Target};
use crate::worker::{self, Job};
use firedrill_host::cgroup::Cgroup;
use firedrill_host::controller::{Controller, Membership, Version};
use firedrill_host::usage;
use firedrill_model::Bytes;
use firedrill_model::attack::ProcessSelector;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// The worker that measures is in the group, too, and must be able to start.
const LEAVE_MIN: u64 = 32 << 20;
/// More than any host has.
const LEAVE_MAX: u64 = 1 << 50;
/// The worker wants so much more than is left.
const BEYOND: u64 = 64 << 20;
/// It is ended within a second or so; giving page cache back may take longer.
const TRIED_WITHIN: Duration = Duration::from_secs(10);
/// Limits are whole pages.
const PAGE_BYTES: u64 = 4096;

/// A container can take only so much more memory than it needs now. Page cache is given back first; then the kernel ends
/// the process of the container that it finds fit. Nobody outside is touched.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct MemoryLimit {
    /// Which process, when it is not the database server. All of its cgroup gets the limit.
    process: Option<ProcessSelector>,
    /// The container whose cgroup gets the limit: by name, id or the beginning of an id.
    container: Option<String>,
    /// How much more it can take, at least 32 MiB, such as 64MiB.
    leave: Bytes,
}

impl Parameters for MemoryLimit {
    fn check(&self) -> Result<(), String> {
        target::check_aim(self.process.as_ref(), self.container.as_ref())?;
        if (LEAVE_MIN..=LEAVE_MAX).contains(&self.leave.0) {
            Ok(())
        } else {
            Err(format!("{} are not from {} to {}", readable(self.leave.0), readable(LEAVE_MIN), readable(LEAVE_MAX)))
        }
    }
}

pub(crate) static KIND: Kind = limited::kind::<MemoryLimit>(
    "memory-limit",
    "A container can take only so much more memory.",
    || limit::available(Controller::Memory),
    |asked| limited::preflight::<MemoryLimit>(asked, Controller::Memory),
);

impl Limiting for MemoryLimit {
    type Ruler = Leave;

    fn aim(&mut self) -> (Option<ProcessSelector>, Option<String>) {
        (self.process.take(), self.container.take())
    }

    /// What a process has already taken stays on the account of the group that it took it in: a group of its own would
    /// limit nothing.
    fn whole_group(&self) -> bool {
        true
    }

    fn plan(self, _target: &Target, member: &Membership) -> Result<(Vec<Setting>, Leave), Refusal> {
        let needed = needed(&member.group, member.version).ok_or_else(|| {
            Refusal(format!("the cgroup {} does not say how much memory it uses", member.group.dir().display()))
        })?;
        let most = (needed + self.leave.0).next_multiple_of(PAGE_BYTES);
        Ok((vec![setting(member.version, most)], Leave { leave: self.leave.0, most, version: member.version }))
    }
}

fn setting(version: Version, most: u64) -> Setting {
    let (file, unset) = match version {
        Version::One => ("memory.limit_in_bytes", "-1"),
        Version::Two => ("memory.max", "max"),
    };
    Setting { file: file.to_owned(), key: None, during: most.to_string(), unset: unset.to_owned() }
}

/// What it uses, less what the kernel can drop at once.
fn needed(group: &Cgroup, version: Version) -> Option<u64> {
    let (used, dropped) = match version {
        Version::One => ("memory.usage_in_bytes", "total_inactive_file"),
        Version::Two => ("memory.current", "inactive_file"),
    };
    Some(limited::number(group, used)?.saturating_sub(limited::counted(group, "memory.stat", dropped)))
}

/// A worker in the group, which offers itself to be ended first, takes more than is left.
pub(super) struct Leave {
    leave: u64,
    most: u64,
    version: Version,
}

impl Ruler for Leave {
    async fn measure(&self, limited: &Ground) -> Result<Effect, Refusal> {
        let group = limited.group();
        if dies_as_one(&group) {
            return Ok(Effect::NotSeen(format!(
                "the kernel has taken the limit of {}, but it cannot be tried: the group is set to be ended as a whole \
                 (memory.oom.group)",
                readable(self.most)
            )));
        }
        let wanted = self.leave + BEYOND;
        let before = self.kills(&group);
        let mut worker = limited.worker(&Job::Memory(Take::at_once(wanted)), TRIED_WITHIN * 2).await?;
        let settled = worker.settled(TRIED_WITHIN).await;
        let has = settled.and_then(|_| usage::resident_bytes(worker.identity().pid).ok());
        worker::end(worker.identity()).await?;
        let kills = self.kills(&group).saturating_sub(before);
        Ok(judge(self.leave, &Tried { wanted, has, kills }))
    }
}

impl Leave {
    fn kills(&self, group: &Cgroup) -> u64 {
        let file = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        limited::counted(group, file, "oom_kill")
    }
}

fn dies_as_one(group: &Cgroup) -> bool {
    limited::number(group, "memory.oom.group") == Some(1)
}

/// What became of a worker that wanted more than is left.
#[derive(Debug)]
struct Tried {
    wanted: u64,
    /// What it had in the end; `None`: it was ended.
    has: Option<u64>,
    /// How many processes of the group the kernel has ended meanwhile.
    kills: u64,
}

fn judge(leave: u64, tried: &Tried) -> Effect {
    let asked = format!("asked to leave {}", readable(leave));
    let wanted = readable(tried.wanted);
    match tried {
        Tried { has: Some(has), kills: 0, wanted: all } if has >= all => {
            Effect::NotSeen(format!("{asked}, but a worker in the group could take {wanted}"))
        }
        Tried { has: Some(has), kills: 0, .. } => {
            Effect::Seen(format!("{asked}; a worker in the group that wanted {wanted} had {}", readable(*has)))
        }
        Tried { kills: 0, .. } => Effect::NotSeen(format!("{asked}; the worker that wanted {wanted} ended by itself")),
        Tried { kills, .. } => Effect::Seen(format!(
            "{asked}; a worker in the group that wanted {wanted} was ended by the kernel ({kills} kills in the group)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_taken_beyond_the_limit_is_no_effect() {
        let judged = |has, kills| judge(1 << 25, &Tried { wanted: 3 << 25, has, kills });
        assert!(matches!(judged(None, 1), Effect::Seen(_)));
        assert!(matches!(judged(Some(1 << 25), 0), Effect::Seen(_)), "the rest is swapped");
        assert!(matches!(judged(Some(3 << 25), 0), Effect::NotSeen(_)));
        assert!(matches!(judged(None, 0), Effect::NotSeen(_)));
    }

    #[test]
    fn page_cache_is_not_needed() {
        let dir = tempfile::tempdir().expect("temp dir");
        let group = Cgroup::in_dir(dir.path());
        let write = |file: &str, text: &str| std::fs::write(dir.path().join(file), text).expect("writes");
        write("memory.current", "5000\n");
        write("memory.stat", "anon 1\ninactive_file_x 9\ninactive_file 2000\n");
        assert_eq!(needed(&group, Version::Two), Some(3000));
        assert_eq!(needed(&group, Version::One), None);
    }
}
