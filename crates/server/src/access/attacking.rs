//! Attacks and runs: what they need stands in the body of the call, not in its address.

use super::Acting;
use super::acting::{denied, note};
use crate::experiment;
use crate::server::Server;
use firedrill_api::guards::Wish;
use firedrill_api::http::{Problem, StartAttack, StartRun};
use firedrill_fault::kinds::KINDS;
use firedrill_model::access::{Action, AttackFamily, Object, authorise};
use firedrill_model::experiment::{Experiment, StepSpec};
use firedrill_model::guard::{Authority, Override};
use firedrill_model::{ClusterName, Fault};

/// What a fault is done to; `None`: there is no such kind, which is refused elsewhere.
fn family(fault: &Fault) -> Option<AttackFamily> {
    let kind = KINDS.iter().find(|kind| kind.name == fault.kind())?;
    Some(kind.family.into())
}

/// Whether they may start these faults on that cluster, and anything there at all.
///
/// # Errors
/// They may not; the first family that is missing is named.
pub(crate) async fn may_attack<'a>(
    server: &Server,
    acting: &Acting,
    cluster: &ClusterName,
    faults: impl IntoIterator<Item = &'a Fault>,
) -> Result<(), Problem> {
    let families = faults.into_iter().filter_map(family);
    let attacks: Vec<Object> = families.map(|family| Object::Attack(cluster.clone(), family)).collect();
    let refused = attacks.iter().find_map(|object| authorise(acting.principal(), Action::Attack, object).err());
    if let Some(denial) = refused {
        return Err(denied(server, &denial).await);
    }
    if attacks.is_empty() {
        // Load and probes alone are work for the cluster, too.
        acting.may(server, Action::Operate, &Object::Cluster(cluster.clone())).await?;
    }
    Ok(())
}

/// Whether they may run an experiment on that cluster.
///
/// # Errors
/// They may not.
pub(crate) async fn may_run(
    server: &Server,
    acting: &Acting,
    cluster: &ClusterName,
    experiment: &Experiment,
) -> Result<(), Problem> {
    let faults = experiment.steps.iter().filter_map(|step| match step {
        StepSpec::Attack(attack) => Some(&attack.fault),
        _ => None,
    });
    may_attack(server, acting, cluster, faults).await
}

/// Whether they may start this attack by hand, with the guards that it passes over.
///
/// # Errors
/// They may not.
pub(crate) async fn may_start_attack(server: &Server, acting: &Acting, start: &StartAttack) -> Result<(), Problem> {
    let StartAttack { cluster, attack, overrides, .. } = start;
    may_attack(server, acting, cluster, [&attack.fault]).await?;
    may_override(server, acting, cluster, overrides).await?;
    note(&format!("{} on cluster {cluster}{}", attack.label(), passed_over(overrides)));
    Ok(())
}

/// Whether they may start this run, with the guards that it passes over.
///
/// # Errors
/// They may not; or the file is not an experiment, or its cluster is unknown.
pub(crate) async fn may_start_run(server: &Server, acting: &Acting, start: &StartRun) -> Result<(), Problem> {
    let experiment = experiment::read(start)?;
    let cluster = experiment::cluster(server, &experiment, start)?.spec.name;
    may_run(server, acting, &cluster, &experiment).await?;
    may_override(server, acting, &cluster, &start.overrides).await?;
    let force = if start.force { ", override: the rung below need not have passed" } else { "" };
    note(&format!("{} on cluster {cluster}{force}{}", experiment.name, passed_over(&start.overrides)));
    Ok(())
}

/// Whether they may begin what somebody else asks for.
///
/// # Errors
/// They may not, so they cannot be the second person.
pub(crate) async fn may_approve(server: &Server, acting: &Acting, wish: &Wish) -> Result<(), Problem> {
    match wish {
        Wish::Attack(start) => may_attack(server, acting, &start.cluster, [&start.attack.fault]).await,
        Wish::Run(start) => {
            let experiment = experiment::read(start)?;
            let cluster = experiment::cluster(server, &experiment, start)?.spec.name;
            may_run(server, acting, &cluster, &experiment).await
        }
    }
}

/// Whether they may pass these guards over. What nobody may alone, the guards refuse themselves.
async fn may_override(
    server: &Server,
    acting: &Acting,
    cluster: &ClusterName,
    overrides: &[Override],
) -> Result<(), Problem> {
    if overrides.iter().any(|one| one.guard.authority() == Authority::Admin) {
        acting.may(server, Action::Configure, &Object::Cluster(cluster.clone())).await?;
    }
    Ok(())
}

fn passed_over(overrides: &[Override]) -> String {
    overrides.iter().map(|Override { guard, reason }| format!(", override of {guard}: {reason}")).collect()
}
