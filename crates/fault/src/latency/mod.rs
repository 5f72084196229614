//! Latency: packets from the peers wait before this host's programs get them, and some never come.
//!
//! The wait is at the *input* of the host, in user space: a rule sends arriving packets to a queue, a thread lets them
//! go when their time has come. (Waiting at the output instead would count against the senders' sockets and throttle
//! them to a few megabits.) It works without `sch_netem`, and ends with the process that holds it.

mod schedule;
mod shaper;

use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Mechanism, Pending, Refusal};
use crate::network::{self, Others, fnv1a};
use crate::probe;
use firedrill_host::HostError;
use firedrill_host::nft::{self, Definition, Hook, OwnerTable, QueueExpression, Verdict};
use firedrill_host::queue::Queue;
use firedrill_model::{Fault, Span};
use schedule::Shape;
use shaper::{Counts, Shaper};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Longest delay, and longest jitter: beyond it handshakes give up and a partition says the same more plainly.
const DELAY_MAX: Duration = Duration::from_secs(5);
/// Probes at a time.
const PROBES: usize = 20;
/// Probes are repeated for this long until a rare loss was seen to happen.
const MEASURED_WITHIN: Duration = Duration::from_secs(4);
/// Less than the second after which a lost handshake is sent again: a repeated one must not count as a slow one.
const PROBE_SLACK: Duration = Duration::from_millis(700);

pub(crate) fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let Fault::Latency { peers, delay, jitter, loss_percent } = &asked.fault else {
            return Err(Refusal(format!("{} is no latency", asked.fault)));
        };
        let shape =
            Shape { delay: delay.duration(), jitter: jitter.duration(), loss_per_100_000: loss_percent.thousandths() };
        check(&shape)?;
        let others = Others::meet(peers, &asked.context).await?;
        let through = nft::queue_expression().map_err(|problem| {
            let why = problem.full();
            Refusal(format!(
                "the kernel has neither nftables' `queue` nor the NFQUEUE target (modprobe nft_queue): {why}"
            ))
        })?;
        let before = baseline(&others).await;
        let name = network::table_name(&asked.id);
        Ok(Box::new(Latency { name, shape, through, others, before, table: None, shaper: None }) as Box<dyn Mechanism>)
    })
}

fn check(shape: &Shape) -> Result<(), Refusal> {
    let refuse = |text: String| Err(Refusal(text));
    if shape.delay.is_zero() && shape.loss_per_100_000 == 0 {
        return refuse("neither a delay nor a loss is asked for: nothing would happen".to_owned());
    }
    if shape.jitter > shape.delay {
        return refuse("the jitter is larger than the delay: a packet cannot arrive before it was sent".to_owned());
    }
    if shape.delay > DELAY_MAX {
        return refuse(format!("a delay of more than {} is not supported; use `partition`", Span(DELAY_MAX)));
    }
    Ok(())
}

/// The usual answer time of the nearest endpoint, and which that is.
async fn baseline(others: &Others) -> Option<(SocketAddr, Duration)> {
    let (target, _) = others.answering.first()?;
    let answers = probe::round_trips(&[*target; PROBES], network::ANSWERED_WITHIN).await;
    let answers: Vec<Duration> = answers.into_iter().flatten().collect();
    Some((*target, probe::median(&answers)?))
}

/// Fields are dropped in this order: first no packet comes any more, then those that wait are let go.
struct Latency {
    name: String,
    shape: Shape,
    through: QueueExpression,
    others: Others,
    before: Option<(SocketAddr, Duration)>,
    table: Option<OwnerTable>,
    shaper: Option<Shaper>,
}

impl Mechanism for Latency {
    fn describe(&self) -> String {
        let rule = match self.through {
            QueueExpression::Native => "nftables' queue",
            QueueExpression::Xtables => "the NFQUEUE target",
        };
        format!("packets held in user space at the input through {rule}, in a table that its holder owns and leases")
    }

    fn undo(&self) -> Undo {
        Undo::Table { name: self.name.clone() }
    }

