//! Shutdown, reboot and power-off of a host. A host that is down has no agent that could take anything back: these are
//! refused unless whoever set the agent up has said that this host may go down.

use crate::FaultError;
use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Failure, Family, Kind, Mechanism, Pending, Refusal, Scope, StillThere};
use crate::shape::{Parameters, Shape};
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;
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

/// Services are stopped in order, and the host is switched off. Somebody must switch it on again.
#[derive(Debug, Deserialize, JsonSchema)]
struct Shutdown {}

/// Services are stopped in order, and the host starts again.
#[derive(Debug, Deserialize, JsonSchema)]
struct Reboot {}

/// The host is gone at once, as when a plug is pulled: nothing is stopped, nothing is written. Somebody must switch it on
/// again.
#[derive(Debug, Deserialize, JsonSchema)]
struct PowerOff {}

impl Parameters for Shutdown {
    const PULSES: bool = false;
}
impl Parameters for Reboot {
    const PULSES: bool = false;
}
impl Parameters for PowerOff {
    const PULSES: bool = false;
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
            Effect::NotSeen(format!("the {} was ordered; only the other hosts can see that it happened", self.down))
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
