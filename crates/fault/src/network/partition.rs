//! Partition: packets from and to the peers vanish without an answer, one way or both.
//!
//! Dropped where interfaces receive and send (netdev hooks), so that no program on this host learns of it: a send
//! succeeds, as it does when a cable is cut far away.

use super::filtered::{Filtered, Plan, Seen};
use super::ramp::{Course, Ramp, SlowStart};
use super::traffic::{self, Traffic};
use crate::kinds::{Asked, Checking, Effect, Kind, Refusal};
use crate::network;
use crate::shape::Parameters;
use firedrill_host::nft::Verdict;
use firedrill_model::Span;
use firedrill_model::attack::Direction;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// Longer than the longest measurement of it.
const CUT_MIN: Duration = Duration::from_secs(5);

/// Packets from and to the other side vanish without an answer, as if a cable were cut: connections hang, nothing is
/// refused, senders are told nothing. With ports, a protocol or exclusions it is a black hole for just that.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Partition {
    /// Which way.
    #[serde(default)]
    direction: Direction,
    /// The end of the cut is slow: over the last so long of the time that it lasts, packets get through again, few at
    /// first, the lost ones falling by the square so that TCP gains speed evenly; in steps of a second, up to 1h. The cut
    /// itself must last at least 5s. When it is called off everything passes at once.
    #[serde(default)]
    slow_start: Ramp,
    #[serde(flatten)]
    traffic: Traffic,
}

impl Parameters for Partition {
    fn check(&self) -> Result<(), String> {
        self.slow_start.check("slow_start")?;
        self.traffic.check()
    }

    fn cuts_off(&self, _lease: Span) -> bool {
        !self.traffic.spares_agent()
    }
}

pub(crate) static KIND: Kind = network::kind::<Partition>(
    ("partition", "Packets from and to other hosts vanish without an answer, one way or both."),
    network::drops,
    preflight,
);

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let Partition { direction, slow_start, traffic } = asked.parameters()?;
        let course = course(slow_start, asked.lasting).map_err(Refusal)?;
        let plan = Plan {
            hooks: traffic::at_interfaces(direction)?,
            verdict: Verdict::Drop,
            course,
            description: "packets dropped at the interfaces".to_owned(),
            judge: Box::new(judge),
        };
        Filtered::prepare(&asked, &traffic, plan).await
    })
}

/// A cut with a slow start at its end; or why there is no time for both.
fn course(slow_start: Ramp, lasting: Duration) -> Result<Course, String> {
    if !slow_start.is_there() {
        return Ok(Course::EVERY);
    }
    let length = slow_start.length();
    match lasting.checked_sub(length.duration()) {
        Some(after) if after >= CUT_MIN => {
            Ok(Course { slow_start: Some(SlowStart { after, over: slow_start }), ..Course::EVERY })
        }
        _ => Err(format!(
            "the cut lasts {} with a `slow_start` of {length} at its end: before it must be {} at least, to be measured",
            Span(lasting),
            Span(CUT_MIN)
        )),
    }
}

/// The effect is there when packets were seen to be dropped and, where probes are meant, nobody answers.
fn judge(seen: &Seen) -> Option<Effect> {
    let dropped = seen.hit.packets;
    let (before, probed) = seen.before;
    if let Some(target) = seen.answers.filter(|_| seen.probed) {
        return Some(Effect::NotSeen(format!("{target} still answers a handshake ({dropped} packets dropped)")));
    }
    match dropped {
        0 if seen.probed => Some(Effect::NotSeen(format!(
            "no packet was there to be dropped: {before} of {probed} probed endpoints had answered before"
        ))),
        0 if seen.last => Some(seen.nothing_came()),
        0 => None,
        _ if seen.probed => Some(Effect::Seen(format!(
            "{before} of {probed} probed endpoints answered before and none does now; {dropped} packets dropped so far"
        ))),
        _ => Some(Effect::Seen(format!("{dropped} packets dropped so far"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_host::nft::Count;

    fn judged(answers: bool, packets: u64, probed: bool, last: bool) -> Option<Effect> {
        let count = Count { packets, bytes: 0 };
        let answers = answers.then_some(std::net::SocketAddr::from(([10, 0, 0, 2], 1)));
        judge(&Seen { before: (1, 1), answers, seen: count, hit: count, probed, risen: None, last })
    }

    #[test]
    fn silence_alone_is_no_effect_and_an_answer_refutes_it() {
        assert!(matches!(judged(false, 3, true, false), Some(Effect::Seen(_))));
        assert!(matches!(judged(false, 0, true, false), Some(Effect::NotSeen(_))));
        assert!(matches!(judged(true, 3, true, false), Some(Effect::NotSeen(_))));
    }

    #[test]
    fn a_slow_start_leaves_time_for_the_cut() {
        let (ramp, secs) = (Ramp::of(Duration::from_secs(10)), Duration::from_secs);
        assert!(course(ramp, secs(14)).is_err_and(|why| why.contains("5s at least")));
        let ends = course(ramp, secs(60)).expect("time enough");
        assert_eq!([ends.chance(secs(49)), ends.chance(secs(60))], [None, Some(0)]);
        assert_eq!(course(Ramp::default(), secs(1)), Ok(Course::EVERY));
    }

    #[test]
    fn what_probes_cannot_feel_is_waited_for() {
        assert_eq!(judged(true, 0, false, false), None);
        assert!(matches!(judged(true, 0, false, true), Some(Effect::NotSeen(_))));
        assert!(matches!(judged(true, 1, false, false), Some(Effect::Seen(_))));
    }
}
