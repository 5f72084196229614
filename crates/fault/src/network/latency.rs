//! Latency: packets from and to the other side come late, some early, and some not at all.

use super::ramp::Ramp;
use super::shaping::{Measured, Shaped, Treatment};
use super::traffic::Traffic;
use crate::kinds::{Asked, Checking, Effect, Kind};
use crate::shape::Parameters;
use crate::{network, probe};
use firedrill_model::attack::Direction;
use firedrill_model::{Percent, Span};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// Longest delay, and longest jitter: beyond it handshakes give up and a partition says the same more plainly.
const DELAY_MAX: Duration = Duration::from_secs(5);

/// Packets from the other side wait before the programs of the target get them, or packets to it before they leave, so
/// that every round trip takes longer by the delay; with both directions by twice the delay. Works on kernels with and
/// without `sch_netem`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct Latency {
    /// Added to each packet, up to 5s.
    #[serde(default)]
    delay: Span,
    /// Evenly spread around the delay, plus or minus; not more than the delay. Packets may overtake each other.
    #[serde(default)]
    jitter: Span,
    /// Share of packets that do not wait and so overtake others.
    #[serde(default)]
    reorder_percent: Percent,
    /// Share of packets that never arrive.
    #[serde(default)]
    loss_percent: Percent,
    /// Delay, jitter and loss rise from nothing to what is asked over so long, up to 1h. Measured after two seconds of it.
    #[serde(default)]
    ramp: Ramp,
    /// Which way: what arrives here, what leaves from here, or both. What leaves is sent again by the agent, packet by
    /// packet: about a tenth of the throughput of what arrives, and needs CAP_NET_RAW.
    #[serde(default = "super::inbound")]
    direction: Direction,
    #[serde(flatten)]
    traffic: Traffic,
}

impl Parameters for Latency {
    fn check(&self) -> Result<(), String> {
        if self.delay == Span::ZERO && self.loss_percent.thousandths() == 0 {
            return Err("neither a `delay` nor a loss is asked for: nothing would happen".to_owned());
        }
        if self.jitter > self.delay {
            return Err("the jitter is larger than the delay: a packet cannot arrive before it was sent".to_owned());
        }
        if self.delay.duration() > DELAY_MAX {
            return Err(format!("a delay of more than {} is not supported; use `partition`", Span(DELAY_MAX)));
        }
        self.ramp.check("ramp")?;
        if self.reorder_percent.thousandths() > 0 && self.delay == Span::ZERO {
            return Err("`reorder_percent` needs a `delay` for the others to wait".to_owned());
        }
        self.traffic.check()
    }

    fn cuts_off(&self, lease: Span) -> bool {
        let silent = self.loss_percent == Percent::whole(100) || self.delay >= lease;
        silent && !self.traffic.spares_agent()
    }
}

pub(crate) static KIND: Kind = network::kind::<Latency>(
    ("latency", "Packets from or to other hosts come late, some early, and some not at all."),
    network::holds,
    preflight,
);

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let latency: Latency = asked.parameters()?;
        let treatment = Treatment {
            delay: latency.delay.duration(),
            jitter: latency.jitter.duration(),
            loss_per_100_000: latency.loss_percent.thousandths(),
            early_per_100_000: latency.reorder_percent.thousandths(),
            line: None,
            ramp: latency.ramp,
        };
        let which = (&latency.traffic, latency.direction);
        Shaped::prepare(&asked, which, treatment, Box::new(move |measured| judge(&treatment, measured))).await
    })
}

