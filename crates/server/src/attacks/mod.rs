//! Attacks, whoever asks for them: the experiment runner or a person.
//!
//! **Where to begin**: [`start`] and [`end`]; [`plan()`] says what a start would do.

mod changes;
mod forgotten;
mod plan;
mod resolve;
#[cfg(test)]
mod resolve_tests;

pub(crate) use changes::{Change, Changes, follow as follow_changes, keep_all};
pub(crate) use forgotten::{settle as settle_forgotten, unaccounted};
pub use plan::plan;

use crate::clock::now;
use crate::fleet::Call;
use crate::guards::{self, Asked, Wanted};
use crate::problem::{HALTED, NOT_CONNECTED, agent_failed, chain, not_found, problem, refusal, store_failed};
use crate::server::Server;
use firedrill_api::guards::Chosen;
use firedrill_api::http::Problem;
use firedrill_api::link::{Answer, Order};
use firedrill_fault::kinds;
use firedrill_model::attack::{AttackReport, AttackSpec, AttackState};
use firedrill_model::command::FailureKind;
use firedrill_model::experiment::AttackStep;
use firedrill_model::guard::RunStanding;
use firedrill_model::selector::Choice;
use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::{
    AttackId, ClusterName, ClusterSpec, CommandFailure, HostName, Selector, Severity, Span, Target, Timestamp,
};
use firedrill_store::AttackRecord;
use futures_util::future::join_all;
use resolve::{Aim, Scene};
use std::collections::BTreeSet;

/// Putting a fault in place and measuring its effect.
const INJECT_WITHIN: Span = Span::secs(15);
/// Taking a fault out and seeing it out.
const UNDO_WITHIN: Span = Span::secs(15);

/// An attack resolved to hosts at one moment.
struct Prepared {
    scene: Scene,
    aims: Vec<Aim>,
    /// The random number of the choice.
    seed: u32,
}

/// Puts an attack in place on every host that it means at this moment; gives one report per host. A report whose state
/// is not `Active` has not landed. An attack that cuts its host from the server counts as landed when the host falls
/// silent; the agent's own report, with its measurement, comes when it is back.
///
/// # Errors
/// Nothing was begun: starts are halted, the selector selects nothing, the fault makes no sense there, a guard refuses,
/// or an agent is not connected.
pub async fn start(
    server: &Server,
    run: Option<RunStanding>,
    cluster: &ClusterName,
    attack: &AttackStep,
    asked: &Asked,
) -> Result<Vec<AttackReport>, Problem> {
    refuse_when_halted(server)?;
    let prepared = prepare(server, cluster, attack, asked.seed).await?;
    let connected: BTreeSet<HostName> = server.fleet.connected().into_iter().collect();
    if let Some(aim) = prepared.aims.iter().find(|aim| !connected.contains(&aim.host)) {
        let message = format!(
            "attack {}: the agent of host {} is not connected, so the fault could not be taken out either; nothing was begun",
            attack.label(),
            aim.host
        );
        return Err(problem(NOT_CONNECTED, message));
    }
    let reserved = reserve(server, run, cluster, attack, asked, prepared).await?;
    Ok(join_all(reserved.into_iter().map(|(aim, record)| inject(server, record, aim, attack.duration))).await)
}

