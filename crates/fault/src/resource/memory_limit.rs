//! Memory limit: a container, or all of a cgroup, can take only so much more memory, as with a limit that is too low for
//! its load. What goes beyond it is ended by the kernel's out-of-memory killer, inside the group and nowhere else.

use super::level::readable;
use super::limit::{self, Limit, Setting};
use super::memory::Take;
use crate::Context;
use crate::FaultError;
use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Failure, Family, Kind, Mechanism, Pending, Refusal, Scope};
use crate::shape::{Parameters, Shape};
use crate::target;
use crate::worker::{self, Job, Life, Worker};
use firedrill_host::cgroup::Cgroup;
use firedrill_host::controller::{Controller, Version};
use firedrill_host::usage;
use firedrill_model::Bytes;
use firedrill_model::attack::ProcessSelector;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
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

pub(crate) static KIND: Kind = Kind {
    name: "memory-limit",
    summary: "A container can take only so much more memory.",
    family: Family::Resource,
    scope: Scope::Process,
    instant: false,
    shape: Shape::of::<MemoryLimit>(),
    needs: limit::NEEDS,
    mechanism: || limit::available(Controller::Memory),
    preflight,
    undo: limit::undo,
    verify_undone: limit::verify_undone,
};

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let MemoryLimit { process, container, leave } = asked.parameters()?;
        let target = target::find(target::aim(process, container).as_ref(), &asked)?;
        let member = limit::membership(&target, Controller::Memory)?;
        let needed = needed(&member.group, member.version).ok_or_else(|| {
            Refusal(format!("the cgroup {} does not say how much memory it uses", member.group.dir().display()))
        })?;
        let most = (needed + leave.0).next_multiple_of(PAGE_BYTES);
        // What a process has already taken stays on the account of the group that it took it in: a group of its own would
        // limit nothing.
        let limit = Limit::prepare(&asked, target, &member, vec![setting(member.version, most)], true)?;
        let context = Arc::clone(&asked.context);
        Ok(Box::new(Limited { limit, leave: leave.0, most, version: member.version, context }) as Box<dyn Mechanism>)
    })
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
    let used: u64 = group.read(used).ok()?.trim().parse().ok()?;
    Some(used.saturating_sub(field(&group.read("memory.stat").ok()?, dropped)))
}

/// `name number`, a line each.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

struct Limited {
    limit: Limit,
    leave: u64,
    most: u64,
    version: Version,
    context: Arc<Context>,
}

impl Mechanism for Limited {
    fn describe(&self) -> String {
        self.limit.describe()
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        Undo::by(&self.limit.place)
    }

    fn inject(&mut self, _lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async { self.limit.set() })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async {
            if self.dies_as_one() {
                return Effect::NotSeen(format!(
                    "the kernel has taken the limit of {}, but it cannot be tried: the group is set to be ended as a whole \
                     (memory.oom.group)",
                    readable(self.most)
                ));
            }
            match self.try_more().await {
                Ok(tried) => judge(self.leave, &tried),
                Err(problem) => Effect::NotSeen(format!("it could not be measured: {}", problem.0)),
            }
        })
    }

    fn renew(&mut self, _lease: Duration) -> Result<(), String> {
        self.limit.holds()
    }
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

impl Limited {
    fn dies_as_one(&self) -> bool {
        self.limit.group().read("memory.oom.group").is_ok_and(|text| text.trim() == "1")
    }

    fn kills(&self) -> u64 {
        let file = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        field(&self.limit.group().read(file).unwrap_or_default(), "oom_kill")
    }

    /// A worker in the group, which offers itself to be ended first, takes more than is left.
    async fn try_more(&self) -> Result<Tried, Refusal> {
        let wanted = self.leave + BEYOND;
        let before = self.kills();
        let job = Job::Memory(Take::at_once(wanted));
        let mut worker =
            Worker::start(&self.context, &job, Life { cgroup: Some(self.limit.leaf()), user: None }).await?;
        worker.lease(TRIED_WITHIN * 2)?;
        let settled = worker.settled(TRIED_WITHIN).await;
        let has = settled.and_then(|_| usage::resident_bytes(worker.identity().pid).ok());
        worker::end(worker.identity()).await?;
        Ok(Tried { wanted, has, kills: self.kills().saturating_sub(before) })
    }
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
        assert_eq!(field("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"), 3);
    }
}
