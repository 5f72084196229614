//! Pause: a process is stopped (SIGSTOP), its ports and connections stay open, and it is continued later.

use crate::FaultError;
use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Failure, Family, Kind, Mechanism, Pending, Refusal, Scope, StillThere};
use crate::shape::{Parameters, Shape};
use crate::target::{self, Target};
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

/// The process, by default the database server of the node that is attacked, is stopped (SIGSTOP) and later continued.
/// Its ports stay open and its connections stay up: it looks alive to everything that does not ask it something.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Pause {
    /// Which process, when it is not the database server.
    process: Option<ProcessSelector>,
}

impl Parameters for Pause {}

pub(crate) static KIND: Kind = Kind {
    name: "pause",
    summary: "A process is stopped and later continued; its ports stay open.",
    family: Family::State,
    scope: Scope::Process,
    instant: false,
    shape: Shape::of::<Pause>(),
    needs: &[Need::Capability(Capability::Kill)],
    mechanism: || Ok("SIGSTOP through a pidfd".to_owned()),
    preflight,
    undo,
    verify_undone,
};

/// What is continued, if it still is the same process.
#[derive(Debug, Serialize, Deserialize)]
struct Stopped {
    process: Identity,
}

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let Pause { process } = asked.parameters()?;
        let target = target::find(process.as_ref(), &asked)?;
        if let Some(state @ (State::Stopped | State::Traced)) = target.identity.state() {
            return Err(Refusal(format!(
                "{} is {state:?} already, by somebody else: nothing could be measured, and undoing would continue it",
                target.name
            )));
        }
        Ok(Box::new(Stop { target, sent: None }) as Box<dyn Mechanism>)
    })
}

struct Stop {
    target: Target,
    sent: Option<Instant>,
}

impl Mechanism for Stop {
    fn describe(&self) -> String {
        "SIGSTOP through a pidfd".to_owned()
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        Undo::by(&Stopped { process: self.target.identity })
    }

    fn inject(&mut self, _lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async {
            self.sent = Some(Instant::now());
            Ok(self.target.handle.signal(Signal::SIGSTOP)?)
        })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async {
            let name = &self.target.name;
            let sent = self.sent.unwrap_or_else(Instant::now);
            loop {
                let states = match thread_states(self.target.identity.pid) {
                    Ok(states) => states,
                    Err(problem) => return Effect::NotSeen(format!("{name} could not be seen: {}", problem.full())),
                };
                let running = states.iter().filter(|state| **state != State::Stopped).count();
                if running == 0 && self.target.identity.alive() {
                    let (threads, took) = (states.len(), Span(sent.elapsed()));
                    return Effect::Seen(format!("all {threads} threads of {name} stood still {took} after SIGSTOP"));
                }
                if sent.elapsed() > STOPPED_WITHIN {
                    let within = Span(STOPPED_WITHIN);
                    let threads = states.len();
                    return Effect::NotSeen(format!(
                        "{running} of {threads} threads of {name} still ran after {within}"
                    ));
                }
                sleep(LOOK_EVERY).await;
            }
        })
    }

    fn renew(&mut self, _lease: Duration) -> Result<(), String> {
        Ok(())
    }
}

fn undo(undo: &Undo) -> Pending<'_, Result<(), Failure>> {
    Box::pin(async move {
        let Some(Stopped { process }) = undo.read()? else { return Ok(()) };
        match process.open()?.map(|handle| handle.signal(Signal::SIGCONT)) {
            None | Some(Ok(()) | Err(HostError::NoProcess { .. })) => Ok(()),
            Some(Err(problem)) => Err(problem.into()),
        }
    })
}

fn verify_undone(undo: &Undo) -> Pending<'_, Result<String, StillThere>> {
    Box::pin(async move {
        let Some(Stopped { process }) = undo.read()? else { return Ok("nothing was stopped".to_owned()) };
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
    })
}
