//! Loss: a share of the packets vanishes, at the interfaces, in silence.

use super::filtered::{Filtered, Plan};
use super::traffic::{self, Traffic};
use crate::kinds::{Asked, Checking, Family, Kind, Scope};
use crate::network;
use crate::shape::{Parameters, Shape};
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
    /// Which way.
    #[serde(default)]
    direction: Direction,
    #[serde(flatten)]
    traffic: Traffic,
}

impl Parameters for Loss {
    fn check(&self) -> Result<(), String> {
        if self.percent.thousandths() == 0 {
            return Err("a loss of 0 % is none".to_owned());
        }
        self.traffic.check()
    }

    fn cuts_off(&self, _lease: Span) -> bool {
        self.percent == Percent::whole(100) && !self.traffic.spares_agent()
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "loss",
    summary: "A share of packets from and to other hosts vanishes.",
    family: Family::Network,
    scope: Scope::Host,
    instant: false,
    shape: Shape::of::<Loss>(),
    needs: network::NEEDS,
    mechanism: network::drops,
    preflight,
    undo: network::undo,
    verify_undone: network::verify_undone,
};

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let Loss { percent, direction, traffic } = asked.parameters()?;
        let plan = Plan {
            hooks: traffic::at_interfaces(direction)?,
            verdict: Verdict::Drop,
            chance: Some(percent.thousandths()),
            description: "packets dropped at the interfaces by chance".to_owned(),
            judge: Box::new(move |seen| seen.struck(&percent.to_string(), "lost")),
        };
        Filtered::prepare(&asked, &traffic, plan).await
    })
}
