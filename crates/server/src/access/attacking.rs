//! Attacks and runs: what they need stands in the body of the call, not in its address.

use super::Acting;
use super::acting::denied;
use crate::server::Server;
use firedrill_api::http::Problem;
use firedrill_fault::kinds::{Family, KINDS};
use firedrill_model::access::{Action, AttackFamily, Object, authorise};
use firedrill_model::experiment::{Experiment, StepSpec};
use firedrill_model::{ClusterName, Fault};

/// What a fault is done to; `None`: there is no such kind, which is refused elsewhere.
fn family(fault: &Fault) -> Option<AttackFamily> {
    let kind = KINDS.iter().find(|kind| kind.name == fault.kind())?;
    Some(match kind.family {
        Family::State => AttackFamily::State,
        Family::Network => AttackFamily::Network,
        Family::Resource => AttackFamily::Resource,
        Family::Storage => AttackFamily::Storage,
        Family::Engine => AttackFamily::Engine,
    })
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