/// The effect is there when at least half of the asked delay is added in the middle, and the asked loss happens.
fn judge(asked: &Treatment, measured: &Measured) -> Option<Effect> {
    let Measured { before, sent, answers, counts, since, ways, .. } = measured;
    let (full, asked) = (asked, &asked.after(*since));
    let Some((target, before)) = before else {
        return unprobed(full, measured);
    };
    if asked.loss_per_100_000 > 0 && counts.lost == 0 && !measured.last {
        return None;
    }
    let mut said = Vec::new();
    let mut seen = true;
    if !asked.delay.is_zero() {
        let rising = format!(" rising over {}, {} by now", full.ramp.length(), Span(asked.delay));
        let rising = if full == asked { "" } else { &rising };
        let each = if *ways > 1 { " each way" } else { "" };
        let text = format!("asked {} ± {}{each}{rising}", Span(full.delay), Span(full.jitter));
        match probe::median(answers) {
            Some(middle) => {
                let added = middle.saturating_sub(*before);
                // Where most packets overtake, the middle one did not wait.
                seen &= added * 2 >= asked.delay * *ways || asked.early_per_100_000 > 50_000;
                let (probes, usual) = (answers.len(), Span(*before));
                said.push(format!(
                    "{text}, measured {} added (p50 of {probes} handshakes with {target}, {usual} before)",
                    Span(added)
                ));
            }
            // Everything was lost: no packet is left that could be late.
            None if counts.lost > 0 => said.push(format!("{text}, but no handshake with {target} was answered")),
            None => {
                seen = false;
                said.push(format!("{text}, but {target} answered none of {sent} handshakes and no packet was seen"));
            }
        }
    }
    if asked.loss_per_100_000 > 0 {
        seen &= counts.lost > 0;
        let loss = f64::from(full.loss_per_100_000) / 1000.0;
        said.push(format!("asked {loss} % loss, {} of {} packets lost so far", counts.lost, counts.arrived));
    }
    let text = said.join("; ");
    Some(if seen { Effect::Seen(text) } else { Effect::NotSeen(text) })
}

/// Nobody answers probes, or they are not meant: what can be said is that packets of others are held back.
fn unprobed(asked: &Treatment, measured: &Measured) -> Option<Effect> {
    let (arrived, silent) = (measured.counts.arrived, measured.silent);
    match arrived {
        0 if measured.last => Some(Effect::NotSeen(format!(
            "no packet that is meant arrived, and there is no path to measure ({silent} probed endpoints silent)"
        ))),
        0 => None,
        _ => Some(Effect::Seen(format!(
            "asked {} ± {}; {arrived} packets of others held back so far, none of our own to measure with",
            Span(asked.delay),
            Span(asked.jitter)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::holding::Counts;
    use super::*;
    use crate::shape::check_fault;
    use firedrill_model::Fault;
    use std::net::SocketAddr;

    fn judged(asked: &Treatment, after_ms: &[u64], lost: u64) -> Effect {
        let measured = Measured {
            before: Some((SocketAddr::from(([10, 0, 0, 2], 1)), Duration::from_millis(1))),
            silent: 0,
            sent: 20,
            answers: after_ms.iter().map(|ms| Duration::from_millis(*ms)).collect(),
            counts: Counts { arrived: 20, treated: 20, lost },
            ways: 1,
            since: Duration::from_secs(2),
            last: true,
        };
        judge(asked, &measured).expect("the last look says something")
    }

    fn treatment(delay_ms: u64, loss_per_100_000: u32) -> Treatment {
        Treatment { delay: Duration::from_millis(delay_ms), loss_per_100_000, ..Treatment::default() }
    }

    #[test]
    fn a_delay_that_is_not_there_is_no_effect() {
        let late = treatment(100, 0);
        assert!(matches!(judged(&late, &[101, 101, 102], 0), Effect::Seen(text) if text.contains("100ms added")));
        assert!(matches!(judged(&late, &[1, 1, 102], 0), Effect::NotSeen(_)));
        assert!(matches!(judged(&late, &[], 0), Effect::NotSeen(_)));
    }

    #[test]
    fn a_ramp_is_measured_by_what_it_has_risen_to() {
        let rising = Treatment { ramp: Ramp::of(Duration::from_secs(20)), ..treatment(100, 0) };
        assert!(
            matches!(judged(&rising, &[11, 11, 12], 0), Effect::Seen(text) if text.contains("rising over 20s, 10ms"))
        );
        assert!(matches!(judged(&rising, &[2, 2, 2], 0), Effect::NotSeen(_)));
    }

    #[test]
    fn a_loss_that_did_not_happen_is_no_effect() {
        assert!(matches!(judged(&treatment(0, 5000), &[1; 20], 0), Effect::NotSeen(_)));
        assert!(matches!(judged(&treatment(0, 5000), &[1; 19], 1), Effect::Seen(_)));
        assert!(matches!(judged(&treatment(100, 100_000), &[], 20), Effect::Seen(_)));
    }

    #[test]
    fn delays_that_mean_nothing_are_refused() {
        let check = |delay: &str, jitter: &str| {
            check_fault(&Fault::new("latency").with("delay", delay).with("jitter", jitter)).is_ok()
        };
        assert!(!check("0s", "0s") && !check("6s", "0s") && !check("10ms", "20ms"));
        assert!(check("10ms", "10ms"));
    }
}