/// Asks the guards and stores what is about to begin, as one step: the next attack's guards count it already. Stored
/// before an agent is told: whatever happens then, the server knows that there is something to look after.
async fn reserve(
    server: &Server,
    run: Option<RunStanding>,
    cluster: &ClusterName,
    attack: &AttackStep,
    asked: &Asked,
    prepared: Prepared,
) -> Result<Vec<(Aim, AttackRecord)>, Problem> {
    let Prepared { aims, seed, .. } = prepared;
    let _one_at_a_time = server.starting.lock().await;
    // Others were waited for, and a halt may have come meanwhile.
    refuse_when_halted(server)?;
    let wanted = wanted(cluster, attack, &aims, run, asked);
    guards::admit(server, &wanted).await?;
    let run = wanted.run.map(|run| run.run);
    let chosen = Chosen {
        target: attack.target.to_string(),
        seed,
        by: asked.by.clone(),
        approved_by: asked.approved_by.clone(),
    };
    let lasts = kinds::find(attack.fault.kind()).is_none_or(|kind| !kind.instant);
    let record = |aim: &Aim| {
        let report = preparing(aim);
        let until = lasts.then(|| report.at + attack.duration);
        AttackRecord { report, cluster: Some(cluster.clone()), run: run.clone(), until }
    };
    let records: Vec<AttackRecord> = aims.iter().map(record).collect();
    server.store.begin_attacks(&records, &chosen).await.map_err(|error| store_failed(&error))?;
    let reserved: Vec<(Aim, AttackRecord)> = aims.into_iter().zip(records).collect();
    if matches!(attack.target.choose, Some(Choice::Random(_))) {
        let hosts: Vec<&str> = reserved.iter().map(|(aim, _)| aim.host.as_str()).collect();
        let text =
            format!("attack {}: {} drawn from {} with seed {seed}", attack.label(), hosts.join(", "), attack.target);
        let scope = Scope { cluster: Some(cluster.clone()), run, ..Scope::default() };
        server.timeline.append(Severity::Info, EventKind::AttackStarted, text, scope).await;
    }
    Ok(reserved)
}

fn wanted<'a>(
    cluster: &'a ClusterName,
    attack: &'a AttackStep,
    aims: &[Aim],
    run: Option<RunStanding>,
    asked: &'a Asked,
) -> Wanted<'a> {
    let hosts = aims.iter().map(|aim| aim.host.clone()).collect();
    Wanted { cluster, label: attack.label(), kind: attack.fault.kind(), duration: attack.duration, hosts, run, asked }
}

/// Resolves an attack now.
async fn prepare(
    server: &Server,
    cluster: &ClusterName,
    attack: &AttackStep,
    seed: Option<u32>,
) -> Result<Prepared, Problem> {
    // The lowest bits of a random id are as random as any.
    let drawn = || uuid::Uuid::new_v4().as_u64_pair().1 as u32;
    let seed = seed.unwrap_or_else(drawn);
    let scene = scene(server, cluster).await?;
    let aims = resolve::aims(&scene, attack, u64::from(seed))?;
    Ok(Prepared { scene, aims, seed })
}

/// The hosts that an attack means at this moment; nothing is begun.
///
/// # Errors
/// The selector selects nothing, or the fault makes no sense there.
pub async fn targets(server: &Server, cluster: &ClusterName, attack: &AttackStep) -> Result<Vec<HostName>, Problem> {
    let prepared = prepare(server, cluster, attack, None).await?;
    Ok(prepared.aims.into_iter().map(|aim| aim.host).collect())
}

/// The hosts of a cluster, and those of none, that a selector means at this moment. A random choice is drawn anew.
///
/// # Errors
/// There is no such cluster, or the store cannot be read.
pub(crate) async fn select(
    server: &Server,
    cluster: &ClusterName,
    selector: &Selector,
) -> Result<Vec<Target>, Problem> {
    let view = server.keepers.view(cluster)?;
    let specs: Vec<ClusterSpec> = server.keepers.records().into_iter().map(|record| record.spec).collect();
    // Only donors are known by what is under way.
    let operations = if selector.donor { guards::operations(server, &view).await? } else { Vec::new() };
    let targets = resolve::targets(&view, &specs, &server.fleet.records(), &operations);
    Ok(selector.select(&targets, uuid::Uuid::new_v4().as_u64_pair().1).into_iter().cloned().collect())
}

async fn scene(server: &Server, cluster: &ClusterName) -> Result<Scene, Problem> {
    let view = server.keepers.view(cluster)?;
    let specs: Vec<ClusterSpec> = server.keepers.records().into_iter().map(|record| record.spec).collect();
    let operations = guards::operations(server, &view).await?;
    Ok(Scene {
        cluster: cluster.clone(),
        targets: resolve::targets(&view, &specs, &server.fleet.records(), &operations),
        server: server.link_address().ip(),
        lease: server.config.lease.into(),
    })
}

