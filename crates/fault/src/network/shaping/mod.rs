//! The mechanism of faults that hold packets back: they wait before this host's programs get them.
//!
//! The wait is at the *input* of the host, in user space: a rule sends arriving packets to a queue, a thread lets them
//! go when their time has come. (Waiting at the output instead would count against the senders' sockets and throttle
//! them to a few megabits.) It works without `sch_netem`, and ends with the process that holds it.

mod schedule;
mod shaper;

pub(super) use schedule::{Line, Schedule, Treatment};
pub(super) use shaper::{Counts, wait};

use super::traffic::Traffic;
use super::{Others, fnv1a};
use crate::journal::Undo;
use crate::kinds::{Asked, Effect, Failure, Mechanism, Pending, Refusal};
use crate::{FaultError, network, probe};
use firedrill_host::nft::{self, Definition, Filter, Hook, OwnerTable, QueueExpression, Verdict};
use firedrill_host::queue::{Announce, Queue};
use shaper::Shaper;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Probes at a time.
const PROBES: usize = 20;
/// Probes are repeated for this long until a rare loss was seen to happen.
const MEASURED_WITHIN: Duration = Duration::from_secs(4);
/// Less than the second after which a lost handshake is sent again: a repeated one must not count as a slow one.
const PROBE_SLACK: Duration = Duration::from_millis(700);
/// A ramp is measured after so long, unless it is over before.
const RISEN_AFTER: Duration = Duration::from_secs(2);
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
    /// What the shaper has seen.
    pub(super) counts: Counts,
    /// How long it had been in force when the last handshakes began.
    pub(super) since: Duration,
    /// No more time.
    pub(super) last: bool,
}

/// What a measurement says; `None`: measure again while there is time.
pub(super) type Judge = Box<dyn Fn(&Measured) -> Option<Effect> + Send + Sync>;

/// Packets that are held back, planned or in force. Fields are dropped in this order: first no packet comes any more,
/// then those that wait are let go.
pub(super) struct Shaped {
    name: String,
    treatment: Treatment,
    through: QueueExpression,
    filter: Filter,
    others: Others,
    before: Option<(SocketAddr, Duration)>,
    judge: Judge,
    table: Option<OwnerTable>,
    shaper: Option<Shaper>,
    put_in: Option<Instant>,
}

impl Shaped {
    /// Checks that it can be done here, meets the other side and measures it.
    pub(super) async fn prepare(
        asked: &Asked,
        traffic: &Traffic,
        treatment: Treatment,
        judge: Judge,
    ) -> Result<Box<dyn Mechanism>, Refusal> {
        let filter = traffic.filter(&asked.context)?;
        network::holds().map_err(Refusal)?;
        let through = nft::queue_expression()?;
        let others = Others::meet(traffic, &asked.context).await?;
        // Probes that are not meant would measure an unchanged path.
        let before = if traffic.means_handshakes() { baseline(&others).await } else { None };
        let name = network::table_name(&asked.id);
        Ok(Box::new(Self {
            name,
            treatment,
            through,
            filter,
            others,
            before,
            judge,
            table: None,
            shaper: None,
            put_in: None,
        }))
    }
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
        let rule = match self.through {
            QueueExpression::Native => "nftables' queue",
            QueueExpression::Xtables => "the NFQUEUE target",
        };
        format!("packets held in user space at the input through {rule}, in a table that its holder owns and leases")
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        network::to_undo(&self.name)
    }

    fn inject(&mut self, lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async move {
            // Any number will do; different attacks begin to look at different ones.
            let [high, low, ..] = fnv1a(self.name.as_bytes()).to_be_bytes();
            let announce = if self.treatment.line.is_some() { Announce::Lengths } else { Announce::Ids };
            let queue = Queue::bind_free(u16::from_be_bytes([high, low]), announce)?;
            let number = queue.number();
            self.shaper = Some(Shaper::start(queue, self.treatment)?);
            self.put_in = Some(Instant::now());
            let definition = Definition {
                name: self.name.clone(),
                hooks: vec![Hook::Input],
                filter: self.filter.clone(),
                verdict: Verdict::Queue { number, through: self.through },
            };
            self.table = Some(OwnerTable::create(definition, lease)?);
            Ok(())
        })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async {
            let Some(shaper) = &self.shaper else { return Effect::NotSeen("it was not put in place".to_owned()) };
            let put_in = self.put_in.unwrap_or_else(Instant::now);
            let began = Instant::now();
            let mut measured = Measured {
                before: self.before,
                silent: self.others.silent.len(),
                sent: 0,
                answers: Vec::new(),
                counts: Counts::default(),
                since: Duration::ZERO,
                last: false,
            };
            // What has hardly begun to rise cannot be measured.
            tokio::time::sleep(self.treatment.ramp.min(RISEN_AFTER)).await;
            loop {
                measured.since = put_in.elapsed();
                match self.before {
                    Some((target, before)) => {
                        let within = before + self.treatment.delay + self.treatment.jitter + PROBE_SLACK;
                        let answers = probe::round_trips(&[target; PROBES], within).await;
                        measured.sent += PROBES;
                        measured.answers.extend(answers.into_iter().flatten());
                    }
                    None => tokio::time::sleep(LOOK_EVERY).await,
                }
                measured.counts = shaper.counts();
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
        if let Some(problem) = self.shaper.as_ref().and_then(Shaper::failure) {
            return Err(format!("packets are not held back any more: {problem}"));
        }
        self.table.as_mut().map_or(Ok(()), |table| table.renew(lease).map_err(|problem| problem.to_string()))
    }
}
