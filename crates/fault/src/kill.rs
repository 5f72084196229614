//! Kill: a signal that ends a process. Nothing is taken back.

use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Mechanism, Pending, Refusal, StillThere};
use crate::target::{self, Target};
use firedrill_host::HostError;
use firedrill_host::process::Signal;
use firedrill_model::{Fault, Span};
use std::time::{Duration, Instant};

/// SIGKILL takes effect as soon as the process runs in the kernel; longer means it hangs in a device.
const KILLED_WITHIN: Duration = Duration::from_secs(5);
/// A signal that the process may handle: a database flushes before it ends.
const ENDED_WITHIN: Duration = Duration::from_secs(30);

pub(crate) fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let Fault::Kill { signal, process } = &asked.fault else {
            return Err(Refusal(format!("{} is no kill", asked.fault)));
        };
        let signal = parse(signal)?;
        let target = target::find(process, &asked.context)?;
        Ok(Box::new(Kill { signal, target, sent: None }) as Box<dyn Mechanism>)
    })
}

fn parse(text: &str) -> Result<Signal, Refusal> {
    let signal: Signal =
        text.parse().map_err(|_| Refusal(format!("{text:?} is no signal; use SIGKILL, SIGTERM, SIGABRT …")))?;
    match signal {
        Signal::SIGSTOP | Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU => {
            Err(Refusal(format!("{signal} stops a process and a kill is never taken back; use the fault `pause`")))
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

struct Kill {
    signal: Signal,
    target: Target,
    sent: Option<Instant>,
}

impl Mechanism for Kill {
    fn describe(&self) -> String {
        format!("{} through a pidfd", self.signal)
    }

    fn undo(&self) -> Undo {
        Undo::Nothing
    }

    fn inject(&mut self, _lease: Duration) -> Pending<'_, Result<(), HostError>> {
        Box::pin(async {
            self.sent = Some(Instant::now());
            self.target.handle.signal(self.signal)
        })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async {
            let (name, signal) = (&self.target.name, self.signal);
            let Some(within) = ends_within(signal) else {
                return Effect::NotSeen(format!("{signal} was delivered to {name}; its effect cannot be measured"));
            };
            match tokio::time::timeout(within, self.target.handle.ended()).await {
                Ok(Ok(())) => {
                    let took = Span(self.sent.map_or(Duration::ZERO, |sent| sent.elapsed()));
                    Effect::Seen(format!("{name} was gone {took} after {signal}"))
                }
                Ok(Err(problem)) => Effect::NotSeen(format!("{name} could not be watched: {}", problem.full())),
                Err(_) => Effect::NotSeen(format!("{name} still ran {} after {signal}", Span(within))),
            }
        })
    }

    fn renew(&mut self, _lease: Duration) -> Result<(), String> {
        Ok(())
    }
}

pub(crate) fn undo(_undo: &Undo) -> Pending<'_, Result<(), HostError>> {
    Box::pin(async { Ok(()) })
}

pub(crate) fn verify_undone(_undo: &Undo) -> Pending<'_, Result<String, StillThere>> {
    Box::pin(async { Ok("a kill has nothing to take back".to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_would_need_an_undo_are_refused() {
        assert!(parse("SIGSTOP").is_err_and(|refusal| refusal.0.contains("pause")));
        assert!(parse("KILL -9").is_err());
        assert!(parse("SIGKILL").is_ok_and(|signal| ends_within(signal) == Some(KILLED_WITHIN)));
        assert!(parse("SIGHUP").is_ok_and(|signal| ends_within(signal).is_none()));
    }
}
