//! The HTTP API that people, scripts, the command line and the pages use. JSON everywhere; errors are [`Problem`].
//!
//! | call | takes | gives |
//! |---|---|---|
//! | `GET /api/v1/status` | | [`Status`] |
//! | `GET /api/v1/clusters`, `GET …/clusters/{c}` | | `Vec<ClusterView>`, `ClusterView` |
//! | `PUT /api/v1/clusters/{c}` | [`RegisterCluster`] | `ClusterView` |
//! | `POST /api/v1/clusters/{c}/requests` | keeper's `Request` as JSON | [`Accepted`] |
//! | `POST /api/v1/clusters/{c}/requests/plan` | the same | `Foreseen`; nothing is begun |
//! | `GET /api/v1/clusters/{c}/series?from=&to=&faults=` | | [`ClusterSeries`] |
//! | `POST /api/v1/clusters/{c}/fingerprint` | | `Vec<NodeFingerprint>` |
//! | `GET /api/v1/hosts`, `GET …/hosts/{h}`, `POST …/hosts/{h}/token` | | `Vec<HostView>`, [`HostView`], [`Token`] |
//! | `POST /api/v1/hosts/{h}/revoke` | [`Reason`] | [`HostView`] |
//! | `GET /api/v1/operations?cluster=`, `GET …/operations/{id}` | | `Vec<Operation>`, `Operation` (newest first) |
//! | `GET /api/v1/experiments` | | `Vec<ExperimentEntry>`: the built-in library |
//! | `POST /api/v1/runs` | [`StartRun`] | [`RunStarted`] |
//! | `GET /api/v1/runs`, `GET …/runs/{id}` | | `Vec<RunEntry>`, `RunReport` |
//! | `GET /api/v1/runs/{id}/report.html` | | the self-contained page |
//! | `GET /api/v1/runs/{id}/history` | | the recorded history (binary; the `ledger` crate reads it) |
//! | `POST /api/v1/runs/{id}/halt` | [`Reason`] | [`Done`] |
//! | `GET /api/v1/attacks`, `POST /api/v1/attacks` | [`StartAttack`] | `Vec<AttackReport>` |
//! | `POST /api/v1/attacks/plan`, `POST /api/v1/runs/plan` | [`StartAttack`], [`StartRun`] | [`AttackPlan`](crate::guards::AttackPlan), [`RunPlan`](crate::guards::RunPlan); nothing is begun |
//! | `POST /api/v1/attacks/{id}/undo` | | `AttackReport` |
//! | `GET /api/v1/guards`, `PUT /api/v1/guards` | `GuardPolicy` | `GuardPolicy` |
//! | `GET /api/v1/guards/overrides` | | `Vec<Overridden>`, newest first |
//! | `GET /api/v1/approvals`, `POST …/approvals/{id}` | | `Vec<Approval>`; [`Approved`](crate::guards::Approved) |
//! | `POST /api/v1/halt`, `POST /api/v1/resume` | [`Reason`] | [`Halted`], [`Done`] |
//! | `GET /api/v1/templates`, `POST /api/v1/templates` | [`SaveTemplate`] | `Vec<TemplateEntry>`, [`TemplateEntry`] |
//! | `GET /api/v1/templates/{t}`, `DELETE …` | | [`TemplateEntry`], [`Done`] |
//! | `POST /api/v1/templates/{t}/preview`, `POST …/start` | [`FillTemplate`] | [`TemplatePreview`], [`RunStarted`] |
//! | `…/schedules`, `…/calendar`, `…/today`, `…/blackouts`, `…/presence` | | see [`crate::schedules`] |
//! | `GET /api/v1/evidence?from=&to=&cluster=&zone=&format=` | | `Evidence`, or the document as `html` or `csv` |
//! | `…/messages/…` | | see [`crate::messages`] |
//! | `GET /api/v1/timeline?after=&cluster=&run=&limit=` | | `Vec<TimelineEvent>` |
//! | `GET /api/v1/events?after=&cluster=&run=` | | server-sent events: [`Live`] as JSON in `data:`, its `sequence` as id |

use firedrill_model::attack::AttackReport;
use firedrill_model::command::Fingerprint;
use firedrill_model::experiment::AttackStep;
use firedrill_model::guard::Override;
use firedrill_model::progress::Part;
use firedrill_model::report::{LagSample, RunState};
use firedrill_model::template::Template;
use firedrill_model::workload::{Login, Sample};
use firedrill_model::{
    AllowList, ClusterName, ClusterView, Fault, HostName, NodeName, Operation, OperationId, RegionName, RunId,
    Selector, Span, TimelineEvent, Timestamp, Verdict,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The header of a call that is to be carried out once, however often it is sent.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Every error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error, JsonSchema)]
