//! What travels about guards: plans (dry runs), overrides, and requests that wait for a second person.

use crate::http::{StartAttack, StartRun};
use firedrill_model::attack::AttackReport;
use firedrill_model::guard::{Answer, BlastRadius, Refusal};
use firedrill_model::{ClusterName, Fault, HostName, NodeName, RegionName, Role, RunId, Span, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The header by which a caller says who it is.
pub const PERSON_HEADER: &str = "firedrill-person";

/// What an attack would do if it began now. Nothing is begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttackPlan {
    /// On which cluster.
    pub cluster: ClusterName,
    /// Its name, or its kind.
    pub attack: String,
    /// The selector, as text.
    pub target: String,
    /// The random number of the choice: given again, the same hosts of the same fleet are chosen.
    pub seed: u32,
    /// It comes out after this long.
    pub duration: Span,
    /// What would be done, host by host.
    pub hosts: Vec<PlannedHost>,
    /// How much would be touched, and what would be left.
    pub radius: BlastRadius,
    /// What each guard says.
    pub guards: Vec<Answer>,
}

/// What would be done on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedHost {
    /// Which.
    pub host: HostName,
    /// Its region.
    pub region: Option<RegionName>,
    /// The database node on it, and the role that it plays now.
    pub node: Option<(NodeName, Role)>,
    /// Its agent has a live link; without one the attack is refused.
    pub connected: bool,
    /// The fault with its parameters as they would reach the agent.
    pub fault: Fault,
    /// What the host must have for it; the agent says by which mechanism it was done when it is done.
    pub mechanism: Vec<String>,
    /// The agent would be cut off from this server.
    pub severs_server: bool,
}

/// What the attacks of a run would do if all of them began now. Nothing is begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunPlan {
    /// The experiment's name.
    pub experiment: String,
    /// On which cluster.
    pub cluster: ClusterName,
    /// Why the run would not start, beside what the guards say: another run, a rung that has not passed.
    pub refused: Option<String>,
    /// Its attacks, in order. Roles move during a run: what comes later is what it would be now.
    pub attacks: Vec<PlannedAttack>,
}

/// One attack of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedAttack {
    /// Its place among the steps, from 0.
    pub step: usize,
    /// What it would do; `None` when its target is not there now.
    pub plan: Option<AttackPlan>,
    /// Why there is no plan.
    pub problem: Option<String>,
}

/// A guard was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Overridden {
    /// Its id.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// On which cluster.
    pub cluster: ClusterName,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
    /// For which attack.
    pub attack: String,
    /// In which run.
    pub run: Option<RunId>,
    /// What the guard had said.
    pub refusal: Refusal,
}

/// How the hosts of an attack were chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Chosen {
    /// The selector, as text.
    pub target: String,
    /// The random number that it was given.
    pub seed: u32,
    /// Who asked for the attack.
    pub by: String,
    /// Who approved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
}

/// What waits for a second person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// An attack by hand.
    Attack(Box<StartAttack>),
    /// A run.
    Run(Box<StartRun>),
}

impl Wish {
    /// On which cluster; `None`: on the only one that there is.
    #[must_use]
    pub fn cluster(&self) -> Option<&ClusterName> {
        match self {
            Self::Attack(start) => Some(&start.cluster),
            Self::Run(start) => start.cluster.as_ref(),
        }
    }
}

/// How a request for approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovalState {
    /// Nobody has said anything yet.
    Waiting,
    /// A second person said yes, and it was begun.
    Approved,
}

/// A request that waits for a second person, or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Approval {
    /// Its id.
    pub id: String,
    /// When it was asked for.
    pub at: Timestamp,
    /// Nobody can approve it after this.
    pub expires: Timestamp,
    /// Who asks.
    pub by: String,
    /// What for, one sentence.
    pub text: String,
    /// How it stands.
    pub state: ApprovalState,
    /// Who has approved it.
    pub approved_by: Option<String>,
    /// What is begun when it is approved.
    pub wish: Wish,
}

/// What an approval began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Approved {
    /// The attack, host by host, when it was one.
    pub attacks: Vec<AttackReport>,
    /// The run, when it was one.
    pub run: Option<RunId>,
}