/// What is, or may be, in place on the hosts of a cluster, whoever began it.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn in_place_on(server: &Server, spec: &ClusterSpec) -> Result<Vec<AttackReport>, Problem> {
    let hosts: BTreeSet<&HostName> =
        spec.nodes.iter().map(|node| &node.host).chain(&spec.gateway_host).chain(&spec.application_host).collect();
    let open = server.store.open_attacks_on_any(hosts).await.map_err(|error| store_failed(&error))?;
    let at = now();
    Ok(open.into_iter().filter(|record| guards::stays(record, at)).map(|record| record.report).collect())
}

/// Takes attacks out before their time; gives one result per attack, in their order.
///
/// # Errors
/// Per attack: it is unknown, or its host could not do it or be reached (its deadline takes it out then).
pub async fn end(server: &Server, attacks: &[AttackId]) -> Vec<Result<AttackReport, Problem>> {
    join_all(attacks.iter().map(|attack| undo(server, attack))).await
}

/// Blast-radius guard: nothing is begun while starts are blocked.
///
/// # Errors
/// Starts are blocked; the reason is in the message.
pub fn refuse_when_halted(server: &Server) -> Result<(), Problem> {
    server.halted().map_or(Ok(()), |reason| {
        Err(refusal(
            HALTED,
            format!("starts are blocked by a halt ({reason}); allow them again with `firedrill resume`"),
        ))
    })
}

fn preparing(aim: &Aim) -> AttackReport {
    AttackReport {
        id: AttackId(uuid::Uuid::now_v7().to_string()),
        host: aim.host.clone(),
        fault: aim.fault.clone(),
        state: AttackState::Preparing,
        at: now(),
        in_place: None,
        mechanism: String::new(),
        evidence: "sent to the agent".to_owned(),
    }
}

async fn inject(server: &Server, record: AttackRecord, aim: Aim, duration: Span) -> AttackReport {
    let preparing = record.report.clone();
    // Storing took its time. An order that is on its way when a halt comes is refused by the agent.
    if let Err(problem) = refuse_when_halted(server) {
        let report = AttackReport { state: AttackState::Refused, at: now(), evidence: problem.message, ..preparing };
        changes::keep(server, AttackRecord { report: report.clone(), ..record }).await;
        return report;
    }
    let id = preparing.id.clone();
    let (fault, node) = (aim.fault.clone(), aim.node.clone());
    let spec = AttackSpec { id, fault, node, duration, severs_server: aim.severs_server };
    let sent_at = now();
    let answered = server.fleet.call(&aim.host, Call::new(Order::Inject { attack: spec }, INJECT_WITHIN)).await;
    let report = match answered {
        Ok(Answer::Attack { report }) => report,
        Ok(_) => AttackReport { evidence: "the agent gave an answer of another kind".to_owned(), ..preparing },
        Err(failure) => without_answer(server, preparing, &aim, &failure, sent_at),
    };
    changes::keep(server, AttackRecord { report: report.clone(), ..record }).await;
    report
}

/// What can be said of an attack when its agent has not answered.
fn without_answer(
    server: &Server,
    preparing: AttackReport,
    aim: &Aim,
    failure: &CommandFailure,
    sent_at: Timestamp,
) -> AttackReport {
    let unheard = matches!(failure.kind, FailureKind::Unreachable | FailureKind::TimedOut);
    if unheard && aim.severs_server {
        let at = server.fleet.last_seen(&aim.host).map_or(sent_at, |heard| heard.max(sent_at));
        return AttackReport {
            state: AttackState::Active,
            at,
            mechanism: "seen from the server: the link to the agent is cut".to_owned(),
            evidence: format!("host {} was not heard any more after {}", aim.host, at.since(sent_at)),
            ..preparing
        };
    }
    let (state, evidence) = if unheard {
        let evidence = format!("{failure}; it is not known whether the fault is in place, its deadline takes it out");
        (AttackState::Preparing, evidence)
    } else {
        (AttackState::Refused, failure.to_string())
    };
    AttackReport { state, at: now(), evidence, ..preparing }
}

