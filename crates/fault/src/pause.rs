//! Pause: a process is stopped, its ports and connections stay open, and it is continued later.
//!
//! By signals (here), or together with all of its cgroup by the kernel's freezer ([`freezer`]).

mod freezer;

use crate::FaultError;
use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Failure, Family, Kind, Mechanism, Pending, Refusal, Scope, StillThere};
use crate::shape::{Parameters, Shape};
use crate::target::{self, Target, Which, names};
use firedrill_host::HostError;
use firedrill_host::capabilities::{Capability, Need};
use firedrill_host::process::{Identity, Signal, State, thread_states};
use firedrill_model::Span;
use firedrill_model::attack::ProcessSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Threads stop within a millisecond, unless they hang in a device.
const STOPPED_WITHIN: Duration = Duration::from_secs(2);
const CONTINUED_WITHIN: Duration = Duration::from_secs(2);
/// How often the states of threads are looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The process, by default the database server of the node that is attacked, is stopped and later continued.
/// Its ports stay open and its connections stay up: it looks alive to everything that does not ask it something.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Pause {
    /// Which process, when it is not the database server.
    process: Option<ProcessSelector>,
    /// The container whose main process it is, or all of whose processes with `which: all`: by name, id or the beginning
    /// of an id.
    container: Option<String>,
    /// Which of several that `process` finds.
    #[serde(default)]
    which: Which,
    /// Also all that they have started.
    #[serde(default)]
    tree: bool,
    /// By what.
    #[serde(default)]
    means: Means,
}

/// By what processes are stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Means {
    /// SIGSTOP to each: its parent can tell.
    #[default]
    Signals,
    /// The kernel's freezer stops all of its cgroup (container, service), with what is forked meanwhile, and nobody inside can
    /// tell; `which` and `tree` make no difference.
    Freezer,
}

impl Parameters for Pause {
    fn check(&self) -> Result<(), String> {
        target::check_aim(self.process.as_ref(), self.container.as_ref())
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "pause",
    summary: "A process is stopped and later continued; its ports stay open.",
    family: Family::State,
    scope: Scope::Process,
    instant: false,
    shape: Shape::of::<Pause>(),
    needs: &[Need::Capability(Capability::Kill)],
    mechanism: || Ok(format!("SIGSTOP through a pidfd; {}", freezer::available())),
    preflight,
    undo,
    verify_undone,
};

/// What the journal holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Held {
    Frozen(freezer::Frozen),
    Stopped(Stopped),
}

/// What is continued, if it still is the same process.
#[derive(Debug, Serialize, Deserialize)]
struct Stopped {
    process: Identity,
    #[serde(default)]
    others: Vec<Identity>,
}

impl Stopped {
    fn all(&self) -> impl Iterator<Item = Identity> {
        std::iter::once(self.process).chain(self.others.iter().copied())
    }
}

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let Pause { process, container, which, tree, means } = asked.parameters()?;
        let targets = target::find_all(target::aim(process, container).as_ref(), which, tree, &asked)?;
        if means == Means::Freezer {
            return freezer::prepare(&asked, targets);
        }
        for target in &targets {
            if let Some(state @ (State::Stopped | State::Traced)) = target.identity.state() {
                return Err(Refusal(format!(
                    "{} is {state:?} already, by somebody else: nothing could be measured, and undoing would continue it",
                    target.name
                )));
            }
        }
        Ok(Box::new(Stop { targets, sent: None }) as Box<dyn Mechanism>)
    })
}

struct Stop {
    /// At least one.
    targets: Vec<Target>,
    sent: Option<Instant>,
}

impl Mechanism for Stop {
    fn describe(&self) -> String {
        "SIGSTOP through a pidfd".to_owned()
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        let mut all = self.targets.iter().map(|target| target.identity);
        match all.next() {
            Some(process) => Undo::by(&Held::Stopped(Stopped { process, others: all.collect() })),
            None => Ok(Undo::NOTHING),
        }
    }

