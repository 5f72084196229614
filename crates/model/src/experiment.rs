//! What a user writes: an experiment, declared. Reading YAML is done at the edge (`firedrill_api::experiment_file`);
//! here are the types and the rules that a well-formed file must also keep.

use crate::attack::{CheckFault, Fault, Selector};
use crate::id::ClusterName;
use crate::operation::OperationKind;
use crate::probe;
pub use crate::probe::{Measure, Probe, When};
use crate::time::Span;
use crate::workload::Load;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An experiment: a hypothesis, a way to break something, and what must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct Experiment {
    /// Short name, unique in the library (`kill-primary`).
    pub name: String,
    /// One line for people.
    pub title: String,
    /// What is believed to happen, in full sentences.
    pub hypothesis: String,
    /// On which cluster; `--cluster` overrides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    /// The rung of the ladder, 1 the least damaging; a rung is refused when the one below has not passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rung: Option<u32>,
    /// The live load; absent: none, and nothing can be said of writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Load>,
    /// How long the load runs before the first step.
    #[serde(default = "default_warm_up")]
    pub warm_up: Span,
    /// How long the load runs after the last step.
    #[serde(default = "default_warm_up")]
    pub cool_down: Span,
    /// The steady state.
    #[serde(default)]
    pub probes: Vec<Probe>,
    /// What is done, in order.
    pub steps: Vec<StepSpec>,
    /// What must hold in the end.
    pub expect: Vec<Expectation>,
    /// When to stop early: everything is undone and the run is halted.
    #[serde(default)]
    pub abort_when: Vec<AbortCondition>,
    /// An attack may begin while an earlier one of the same run is still in place; otherwise a guard refuses it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overlap: bool,
}

fn default_warm_up() -> Span {
    Span::secs(3)
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepSpec {
    /// Break something; goes on to the next step when the effect is measured.
    Attack(Box<AttackStep>),
    /// Take the attack of that name out before its time.
    EndAttack(String),
    /// Do nothing for a while.
    Wait(Span),
    /// Go on when something has become so.
    WaitUntil {
        /// What.
        condition: Condition,
        /// Or fail after this long.
        within: Span,
    },
    /// Ask the probe of that name now; it must hold.
    Check(String),
}

/// An attack in an experiment. In a file all parameters stand side by side:
/// `{kind: latency, delay: 100ms, target: {role: replica}, duration: 20s}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttackStep {
    /// To refer to it in `end-attack`; defaults to the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which hosts, chosen at the moment of the attack.
    pub target: Selector,
    /// It comes out after this long. Needless for kills.
    #[serde(default = "default_duration")]
    pub duration: Span,
    /// The fault with its parameters; hosts of the fleet as selectors, not yet as addresses.
    #[serde(flatten)]
    pub fault: Fault,
}

fn default_duration() -> Span {
    Span::secs(30)
}

/// What can be waited for. Operations count when they began after the run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// An operation of that kind has finished.
    Finished(OperationKind),
    /// Every node of the cluster is in service, replicates and has caught up; no operation runs.
    RedundancyRestored,
    /// Writes are acknowledged again.
    WritesFlow,
}

/// What must hold in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Expectation {
    /// The longest time without an acknowledged write is below this.
    WriteOutageBelow(Span),
    /// At most so many acknowledged writes are lost.
    LostAcknowledgedWritesAtMost(u64),
    /// An operation of that kind finished, no longer after the attack than this.
    Operation {
        /// Which kind.
        kind: OperationKind,
        /// From the attack's effect to the operation's end.
        within: Span,
    },
    /// Full redundancy again, no longer after the attack than this.
    RedundancyWithin(Span),
    /// Nothing was promoted.
    NoPromotion,
    /// No two nodes acknowledged writes at once.
    NoFork,
    /// All nodes hold the same rows in the end.
    NoDivergence,
}

/// When to stop early.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AbortCondition {
    /// No write has been acknowledged for this long.
    WriteOutageAbove(Span),
    /// An operation asks for a person.
    OperationNeedsPerson,
    /// A probe that is asked during the steps is broken.
    Probe(BrokenProbe),
}

/// `probe: NAME`, or `probe: {name: NAME, for: 2s}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "BrokenProbeForm", into = "BrokenProbeForm")]
pub struct BrokenProbe {
    /// Which.
    pub name: String,
    /// It is broken, and has not held, for this long; zero: as soon as it is seen to be broken.
    pub lasting: Span,
}

/// As it is written.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "the name of a probe, or {name: NAME, for: 2s}")]
enum BrokenProbeForm {
    Name(String),
    Full {
        name: String,
        #[serde(rename = "for")]
        lasting: Span,
    },
}

impl From<BrokenProbeForm> for BrokenProbe {
    fn from(form: BrokenProbeForm) -> Self {
        match form {
            BrokenProbeForm::Name(name) => Self { name, lasting: Span::ZERO },
            BrokenProbeForm::Full { name, lasting } => Self { name, lasting },
        }
    }
}

impl From<BrokenProbe> for BrokenProbeForm {
    fn from(broken: BrokenProbe) -> Self {
        match broken {
            BrokenProbe { name, lasting: Span::ZERO } => Self::Name(name),
            BrokenProbe { name, lasting } => Self::Full { name, lasting },
        }
    }
}

impl fmt::Display for AbortCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteOutageAbove(limit) => write!(f, "write outage above {limit}"),
            Self::OperationNeedsPerson => f.write_str("an operation needs a person"),
            Self::Probe(BrokenProbe { name, lasting: Span::ZERO }) => write!(f, "probe {name} broken"),
            Self::Probe(BrokenProbe { name, lasting }) => write!(f, "probe {name} broken for {lasting}"),
        }
    }
}

