//! The one shape of all faults that are limits: parameters, what is written to the files of a cgroup, and how the effect
//! is measured. All else is here and in [`super::limit`].

use super::limit::{self, Limit, Setting};
use crate::Context;
use crate::FaultError;
use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Failure, Family, Kind, Mechanism, Pending, Refusal, Scope};
use crate::shape::{Parameters, Shape};
use crate::target::{self, Target};
use crate::worker::{Job, Life, Worker};
use firedrill_host::cgroup::Cgroup;
use firedrill_host::controller::{Controller, Membership};
use firedrill_model::attack::ProcessSelector;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Parameters of a limit.
pub(super) trait Limiting: Parameters + Send + 'static {
    /// What tells whether it is in force.
    type Ruler: Ruler;

    /// Takes `process` and `container` out: what gets the limit.
    fn aim(&mut self) -> (Option<ProcessSelector>, Option<String>);

    /// Whether all of its cgroup gets the limit, even when a process alone could.
    fn whole_group(&self) -> bool;

    /// What is written, and how its effect is measured.
    ///
    /// # Errors
    /// Why there can be no such limit here.
    fn plan(self, target: &Target, member: &Membership) -> Result<(Vec<Setting>, Self::Ruler), Refusal>;
}

/// Measures a limit from within the group that has it.
pub(super) trait Ruler: Send + Sync + 'static {
    /// What was seen, within seconds. An error means that it could not be measured.
    fn measure(&self, limited: &Ground) -> impl Future<Output = Result<Effect, Refusal>> + Send;
}

/// A kind of limit.
pub(super) const fn kind<L: Limiting>(
    name: &'static str,
    summary: &'static str,
    mechanism: fn() -> Result<String, String>,
    preflight: fn(Asked) -> Checking,
) -> Kind {
    Kind {
        name,
        summary,
        family: Family::Resource,
        scope: Scope::Process,
        instant: false,
        shape: Shape::of::<L>(),
        needs: limit::NEEDS,
        mechanism,
        preflight,
        undo: limit::undo,
        verify_undone: limit::verify_undone,
    }
}

/// Finds the process and chooses the place, or says why there can be no such limit.
pub(super) fn preflight<L: Limiting>(asked: Asked, controller: Controller) -> Checking {
    Box::pin(async move {
        let mut wanted: L = asked.parameters()?;
        let (process, container) = wanted.aim();
        let target = target::find(target::aim(process, container).as_ref(), &asked)?;
        let member = limit::membership(&target, controller)?;
        let whole_group = wanted.whole_group();
        let (settings, ruler) = wanted.plan(&target, &member)?;
        let limit = Limit::prepare(&asked, target, &member, settings, whole_group)?;
        let ground = Ground { limit, context: Arc::clone(&asked.context) };
        Ok(Box::new(Limited { ground, ruler }) as Box<dyn Mechanism>)
    })
}

/// Where a limit is measured.
pub(super) struct Ground {
    limit: Limit,
    context: Arc<Context>,
}

impl Ground {
    /// The group that has the limit.
    pub(super) fn group(&self) -> Cgroup {
        self.limit.group()
    }

    /// A worker that comes under the limit, for so long at most.
    pub(super) async fn worker(&self, job: &Job, lasting: Duration) -> Result<Worker, Refusal> {
        self.worker_in(Some(self.limit.leaf()), job, lasting).await
    }

    /// The same beside the limit.
    pub(super) async fn worker_beside(&self, job: &Job, lasting: Duration) -> Result<Worker, Refusal> {
        self.worker_in(None, job, lasting).await
    }

    async fn worker_in(&self, cgroup: Option<&Path>, job: &Job, lasting: Duration) -> Result<Worker, Refusal> {
        let mut worker = Worker::start(&self.context, job, Life { cgroup, user: None }).await?;
        worker.lease(lasting)?;
        Ok(worker)
    }
}

/// The number after a name in a file of a group that has one on each line; 0 when it is not there.
pub(super) fn counted(group: &Cgroup, file: &str, name: &str) -> u64 {
    let text = group.read(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// The number in a file of a group.
pub(super) fn number(group: &Cgroup, file: &str) -> Option<u64> {
    group.read(file).ok()?.trim().parse().ok()
}

struct Limited<R> {
    ground: Ground,
    ruler: R,
}

impl<R: Ruler> Mechanism for Limited<R> {
    fn describe(&self) -> String {
        self.ground.limit.describe()
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        Undo::by(&self.ground.limit.place)
    }

    fn inject(&mut self, _lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async { self.ground.limit.set() })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async {
            let seen = self.ruler.measure(&self.ground).await;
            seen.unwrap_or_else(|problem| Effect::NotSeen(format!("it could not be measured: {}", problem.0)))
        })
    }

    fn renew(&mut self, _lease: Duration) -> Result<(), String> {
        self.ground.limit.holds()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_whole_name() {
        let dir = tempfile::tempdir().expect("temp dir");
        let group = Cgroup::in_dir(dir.path());
        std::fs::write(dir.path().join("events"), "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n").expect("writes");
        assert_eq!(counted(&group, "events", "oom_kill"), 3);
        assert_eq!(counted(&group, "events", "oom"), 0);
        assert_eq!(counted(&group, "nothing", "oom"), 0);
        assert_eq!(number(&group, "events"), None);
    }
}