    fn inject(&mut self, lease: Duration) -> Pending<'_, Result<(), HostError>> {
        Box::pin(async move {
            // Any number will do; different attacks begin to look at different ones.
            let [high, low, ..] = fnv1a(self.name.as_bytes()).to_be_bytes();
            let queue = Queue::bind_free(u16::from_be_bytes([high, low]))?;
            let number = queue.number();
            self.shaper = Some(Shaper::start(queue, self.shape)?);
            let definition = Definition {
                name: self.name.clone(),
                hooks: vec![Hook::Input],
                peers: self.others.peers.clone(),
                verdict: Verdict::Queue { number, through: self.through },
            };
            self.table = Some(OwnerTable::create(definition, lease)?);
            Ok(())
        })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async {
            let Some(shaper) = &self.shaper else { return Effect::NotSeen("it was not put in place".to_owned()) };
            let Some((target, before)) = self.before else {
                return Effect::NotSeen(format!(
                    "none of {} probed endpoints answered before: there is no path to measure",
                    self.others.silent.len()
                ));
            };
            let within = before + self.shape.delay + self.shape.jitter + PROBE_SLACK;
            let began = Instant::now();
            let mut measured = Measured { target, before, sent: 0, answers: Vec::new(), counts: Counts::default() };
            loop {
                let answers = probe::round_trips(&[target; PROBES], within).await;
                measured.sent += PROBES;
                measured.answers.extend(answers.into_iter().flatten());
                measured.counts = shaper.counts();
                let waits_for_loss = self.shape.loss_per_100_000 > 0 && measured.counts.lost == 0;
                if !waits_for_loss || began.elapsed() > MEASURED_WITHIN {
                    return judge(&self.shape, &measured);
                }
            }
        })
    }

    fn renew(&mut self, lease: Duration) -> Result<(), String> {
        if let Some(problem) = self.shaper.as_ref().and_then(Shaper::failure) {
            return Err(format!("packets are not delayed any more: {problem}"));
        }
        self.table.as_mut().map_or(Ok(()), |table| table.renew(lease).map_err(|problem| problem.to_string()))
    }
}

struct Measured {
    target: SocketAddr,
    before: Duration,
    sent: usize,
    answers: Vec<Duration>,
    counts: Counts,
}

/// The effect is there when at least half of the asked delay is added in the middle, and the asked loss happens.
fn judge(shape: &Shape, measured: &Measured) -> Effect {
    let Measured { target, before, sent, answers, counts } = measured;
    let mut said = Vec::new();
    let mut seen = true;
    if !shape.delay.is_zero() {
        let asked = format!("asked {} ± {}", Span(shape.delay), Span(shape.jitter));
        match probe::median(answers) {
            Some(middle) => {
                let added = middle.saturating_sub(*before);
                seen &= added * 2 >= shape.delay;
                let (probes, usual) = (answers.len(), Span(*before));
                said.push(format!(
                    "{asked}, measured {} added (p50 of {probes} handshakes with {target}, {usual} before)",
                    Span(added)
                ));
            }
            // Everything was lost: no packet is left that could be late.
            None if counts.lost > 0 => said.push(format!("{asked}, but no handshake with {target} was answered")),
            None => {
                seen = false;
                said.push(format!("{asked}, but {target} answered none of {sent} handshakes and no packet was seen"));
            }
        }
    }
    if shape.loss_per_100_000 > 0 {
        seen &= counts.lost > 0;
        let asked = f64::from(shape.loss_per_100_000) / 1000.0;
        said.push(format!("asked {asked} % loss, {} of {} packets lost so far", counts.lost, counts.arrived));
    }
    let text = said.join("; ");
    if seen { Effect::Seen(text) } else { Effect::NotSeen(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(shape: Shape, after_ms: &[u64], lost: u64) -> Effect {
        let measured = Measured {
            target: SocketAddr::from(([10, 0, 0, 2], 1)),
            before: Duration::from_millis(1),
            sent: 20,
            answers: after_ms.iter().map(|ms| Duration::from_millis(*ms)).collect(),
            counts: Counts { arrived: 20, lost },
        };
        judge(&shape, &measured)
    }

    fn shape(delay_ms: u64, loss_per_100_000: u32) -> Shape {
        Shape { delay: Duration::from_millis(delay_ms), jitter: Duration::ZERO, loss_per_100_000 }
    }

    #[test]
    fn a_delay_that_is_not_there_is_no_effect() {
        assert!(
            matches!(judged(shape(100, 0), &[101, 101, 102], 0), Effect::Seen(text) if text.contains("100ms added"))
        );
        assert!(matches!(judged(shape(100, 0), &[1, 1, 102], 0), Effect::NotSeen(_)));
        assert!(matches!(judged(shape(100, 0), &[], 0), Effect::NotSeen(_)));
    }

    #[test]
    fn a_loss_that_did_not_happen_is_no_effect() {
        assert!(matches!(judged(shape(0, 5000), &[1; 20], 0), Effect::NotSeen(_)));
        assert!(matches!(judged(shape(0, 5000), &[1; 19], 1), Effect::Seen(_)));
        assert!(matches!(judged(shape(100, 100_000), &[], 20), Effect::Seen(_)));
    }

    #[test]
    fn shapes_that_mean_nothing_are_refused() {
        assert!(check(&shape(0, 0)).is_err());
        assert!(check(&shape(6000, 0)).is_err());
        assert!(check(&Shape { jitter: Duration::from_millis(20), ..shape(10, 0) }).is_err());
        assert!(check(&Shape { jitter: Duration::from_millis(10), ..shape(10, 0) }).is_ok());
    }
}
