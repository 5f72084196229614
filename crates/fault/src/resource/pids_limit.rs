//! Pids limit: a container or a process can start only so many more processes and threads, as with a limit that is too
//! low for its load. Nobody else is touched.

use super::limit::{self, Limit, Setting};
use super::threads::Start;
use crate::Context;
use crate::FaultError;
use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Failure, Family, Kind, Mechanism, Pending, Refusal, Scope};
use crate::shape::{Parameters, Shape};
use crate::target;
use crate::worker::{self, Job, Life, Worker};
use firedrill_host::cgroup::Cgroup;
use firedrill_host::controller::Controller;
use firedrill_host::usage;
use firedrill_model::attack::ProcessSelector;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
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

pub(crate) static KIND: Kind = Kind {
    name: "pids-limit",
    summary: "A container or a process can start only so many more processes and threads.",
    family: Family::Resource,
    scope: Scope::Process,
    instant: false,
    shape: Shape::of::<PidsLimit>(),
    needs: limit::NEEDS,
    mechanism: || limit::available(Controller::Pids),
    preflight,
    undo: limit::undo,
    verify_undone: limit::verify_undone,
};

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let PidsLimit { process, container, leave, whole_group } = asked.parameters()?;
        let target = target::find(target::aim(process, container).as_ref(), &asked)?;
        let member = limit::membership(&target, Controller::Pids)?;
        let has = if target.means_whole_group(whole_group) {
            number(&member.group, "pids.current").unwrap_or_default()
        } else {
            usage::threads(target.identity.pid)?
        };
        let most = has + leave;
        let setting =
            Setting { file: "pids.max".to_owned(), key: None, during: most.to_string(), unset: "max".to_owned() };
        let limit = Limit::prepare(&asked, target, &member, vec![setting], whole_group)?;
        let context = Arc::clone(&asked.context);
        Ok(Box::new(Limited { limit, leave, most, context }) as Box<dyn Mechanism>)
    })
}

fn number(group: &Cgroup, file: &str) -> Option<u64> {
    group.read(file).ok()?.trim().parse().ok()
}

/// How often the kernel has refused to start one.
fn refusals(group: &Cgroup) -> u64 {
    let text = group.read("pids.events").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("max "));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

struct Limited {
    limit: Limit,
    leave: u64,
    most: u64,
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
            match self.try_more().await {
                Ok((started, refused)) => judge(self.leave, self.most, started, refused),
                Err(problem) => Effect::NotSeen(format!("it could not be measured: {}", problem.0)),
            }
        })
    }

    fn renew(&mut self, _lease: Duration) -> Result<(), String> {
        self.limit.holds()
    }
}

impl Limited {
    /// A worker in the group tries to start more than are left, and ends: how many it could, and how often the kernel said
    /// no.
    async fn try_more(&self) -> Result<(u64, u64), Refusal> {
        let group = self.limit.group();
        let before = refusals(&group);
        let job = Job::Threads(Start::of(self.leave + BEYOND));
        let mut worker =
            Worker::start(&self.context, &job, Life { cgroup: Some(self.limit.leaf()), user: None }).await?;
        worker.lease(TRIED_WITHIN * 2)?;
        // One that could start nothing at all ends by itself.
        let started = worker.settled(TRIED_WITHIN).await.map_or(0, |last| last.amount);
        worker::end(worker.identity()).await?;
        Ok((started, refusals(&group).saturating_sub(before)))
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
