//! Pids limit: a container or a process can start only so many more processes and threads, as with a limit that is too
//! low for its load. Nobody else is touched.

use super::limit::{self, Setting};
use super::limited::{self, Ground, Limiting, Ruler};
use super::threads::Start;
use crate::kinds::{Effect, Kind, Refusal};
use crate::shape::Parameters;
use crate::target::{self, Target};
use crate::worker::{self, Job};
use firedrill_host::controller::{Controller, Membership};
use firedrill_host::usage;
use firedrill_model::attack::ProcessSelector;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// More is no limit for anybody.
const LEAVE_MAX: u64 = 10_000;
/// The worker that measures tries to start so many more than are left.
const BEYOND: u64 = 10;
const TRIED_WITHIN: Duration = Duration::from_secs(5);

/// A container or a process can start only so many more processes and threads; what it has goes on. By default it is the
/// database server of the node that is attacked: it cannot take new connections that need a thread each.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct PidsLimit {
    /// Which process, when it is not the database server.
    process: Option<ProcessSelector>,
    /// The container whose cgroup gets the limit, as a whole: by name, id or the beginning of an id.
    container: Option<String>,
    /// How many more processes and threads can be started, counted from now.
    #[serde(default)]
    leave: u64,
    /// All processes of its cgroup (container, service) get that together, instead of the one process alone.
    #[serde(default)]
    whole_group: bool,
}

impl Parameters for PidsLimit {
    fn check(&self) -> Result<(), String> {
        target::check_aim(self.process.as_ref(), self.container.as_ref())?;
        if self.leave > LEAVE_MAX {
            return Err(format!("{} more are no limit for anybody; leave at most {LEAVE_MAX}", self.leave));
        }
        Ok(())
    }
}

pub(crate) static KIND: Kind = limited::kind::<PidsLimit>(
    "pids-limit",
    "A container or a process can start only so many more processes and threads.",
    || limit::available(Controller::Pids),
    |asked| limited::preflight::<PidsLimit>(asked, Controller::Pids),
);

impl Limiting for PidsLimit {
    type Ruler = Leave;

    fn aim(&mut self) -> (Option<ProcessSelector>, Option<String>) {
        (self.process.take(), self.container.take())
    }

    fn whole_group(&self) -> bool {
        self.whole_group
    }

    fn plan(self, target: &Target, member: &Membership) -> Result<(Vec<Setting>, Leave), Refusal> {
        let has = if target.means_whole_group(self.whole_group) {
            limited::number(&member.group, "pids.current").unwrap_or_default()
        } else {
            usage::threads(target.identity.pid)?
        };
        let most = has + self.leave;
        let setting =
            Setting { file: "pids.max".to_owned(), key: None, during: most.to_string(), unset: "max".to_owned() };
        Ok((vec![setting], Leave { leave: self.leave, most }))
    }
}

/// A worker in the group tries to start more than are left, and ends.
pub(super) struct Leave {
    leave: u64,
    most: u64,
}

impl Ruler for Leave {
    async fn measure(&self, limited: &Ground) -> Result<Effect, Refusal> {
        // How often the kernel has refused to start one.
        let refusals = || limited::counted(&limited.group(), "pids.events", "max");
        let before = refusals();
        let job = Job::Threads(Start::of(self.leave + BEYOND));
        let mut worker = limited.worker(&job, TRIED_WITHIN * 2).await?;
        // One that could start nothing at all ends by itself.
        let started = worker.settled(TRIED_WITHIN).await.map_or(0, |last| last.amount);
        worker::end(worker.identity()).await?;
        Ok(judge(self.leave, self.most, started, refusals().saturating_sub(before)))
    }
}

fn judge(leave: u64, most: u64, started: u64, refused: u64) -> Effect {
    let figures = format!(
        "asked to leave {leave} processes and threads of {most}, measured {started} that could be started by a worker in \
         the group, and {refused} refusals by the kernel"
    );
    if started <= leave && refused > 0 { Effect::Seen(figures) } else { Effect::NotSeen(figures) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_started_beyond_the_limit_is_no_effect() {
        assert!(matches!(judge(10, 30, 8, 1), Effect::Seen(_)));
        assert!(matches!(judge(0, 20, 0, 1), Effect::Seen(_)));
        assert!(matches!(judge(10, 30, 8, 0), Effect::NotSeen(_)));
        assert!(matches!(judge(10, 30, 20, 0), Effect::NotSeen(_)));
    }
}
