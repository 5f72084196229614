//! Duplication: a share of the packets that this host sends goes out twice.

use super::filtered::{Filtered, Plan};
use super::ramp::{Course, Ramp};
use super::traffic::{self, Traffic};
use crate::kinds::{Asked, Checking, Kind};
use crate::network;
use crate::shape::Parameters;
use firedrill_host::nft::Verdict;
use firedrill_model::Percent;
use firedrill_model::attack::Direction;
use schemars::JsonSchema;
use serde::Deserialize;

/// A share of the packets that the target sends to the other side arrives twice. TCP drops the copies; protocols over
/// UDP must do so themselves.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Duplication {
    /// Copies as a share of all packets sent, above 0 to 90.
    percent: Percent,
    /// The share rises from nothing to that over so long, up to 1h, in steps of a second. Measured after two seconds of it.
    #[serde(default)]
    ramp: Ramp,
    #[serde(flatten)]
    traffic: Traffic,
}

/// A copy is itself copied by the same chance; beyond this a packet would go out more than ten times on average.
const PERCENT_MAX: Percent = Percent::whole(90);

impl Parameters for Duplication {
    fn check(&self) -> Result<(), String> {
        network::check_share(self.percent, PERCENT_MAX)?;
        self.ramp.check("ramp")?;
        self.traffic.check()
    }
}

pub(crate) static KIND: Kind = network::kind::<Duplication>(
    ("duplication", "A share of packets to other hosts goes out twice."),
    || network::tries(network::sending(), Verdict::Duplicate),
    preflight,
);

/// Copies pass the rule again: with chance `p`, `p + p² + …` copies come of a packet. That sum is the share asked for.
fn chance(percent: Percent) -> u32 {
    let copies = u64::from(percent.thousandths());
    u32::try_from(copies * 100_000 / (100_000 + copies)).unwrap_or(100_000)
}

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let Duplication { percent, ramp, traffic } = asked.parameters()?;
        let plan = Plan {
            hooks: traffic::at_interfaces(Direction::Outbound)?,
            verdict: Verdict::Duplicate,
            course: Course::by_chance(chance(percent).max(1), ramp),
            description: "packets copied where interfaces send".to_owned(),
            judge: Box::new(move |seen| seen.struck(&percent.to_string(), "copied")),
        };
        Filtered::prepare(&asked, &traffic, plan).await
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_copies_are_counted_in() {
        assert_eq!(chance(Percent::whole(25)), 20_000);
        assert_eq!(chance(Percent::whole(90)), 47_368);
    }
}