    fn inject(&mut self, _lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async {
            self.sent = Some(Instant::now());
            for target in &self.targets {
                match target.handle.signal(Signal::SIGSTOP) {
                    Err(HostError::NoProcess { .. }) if self.targets.len() > 1 => {}
                    other => other?,
                }
            }
            Ok(())
        })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async {
            let sent = self.sent.unwrap_or_else(Instant::now);
            let mut threads = 0;
            for target in &self.targets {
                match stands_still(target, sent).await {
                    Ok(count) => threads += count,
                    // One of several that has ended meanwhile is not there to be stopped.
                    Err(_) if self.targets.len() > 1 && !target.identity.alive() => {}
                    Err(why) => return Effect::NotSeen(why),
                }
            }
            let (name, took) = (names(&self.targets), Span(sent.elapsed()));
            if threads == 0 {
                return Effect::NotSeen(format!("{name}: all have ended meanwhile"));
            }
            Effect::Seen(format!("all {threads} threads of {name} stood still {took} after SIGSTOP"))
        })
    }

    fn renew(&mut self, _lease: Duration) -> Result<(), String> {
        match self.targets.first() {
            Some(first) if self.targets.iter().all(|target| !target.identity.alive()) => first.still_runs(),
            _ => Ok(()),
        }
    }
}

/// Waits until all threads of a process are stopped, and answers how many they are; or why not.
async fn stands_still(target: &Target, sent: Instant) -> Result<usize, String> {
    let name = &target.name;
    loop {
        let states = thread_states(target.identity.pid)
            .map_err(|problem| format!("{name} could not be seen: {}", problem.full()))?;
        let running = states.iter().filter(|state| **state != State::Stopped).count();
        if running == 0 && target.identity.alive() {
            return Ok(states.len());
        }
        if sent.elapsed() > STOPPED_WITHIN {
            let (threads, within) = (states.len(), Span(STOPPED_WITHIN));
            return Err(format!("{running} of {threads} threads of {name} still ran after {within}"));
        }
        sleep(LOOK_EVERY).await;
    }
}

fn undo(undo: &Undo) -> Pending<'_, Result<(), Failure>> {
    Box::pin(async move {
        let stopped = match undo.read::<Held>()? {
            None => return Ok(()),
            Some(Held::Frozen(frozen)) => return frozen.undo(),
            Some(Held::Stopped(stopped)) => stopped,
        };
        for process in stopped.all() {
            match process.open()?.map(|handle| handle.signal(Signal::SIGCONT)) {
                None | Some(Ok(()) | Err(HostError::NoProcess { .. })) => {}
                Some(Err(problem)) => return Err(problem.into()),
            }
        }
        Ok(())
    })
}

fn verify_undone(undo: &Undo) -> Pending<'_, Result<String, StillThere>> {
    Box::pin(async move {
        let stopped = match undo.read::<Held>()? {
            None => return Ok("nothing was stopped".to_owned()),
            Some(Held::Frozen(frozen)) => return frozen.verify_undone().await,
            Some(Held::Stopped(stopped)) => stopped,
        };
        let mut seen = Vec::new();
        for process in stopped.all() {
            seen.push(runs_again(process).await?);
        }
        let first = seen.first().cloned().unwrap_or_default();
        Ok(if seen.len() > 1 { format!("{first}, and so do {} others, or have ended", seen.len() - 1) } else { first })
    })
}

async fn runs_again(process: Identity) -> Result<String, StillThere> {
    let began = Instant::now();
    loop {
        match process.state() {
            None | Some(State::Zombie | State::Dead) => {
                return Ok(format!("process {} has ended meanwhile", process.pid));
            }
            Some(State::Stopped) if began.elapsed() > CONTINUED_WITHIN => {
                let within = Span(CONTINUED_WITHIN);
                return Err(StillThere(format!("process {} is still stopped {within} after SIGCONT", process.pid)));
            }
            Some(State::Stopped) => sleep(LOOK_EVERY).await,
            Some(_) => return Ok(format!("process {} runs again", process.pid)),
        }
    }
}
