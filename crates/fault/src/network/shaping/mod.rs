//! The mechanism of faults that hold packets back: they wait before this host's programs get them, or before they leave.

mod treatment;

pub(super) use treatment::{Line, Treatment};

use super::Others;
use super::holding::{Counts, Decide, Fate, Holding, Way};
use super::traffic::Traffic;
use crate::journal::Undo;
use crate::kinds::{Asked, Effect, Failure, Mechanism, Pending, Refusal};
use crate::{FaultError, network, probe};
use firedrill_host::queue::Announce;
use firedrill_model::attack::Direction;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use treatment::Busy;

/// Probes at a time.
const PROBES: usize = 20;
/// Probes are repeated for this long until a rare loss was seen to happen.
const MEASURED_WITHIN: Duration = Duration::from_secs(4);
/// Less than the second after which a lost handshake is sent again: a repeated one must not count as a slow one.
const PROBE_SLACK: Duration = Duration::from_millis(700);
/// How often is looked where there is nothing to probe.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What was measured so far.
pub(super) struct Measured {
    /// The nearest endpoint and its usual answer time; `None`: nobody answered before.
    pub(super) before: Option<(SocketAddr, Duration)>,
    /// How many endpoints were probed before and did not answer.
    pub(super) silent: usize,
    /// Handshakes begun since.
    pub(super) sent: usize,
    /// Times of those that were answered.
    pub(super) answers: Vec<Duration>,
    /// What was seen of packets.
    pub(super) counts: Counts,
    /// How often a round trip is held: one way or both.
    pub(super) ways: u32,
    /// How long it had been in force when the last handshakes began.
    pub(super) since: Duration,
    /// No more time.
    pub(super) last: bool,
}

/// What a measurement says; `None`: measure again while there is time.
pub(super) type Judge = Box<dyn Fn(&Measured) -> Option<Effect> + Send + Sync>;

/// Packets that are held back, planned or in force.
pub(super) struct Shaped {
    treatment: Treatment,
    holdings: Vec<Holding>,
    others: Others,
    before: Option<(SocketAddr, Duration)>,
    judge: Judge,
    put_in: Option<Instant>,
}

impl Shaped {
    /// Checks that it can be done here, meets the other side and measures it.
    pub(super) async fn prepare(
        asked: &Asked,
        (traffic, direction): (&Traffic, Direction),
        treatment: Treatment,
        judge: Judge,
    ) -> Result<Box<dyn Mechanism>, Refusal> {
        let filter = traffic.filter(&asked.context)?;
        let name = network::table_name(&asked.id);
        let out = || (Way::Leaving, format!("{name}_out"));
        let ways = match direction {
            Direction::Inbound => vec![(Way::Arriving, name)],
            Direction::Outbound => vec![out()],
            Direction::Both => vec![out(), (Way::Arriving, name)],
        };
        let announce = if treatment.line.is_some() { Announce::Lengths } else { Announce::Ids };
        let prepared = ways.into_iter().map(|(way, name)| Holding::prepare(way, name, filter.clone(), announce));
        let holdings = prepared.collect::<Result<_, _>>()?;
        let others = Others::meet(traffic, &asked.context).await?;
        // Probes that are not meant would measure an unchanged path.
        let before = if traffic.means_handshakes() { baseline(&others).await } else { None };
        Ok(Box::new(Self { treatment, holdings, others, before, judge, put_in: None }))
    }

    fn ways(&self) -> u32 {
        u32::try_from(self.holdings.len()).unwrap_or(1)
    }

    fn counts(&self) -> Counts {
        let all = self.holdings.iter().filter_map(Holding::counts);
        all.fold(Counts::default(), |sum, one| Counts {
            arrived: sum.arrived + one.arrived,
            treated: sum.treated + one.treated,
            lost: sum.lost + one.lost,
        })
    }
}

/// Decides by the treatment; each way has a line of its own.
fn decides(treatment: Treatment) -> Decide {
    let (mut random, mut busy, began) = (SmallRng::from_os_rng(), Busy::default(), Instant::now());
    Box::new(move |packet, now| {
        let treatment = treatment.after(now.saturating_duration_since(began));
        match treatment.wait(packet.held.bytes, now, &mut busy, &mut random) {
            Some(Duration::ZERO) => Fate::Pass,
            Some(wait) => Fate::Wait(wait),
            None => Fate::Lose,
        }
    })
}

/// The usual answer time of the nearest endpoint, and which that is.
async fn baseline(others: &Others) -> Option<(SocketAddr, Duration)> {
    let (target, _) = others.answering.first()?;
    let answers = probe::round_trips(&[*target; PROBES], network::ANSWERED_WITHIN).await;
    let answers: Vec<Duration> = answers.into_iter().flatten().collect();
    Some((*target, probe::median(&answers)?))
}

impl Mechanism for Shaped {
    fn describe(&self) -> String {
        let places: Vec<String> = self.holdings.iter().map(Holding::describe).collect();
        format!("packets held in user space {}, in a table that its holder owns and leases", places.join("; and "))
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        network::to_undo(self.holdings.iter().map(Holding::name))
    }

    fn inject(&mut self, lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async move {
            self.put_in = Some(Instant::now());
            self.holdings.iter_mut().try_for_each(|holding| holding.inject(lease, decides(self.treatment)))
        })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async {
            let Some(put_in) = self.put_in else { return Effect::NotSeen("it was not put in place".to_owned()) };
            let began = Instant::now();
            let mut measured = Measured {
                before: self.before,
                silent: self.others.silent.len(),
                sent: 0,
                answers: Vec::new(),
                counts: Counts::default(),
                ways: self.ways(),
                since: Duration::ZERO,
                last: false,
            };
            tokio::time::sleep(self.treatment.ramp.settling()).await;
            loop {
                measured.since = put_in.elapsed();
                match self.before {
                    Some((target, before)) => {
                        let within =
                            before + (self.treatment.delay + self.treatment.jitter) * self.ways() + PROBE_SLACK;
                        let answers = probe::round_trips(&[target; PROBES], within).await;
                        measured.sent += PROBES;
                        measured.answers.extend(answers.into_iter().flatten());
                    }
                    None => tokio::time::sleep(LOOK_EVERY).await,
                }
                measured.counts = self.counts();
                measured.last = began.elapsed() > MEASURED_WITHIN;
                if let Some(effect) = (self.judge)(&measured) {
                    return effect;
                }
                if measured.last {
                    return Effect::NotSeen("no packet that is meant came by".to_owned());
                }
            }
        })
    }

    fn renew(&mut self, lease: Duration) -> Result<(), String> {
        self.holdings.iter_mut().try_for_each(|holding| holding.renew(lease))
    }
}
