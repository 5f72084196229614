//! A host that keeps its faults whatever happens to the link, as one with a real agent does: it connects again, says
//! what it has in place, takes each fault out at its deadline or when the lease runs out, and reports each change until
//! the server has taken it.

use crate::agent::{Agent, Script, Setting, hello, report};
use crate::databases::{Databases, look};
use crate::identity::Identity;
use firedrill_api::link::{Answer, Order, REPORT_ITEMS_MAX, Upward};
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::command::FailureKind;
use firedrill_model::{AttackId, AttackSpec, CommandFailure, HostName, NodeName};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// After a link was lost; the real agent begins with as little.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// How often deadlines are looked at, and what has changed is sent.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// What servers say by default.
const LEASE: Duration = Duration::from_secs(10);

/// How a host stands.
#[derive(Debug, Default)]
pub struct Standing {
    /// Faults that are in place, each with its deadline.
    pub in_place: BTreeMap<AttackId, (AttackSpec, Instant)>,
    /// Every fault that was ever put in place, with what took it out once it is.
    pub history: BTreeMap<AttackId, Option<&'static str>>,
    /// Why no fault is accepted, when none is.
    pub halted: Option<String>,
    /// The session, while there is one.
    pub session: Option<u64>,
    /// Changes that no server has taken yet, oldest first.
    unreported: Vec<AttackReport>,
}

/// A host. Dropped, it is gone without a word.
#[derive(Debug)]
pub struct Host {
    name: HostName,
    standing: Arc<Mutex<Standing>>,
    living: JoinHandle<()>,
}

impl Host {
    /// Connects, again and again, until it is dropped; to each of several servers in turn. `database` runs on it, when
    /// there is one.
    #[must_use]
    pub fn start(settings: Vec<Setting>, identity: Identity, database: Option<(Databases, NodeName)>) -> Self {
        let (name, standing) = (identity.host.clone(), Arc::<Mutex<Standing>>::default());
        let living = tokio::spawn(live(settings, identity, database, Arc::clone(&standing)));
        Self { name, standing, living }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &HostName {
        &self.name
    }

    /// How it stands now.
    pub fn standing(&self) -> MutexGuard<'_, Standing> {
        lock(&self.standing)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.living.abort();
    }
}

fn lock(standing: &Mutex<Standing>) -> MutexGuard<'_, Standing> {
    // A panic elsewhere is a failed test already.
    standing.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Standing {
    fn put_in(&mut self, host: &HostName, attack: &AttackSpec) -> AttackReport {
        if self.halted.is_some() {
            return report(host, attack, AttackState::Refused);
        }
        let deadline = Instant::now() + attack.duration.duration();
        self.in_place.insert(attack.id.clone(), (attack.clone(), deadline));
        self.history.insert(attack.id.clone(), None);
        self.changed(report(host, attack, AttackState::Active))
    }

    fn take_out(&mut self, host: &HostName, attack: &AttackId, why: &'static str) -> Option<AttackReport> {
        let (spec, _) = self.in_place.remove(attack)?;
        self.history.insert(attack.clone(), Some(why));
        Some(self.changed(report(host, &spec, AttackState::Undone)))
    }

    fn take_all_out(&mut self, host: &HostName, why: &'static str) -> Vec<AttackReport> {
        let all: Vec<AttackId> = self.in_place.keys().cloned().collect();
        all.iter().filter_map(|attack| self.take_out(host, attack, why)).collect()
    }

    fn take_overdue_out(&mut self, host: &HostName, now: Instant) {
        let overdue = self.in_place.iter().filter(|(_, (_, deadline))| now >= *deadline);
        let overdue: Vec<AttackId> = overdue.map(|(attack, _)| attack.clone()).collect();
        for attack in overdue {
            self.take_out(host, &attack, "its deadline");
        }
    }

    fn changed(&mut self, report: AttackReport) -> AttackReport {
        self.unreported.push(report.clone());
        report
    }

    fn carry_out(&mut self, host: &HostName, order: &Order) -> Result<Answer, CommandFailure> {
        Ok(match order {
            Order::Inject { attack } => Answer::Attack { report: self.put_in(host, attack) },
            Order::Undo { attack } => {
                let unknown = || CommandFailure {
                    kind: FailureKind::Invalid,
                    message: format!("attack {attack} is not in place on host {host}"),
                };
                Answer::Attack { report: self.take_out(host, attack, "an undo").ok_or_else(unknown)? }
            }
            Order::Halt { reason } => {
                self.halted = Some(reason.clone());
                Answer::Halted { reports: self.take_all_out(host, "a halt") }
            }
            Order::Resume => {
                self.halted = None;
                Answer::Done
            }
            _ => Answer::Done,
        })
    }
}

/// Connects again whenever the link is lost.
async fn live(
    settings: Vec<Setting>,
    identity: Identity,
    database: Option<(Databases, NodeName)>,
    standing: Arc<Mutex<Standing>>,
) {
    let host = identity.host.clone();
    let mut heard = Instant::now();
    for setting in settings.iter().cycle() {
        let mut greeting = hello(&host);
        greeting.attacks = lock(&standing).in_place.keys().cloned().collect();
        let script = script(host.clone(), database.clone(), Arc::clone(&standing));
        if let Ok(agent) = Agent::connect(setting, identity.clone(), &greeting, script).await {
            say_again(&host, &standing, agent.session);
            heard = hold(&agent, &host, database.as_ref(), &standing).await;
            lock(&standing).session = None;
        }
        lock(&standing).take_overdue_out(&host, Instant::now());
        if heard.elapsed() > LEASE {
            lock(&standing).take_all_out(&host, "the lease");
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Queues how each fault stands, for a server that may not know it.
fn say_again(host: &HostName, standing: &Mutex<Standing>, session: u64) {
    let mut standing = lock(standing);
    standing.session = Some(session);
    let specs: Vec<AttackSpec> = standing.in_place.values().map(|(spec, _)| spec.clone()).collect();
    for spec in specs {
        standing.changed(report(host, &spec, AttackState::Active));
    }
}

/// Reports until a report is not taken; gives when the server was heard last.
async fn hold(
    agent: &Agent,
    host: &HostName,
    database: Option<&(Databases, NodeName)>,
    standing: &Mutex<Standing>,
) -> Instant {
    let mut heard = Instant::now();
    loop {
        let taken: Vec<AttackReport> = {
            let mut standing = lock(standing);
            standing.take_overdue_out(host, Instant::now());
            let most = standing.unreported.len().min(REPORT_ITEMS_MAX - 1);
            standing.unreported.drain(..most).collect()
        };
        let mut items: Vec<Upward> = taken.iter().map(|report| Upward::Attack { report: report.clone() }).collect();
        if let Some((databases, node)) = database {
            items.push(Upward::Observation { observation: Box::new(look(databases, node)) });
        }
        if !agent.report(items).await.is_success() {
            lock(standing).unreported.splice(0..0, taken);
            return heard;
        }
        heard = Instant::now();
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn script(host: HostName, database: Option<(Databases, NodeName)>, standing: Arc<Mutex<Standing>>) -> Script {
    Box::new(move |order| {
        if let (Order::Node { command }, Some((databases, _))) = (order, &database) {
            return Some(Ok(Answer::Node { result: databases.carry_out(command) }));
        }
        Some(lock(&standing).carry_out(&host, order))
    })
}
