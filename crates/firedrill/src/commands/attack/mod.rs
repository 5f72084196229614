//! `firedrill attack`.

mod local;

use crate::args::{Attack, Connect};
use crate::attack_options::StartAttack;
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
            StartAttack { fault, target: Some(target), cluster, duration, .. } => {
                let attack = AttackStep { name: None, fault, target, duration };
                let client = connect::client(connect).await?;
                let cluster = connect::cluster(&client, cluster).await?;
                let reports = client.start_attack(&firedrill_api::http::StartAttack { cluster, attack }).await?;
                print(&reports, connect.json)
            }
            here => local::start(here, connect.json).await,
        },
    }
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
