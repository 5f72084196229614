//! `firedrill attack`.

mod local;

use crate::args::{Attack, Connect};
use crate::attack_options::StartAttack;
use crate::commands::plan;
use crate::exit::{Outcome, REFUSED, TOOL_ERROR};
use crate::{connect, output};
use anyhow::bail;
use firedrill_fault::kinds::KINDS;
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::experiment::AttackStep;
use serde_json::json;

pub(crate) async fn run(command: Attack, connect: &Connect) -> anyhow::Result<Outcome> {
    match command {
        Attack::Kinds => kinds(connect.json),
        Attack::Approve { id } => approve(&id, connect).await,
        Attack::Approvals => approvals(connect).await,
        Attack::List => {
            let reports = connect::client(connect).await?.attacks().await?;
            print(&reports, connect.json)
        }
        Attack::Show { id } => {
            let reports = connect::client(connect).await?.attacks().await?;
            let Some(report) = reports.into_iter().find(|report| report.id == id) else {
                bail!("there is no attack {id}; `firedrill attack list` names them");
            };
            print(&[report], connect.json)
        }
        Attack::Undo { id: Some(id), .. } => {
            let report = connect::client(connect).await?.undo_attack(&id).await?;
            print(&[report], connect.json)
        }
        Attack::Undo { id: None, data, .. } => local::undo_all(&local::data_dir(data), connect.json).await,
        Attack::Start(start) => match *start {
            StartAttack { fault, target: Some(target), cluster, duration, seed, dry_run, overrides, .. } => {
                let client = connect::client(connect).await?;
                let cluster = connect::cluster(&client, cluster.or_else(|| target.cluster.clone())).await?;
                let attack = AttackStep { name: None, fault, target, duration };
                let start = firedrill_api::http::StartAttack { cluster, attack, seed, overrides };
                if dry_run {
                    return plan::attack(&client.plan_attack(&start).await?, connect.json);
                }
                print(&client.start_attack(&start).await?, connect.json)
            }
            here => local::start(here, connect.json).await,
        },
    }
}

/// Begins what waits; the attack's own outcome decides about the exit status.
async fn approve(id: &str, connect: &Connect) -> anyhow::Result<Outcome> {
    let approved = connect::client(connect).await?.approve(id).await?;
    match &approved.run {
        Some(run) if !connect.json => {
            output::text(&format!("run {run} is under way; `firedrill experiment show {run}` says how it stands"));
            Ok(Outcome::done())
        }
        Some(_) => {
            output::json(&approved)?;
            Ok(Outcome::done())
        }
        None => print(&approved.attacks, connect.json),
    }
}

async fn approvals(connect: &Connect) -> anyhow::Result<Outcome> {
    let approvals = connect::client(connect).await?.approvals().await?;
    if connect.json {
        output::json(&approvals)?;
        return Ok(Outcome::done());
    }
    let rows = approvals
        .into_iter()
        .map(|one| vec![one.id, output::name(&one.state), one.by, one.approved_by.unwrap_or_default(), one.text]);
    output::table(&["REQUEST", "STATE", "ASKED BY", "APPROVED BY", "WHAT"], rows.collect())?;
    Ok(Outcome::done())
}

/// The kinds; `firedrill attack start KIND --help` says the rest.
fn kinds(json: bool) -> anyhow::Result<Outcome> {
    if json {
        let kinds: Vec<_> = KINDS
            .iter()
            .map(|kind| {
                json!({
                    "kind": kind.name, "family": kind.family, "scope": kind.scope, "summary": kind.summary,
                    "documentation": kind.shape.documentation(),
                    "parameters": kind.shape.parameters(),
                    "needs": kind.needs.iter().map(ToString::to_string).collect::<Vec<_>>(),
                })
            })
            .collect();
        output::json(&kinds)?;
    } else {
        let rows = KINDS.iter().map(|kind| {
            let parameters: Vec<String> = kind.shape.parameters().into_iter().map(|parameter| parameter.name).collect();
            vec![kind.name.to_owned(), output::name(&kind.family), kind.summary.to_owned(), parameters.join(" ")]
        });
        output::table(&["KIND", "FAMILY", "WHAT", "PARAMETERS"], rows.collect())?;
    }
    Ok(Outcome::done())
}

fn print(reports: &[AttackReport], json: bool) -> anyhow::Result<Outcome> {
    if json {
        output::json(&reports)?;
    } else {
        let rows = reports.iter().map(|report| {
            vec![
                report.id.to_string(),
                report.host.to_string(),
                report.fault.to_string(),
                output::name(&report.state),
                report.mechanism.clone(),
                report.evidence.clone(),
            ]
        });
        output::table(&["ATTACK", "HOST", "FAULT", "STATE", "MECHANISM", "MEASURED"], rows.collect())?;
    }
    let any = |state| reports.iter().any(|report| report.state == state);
    Ok(if any(AttackState::UndoFailed) {
        Outcome(TOOL_ERROR)
    } else if any(AttackState::Refused) {
        Outcome(REFUSED)
    } else if any(AttackState::NoEffect) {
        Outcome(firedrill_model::Verdict::Inconclusive.exit_status())
    } else {
        Outcome::done()
    })
}
