//! Bandwidth: packets from and to the other side go one after the other through a line of a given speed.

use super::ramp::Ramp;
use super::shaping::{Line, Measured, Shaped, Treatment};
use super::traffic::Traffic;
use crate::kinds::{Asked, Checking, Effect, Kind};
use crate::network;
use crate::shape::Parameters;
use firedrill_model::attack::Direction;
use firedrill_model::{BitRate, Span};
use schemars::JsonSchema;
use serde::Deserialize;

/// What the target receives from the other side comes no faster than this, or what it sends there goes no faster,
/// through a buffer of a given length; what would wait longer in it is lost, as in a router. With both directions each
/// has a line of its own.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct Bandwidth {
    /// How fast, from 8kbit/s to 100Gbit/s.
    rate: BitRate,
    /// How long a packet waits in the buffer at most.
    #[serde(default = "usual_buffer")]
    buffer: Span,
    /// The line slows down to its rate over so long, up to 1h.
    #[serde(default)]
    ramp: Ramp,
    /// Which way: what arrives here, what leaves from here, or both. What leaves is sent again by the agent, packet by
    /// packet: lines above some hundred Mbit/s are slower than asked then. Needs CAP_NET_RAW.
    #[serde(default = "super::inbound")]
    direction: Direction,
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
        self.ramp.check("ramp")?;
        self.traffic.check()
    }
}

pub(crate) static KIND: Kind = network::kind::<Bandwidth>(
    ("bandwidth", "Packets from or to other hosts go through a slow line."),
    network::holds,
    preflight,
);

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let Bandwidth { rate, buffer, ramp, direction, traffic } = asked.parameters()?;
        let line = Line { bits_per_second: rate.0, backlog: buffer.duration() };
        let treatment = Treatment { line: Some(line), ramp, ..Treatment::default() };
        Shaped::prepare(&asked, (&traffic, direction), treatment, Box::new(move |measured| judge(rate, measured))).await
    })
}

/// Handshakes are too small to fill a line: what can be said is that packets go through it.
fn judge(rate: BitRate, measured: &Measured) -> Option<Effect> {
    let counts = measured.counts;
    match counts.arrived {
        0 if measured.last => Some(Effect::NotSeen("no packet that is meant came by".to_owned())),
        0 => None,
        arrived => Some(Effect::Seen(format!(
            "{arrived} packets have come through the line of {rate} so far, {} did not fit into its buffer",
            counts.lost
        ))),
    }
}
