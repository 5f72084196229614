//! Attacks that the server counts as open and that their host does not have: the server was killed between its record
//! and its instruction, or the host lost its journal. Nothing is in place, and somebody must say so, or they would count
//! as open for ever.

use super::{INJECT_WITHIN, keep_all};
use crate::clock::now;
use crate::fleet::Session;
use crate::problem::chain;
use crate::server::Server;
use firedrill_api::link::Hello;
use firedrill_fault::kinds;
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::{AttackId, HostName, Timestamp};
use firedrill_store::{AttackRecord, StoreError};
use std::time::Duration;

/// An agent that is back sends what it could not report with its first reports; several of them may be lost on the way.
const REPORTED_WITHIN: Duration = Duration::from_secs(3);
/// After this an instruction of this server that was under way at the hello is answered or given up.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(INJECT_WITHIN.0.as_secs() + 5);

/// What the store holds open of a host and the host's agent does not have in place, as it says hello.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn unaccounted(
    server: &Server,
    host: &HostName,
    hello: &Hello,
) -> Result<Vec<AttackReport>, StoreError> {
    let open = server.store.open_attacks_on(host).await?.into_iter().map(|record| record.report);
    Ok(open.filter(|report| may_be_forgotten(report, &hello.attacks)).collect())
}

/// Gives each of those its end, unless its agent does so itself.
pub(crate) async fn settle(server: &Server, session: &Session) {
    let (own, earlier): (Vec<_>, Vec<_>) =
        session.unaccounted().iter().partition(|report| may_be_under_way(report, server.started()));
    for (reports, within) in [(earlier, REPORTED_WITHIN), (own, GIVEN_UP_WITHIN)] {
        if reports.is_empty() {
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(within) => {}
            // The next session looks again.
            () = session.ended() => return,
        }
        match server.store.attacks_named(reports.iter().map(|report| &report.id)).await {
            Ok(known) => {
                let unchanged = |record: &AttackRecord| reports.iter().any(|report| record.report == **report);
                let ended: Vec<AttackRecord> = known.into_values().filter(unchanged).map(end).collect();
                if !ended.is_empty() {
                    keep_all(server, ended).await;
                }
            }
            Err(error) => {
                tracing::error!(host = %session.host(), error = %chain(&error), "cannot find out what a host has forgotten");
            }
        }
    }
}

/// An attack that is over at once is in no list; that it landed is how it ends. What could not be taken out is there,
/// whatever the agent says.
fn may_be_forgotten(report: &AttackReport, in_place: &[AttackId]) -> bool {
    let instant = kinds::find(&report.fault.kind).is_some_and(|kind| kind.instant);
    let open = match report.state {
        AttackState::Preparing => true,
        AttackState::Active | AttackState::NoEffect => !instant,
        AttackState::Refused | AttackState::Undone | AttackState::UndoFailed => false,
    };
    open && !in_place.contains(&report.id)
}

/// Begun by this server itself: its instruction may have gone out just behind the hello.
fn may_be_under_way(report: &AttackReport, started: Timestamp) -> bool {
    report.state == AttackState::Preparing && report.at >= started
}

fn end(record: AttackRecord) -> AttackRecord {
    let (state, evidence) = match record.report.state {
        AttackState::Preparing => (
            AttackState::Refused,
            "its agent has connected anew and never had it in place; the server or the link was lost before it began",
        ),
        _ => (AttackState::Undone, "its agent has connected anew and does not have it in place any more"),
    };
    let report = AttackReport { state, at: now(), evidence: evidence.to_owned(), ..record.report };
    AttackRecord { report, ..record }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::Fault;

    #[test]
    fn only_what_is_not_in_place_may_be_forgotten() {
        let report = |kind: &str, state| AttackReport {
            id: AttackId("a".to_owned()),
            host: "east-1".parse().expect("a name"),
            fault: Fault::new(kind),
            state,
            at: Timestamp(5),
            in_place: None,
            mechanism: String::new(),
            evidence: String::new(),
        };
        let there = [AttackId("a".to_owned())];
        for (kind, state, in_place, expected) in [
            ("pause", AttackState::Preparing, &[][..], true),
            ("pause", AttackState::Active, &[], true),
            ("pause", AttackState::Active, &there, false),
            ("pause", AttackState::UndoFailed, &[], false),
            ("kill", AttackState::Active, &[], false),
            ("kill", AttackState::Preparing, &[], true),
        ] {
            assert_eq!(may_be_forgotten(&report(kind, state), in_place), expected, "{kind} {state:?}");
        }
        assert!(may_be_under_way(&report("pause", AttackState::Preparing), Timestamp(5)));
        assert!(!may_be_under_way(&report("pause", AttackState::Preparing), Timestamp(6)), "of an earlier process");
        assert!(!may_be_under_way(&report("pause", AttackState::Active), Timestamp(5)), "the agent has answered");
    }
}
