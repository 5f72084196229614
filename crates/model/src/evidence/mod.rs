//! Evidence: for a period, what was tested, on what, by whom, with which result, what was found, and whether it was
//! re-tested; how long ago each cluster was seen to come through what matters; and how long that takes at which hour.
//!
//! A pure function from facts, [`Evidence::of`]: the same facts give the same document.

mod percentiles;
#[cfg(test)]
mod tests;

pub use percentiles::{Percentiles, Spread, Wall, Weekday};

use crate::attack::{AttackState, Fault};
use crate::id::{ClusterName, HostName, NodeName, OperationId, RegionName, RunId};
use crate::operation::{Operation, OperationKind, OperationState, Phase};
use crate::report::{RunState, Verdict};
use crate::time::{Span, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What evidence needs of a run: a part of its report, read from the same JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunFact {
    /// Which run.
    pub run: RunId,
    /// What was to be done.
    pub experiment: ExperimentFact,
    /// On which cluster.
    pub cluster: ClusterName,
    /// How far it is.
    pub state: RunState,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// What it came to.
    pub verdict: Option<Verdict>,
    /// Why.
    pub reasons: Vec<String>,
    /// What was done to which hosts.
    pub attacks: Vec<AttackFact>,
    /// Operations of the cluster during the run.
    pub operations: Vec<Operation>,
    /// Who started it; `None`: it is not known.
    #[serde(default)]
    pub by: Option<String>,
    /// The second person who approved it.
    #[serde(default)]
    pub approved_by: Option<String>,
}

/// What evidence needs of an experiment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExperimentFact {
    /// Its name.
    pub name: String,
    /// Its line for people.
    pub title: String,
}

/// What evidence needs of an attack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttackFact {
    /// On which host.
    pub host: HostName,
    /// What.
    pub fault: Fault,
    /// How it stands.
    pub state: AttackState,
}

/// Everything that a document of evidence is made from.
pub struct Facts<'a> {
    /// From then on.
    pub from: Timestamp,
    /// Before then.
    pub until: Timestamp,
    /// Now: later runs count as re-tests up to here.
    pub now: Timestamp,
    /// Only of this cluster; `None`: of all.
    pub cluster: Option<ClusterName>,
    /// By whose clock hours and weekdays are told.
    pub zone: String,
    /// What that clock shows.
    pub wall: &'a dyn Fn(Timestamp) -> Wall,
    /// The clusters that there are.
    pub clusters: Vec<ClusterName>,
    /// In which region each node is.
    pub regions: BTreeMap<NodeName, RegionName>,
    /// Runs, in any order: those of the period, and those before and after that are known.
    pub runs: Vec<RunFact>,
    /// Operations, in any order, likewise.
    pub operations: Vec<Operation>,
}

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// From then on.
    pub from: Timestamp,
    /// Before then.
    pub until: Timestamp,
    /// When it was made.
    pub made: Timestamp,
    /// Only of this cluster; `None`: of all.
    pub cluster: Option<ClusterName>,
    /// By whose clock hours and weekdays are told.
    pub zone: String,
    /// The runs of the period, oldest first.
    pub runs: Vec<TestedRun>,
    /// How long ago each cluster was seen to come through what matters.
    pub proven: Vec<Proven>,
    /// How long operations of the period took.
    pub durations: Vec<Duration>,
}

/// One run of the period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestedRun {
    /// Which run.
    pub run: RunId,
    /// The experiment's name.
    pub experiment: String,
    /// Its line for people.
    pub title: String,
    /// On which cluster.
    pub cluster: ClusterName,
    /// The hosts that something was done to.
    pub hosts: BTreeSet<HostName>,
    /// What was done.
    pub faults: BTreeSet<String>,
    /// Who started it; `None`: it is not known.
    pub by: Option<String>,
    /// The second person who approved it.
    pub approved_by: Option<String>,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How far it is.
    pub state: RunState,
    /// What it came to; `None` while it runs.
    pub verdict: Option<Verdict>,
    /// What was found; `None`: it passed, or runs still.
    pub finding: Option<Finding>,
}

/// A run that did not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Why, most important first.
    pub reasons: Vec<String>,
    /// What came of the same experiment on the same cluster later.
    pub retest: Retest,
}

