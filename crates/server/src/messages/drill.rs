//! Whether a run or an attack explains what goes wrong.

use crate::Server;
use firedrill_model::attack::AttackState;
use firedrill_model::{Span, TimelineEvent, Timestamp};
use firedrill_store::{AttackRecord, StoreError};

/// What a drill has broken heals within this; a clone of a large node takes longer, and then people want to know.
const HEALS_WITHIN: Span = Span::secs(300);
/// No fault is in place for longer: an attack whose end was never heard of explains nothing after this.
const ATTACK_MAX: Span = Span::secs(24 * 3600);
/// Attacks that are looked at, newest first.
const ATTACKS_MAX: u32 = 200;

/// Whether a drill explains an event on its cluster or host.
pub(super) async fn explains(server: &Server, event: &TimelineEvent) -> Result<bool, StoreError> {
    // Steps of a run say of which; what they break is told by its verdict.
    if event.scope.run.is_some() || runs(server, event).await? {
        return Ok(true);
    }
    let attacks = server.store.attacks(ATTACKS_MAX).await?;
    Ok(attacks.iter().any(|attack| attack_explains(attack, event)))
}

async fn runs(server: &Server, event: &TimelineEvent) -> Result<bool, StoreError> {
    let Some(cluster) = &event.scope.cluster else {
        // A host's agent comes and goes with faults of the cluster whose run struck it: its attack says so.
        return Ok(false);
    };
    if server.runs.running().iter().any(|run| server.runs.cluster_of(run).as_ref() == Some(cluster)) {
        return Ok(true);
    }
    let newest = server.store.runs_on(cluster).await?.into_iter().find(|run| run.began <= event.at);
    let Some(newest) = newest else { return Ok(false) };
    let ended = server.store.run(&newest.run).await?.and_then(|report| report.ended);
    Ok(ended.is_some_and(|ended| event.at <= ended + HEALS_WITHIN))
}

fn attack_explains(attack: &AttackRecord, event: &TimelineEvent) -> bool {
    let (report, scope) = (&attack.report, &event.scope);
    let here = scope.host.as_ref() == Some(&report.host)
        || scope.cluster.as_ref().is_some_and(|cluster| attack.cluster.as_ref() == Some(cluster));
    let in_place = matches!(report.state, AttackState::Active | AttackState::NoEffect | AttackState::Preparing)
        && !firedrill_fault::kinds::find(&report.fault.kind).is_some_and(|kind| kind.instant);
    // A refused one has done nothing; one that could not be taken out is what people must hear of.
    let counts = !matches!(report.state, AttackState::Refused | AttackState::UndoFailed);
    here && counts && within(event.at, report.at, if in_place { ATTACK_MAX } else { HEALS_WITHIN })
}

/// Not before the other by more than it takes for news to arrive, and not later than so long after it.
fn within(at: Timestamp, other: Timestamp, longest: Span) -> bool {
    other - HEALS_WITHIN <= at && at <= other + longest
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::attack::AttackReport;
    use firedrill_model::timeline::{EventKind, Scope};
    use firedrill_model::{AttackId, Fault, Severity};

    const AT: Timestamp = Timestamp(1_000_000_000_000);

    fn attack(kind: &str, state: AttackState, at: Timestamp) -> AttackRecord {
        let report = AttackReport {
            id: AttackId("a".to_owned()),
            host: "east-1".parse().expect("a name"),
            fault: Fault::new(kind),
            state,
            at,
            in_place: None,
            mechanism: String::new(),
            evidence: String::new(),
        };
        AttackRecord { report, cluster: Some("shop".parse().expect("a name")), run: None, until: None }
    }

    fn event(cluster: &str) -> TimelineEvent {
        let scope = Scope { cluster: Some(cluster.parse().expect("a name")), ..Scope::default() };
        let kind = EventKind::Health;
        TimelineEvent { sequence: 1, at: AT, severity: Severity::Warning, kind, text: String::new(), scope }
    }

    #[test]
    fn an_attack_explains_what_happens_while_it_is_in_place_and_shortly_after() {
        let hours = |hours: u64| AT - Span::secs(hours * 3600);
        let explains = |kind, state, at| attack_explains(&attack(kind, state, at), &event("shop"));
        assert!(explains("latency", AttackState::Active, hours(2)));
        assert!(!explains("latency", AttackState::Active, hours(25)), "its end was never heard of");
        assert!(explains("latency", AttackState::Undone, AT - Span::secs(60)));
        assert!(!explains("latency", AttackState::Undone, hours(1)));
        assert!(explains("kill", AttackState::Active, AT - Span::secs(60)));
        assert!(!explains("kill", AttackState::Active, hours(1)), "it is over as soon as it has happened");
        assert!(!explains("latency", AttackState::UndoFailed, AT));
        assert!(!explains("latency", AttackState::Refused, AT));
        assert!(!attack_explains(&attack("latency", AttackState::Active, AT), &event("bank")));
    }
}