/// Takes one attack out; see [`end`].
pub(crate) async fn undo(server: &Server, attack: &AttackId) -> Result<AttackReport, Problem> {
    let record = server.store.attack(attack).await.map_err(|error| store_failed(&error))?;
    let record =
        record.ok_or_else(|| not_found("attack", attack, "`firedrill attack list` shows those that are known"))?;
    if record.ended() {
        return Ok(record.report);
    }
    let host = record.report.host.clone();
    let call = Call::new(Order::Undo { attack: attack.clone() }, UNDO_WITHIN);
    let answer = server.fleet.call(&host, call).await;
    let answer = answer.map_err(|failure| agent_failed(&host, &format!("taking attack {attack} out"), &failure))?;
    match answer {
        Answer::Attack { report } => {
            changes::keep(server, AttackRecord { report: report.clone(), ..record }).await;
            Ok(report)
        }
        _ => Err(problem(crate::problem::AGENT, format!("the agent of host {host} gave an answer of another kind"))),
    }
}

/// An agent says that attacks have changed. Only the agent of an attack's own host is believed.
pub(crate) async fn reported(server: &Server, reports: Vec<(HostName, AttackReport)>) {
    let known = match server.store.attacks_named(reports.iter().map(|(_, report)| &report.id)).await {
        Ok(known) => known,
        Err(error) => {
            let attacks: Vec<&str> = reports.iter().map(|(_, report)| report.id.0.as_str()).collect();
            tracing::error!(?attacks, error = %chain(&error), "changes of attacks are lost");
            return;
        }
    };
    let believed = |(host, report): (HostName, AttackReport)| {
        if report.host != host {
            tracing::warn!(%host, attack = %report.id, claimed = %report.host, "a host reported another host's attack");
            return None;
        }
        let record = known.get(&report.id);
        if record.is_some_and(|record| record.report.host != host) {
            tracing::warn!(%host, attack = %report.id, "a host reported an attack that was aimed at another");
            return None;
        }
        Some(match record {
            Some(record) => AttackRecord { report, ..record.clone() },
            None => AttackRecord { report, cluster: None, run: None, until: None },
        })
    };
    let records: Vec<AttackRecord> = reports.into_iter().filter_map(believed).collect();
    if !records.is_empty() {
        keep_all(server, records).await;
    }
}

/// What the timeline says; nothing while an attack is being prepared without trouble.
fn line(report: &AttackReport) -> Option<(Severity, EventKind, String)> {
    let AttackReport { host, fault, state, mechanism, evidence, .. } = report;
    let how = if mechanism.is_empty() { evidence.clone() } else { format!("{evidence} ({mechanism})") };
    Some(match state {
        AttackState::Preparing if mechanism.is_empty() && evidence == "sent to the agent" => return None,
        AttackState::Preparing => (Severity::Warning, EventKind::AttackStarted, format!("{fault} on {host}: {how}")),
        AttackState::Active => (Severity::Info, EventKind::AttackStarted, format!("{fault} on {host}: {how}")),
        AttackState::NoEffect => {
            (Severity::Warning, EventKind::AttackStarted, format!("{fault} on {host} has no measurable effect: {how}"))
        }
        AttackState::Refused => {
            (Severity::Warning, EventKind::AttackEnded, format!("{fault} on {host} was refused: {how}"))
        }
        AttackState::Undone => (Severity::Info, EventKind::AttackEnded, format!("{fault} on {host} is out: {how}")),
        AttackState::UndoFailed => {
            (Severity::Critical, EventKind::AttackEnded, format!("{fault} on {host} could NOT be taken out: {how}"))
        }
    })
}