/// What came later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Retest {
    /// It was not run again.
    NotYet,
    /// It was run again and has not passed since.
    NotPassed {
        /// How often.
        runs: usize,
    },
    /// It passed.
    Passed {
        /// The first run that did.
        run: RunId,
        /// When that ended.
        at: Timestamp,
    },
}

/// What a cluster was seen to come through, and when last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proven {
    /// Which cluster.
    pub cluster: ClusterName,
    /// For each ability, when; `None`: not on record.
    pub abilities: BTreeMap<Ability, Option<Proof>>,
}

/// What matters of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ability {
    /// A lost primary (or pseudo-primary) was replaced, in a run that passed.
    Promotion,
    /// A node was replaced by a copy of another, compared with its source.
    Clone,
    /// A backup was restored. Nothing restores backups yet.
    Restore,
    /// A promotion led into another region, in a run that passed.
    RegionFailover,
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Promotion => "promotion",
            Self::Clone => "clone",
            Self::Restore => "restore",
            Self::RegionFailover => "region failover",
        })
    }
}

/// The last time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proof {
    /// When it was done.
    pub at: Timestamp,
    /// So long before the document was made.
    pub ago: Span,
    /// By which operation.
    pub operation: OperationId,
    /// In which run, when one proves it.
    pub run: Option<RunId>,
}

/// How long something takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Duration {
    /// What.
    pub what: Measured,
    /// The figures.
    #[serde(flatten)]
    pub spread: Spread,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Measured {
    /// From the failure, as far as it is known, to the end of the promotion.
    Promotion,
    /// From the beginning to the end of a clone.
    Clone,
    /// From the end of the copy until the new node has applied what happened meanwhile.
    CatchUp,
    /// From the beginning to the end of a restore. Nothing restores backups yet.
    Restore,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Promotion => "promotion",
            Self::Clone => "clone",
            Self::CatchUp => "catch-up",
            Self::Restore => "restore",
        })
    }
}

impl Evidence {
    /// Makes the document.
    #[must_use]
    pub fn of(facts: &Facts<'_>) -> Self {
        let here = |cluster: &ClusterName| facts.cluster.as_ref().is_none_or(|wanted| wanted == cluster);
        let in_period = |at: Timestamp| facts.from <= at && at < facts.until;
        let mut all: Vec<&RunFact> =
            facts.runs.iter().filter(|run| here(&run.cluster) && run.began <= facts.now).collect();
        all.sort_by(|one, two| (one.began, &one.run).cmp(&(two.began, &two.run)));
        let tested = all.iter().filter(|run| in_period(run.began)).map(|run| tested(run, &all)).collect();
        let operations: Vec<&Operation> = facts
            .operations
            .iter()
            .filter(|operation| here(&operation.cluster) && operation.state == OperationState::Finished)
            .collect();
        let clusters = facts.clusters.iter().filter(|cluster| here(cluster));
        let of_period: Vec<&Operation> =
            operations.iter().copied().filter(|operation| in_period(operation.began)).collect();
        Self {
            from: facts.from,
            until: facts.until,
            made: facts.now,
            cluster: facts.cluster.clone(),
            zone: facts.zone.clone(),
            runs: tested,
            proven: clusters.map(|cluster| proven(cluster, facts, &all, &operations)).collect(),
            durations: durations(&of_period, facts.wall),
        }
    }

    /// The runs of the period that did not pass.
    pub fn findings(&self) -> impl Iterator<Item = (&TestedRun, &Finding)> {
        self.runs.iter().filter_map(|run| Some((run, run.finding.as_ref()?)))
    }

    /// How many runs came to a verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.runs.iter().filter(|run| run.verdict == Some(verdict)).count()
    }
}

fn tested(run: &RunFact, all: &[&RunFact]) -> TestedRun {
    let struck = || run.attacks.iter().filter(|attack| attack.state != AttackState::Refused);
    let finding = run
        .verdict
        .filter(|verdict| *verdict != Verdict::Passed)
        .map(|_| Finding { reasons: run.reasons.clone(), retest: retest(run, all) });
    TestedRun {
        run: run.run.clone(),
        experiment: run.experiment.name.clone(),
        title: run.experiment.title.clone(),
        cluster: run.cluster.clone(),
        hosts: struck().map(|attack| attack.host.clone()).collect(),
        faults: struck().map(|attack| attack.fault.to_string()).collect(),
        by: run.by.clone(),
        approved_by: run.approved_by.clone(),
        began: run.began,
        ended: run.ended,
        state: run.state,
        verdict: run.verdict,
        finding,
    }
}

