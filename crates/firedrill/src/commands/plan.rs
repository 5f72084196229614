//! Dry runs, printed.

use crate::exit::{Outcome, REFUSED};
use crate::output;
use firedrill_api::guards::{AttackPlan, RunPlan};
use firedrill_model::guard::{Answer, Part};
use std::fmt::{Display, Write};

/// Prints what an attack would do. The exit status is that of the attack itself as far as guards go.
pub(crate) fn attack(plan: &AttackPlan, json: bool) -> anyhow::Result<Outcome> {
    if json {
        output::json(plan)?;
    } else {
        print(plan)?;
        output::text("nothing was begun");
    }
    Ok(outcome(refused(plan)))
}

/// Prints what the attacks of a run would do.
pub(crate) fn run(plan: &RunPlan, json: bool) -> anyhow::Result<Outcome> {
    if json {
        output::json(plan)?;
    } else {
        for attack in &plan.attacks {
            output::text(&format!("steps[{}]", attack.step));
            match (&attack.plan, &attack.problem) {
                (Some(plan), _) => print(plan)?,
                (None, problem) => output::text(problem.as_deref().unwrap_or("no plan")),
            }
            output::text("");
        }
        if let Some(refused) = &plan.refused {
            output::text(&format!("refused: {refused}"));
        }
        output::text(&format!("{} on cluster {}: nothing was begun", plan.experiment, plan.cluster));
    }
    // The first target must be there now; a later one (a donor, say) may come to be during the run.
    let no_first = plan.attacks.first().is_some_and(|attack| attack.plan.is_none());
    let of_attacks = plan.attacks.iter().filter_map(|attack| attack.plan.as_ref()).any(refused);
    Ok(outcome(plan.refused.is_some() || no_first || of_attacks))
}

fn outcome(refused: bool) -> Outcome {
    if refused { Outcome(REFUSED) } else { Outcome::done() }
}

fn refused(plan: &AttackPlan) -> bool {
    plan.guards.iter().any(Answer::stands) || plan.hosts.iter().any(|host| !host.connected)
}

fn print(plan: &AttackPlan) -> anyhow::Result<()> {
    output::text(&format!(
        "attack {} on {} of cluster {}, for {}, seed {}",
        plan.attack, plan.target, plan.cluster, plan.duration, plan.seed
    ));
    let rows = plan.hosts.iter().map(|host| {
        let node = host.node.as_ref().map(|(node, role)| format!("{node}, {role}")).unwrap_or_default();
        let mut notes = host.mechanism.join("; ");
        if !host.connected {
            notes.push_str("; NOT connected");
        }
        if host.severs_server {
            notes.push_str("; cuts its agent off from the server");
        }
        vec![host.host.to_string(), node, host.fault.to_string(), notes.trim_start_matches("; ").to_owned()]
    });
    output::table(&["HOST", "NODE", "FAULT", "NEEDS"], rows.collect())?;
    output::text(&radius(plan));
    let rows = plan.guards.iter().map(|answer| {
        let (says, why) = said(answer);
        vec![answer.guard.to_string(), says.to_owned(), why]
    });
    output::table(&["GUARD", "SAYS", "WHY"], rows.collect())
}

fn said(answer: &Answer) -> (&'static str, String) {
    match (&answer.refusal, &answer.overridden) {
        (None, _) if answer.off => ("off", String::new()),
        (None, _) => ("yes", String::new()),
        (Some(refusal), Some(reason)) => {
            ("overridden", format!("{} (limit: {}): {reason}", refusal.figure, refusal.limit))
        }
        (Some(refusal), None) => {
            let (figure, limit, authority) = (&refusal.figure, &refusal.limit, refusal.authority);
            ("NO", format!("{figure}; limit: {limit}; {authority} may override it"))
        }
    }
}

fn radius(plan: &AttackPlan) -> String {
    let radius = &plan.radius;
    let part = |part: Part| {
        let share = (part.hit * 100).checked_div(part.of).unwrap_or(0);
        format!("{} of {} ({share} %)", part.hit, part.of)
    };
    let mut text = format!("blast radius: {} nodes of the cluster", part(radius.cluster));
    // Writing into a string does not fail.
    for (region, hit) in &radius.regions {
        let _ = write!(text, ", {} of region {region}", part(*hit));
    }
    for (service, hit) in &radius.services {
        let _ = write!(text, ", {} hosts of service {service}", part(*hit));
    }
    if radius.primary {
        text.push_str(", the primary among them");
    }
    let _ = write!(
        text,
        "\nleft untouched: {} healthy replicas{}, {} ackers{}",
        radius.replicas_left.len(),
        listed(&radius.replicas_left),
        radius.ackers_left.len(),
        listed(&radius.ackers_left)
    );
    text
}

fn listed(names: &[impl Display]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}
