//! What an attack would do: a dry run.

use super::{Prepared, prepare, wanted};
use crate::guards::{self, Asked};
use crate::server::Server;
use firedrill_api::guards::{AttackPlan, PlannedHost};
use firedrill_api::http::Problem;
use firedrill_fault::kinds;
use firedrill_model::ClusterName;
use firedrill_model::experiment::AttackStep;
use firedrill_model::guard::{RunStanding, radius};

/// What an attack would do if it began now, and what the guards say to it; nothing is begun and nothing is kept.
///
/// # Errors
/// The selector selects nothing, the fault makes no sense there, or an override is not possible.
pub async fn plan(
    server: &Server,
    run: Option<RunStanding>,
    cluster: &ClusterName,
    attack: &AttackStep,
    asked: &Asked,
) -> Result<AttackPlan, Problem> {
    let Prepared { scene, aims, seed } = prepare(server, cluster, attack, asked.seed).await?;
    let wanted = wanted(cluster, attack, &aims, run, asked);
    let guards = guards::judge(server, &wanted).await?;
    let limits = guards::settings::policy(server).await?;
    let radius = radius(&guards::facts(server, cluster).await?, &wanted.hosts, &limits.service_tag);
    let connected = server.fleet.connected();
    let needs = kinds::find(attack.fault.kind()).map_or(&[][..], |kind| kind.needs);
    let hosts = aims.into_iter().map(|aim| {
        let target = scene.targets.iter().find(|target| target.host == aim.host);
        PlannedHost {
            connected: connected.contains(&aim.host),
            region: target.and_then(|target| target.region.clone()),
            node: target.and_then(|target| target.node.clone()),
            host: aim.host,
            fault: aim.fault,
            mechanism: needs.iter().map(ToString::to_string).collect(),
            severs_server: aim.severs_server,
        }
    });
    Ok(AttackPlan {
        cluster: cluster.clone(),
        attack: attack.label().to_owned(),
        target: attack.target.to_string(),
        seed,
        duration: attack.duration,
        hosts: hosts.collect(),
        radius,
        guards,
    })
}
