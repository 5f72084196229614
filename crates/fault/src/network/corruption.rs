//! Corruption: one byte in a share of the packets that this host sends is another one when it arrives.

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

/// One byte in a share of the packets that the target sends to the other side is replaced by a random one. Where the
/// network card computes checksums (nearly everywhere, and always between hosts that are namespaces) it does so after
/// this, so that the receiver's program gets the wrong byte: what broken memory in a switch does. Elsewhere the receiver
/// drops the packet and TCP sends it again.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Corruption {
    /// Share of packets that is changed, above 0 to 100. One of 256 changes puts in the byte that was there.
    percent: Percent,
    /// The share rises from nothing to that over so long, up to 1h, in steps of a second. Measured after two seconds of it.
    #[serde(default)]
    ramp: Ramp,
    /// Which byte, counted from the beginning of the TCP or UDP header; packets that end before it stay whole. The first
    /// 32 are the header of TCP as a database uses it.
    #[serde(default = "in_the_data")]
    offset: u32,
    #[serde(flatten)]
    traffic: Traffic,
}

/// Past the header of TCP with its usual options (32) and that of a database packet (4).
fn in_the_data() -> u32 {
    40
}

/// The largest packet, with a segment that the kernel has joined.
const OFFSET_MAX: u32 = 65_535;

impl Parameters for Corruption {
    fn check(&self) -> Result<(), String> {
        network::check_share(self.percent, Percent::whole(100))?;
        self.ramp.check("ramp")?;
        if self.offset > OFFSET_MAX {
            return Err(format!("`offset` must be at most {OFFSET_MAX}"));
        }
        self.traffic.check()
    }
}

pub(crate) static KIND: Kind = network::kind::<Corruption>(
    ("corruption", "A byte in a share of packets to other hosts is changed."),
    || network::tries(network::sending(), Verdict::Corrupt { offset: in_the_data() }),
    preflight,
);

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let Corruption { percent, ramp, offset, traffic } = asked.parameters()?;
        let plan = Plan {
            hooks: traffic::at_interfaces(Direction::Outbound)?,
            verdict: Verdict::Corrupt { offset },
            course: Course::by_chance(percent.thousandths(), ramp),
            description: "a byte written into packets where interfaces send".to_owned(),
            judge: Box::new(move |seen| seen.struck(&percent.to_string(), "chosen for it")),
        };
        Filtered::prepare(&asked, &traffic, plan).await
    })
}
