//! What a run would do: a dry run.

use super::guard;
use crate::Server;
use crate::guards::Asked;
use firedrill_api::guards::{PlannedAttack, RunPlan};
use firedrill_api::http::{Problem, StartRun};
use firedrill_model::RunId;
use firedrill_model::experiment::StepSpec;

/// What the attacks of a run would do if all of them began now, and what the guards say; nothing is begun.
///
/// # Errors
/// The file is not an experiment, or its cluster is unknown.
pub async fn plan(server: &Server, request: &StartRun, asked: &Asked) -> Result<RunPlan, Problem> {
    let experiment = super::read(request)?;
    let cluster = guard::cluster(server, &experiment, request)?.spec.name;
    let busy = server.runs.running().into_iter().find(|run| server.runs.cluster_of(run).as_ref() == Some(&cluster));
    let refused = match (guard::may_begin(server, &experiment, request).await, busy) {
        (Err(problem), _) => Some(problem.message),
        (Ok(_), Some(run)) => Some(format!("run {run} is under way on cluster {cluster}")),
        (Ok(_), None) => None,
    };
    let standing = guard::standing(&experiment, &RunId("planned".to_owned()));
    let mut attacks = Vec::new();
    for (step, spec) in experiment.steps.iter().enumerate() {
        let StepSpec::Attack(attack) = spec else { continue };
        let planned = crate::attacks::plan(server, Some(standing.clone()), &cluster, attack, asked).await;
        let (plan, problem) = match planned {
            Ok(plan) => (Some(plan), None),
            Err(problem) => (None, Some(problem.message)),
        };
        attacks.push(PlannedAttack { step, plan, problem });
    }
    Ok(RunPlan { experiment: experiment.name, cluster, refused, attacks })
}
