//! The mechanism of faults that are a packet table and nothing else: put in force, probed, counted.

use super::ramp::Course;
use super::traffic::Traffic;
use super::{ANSWERED_WITHIN, Others};
use crate::journal::Undo;
use crate::kinds::{Asked, Effect, Failure, Mechanism, Pending, Refusal};
use crate::{FaultError, network, probe};
use firedrill_host::nft::{self, Above, Count, Counter, Definition, Hook, OwnerTable, Verdict};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Packets are waited for so long, with probes or, where probes are not meant, for those of others: a rare chance must
/// be seen to strike, a quiet port to be used.
const MEASURED_WITHIN: Duration = Duration::from_secs(4);
/// From one probe to the next.
const PROBE_EVERY: Duration = Duration::from_millis(10);

/// What a measurement says; `None`: nothing yet, look again while there is time.
pub(super) type Judge = Box<dyn Fn(&Seen) -> Option<Effect> + Send + Sync>;

/// What a table does.
pub(super) struct Plan {
    pub(super) hooks: Vec<Hook>,
    pub(super) verdict: Verdict,
    /// How many packets it strikes, and when.
    pub(super) course: Course,
    /// By what it works, for reports.
    pub(super) description: String,
    /// Says what was seen.
    pub(super) judge: Judge,
}

/// What was measured so far.
#[derive(Debug)]
pub(super) struct Seen {
    /// Probed endpoints that had answered before, and how many were probed.
    pub(super) before: (usize, usize),
    /// One that answered a handshake just now.
    pub(super) answers: Option<SocketAddr>,
    /// Packets that the filter means.
    pub(super) seen: Count,
    /// Those that were struck.
    pub(super) hit: Count,
    /// Probes are meant by the filter: their silence or answer says something.
    pub(super) probed: bool,
    /// What a ramp has risen to, of 100,000; `None` when it is at its full strength.
    pub(super) risen: Option<u32>,
    /// No more time.
    pub(super) last: bool,
}

impl Seen {
    /// What to say when nothing came by that the filter means.
    pub(super) fn nothing_came(&self) -> Effect {
        Effect::NotSeen(format!("no packet that is meant came by within {} s", MEASURED_WITHIN.as_secs()))
    }

    /// A ramp has risen to so little that none of the packets so far had to be struck.
    fn too_early(&self) -> bool {
        /// Where five are expected, none is a chance of less than one in a hundred.
        const TELLING: u64 = 5;
        self.risen.is_some_and(|risen| self.seen.packets * u64::from(risen) < TELLING * 100_000)
    }

    /// The usual judgement of a fault that strikes by chance: it was seen to strike.
    pub(super) fn struck(&self, asked: &str, done: &str) -> Option<Effect> {
        let (hit, seen) = (self.hit.packets, self.seen.packets);
        let asked = &match self.risen {
            Some(risen) => format!("{asked} after a ramp, {} % by now", f64::from(risen) / 1000.0),
            None => asked.to_owned(),
        };
        match (hit, self.last) {
            (0, false) => None,
            (0, true) if seen == 0 => Some(self.nothing_came()),
            (0, true) if self.too_early() => Some(Effect::Seen(format!(
                "asked {asked}, so rare that none of {seen} packets needed to be {done}; the rule has seen them all"
            ))),
            (0, true) => Some(Effect::NotSeen(format!("asked {asked}, but none of {seen} packets was {done}"))),
            _ => Some(Effect::Seen(format!("asked {asked}, {hit} of {seen} packets {done} so far"))),
        }
    }
}

/// A table, planned or in force.
pub(super) struct Filtered {
    definition: Definition,
    plan: Plan,
    others: Others,
    probed: bool,
    put_in: Option<Instant>,
    table: Option<OwnerTable>,
}

impl Filtered {
    /// Checks that it can be done here and meets the other side.
    pub(super) async fn prepare(asked: &Asked, traffic: &Traffic, plan: Plan) -> Result<Box<dyn Mechanism>, Refusal> {
        Self::prepare_above(asked, traffic, plan, None).await
    }

    /// The same for packets above a limit.
    pub(super) async fn prepare_above(
        asked: &Asked,
        traffic: &Traffic,
        plan: Plan,
        above: Option<Above>,
    ) -> Result<Box<dyn Mechanism>, Refusal> {
        let filter =
            nft::Filter { chance: plan.course.chance(Duration::ZERO), above, ..traffic.filter(&asked.context)? };
        let plan = Plan { hooks: traffic.places(plan.hooks, plan.verdict)?, ..plan };
        if let Some(hook) = plan.hooks.first() {
            nft::attempt_above(hook.clone(), plan.verdict, above).map_err(|problem| {
                Refusal(format!("this kernel cannot do it by {}: {}", plan.description, problem.full()))
            })?;
        }
        let others = Others::meet(traffic, &asked.context).await?;
        let definition = Definition {
            name: network::table_name(&asked.id),
            hooks: plan.hooks.clone(),
            filter,
            verdict: plan.verdict,
        };
        Ok(Box::new(Self { definition, plan, others, probed: traffic.means_handshakes(), put_in: None, table: None }))
    }

    fn since(&self) -> Duration {
        self.put_in.map_or(Duration::ZERO, |put_in| put_in.elapsed())
    }

    /// What a ramp has risen to, while it rises.
    fn risen(&self) -> Option<u32> {
        let course = &self.plan.course;
        (!course.ramp.is_over(self.since())).then(|| course.chance(self.since())).flatten()
    }

    /// As strong as it is to be by now.
    fn keep_course(&mut self) -> Result<(), Failure> {
        let chance = self.plan.course.chance(self.since());
        self.table.as_mut().map_or(Ok(()), |table| Ok(table.strike(chance)?))
    }

    async fn look(&mut self, last: bool) -> Result<Seen, Failure> {
        let targets = self.others.endpoints();
        let answers = probe::round_trips(&targets, ANSWERED_WITHIN).await;
        let answered = targets.iter().zip(answers).find(|(_, answer)| answer.is_some()).map(|(target, _)| *target);
        self.keep_course()?;
        let risen = self.risen();
        let table = self.table.as_mut().ok_or_else(|| Failure("it was not put in place".to_owned()))?;
        let (seen, hit) = (table.total(Counter::Seen)?, table.total(Counter::Hit)?);
        let before = (self.others.answering.len(), targets.len());
        Ok(Seen { before, answers: answered, seen, hit, probed: self.probed, risen, last })
    }
}

impl Mechanism for Filtered {
    fn describe(&self) -> String {
        format!("{} by an nftables table that its holder owns and leases", self.plan.description)
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        network::to_undo([self.definition.name.as_str()])
    }

    fn inject(&mut self, lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async move {
            self.put_in = Some(Instant::now());
            self.table = Some(OwnerTable::create(self.definition.clone(), lease)?);
            Ok(())
        })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async {
            sleep(self.plan.course.ramp.settling()).await;
            let began = Instant::now();
            loop {
                let last = began.elapsed() > MEASURED_WITHIN;
                match self.look(last).await {
                    Ok(seen) => {
                        if let Some(effect) = (self.plan.judge)(&seen) {
                            return effect;
                        }
                        if last {
                            return seen.nothing_came();
                        }
                    }
                    Err(Failure(problem)) => return Effect::NotSeen(problem),
                }
                sleep(PROBE_EVERY).await;
            }
        })
    }

    fn renew(&mut self, lease: Duration) -> Result<(), String> {
        self.keep_course().map_err(|problem| problem.0)?;
        self.table.as_mut().map_or(Ok(()), |table| table.renew(lease).map_err(|problem| problem.to_string()))
    }
}
