//! Pause: a process is stopped (SIGSTOP), its ports and connections stay open, and it is continued later.

use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Mechanism, Pending, Refusal, StillThere};
use crate::target::{self, Target};
use firedrill_host::HostError;
use firedrill_host::process::{Signal, State, thread_states};
use firedrill_model::{Fault, Span};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Threads stop within a millisecond, unless they hang in a device.
const STOPPED_WITHIN: Duration = Duration::from_secs(2);
const CONTINUED_WITHIN: Duration = Duration::from_secs(2);
/// How often the states of threads are looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(1);

pub(crate) fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let Fault::Pause { process } = &asked.fault else {
            return Err(Refusal(format!("{} is no pause", asked.fault)));
        };
        let target = target::find(process, &asked.context)?;
        if let Some(state @ (State::Stopped | State::Traced)) = target.identity.state() {
            return Err(Refusal(format!(
                "{} is {state:?} already, by somebody else: nothing could be measured, and undoing would continue it",
                target.name
            )));
        }
        Ok(Box::new(Pause { target, sent: None }) as Box<dyn Mechanism>)
    })
}

struct Pause {
    target: Target,
    sent: Option<Instant>,
}

impl Mechanism for Pause {
    fn describe(&self) -> String {
        "SIGSTOP through a pidfd".to_owned()
    }

    fn undo(&self) -> Undo {
        Undo::Continue { process: self.target.identity }
    }

    fn inject(&mut self, _lease: Duration) -> Pending<'_, Result<(), HostError>> {
        Box::pin(async {
            self.sent = Some(Instant::now());
            self.target.handle.signal(Signal::SIGSTOP)
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

pub(crate) fn undo(undo: &Undo) -> Pending<'_, Result<(), HostError>> {
    Box::pin(async move {
        let Undo::Continue { process } = undo else { return Ok(()) };
        match process.open()?.map(|handle| handle.signal(Signal::SIGCONT)) {
            None | Some(Ok(()) | Err(HostError::NoProcess { .. })) => Ok(()),
            Some(Err(problem)) => Err(problem),
        }
    })
}

pub(crate) fn verify_undone(undo: &Undo) -> Pending<'_, Result<String, StillThere>> {
    Box::pin(async move {
        let Undo::Continue { process } = undo else { return Ok("nothing was stopped".to_owned()) };
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