#[error("{message}")]
pub struct Problem {
    /// Stable code with a page in `docs/errors/` (`S004`).
    pub code: String,
    /// Which object, what was seen, what to do.
    #[serde(rename = "detail")]
    pub message: String,
    /// Refused by a guard (exit status 4), not broken.
    #[serde(default)]
    pub refused: bool,
}

/// Rate, latency and lag of a cluster, one value a second.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ClusterSeries {
    /// The second of the first value, since 1970 (UTC).
    pub from: i64,
    /// How many values each series has.
    pub length: u32,
    /// Transactions of the primary.
    pub transactions_per_second: Vec<Point>,
    /// The median latency of the writes of a workload, when one runs.
    pub write_p50_ms: Vec<Point>,
    /// The 99th percentile of the same.
    pub write_p99_ms: Vec<Point>,
    /// What each node says of itself.
    pub nodes: BTreeMap<NodeName, NodeSeries>,
    /// What was in place on the hosts of the cluster in the last day; at most the 200 attacks that changed last.
    pub faults: Vec<SeriesFault>,
}

/// What a replica says of itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct NodeSeries {
    /// Seconds behind, as the server reckons.
    pub lag_seconds: Vec<Point>,
    /// Transactions that it has not applied of what its primary had.
    pub behind: Vec<Point>,
}

/// A value, or the same one several times in a row; `null` is not known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Point {
    /// One second.
    One(Option<f64>),
    /// So many seconds.
    Run(Option<f64>, u32),
}

/// A fault on a chart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SeriesFault {
    /// The second in which it was in place, since 1970 (UTC).
    pub from: f64,
    /// When it was out; `None`: it is in place.
    pub to: Option<f64>,
    /// What, and on which host.
    pub label: String,
}

/// The server itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Package version.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// When this process began.
    pub started: Timestamp,
    /// Starts are blocked, for this reason.
    pub halted: Option<String>,
    /// Runs under way.
    pub running: Vec<RunId>,
    /// Among several servers that share a store: since which take-over this one acts. Absent: it is the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostView {
    /// Its name.
    pub name: HostName,
    /// Its address.
    pub address: Option<IpAddr>,
    /// Its region.
    pub region: Option<RegionName>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its agent has a live link.
    pub connected: bool,
    /// Last sign of it.
    pub last_seen: Option<Timestamp>,
    /// The agent's version.
    pub agent_version: Option<String>,
    /// Its nodes.
    pub nodes: Vec<NodeName>,
    /// The last look at it.
    pub observation: Option<crate::link::HostObservation>,
    /// Until when its certificate is good; `None`: it has none, or one that is to be renewed at once.
    #[serde(default)]
    pub certificate_until: Option<Timestamp>,
    /// What the host's owner allows there; `None`: everything.
    #[serde(default)]
    pub allowed: Option<AllowList>,
    /// It is kept out until it is enrolled anew.
    #[serde(default)]
    pub revoked: Option<Revoked>,
}

impl HostView {
    /// A host of which nothing but its name is known.
    #[must_use]
    pub fn unseen(name: HostName) -> Self {
        Self {
            name,
            address: None,
            region: None,
            tags: BTreeMap::new(),
            connected: false,
            last_seen: None,
            agent_version: None,
            nodes: Vec::new(),
            observation: None,
            certificate_until: None,
            allowed: None,
            revoked: None,
        }
    }
}

/// Since when and why a host is kept out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revoked {
    /// Since when.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// A one-time enrolment token for one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// The secret.
    pub token: String,
    /// Good until then.
    pub expires: Timestamp,
    /// SHA-256 of the authority's certificate (DER, hex): the agent trusts no other at enrolment.
    pub authority_sha256: String,
    /// Where agents connect.
    pub link_address: String,
}

/// A request was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// The operation that it started, when it did.
    pub operation: Option<OperationId>,
}

/// Nothing more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {}

/// Something that a person says about a run, for its timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunNote {
    /// What; at most 1,000 characters.
    pub text: String,
}

/// Somebody takes a part in a game day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TakePart {
    /// Who; at most 80 characters.
    pub name: String,
    /// Which.
    pub part: Part,
}

/// Why somebody did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// For the log.
    pub reason: String,
}

/// What a halt did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Halted {
    /// From the call to the last fault seen to be out.
    pub took: Span,
    /// Runs that were stopped.
    pub runs: Vec<RunId>,
    /// Attacks that were taken out, and how.
    pub attacks: Vec<AttackReport>,
    /// Hosts whose agent could not be reached; their leases and deadlines take the faults out.
    pub unreachable: Vec<HostName>,
}

