//! Shutdown, reboot and power-off of a host. A host that is down has no agent that could take anything back: these are
//! refused unless whoever set the agent up has said that this host may go down.

use crate::FaultError;
use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Failure, Family, Kind, Mechanism, Pending, Refusal, Scope, StillThere};
use crate::shape::{Parameters, Shape};
use firedrill_model::Span;
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How a host goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// Services are stopped in order, then the power is switched off.
    Shutdown,
    /// Services are stopped in order, then the machine starts again.
    Reboot,
    /// At once: nothing is stopped, nothing is written.
    PowerOff,
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shutdown => "shutdown",
            Self::Reboot => "reboot",
            Self::PowerOff => "power-off",
        })
    }
}

impl FromStr for Down {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Shutdown, Self::Reboot, Self::PowerOff];
        all.into_iter().find(|down| down.to_string() == text).ok_or_else(|| format!("{text:?} takes no host down"))
    }
}

/// A host that goes down takes its agent along; one whose agent still speaks after this has not gone down.
const DOWN_WITHIN: Duration = Duration::from_secs(5);

/// Services are stopped in order, and the host is switched off. Somebody must switch it on again; in a sandbox that
/// happens after 10s.
#[derive(Debug, Deserialize, JsonSchema)]
struct Shutdown {}

/// Services are stopped in order, and the host starts again; in a sandbox after 3s.
#[derive(Debug, Deserialize, JsonSchema)]
struct Reboot {}

/// The host is gone at once, as when a plug is pulled: nothing is stopped, nothing is written. Somebody must switch it on
/// again; in a sandbox that happens after 10s.
#[derive(Debug, Deserialize, JsonSchema)]
struct PowerOff {}

impl Parameters for Shutdown {
    const PULSES: bool = false;

    fn cuts_off(&self, _lease: Span) -> bool {
        true
    }
}

impl Parameters for Reboot {
    const PULSES: bool = false;

    fn cuts_off(&self, _lease: Span) -> bool {
        true
    }
}

impl Parameters for PowerOff {
    const PULSES: bool = false;

    fn cuts_off(&self, _lease: Span) -> bool {
        true
    }
}

pub(crate) static SHUTDOWN: Kind =
    kind("shutdown", "The host is shut down in order.", Shape::of::<Shutdown>(), |asked| {
        preflight(asked, Down::Shutdown)
    });
pub(crate) static REBOOT: Kind =
    kind("reboot", "The host is shut down in order and starts again.", Shape::of::<Reboot>(), |asked| {
        preflight(asked, Down::Reboot)
    });
pub(crate) static POWER_OFF: Kind =
    kind("power-off", "The host is gone at once, as when a plug is pulled.", Shape::of::<PowerOff>(), |asked| {
        preflight(asked, Down::PowerOff)
    });

const fn kind(name: &'static str, summary: &'static str, shape: Shape, preflight: fn(Asked) -> Checking) -> Kind {
    Kind {
        name,
        summary,
        family: Family::State,
        scope: Scope::Host,
        instant: true,
        shape,
        needs: &[],
        mechanism: || Ok("what the agent was set up with; refused where it was set up with nothing".to_owned()),
        preflight,
        undo,
        verify_undone,
    }
}

fn preflight(asked: Asked, down: Down) -> Checking {
    Box::pin(async move {
        if asked.context.take_down.is_none() {
            return Err(Refusal(format!(
                "this agent was not set up to take its host down; a {down} needs that, as nobody here could undo it"
            )));
        }
        Ok(Box::new(GoesDown { asked, down }) as Box<dyn Mechanism>)
    })
}

struct GoesDown {
    asked: Asked,
    down: Down,
}

impl Mechanism for GoesDown {
    fn describe(&self) -> String {
        format!("{} by what the agent was set up with", self.down)
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        Ok(Undo::NOTHING)
    }

    fn inject(&mut self, _lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async {
            match &self.asked.context.take_down {
                Some(take_down) => take_down(self.down).map_err(Failure),
                None => Err(Failure("this host may not be taken down".to_owned())),
            }
        })
    }

    /// An agent that can still say something has a host that is not down.
    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async {
            tokio::time::sleep(DOWN_WITHIN).await;
            Effect::NotSeen(format!("the {} was ordered, and {DOWN_WITHIN:?} later the host is still up", self.down))
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
    Box::pin(async { Ok("a host that is up again has nothing to take back".to_owned()) })
}
