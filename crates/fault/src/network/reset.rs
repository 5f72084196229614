//! Reset: TCP connections with the other side are broken, and new ones refused.

use super::filtered::{Filtered, Plan};
use super::ramp::Course;
use super::traffic::Traffic;
use crate::kinds::{Asked, Checking, Effect, Kind};
use crate::network;
use crate::shape::Parameters;
use firedrill_host::nft::{Hook, Verdict};
use schemars::JsonSchema;
use serde::Deserialize;

/// Every TCP packet between the target and the other side is answered by a reset in the other's name, both ways:
/// established connections break at the next packet, new ones are refused at once. It is what a firewall with a changed
/// mind does, and the opposite of a partition, where everybody waits.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Reset {
    #[serde(flatten)]
    traffic: Traffic,
}

impl Parameters for Reset {
    fn check(&self) -> Result<(), String> {
        if self.traffic.protocol.is_some_and(|name| name != super::traffic::ProtocolName::Tcp) {
            return Err("only TCP has resets; leave `protocol` out or say tcp".to_owned());
        }
        self.traffic.check()
    }

    fn cuts_off(&self, _lease: firedrill_model::Span) -> bool {
        !self.traffic.spares_agent()
    }
}

pub(crate) static KIND: Kind = network::kind::<Reset>(
    ("reset", "TCP connections with other hosts are broken by resets, new ones refused."),
    || network::tries(Hook::Output, Verdict::Reset),
    preflight,
);

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let Reset { mut traffic } = asked.parameters()?;
        traffic.protocol = Some(super::traffic::ProtocolName::Tcp);
        let plan = Plan {
            hooks: vec![Hook::Input, Hook::Output],
            verdict: Verdict::Reset,
            course: Course::EVERY,
            description: "TCP packets answered with resets".to_owned(),
            judge: Box::new(|seen| match seen.hit.packets {
                0 if seen.last => Some(seen.nothing_came()),
                0 => None,
                hit => Some(Effect::Seen(format!("{hit} packets answered with a reset so far"))),
            }),
        };
        Filtered::prepare(&asked, &traffic, plan).await
    })
}