/// A rule that a well-formed file breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Problem {
    /// Where: `steps[2].attack.target`.
    pub place: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Longest accepted experiment: nobody waits longer for one run, and no fault should stay longer unattended.
pub const DURATION_MAX: Span = Span::secs(24 * 3600);
/// Most steps of one experiment.
pub const STEPS_MAX: usize = 200;
/// Most connections of one load; the gateway's and the server's limits are of this order.
pub const CONNECTIONS_MAX: u32 = 1000;

impl Experiment {
    /// Checks the rules beyond the form: names that are referred to exist, targets are not empty, bounds are kept,
    /// faults are such as `check` knows.
    #[must_use]
    pub fn problems(&self, check: CheckFault) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut say = |place: String, message: String| problems.push(Problem { place, message });
        if self.name.parse::<crate::id::HostName>().is_err() {
            say("name".into(), format!("{:?} must be of a-z, 0-9 and '-', at most 40 characters", self.name));
        }
        if self.steps.is_empty() || self.steps.len() > STEPS_MAX {
            say("steps".into(), format!("{} steps; give 1 to {STEPS_MAX}", self.steps.len()));
        }
        if self.expect.is_empty() && !self.is_asked() {
            let rule = "nothing is expected, and no probe is asked during the steps or after them, so nothing could be \
                        learnt; add at least one line";
            say("expect".into(), rule.into());
        }
        if let Some(load) = &self.workload {
            load_problems(load, &mut say);
        } else if self.expect.iter().any(Expectation::needs_workload) {
            say("expect".into(), "speaks of writes, but there is no `workload:` to make any".into());
        }
        let mut attacks = Vec::new();
        for (index, step) in self.steps.iter().enumerate() {
            let place = format!("steps[{index}]");
            if let StepSpec::Attack(attack) = step
                && let Err(problem) = check(&attack.fault)
            {
                let parameter = problem.parameter.as_deref().unwrap_or("kind");
                say(format!("{place}.attack.{parameter}"), problem.message);
            }
            self.step_problems(&place, step, &mut attacks, &mut say);
        }
        probe::problems(&self.probes, &mut say);
        self.abort_problems(&mut say);
        problems
    }

    /// A probe can break it.
    fn is_asked(&self) -> bool {
        let late = |probe: &Probe| probe.when.iter().any(|when| *when != When::Before);
        self.probes.iter().any(late) || self.steps.iter().any(|step| matches!(step, StepSpec::Check(_)))
    }

    fn abort_problems(&self, say: &mut impl FnMut(String, String)) {
        for (index, condition) in self.abort_when.iter().enumerate() {
            let AbortCondition::Probe(broken) = condition else { continue };
            let place = format!("abort_when[{index}].probe");
            match self.probes.iter().find(|probe| probe.name == broken.name) {
                None => say(place, format!("there is no probe named {:?}", broken.name)),
                Some(probe) if !probe.when.contains(&When::During) => {
                    let name = &broken.name;
                    say(place, format!("probe {name:?} is not asked during the steps; give it `when: [during]` too"));
                }
                Some(_) if broken.lasting > DURATION_MAX => {
                    say(place, format!("{} is longer than {DURATION_MAX}", broken.lasting));
                }
                Some(_) => {}
            }
        }
    }

    fn step_problems<'a>(
        &self,
        place: &str,
        step: &'a StepSpec,
        attacks: &mut Vec<&'a str>,
        say: &mut impl FnMut(String, String),
    ) {
        match step {
            StepSpec::Attack(attack) => {
                if attack.target.is_empty() || attack.target.server {
                    say(
                        format!("{place}.attack.target"),
                        "selects nothing; name nodes, hosts, a role, a region or tags".into(),
                    );
                } else if let Some(problem) = attack.target.contradiction() {
                    say(format!("{place}.attack.target"), problem);
                }
                if attack.duration > DURATION_MAX || attack.duration == Span::ZERO {
                    say(format!("{place}.attack.duration"), format!("must be above 0 and at most {DURATION_MAX}"));
                }
                attacks.push(attack.label());
            }
            StepSpec::EndAttack(name) if !attacks.contains(&name.as_str()) => {
                say(format!("{place}.end-attack"), format!("no attack named {name:?} begins before this step"));
            }
            StepSpec::Check(name) if !self.probes.iter().any(|probe| probe.name == *name) => {
                say(format!("{place}.check"), format!("there is no probe named {name:?}"));
            }
            StepSpec::Wait(span) | StepSpec::WaitUntil { within: span, .. } if *span > DURATION_MAX => {
                say(place.to_owned(), format!("{span} is longer than {DURATION_MAX}"));
            }
            StepSpec::EndAttack(_) | StepSpec::Check(_) | StepSpec::Wait(_) | StepSpec::WaitUntil { .. } => {}
        }
    }
}

fn load_problems(load: &Load, say: &mut impl FnMut(String, String)) {
    if load.writers == 0 || load.writes_per_second == 0 {
        say("workload".into(), "without writers and writes_per_second nothing can be proved".into());
    }
    if load.writers + load.readers > CONNECTIONS_MAX {
        say("workload".into(), format!("{} connections; at most {CONNECTIONS_MAX}", load.writers + load.readers));
    }
    if load.timeout == Span::ZERO {
        say("workload.timeout".into(), "must be above 0".into());
    }
}

impl AttackStep {
    /// Its name, or its kind.
    #[must_use]
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(self.fault.kind())
    }
}

impl Expectation {
    /// Cannot be told without a live load.
    #[must_use]
    pub const fn needs_workload(&self) -> bool {
        matches!(self, Self::WriteOutageBelow(_) | Self::LostAcknowledgedWritesAtMost(_) | Self::NoFork)
    }
}