/// What came of the same experiment on the same cluster later; `all` is in order of time. A run counts by its name: a
/// changed experiment of the same name is the same experiment.
fn retest(run: &RunFact, all: &[&RunFact]) -> Retest {
    let same = |other: &&&RunFact| {
        other.cluster == run.cluster
            && other.experiment.name == run.experiment.name
            && other.began > run.began
            && other.verdict.is_some()
    };
    let later: Vec<&&RunFact> = all.iter().filter(same).collect();
    match later.iter().find(|other| other.verdict == Some(Verdict::Passed)) {
        Some(passed) => Retest::Passed { run: passed.run.clone(), at: passed.ended.unwrap_or(passed.began) },
        None if later.is_empty() => Retest::NotYet,
        None => Retest::NotPassed { runs: later.len() },
    }
}

fn proven(cluster: &ClusterName, facts: &Facts<'_>, runs: &[&RunFact], operations: &[&Operation]) -> Proven {
    let proof = |operation: &Operation, run: Option<&RunId>| {
        let at = operation.ended?;
        let (operation, run) = (operation.id.clone(), run.cloned());
        Some(Proof { at, ago: facts.now.since(at), operation, run })
    };
    let passed = || runs.iter().filter(|run| run.cluster == *cluster && run.verdict == Some(Verdict::Passed));
    let promotions = || {
        passed().flat_map(|run| run.operations.iter().map(|operation| (*run, operation))).filter(|(_, operation)| {
            operation.kind == OperationKind::Promotion && operation.state == OperationState::Finished
        })
    };
    let elsewhere = |operation: &Operation| {
        let region = |node: &NodeName| facts.regions.get(node);
        let to = operation.partner.as_ref().and_then(region);
        to.is_some() && region(&operation.subject).is_some() && to != region(&operation.subject)
    };
    let last = |proofs: &mut dyn Iterator<Item = Proof>| proofs.max_by_key(|proof| proof.at);
    let promotion = last(&mut promotions().filter_map(|(run, operation)| proof(operation, Some(&run.run))));
    let region = last(
        &mut promotions()
            .filter(|(_, operation)| elsewhere(operation))
            .filter_map(|(run, operation)| proof(operation, Some(&run.run))),
    );
    let clones =
        operations.iter().filter(|operation| operation.cluster == *cluster && operation.kind == OperationKind::Clone);
    let clone = last(&mut clones.filter_map(|operation| proof(operation, None)));
    let abilities = [
        (Ability::Promotion, promotion),
        (Ability::Clone, clone),
        (Ability::Restore, None),
        (Ability::RegionFailover, region),
    ];
    Proven { cluster: cluster.clone(), abilities: abilities.into_iter().collect() }
}

fn durations(operations: &[&Operation], wall: &dyn Fn(Timestamp) -> Wall) -> Vec<Duration> {
    let of = |what| {
        let measured: Vec<(Timestamp, Span)> =
            operations.iter().filter_map(|operation| measured(operation, what)).collect();
        Duration { what, spread: Spread::of(&measured, wall) }
    };
    [Measured::Promotion, Measured::Clone, Measured::CatchUp, Measured::Restore].map(of).into()
}

/// When it began and how long it took; `None`: the operation is none of these, or has no such phase.
fn measured(operation: &Operation, what: Measured) -> Option<(Timestamp, Span)> {
    let ended = operation.ended?;
    match (what, operation.kind) {
        (Measured::Promotion, OperationKind::Promotion) => {
            let began = operation.failure_at.unwrap_or(operation.began).min(operation.began);
            Some((operation.began, ended.since(began)))
        }
        (Measured::Clone, OperationKind::Clone) => Some((operation.began, ended.since(operation.began))),
        (Measured::CatchUp, OperationKind::Clone | OperationKind::Rejoin) => {
            let (began, ended) = operation.phase(Phase::CatchUp)?;
            Some((began, ended.since(began)))
        }
        _ => None,
    }
}
