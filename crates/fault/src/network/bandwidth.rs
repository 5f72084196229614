//! Bandwidth: packets from the other side arrive one after the other through a line of a given speed.

use super::shaping::{Line, Measured, Shaped, Treatment};
use super::traffic::Traffic;
use crate::kinds::{Asked, Checking, Effect, Family, Kind, Scope};
use crate::network;
use crate::shape::{Parameters, Shape};
use firedrill_model::{BitRate, Span};
use schemars::JsonSchema;
use serde::Deserialize;

/// What the target receives from the other side comes no faster than this, through a buffer of a given length; what
/// would wait longer in it is lost, as in a router. Attack both ends to slow both ways.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct Bandwidth {
    /// How fast, from 8kbit/s to 100Gbit/s.
    rate: BitRate,
    /// How long a packet waits in the buffer at most.
    #[serde(default = "usual_buffer")]
    buffer: Span,
    /// The line slows down to its rate over so long, up to 1h.
    #[serde(default)]
    ramp: Span,
    #[serde(flatten)]
    traffic: Traffic,
}

/// Of the order of what routers have.
fn usual_buffer() -> Span {
    Span::millis(200)
}

/// Slower ones pass not one full packet per second.
const RATE_MIN: BitRate = BitRate(8_000);
const RATE_MAX: BitRate = BitRate(100_000_000_000);
const BUFFER_MAX: Span = Span::secs(5);

impl Parameters for Bandwidth {
    fn check(&self) -> Result<(), String> {
        if self.rate < RATE_MIN || self.rate > RATE_MAX {
            return Err(format!("a rate of {} is not between {RATE_MIN} and {RATE_MAX}", self.rate));
        }
        if self.buffer > BUFFER_MAX {
            return Err(format!("a `buffer` of {} is longer than {BUFFER_MAX}", self.buffer));
        }
        if self.ramp > network::RAMP_MAX {
            return Err(format!("a `ramp` of {} is longer than {}", self.ramp, network::RAMP_MAX));
        }
        self.traffic.check()
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "bandwidth",
    summary: "Packets from other hosts come through a slow line.",
    family: Family::Network,
    scope: Scope::Host,
    instant: false,
    shape: Shape::of::<Bandwidth>(),
    needs: network::NEEDS,
    mechanism: network::holds,
    preflight,
    undo: network::undo,
    verify_undone: network::verify_undone,
};

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let Bandwidth { rate, buffer, ramp, traffic } = asked.parameters()?;
        let line = Line { bits_per_second: rate.0, backlog: buffer.duration() };
        let treatment = Treatment { line: Some(line), ramp: ramp.duration(), ..Treatment::default() };
        Shaped::prepare(&asked, &traffic, treatment, Box::new(move |measured| judge(rate, measured))).await
    })
}

/// Handshakes are too small to fill a line: what can be said is that packets go through it.
fn judge(rate: BitRate, measured: &Measured) -> Option<Effect> {
    let counts = measured.counts;
    match counts.arrived {
        0 if measured.last => Some(Effect::NotSeen("no packet that is meant arrived".to_owned())),
        0 => None,
        arrived => Some(Effect::Seen(format!(
            "{arrived} packets have come through the line of {rate} so far, {} did not fit into its buffer",
            counts.lost
        ))),
    }
}