/// One experiment of the library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExperimentEntry {
    /// Its name.
    pub name: String,
    /// One line.
    pub title: String,
    /// Its rung on the ladder.
    pub rung: Option<u32>,
    /// The file.
    pub yaml: String,
}

/// Starts a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StartRun {
    /// The experiment file's text, after variables were filled in.
    pub yaml: String,
    /// Overrides the file's cluster.
    pub cluster: Option<ClusterName>,
    /// Also when the rung below has not passed.
    #[serde(default)]
    pub force: bool,
    /// Credentials for the workload; `None`: those registered with the cluster.
    pub login: Option<Login>,
    /// Guards that are passed over, each with a reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
}

/// The run is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunStarted {
    /// Its id.
    pub run: RunId,
}

/// A template, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateEntry {
    /// It ships with firedrill; otherwise somebody has saved it.
    pub shipped: bool,
    /// The template.
    #[serde(flatten)]
    pub template: Template,
}

/// Keeps a template of one's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SaveTemplate {
    /// The text of a template file.
    File {
        /// Its text.
        yaml: String,
    },
    /// The experiment of a past run.
    Run {
        /// Which.
        run: RunId,
        /// The template's name.
        name: String,
        /// Its title; that of the experiment when absent.
        title: Option<String>,
    },
}

/// Imports an experiment of the Chaos Toolkit as a template.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportExperiment {
    /// The file's text, JSON or YAML.
    pub text: String,
    /// The template's name; made from the title when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The hosts of every step that needs some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Selector>,
    /// The hosts of single steps, by the name of their activity.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, Selector>,
    /// Only says what would become of it, also when it cannot be imported.
    #[serde(default)]
    pub dry_run: bool,
}

/// Fills a template in, to look at it or to start it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FillTemplate {
    /// Values of parameters; the others have their defaults.
    #[serde(default)]
    pub values: BTreeMap<String, String>,
    /// On which cluster, when there are several.
    pub cluster: Option<ClusterName>,
    /// Also when the rung below has not passed.
    #[serde(default)]
    pub force: bool,
}

/// What a template would do now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplatePreview {
    /// The experiment file, filled in.
    pub yaml: String,
    /// On which cluster.
    pub cluster: ClusterName,
    /// Its attacks in their order.
    pub attacks: Vec<PlannedAttack>,
}

/// What one attack would strike at this moment. Roles may have moved when its turn comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedAttack {
    /// The fault.
    pub fault: Fault,
    /// How long.
    pub duration: Span,
    /// Where.
    pub hosts: Vec<HostName>,
    /// Why nowhere.
    pub obstacle: Option<String>,
}

/// One run in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunEntry {
    /// Its id.
    pub run: RunId,
    /// The experiment's name.
    pub experiment: String,
    /// On which cluster.
    pub cluster: ClusterName,
    /// How far.
    pub state: RunState,
    /// When it began.
    pub began: Timestamp,
    /// What it came to.
    pub verdict: Option<Verdict>,
    /// The first reason.
    pub reason: Option<String>,
}

/// Starts one attack by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StartAttack {
    /// On which cluster (roles are looked up there).
    pub cluster: ClusterName,
    /// What, where, how long.
    pub attack: AttackStep,
    /// The random number of the choice among the matches; absent: a new one is drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
    /// Guards that are passed over, each with a reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
}

impl StartAttack {
    /// With all guards asked, and a random number of its own.
    #[must_use]
    pub fn new(cluster: ClusterName, attack: AttackStep) -> Self {
        Self { cluster, attack, seed: None, overrides: Vec::new() }
    }
}

/// A cluster as registered, with what the workload needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegisterCluster {
    /// The cluster.
    pub spec: firedrill_model::ClusterSpec,
    /// For workloads.
    pub login: Option<Login>,
}

/// The fingerprint of one node, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeFingerprint {
    /// Which node.
    pub node: NodeName,
    /// Its fingerprint.
    pub result: Result<Fingerprint, String>,
}

/// One message of the live stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "live")]
pub enum Live {
    /// A new line in the timeline.
    Timeline {
        /// The line.
        event: TimelineEvent,
    },
    /// A cluster changed (at most five times a second for each).
    Cluster {
        /// As it is now.
        view: Box<ClusterView>,
    },
    /// An operation changed.
    Operation {
        /// As it is now.
        operation: Box<Operation>,
    },
    /// An interval of a run's load.
    Sample {
        /// Of which run.
        run: RunId,
        /// What was measured.
        sample: Sample,
        /// Replica lag at that moment.
        lags: Vec<LagSample>,
    },
    /// A run changed its state.
    Run {
        /// As in the list.
        entry: RunEntry,
    },
    /// Everything was halted, or starts are allowed again.
    Halt {
        /// Why starts are blocked, when they are.
        reason: Option<String>,
    },
}
