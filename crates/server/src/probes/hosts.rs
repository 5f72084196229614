//! Questions that agents put on their hosts.

use super::{COMMAND, Question};
use crate::Server;
use crate::attacks;
use crate::fleet::Call;
use firedrill_api::link;
use firedrill_api::link::Order;
use firedrill_model::command::FailureKind;
use firedrill_model::probe::{Answer, HOSTS_MAX, HostProbe, HostSeen, Measure, Seen};
use firedrill_model::{CommandFailure, Selector, Span, Target};
use futures_util::future::join_all;
use tokio::time::Instant;

/// Asks every host that is meant at this moment, all at once.
pub(super) async fn ask(server: &Server, question: &Question, end: Instant) -> Vec<Answer> {
    let not_asked = |why: String| vec![Answer { from: None, seen: Seen::NotAsked(why) }];
    let selector = match &question.probe.measure {
        Measure::Sql(sql) => &sql.target,
        Measure::Command(command) => &command.target,
        _ => return Vec::new(),
    };
    let targets = match targets(server, question, selector).await {
        Ok(targets) => targets,
        Err(why) => return not_asked(why),
    };
    if targets.is_empty() {
        return not_asked(format!("no host matches {selector} at this moment"));
    }
    if targets.len() > HOSTS_MAX {
        return not_asked(format!("{} hosts match {selector}; at most {HOSTS_MAX} are asked", targets.len()));
    }
    join_all(targets.iter().map(|target| one(server, question, target, end))).await
}

/// The hosts that are meant. A query means those of databases.
async fn targets(server: &Server, question: &Question, selector: &Selector) -> Result<Vec<Target>, String> {
    let chosen = attacks::select(server, &question.cluster, selector).await.map_err(|problem| problem.message)?;
    let query = matches!(question.probe.measure, Measure::Sql(_));
    Ok(chosen.into_iter().filter(|target| !query || target.node.is_some()).collect())
}

async fn one(server: &Server, question: &Question, target: &Target, end: Instant) -> Answer {
    let seen = match host_probe(question, target) {
        Ok(probe) => call(server, probe, target, end).await,
        Err(why) => Seen::NotAsked(why),
    };
    let from = target.node.as_ref().map_or_else(|| target.host.to_string(), |(node, _)| node.to_string());
    Answer { from: Some(from), seen }
}

fn host_probe(question: &Question, target: &Target) -> Result<HostProbe, String> {
    match (&question.probe.measure, &target.node) {
        (Measure::Sql(sql), Some((node, _))) => {
            let login = question.login.clone().ok_or_else(|| {
                format!("cluster {} has no login to ask with; register it with one", question.cluster)
            })?;
            Ok(HostProbe::Sql { node: node.clone(), query: sql.query.clone(), login })
        }
        (Measure::Command(command), _) => {
            Ok(HostProbe::Command { program: command.program.clone(), args: command.args.clone() })
        }
        _ => Err(format!("host {} has no database", target.host)),
    }
}

async fn call(server: &Server, probe: HostProbe, target: &Target, end: Instant) -> Seen {
    let command = matches!(probe, HostProbe::Command { .. });
    let within: Span = end.saturating_duration_since(Instant::now()).into();
    match server.fleet.call(&target.host, Call::new(Order::Probe { probe, within }, within)).await {
        Ok(link::Answer::Probe { seen: HostSeen::Cell { value } }) => Seen::Cell(value),
        Ok(link::Answer::Probe { seen: HostSeen::Ended { exit, output } }) => Seen::Ended { exit, output },
        Ok(link::Answer::Probe { seen: HostSeen::Failed { problem } }) => Seen::Failed(problem),
        Ok(_) => Seen::NotAsked("the agent gave an answer of another kind".to_owned()),
        Err(CommandFailure { kind: FailureKind::Invalid, message }) if command => {
            Seen::NotAsked(format!("{COMMAND}: {message}"))
        }
        Err(failure) => Seen::NotAsked(failure.to_string()),
    }
}
