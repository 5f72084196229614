//! Kill: a signal that ends a process. Nothing is taken back.

use crate::FaultError;
use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Failure, Family, Kind, Mechanism, Pending, Refusal, Scope, StillThere};
use crate::shape::{Parameters, Shape};
use crate::target::{self, Target, Which, names};
use firedrill_host::HostError;
use firedrill_host::capabilities::{Capability, Need};
use firedrill_host::process::Signal;
use firedrill_model::Span;
use firedrill_model::attack::ProcessSelector;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::{Duration, Instant};

/// SIGKILL takes effect as soon as the process runs in the kernel; longer means it hangs in a device.
const KILLED_WITHIN: Duration = Duration::from_secs(5);
/// A signal that the process may handle: a database flushes before it ends.
const ENDED_WITHIN: Duration = Duration::from_secs(30);

/// A signal ends the process, by default the database server of the node that is attacked. Nothing is taken back:
/// what starts the process again is what the drill is about.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Kill {
    /// Which signal: `SIGKILL`, `SIGTERM`, `SIGABRT` … One that stops a process is refused; that is `pause`.
    #[serde(default = "sigkill")]
    signal: String,
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
}

fn sigkill() -> String {
    "SIGKILL".to_owned()
}

impl Parameters for Kill {
    const PULSES: bool = false;

    fn check(&self) -> Result<(), String> {
        target::check_aim(self.process.as_ref(), self.container.as_ref())?;
        parse(&self.signal).map(drop)
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "kill",
    summary: "A signal ends a process.",
    family: Family::State,
    scope: Scope::Process,
    instant: true,
    shape: Shape::of::<Kill>(),
    needs: &[Need::Capability(Capability::Kill)],
    mechanism: || Ok("signals through pidfds".to_owned()),
    preflight,
    undo,
    verify_undone,
};

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let Kill { signal, process, container, which, tree } = asked.parameters()?;
        let signal = parse(&signal).map_err(Refusal)?;
        let targets = target::find_all(target::aim(process, container).as_ref(), which, tree, &asked)?;
        Ok(Box::new(Shot { signal, targets, sent: None }) as Box<dyn Mechanism>)
    })
}

pub(crate) fn parse(text: &str) -> Result<Signal, String> {
    let signal: Signal = text.parse().map_err(|_| format!("{text:?} is no signal; use SIGKILL, SIGTERM, SIGABRT …"))?;
    match signal {
        Signal::SIGSTOP | Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU => {
            Err(format!("{signal} stops a process and a kill is never taken back; use the fault `pause`"))
        }
        other => Ok(other),
    }
}

/// How long the process may take to end, for the signals that are sent to end it.
fn ends_within(signal: Signal) -> Option<Duration> {
    use Signal as S;
    match signal {
        S::SIGKILL => Some(KILLED_WITHIN),
        S::SIGTERM | S::SIGINT | S::SIGQUIT | S::SIGABRT | S::SIGSEGV | S::SIGBUS | S::SIGILL | S::SIGFPE => {
            Some(ENDED_WITHIN)
        }
        _ => None,
    }
}

struct Shot {
    signal: Signal,
    targets: Vec<Target>,
    sent: Option<Instant>,
}

impl Mechanism for Shot {
    fn describe(&self) -> String {
        format!("{} through a pidfd", self.signal)
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        Ok(Undo::NOTHING)
    }

    fn inject(&mut self, _lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async {
            self.sent = Some(Instant::now());
            let mut sent = 0;
            for target in &self.targets {
                match target.handle.signal(self.signal) {
                    Ok(()) => sent += 1,
                    // Ended with another one of them.
                    Err(HostError::NoProcess { .. }) if self.targets.len() > 1 => {}
                    Err(problem) => return Err(problem.into()),
                }
            }
            if sent == 0 { Err(Failure("they have all ended meanwhile".to_owned())) } else { Ok(()) }
        })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async {
            let (name, signal) = (names(&self.targets), self.signal);
            let Some(within) = ends_within(signal) else {
                return Effect::NotSeen(format!("{signal} was delivered to {name}; its effect cannot be measured"));
            };
            let sent = self.sent.unwrap_or_else(Instant::now);
            for target in &self.targets {
                let name = &target.name;
                match tokio::time::timeout(within.saturating_sub(sent.elapsed()), target.handle.ended()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(problem)) => {
                        return Effect::NotSeen(format!("{name} could not be watched: {}", problem.full()));
                    }
                    Err(_) => return Effect::NotSeen(format!("{name} still ran {} after {signal}", Span(within))),
                }
            }
            let gone = if self.targets.len() == 1 { "was gone" } else { "were gone" };
            Effect::Seen(format!("{name} {gone} {} after {signal}", Span(sent.elapsed())))
        })
    }

    fn renew(&mut self, _lease: Duration) -> Result<(), String> {
        Ok(())
    }
}

fn undo(_undo: &Undo) -> Pending<'_, Result<(), Failure>> {
    Box::pin(async { Ok(()) })
}

fn verify_undone(_undo: &Undo) -> Pending<'_, Result<String, StillThere>> {
    Box::pin(async { Ok("a kill has nothing to take back".to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_would_need_an_undo_are_refused() {
        assert!(parse("SIGSTOP").is_err_and(|refusal| refusal.contains("pause")));
        assert!(parse("KILL -9").is_err());
        assert!(parse("SIGKILL").is_ok_and(|signal| ends_within(signal) == Some(KILLED_WITHIN)));
        assert!(parse("SIGHUP").is_ok_and(|signal| ends_within(signal).is_none()));
    }
}
