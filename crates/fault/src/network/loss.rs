//! Loss: a share of the packets vanishes, at the interfaces, in silence.

use super::filtered::{Filtered, Plan};
use super::ramp::{Course, Ramp};
use super::traffic::{self, Traffic};
use crate::kinds::{Asked, Checking, Kind};
use crate::network;
use crate::shape::Parameters;
use firedrill_host::nft::Verdict;
use firedrill_model::attack::Direction;
use firedrill_model::{Percent, Span};
use schemars::JsonSchema;
use serde::Deserialize;

/// A share of the packets from and to the other side vanishes, each by chance of its own. TCP sends lost packets again
/// and slows down; the load on the hosts does not change.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Loss {
    /// Share of packets that is lost, above 0 to 100. With both directions each of them loses so much.
    percent: Percent,
    /// The share rises from nothing to that over so long, up to 1h, in steps of a second. Measured after two seconds of it.
    #[serde(default)]
    ramp: Ramp,
    /// Which way.
    #[serde(default)]
    direction: Direction,
    #[serde(flatten)]
    traffic: Traffic,
}

impl Parameters for Loss {
    fn check(&self) -> Result<(), String> {
        network::check_share(self.percent, Percent::whole(100))?;
        self.ramp.check("ramp")?;
        self.traffic.check()
    }

    fn cuts_off(&self, _lease: Span) -> bool {
        self.percent == Percent::whole(100) && !self.traffic.spares_agent()
    }
}

pub(crate) static KIND: Kind =
    network::kind::<Loss>(("loss", "A share of packets from and to other hosts vanishes."), network::drops, preflight);

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let Loss { percent, ramp, direction, traffic } = asked.parameters()?;
        let plan = Plan {
            hooks: traffic::at_interfaces(direction)?,
            verdict: Verdict::Drop,
            course: Course::by_chance(percent.thousandths(), ramp),
            description: "packets dropped at the interfaces by chance".to_owned(),
            judge: Box::new(move |seen| seen.struck(&percent.to_string(), "lost")),
        };
        Filtered::prepare(&asked, &traffic, plan).await
    })
}
