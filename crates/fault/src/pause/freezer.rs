//! The freezer stops a whole cgroup. The state stays when its setter dies, so it is undone from the journal.

use crate::FaultError;
use crate::claim::Claim;
use crate::journal::Undo;
use crate::kinds::{Asked, Effect, Failure, Mechanism, Pending, Refusal, StillThere};
use crate::target::{self, Target};
use firedrill_host::cgroup::Cgroup;
use firedrill_host::controller::{Controller, Membership, Version};
use firedrill_host::freezer::{Freezer, Motion};
use firedrill_host::process::{self, Identity};
use firedrill_model::Span;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// A process stands still as soon as it leaves a system call; one that waits for a device takes as long as that.
const FROZEN_WITHIN: Duration = Duration::from_secs(5);
const THAWED_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// What the journal holds of a frozen group.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Frozen {
    claim: String,
    freezer: Freezer,
}

/// A group that is going to be frozen.
struct Freeze {
    /// Any of its processes; for a container its main one.
    target: Target,
    freezer: Freezer,
    claim: Claim,
    set: Option<Instant>,
}

/// What the kernel offers, for a host that is asked what it can do.
pub(super) fn available() -> String {
    let own = Identity::current().and_then(|own| Membership::of(own, Controller::Freezer));
    match own.ok().flatten().map(|member| member.version) {
        Some(Version::One) => "cgroup freezer, version 1".to_owned(),
        Some(Version::Two) => "cgroup freezer, version 2".to_owned(),
        None => format!("no freezer: {MISSING}"),
    }
}

const MISSING: &str = "no cgroup hierarchy that can freeze is mounted; mount -t cgroup2 none /sys/fs/cgroup";

/// Chooses the group, or says why it must not be frozen.
pub(super) fn prepare(asked: &Asked, targets: Vec<Target>) -> Result<Box<dyn Mechanism>, Refusal> {
    let group_of = |target: &Target| {
        let member = target.membership(Controller::Freezer)?;
        member.ok_or_else(|| Refusal(format!("{MISSING}; or use `means: signals`")))
    };
    let members = targets.iter().map(group_of).collect::<Result<Vec<_>, _>>()?;
    let (Some(target), Some(member)) = (targets.into_iter().next(), members.first()) else {
        return Err(Refusal("there is no such process".to_owned()));
    };
    let group = member.group.dir().display();
    if let Some(other) = members.iter().find(|other| other.group != member.group) {
        let other = other.group.dir().display();
        return Err(Refusal(format!(
            "they are in several cgroups ({group}, {other} …); freeze one, or use `means: signals`"
        )));
    }
    if member.is_root() {
        let name = &target.name;
        return Err(Refusal(format!("{name} is in no cgroup of its own, which could be frozen; use `means: signals`")));
    }
    let inside = member.group.processes()?;
    if target::own_family(&process::list()?).iter().any(|pid| inside.contains(pid)) {
        return Err(Refusal(format!(
            "this agent is in the cgroup {group} itself and would freeze, too; use `means: signals`"
        )));
    }
    let freezer = Freezer::of(member)?;
    match freezer.motion()? {
        Some(Motion::Running) => {}
        Some(Motion::Freezing | Motion::Frozen) => {
            return Err(Refusal(format!(
                "the cgroup {group} is frozen already, by somebody else: nothing could be measured, and undoing would \
                 let it run"
            )));
        }
        None => return Err(Refusal(format!("the cgroup {group} is gone"))),
    }
    let claim = Claim::take(format!("the freezer of the cgroup {group}"), asked)?;
    Ok(Box::new(Freeze { target, freezer, claim, set: None }))
}

impl Mechanism for Freeze {
    fn describe(&self) -> String {
        format!("freezer of the cgroup {}, where {} is", self.freezer.group().display(), self.target.name)
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        let frozen = Frozen { claim: self.claim.object().to_owned(), freezer: self.freezer.clone() };
        Undo::by(&super::Held::Frozen(frozen))
    }

    fn inject(&mut self, _lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async {
            self.set = Some(Instant::now());
            Ok(self.freezer.set(true)?)
        })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async {
            let set = self.set.unwrap_or_else(Instant::now);
            let group = self.freezer.group().display();
            loop {
                match self.freezer.motion() {
                    Ok(Some(Motion::Frozen)) => break,
                    Ok(Some(_)) if set.elapsed() > FROZEN_WITHIN => {
                        return Effect::NotSeen(format!(
                            "not all of the cgroup {group} stood still {}",
                            Span(FROZEN_WITHIN)
                        ));
                    }
                    Ok(Some(_)) => sleep(LOOK_EVERY).await,
                    Ok(None) => return Effect::NotSeen(format!("the cgroup {group} is gone")),
                    Err(problem) => return Effect::NotSeen(problem.full()),
                }
            }
            let took = Span(set.elapsed());
            match Cgroup::in_dir(self.freezer.group()).processes().map(|inside| inside.len()) {
                Ok(0) => Effect::NotSeen(format!("there is no process in the cgroup {group}")),
                Ok(count) => {
                    Effect::Seen(format!("all {count} processes of the cgroup {group} stood still after {took}"))
                }
                Err(problem) => Effect::NotSeen(problem.full()),
            }
        })
    }

    fn renew(&mut self, _lease: Duration) -> Result<(), String> {
        self.target.still_runs()?;
        let group = self.freezer.group().display();
        match self.freezer.motion().map_err(|problem| problem.full())? {
            Some(Motion::Frozen | Motion::Freezing) => Ok(()),
            Some(Motion::Running) => Err(format!("somebody else has let the cgroup {group} run")),
            None => Err(format!("the cgroup {group} is gone")),
        }
    }
}

impl Frozen {
    pub(super) fn undo(&self) -> Result<(), Failure> {
        Ok(self.freezer.set(false)?)
    }

    pub(super) async fn verify_undone(&self) -> Result<String, StillThere> {
        let group = self.freezer.group().display();
        let began = Instant::now();
        loop {
            match self.freezer.motion()? {
                None => return Ok(format!("the cgroup {group} is gone")),
                Some(Motion::Running) => return Ok(format!("the processes of the cgroup {group} run again")),
                Some(_) if began.elapsed() > THAWED_WITHIN && !self.freezer.told()? => {
                    return Ok(format!("the cgroup {group} is let run; one above it is frozen, by somebody else"));
                }
                Some(_) if began.elapsed() > THAWED_WITHIN => {
                    let within = Span(THAWED_WITHIN);
                    return Err(StillThere(format!(
                        "the cgroup {group} is still frozen {within} after it was let run"
                    )));
                }
                Some(_) => sleep(LOOK_EVERY).await,
            }
        }
    }
}
