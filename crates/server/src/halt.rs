//! Halt and resume.

use crate::clock::now;
use crate::fleet::Call;
use crate::problem::store_failed;
use crate::server::Server;
use crate::{access, attacks};
use firedrill_api::http::{Done, Halted, Live, Problem};
use firedrill_api::link::{Answer, Order};
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::message::Topic;
use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::{HostName, Severity, Span};
use futures_util::future::join_all;

/// Taking every fault of a host out and seeing them out.
const HALT_WITHIN: Span = Span::secs(15);
/// Accepting faults again is setting a flag.
const RESUME_WITHIN: Span = Span::secs(5);

/// Blocks starts, stops every run and takes every fault out, on all hosts at once. A second halt does the same again:
/// it finds nothing to do, or reaches hosts that the first did not.
///
/// The faults come out also when the store cannot be written; then the block does not survive a restart, and the
/// error says so.
///
/// # Errors
/// The store cannot be written. Everything was halted nevertheless.
pub async fn halt(server: &Server, reason: &str) -> Result<Halted, Problem> {
    let began = now();
    // Before anything else, so that nothing begins behind the halt.
    server.set_halted(Some(reason));
    server.live.send(Live::Halt { reason: Some(reason.to_owned()) });
    let runs = server.runs.halt_all(reason);
    let known: Vec<HostName> = server.fleet.records().into_iter().map(|record| record.name).collect();
    // The store may be busy: nobody waits for it before the faults come out.
    let halting = async {
        let answers = join_all(known.iter().map(|host| halt_host(server, host, reason))).await;
        (answers, now().since(began))
    };
    let ((answers, took), stored) = tokio::join!(halting, server.store.set_halt(reason, began));
    let mut reports = Vec::new();
    let mut unreachable = Vec::new();
    for (host, answer) in known.into_iter().zip(answers) {
        match answer {
            Some(of_host) => reports.extend(of_host.into_iter().map(|report| (host.clone(), report))),
            None => unreachable.push(host),
        }
    }
    let attacks: Vec<AttackReport> = reports.iter().map(|(_, report)| report.clone()).collect();
    attacks::reported(server, reports).await;
    let out = attacks.iter().filter(|report| report.state == AttackState::Undone).count();
    let text = format!(
        "halted: {reason}; {} runs stopped, {out} of {} attacks taken out in {took}, {} hosts not reached; by {}",
        runs.len(),
        attacks.len(),
        unreachable.len(),
        access::by()
    );
    server.timeline.append(Severity::Warning, EventKind::Halt, text, about(Topic::Halted)).await;
    stored.map_err(|error| {
        let problem = store_failed(&error);
        Problem {
            message: format!(
                "{}; everything was halted, but starts will be allowed after a restart of the server",
                problem.message
            ),
            ..problem
        }
    })?;
    Ok(Halted { took, runs, attacks, unreachable })
}

fn about(topic: Topic) -> Scope {
    Scope { about: Some(topic), ..Scope::default() }
}

/// `None`: the host could not be reached or has not answered; its lease and deadlines take the faults out.
async fn halt_host(server: &Server, host: &HostName, reason: &str) -> Option<Vec<AttackReport>> {
    let order = Order::Halt { reason: reason.to_owned() };
    match server.fleet.call(host, Call::new(order, HALT_WITHIN)).await {
        Ok(Answer::Halted { reports }) => Some(reports),
        Ok(other) => {
            tracing::warn!(%host, ?other, "an agent answered a halt with something else");
            None
        }
        Err(failure) => {
            tracing::warn!(%host, %failure, "an agent could not be halted");
            None
        }
    }
}

/// Allows starts again. Agents that cannot be reached are told when they connect.
///
/// # Errors
/// The store cannot be written; starts stay blocked.
pub async fn resume(server: &Server, reason: &str) -> Result<Done, Problem> {
    let was = server.halted();
    server.store.clear_halt().await.map_err(|error| store_failed(&error))?;
    server.set_halted(None);
    server.live.send(Live::Halt { reason: None });
    let hosts = server.fleet.connected();
    let answers =
        join_all(hosts.iter().map(|host| server.fleet.call(host, Call::new(Order::Resume, RESUME_WITHIN)))).await;
    for (host, answer) in hosts.iter().zip(answers) {
        if let Err(failure) = answer {
            tracing::warn!(%host, %failure, "an agent was not told to accept faults again; it will be when it connects");
        }
    }
    if was.is_some() {
        let text = format!("starts are allowed again: {reason}; by {}", access::by());
        server.timeline.append(Severity::Info, EventKind::Halt, text, about(Topic::Resumed)).await;
    }
    Ok(Done {})
}
