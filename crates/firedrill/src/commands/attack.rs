//! `firedrill attack`.

use crate::args::{Attack, Connect};
use crate::exit::{Outcome, REFUSED, TOOL_ERROR};
use crate::{connect, output};
use anyhow::{Context, bail};
use firedrill_api::http::StartAttack;
use firedrill_model::attack::{AttackReport, AttackState, Selector};
use firedrill_model::experiment::{ATTACK_KINDS, AttackStep};
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
        Attack::Undo { id } => {
            let report = connect::client(connect).await?.undo_attack(&id).await?;
            print(&[report], connect.json)
        }
        Attack::Start { kind, cluster, target, duration, signal, peers, direction, delay, jitter, loss } => {
            let attack = json!({
                "kind": kind, "target": selector(&target).context("--target")?, "duration": duration, "signal": signal,
                "peers": peers.map(|peers| selector(&peers)).transpose().context("--peers")?,
                "direction": direction, "delay": delay, "jitter": jitter, "loss_percent": loss,
            });
            let attack: AttackStep = serde_json::from_value(attack)?;
            let client = connect::client(connect).await?;
            let cluster = connect::cluster(&client, cluster).await?;
            let reports = client.start_attack(&StartAttack { cluster, attack }).await?;
            print(&reports, connect.json)
        }
    }
}

/// `role=replica,region=east,limit=1`.
fn selector(text: &str) -> anyhow::Result<Selector> {
    let mut selector = Selector::default();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        match key {
            "node" => selector.nodes.push(value.parse()?),
            "host" => selector.hosts.push(value.parse()?),
            "region" => selector.region = Some(value.parse()?),
            "role" => {
                let role = serde_json::from_value(json!(value));
                selector.role = Some(role.with_context(|| format!("there is no role {value:?}"))?);
            }
            "limit" => selector.limit = Some(value.parse().with_context(|| format!("limit {value:?} is no number"))?),
            "server" => selector.server = true,
            tag => match tag.strip_prefix("tag.") {
                Some(tag) => drop(selector.tags.insert(tag.to_owned(), value.to_owned())),
                None => bail!("{part:?} is not part of a selector; use node=, host=, role=, region=, tag.KEY=, limit="),
            },
        }
    }
    if selector.is_empty() {
        bail!("{text:?} selects nothing");
    }
    Ok(selector)
}

fn kinds(json: bool) -> anyhow::Result<Outcome> {
    if json {
        let kinds: Vec<_> =
            ATTACK_KINDS.iter().map(|(kind, parameters)| json!({"kind": kind, "parameters": parameters})).collect();
        output::json(&kinds)?;
    } else {
        let rows = ATTACK_KINDS.iter().map(|(kind, parameters)| vec![(*kind).to_owned(), parameters.join(" ")]);
        output::table(&["KIND", "PARAMETERS"], rows.collect())?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::Role;

    #[test]
    fn a_selector_reads_as_it_is_written() {
        let parsed = selector("role=replica, region=east,tag.service=db,limit=1").expect("a selector");
        assert_eq!(parsed.role, Some(Role::Replica));
        assert_eq!(parsed.limit, Some(1));
        assert_eq!(parsed.tags["service"], "db");
        for bad in ["", "limit=1", "role=boss", "colour=red", "limit=x,role=primary", "node=../x"] {
            assert!(selector(bad).is_err(), "{bad:?} must be refused");
        }
    }
}
