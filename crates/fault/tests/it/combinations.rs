//! Two and three attacks at a time on one host, in every order: most known catastrophes needed two. Whatever they do to
//! each other, each comes out, and when the last one is out the host is as it was.

use crate::lab::{Agent, THERE, attack, eventually, on_peers, with_workers, workers_of};
use crate::storm::Field;
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::{AttackId, Fault};

/// One of each mechanism, all on the same host, volume and process.
fn faults(field: &Field) -> Vec<Fault> {
    vec![
        on_peers("partition", &[THERE]),
        on_peers("latency", &[THERE]).with("delay", "5ms"),
        on_peers("loss", &[THERE]).with("percent", 40.0),
        on_peers("bandwidth", &[THERE]).with("rate", "100Mbit/s"),
        on_peers("duplication", &[THERE]).with("percent", 40.0),
        on_peers("reset", &[THERE]),
        Fault::new("pause").with("process", field.victim.select()),
        Fault::new("time-skew").with("process", field.victim.select()).with("offset", "1h"),
        Fault::new("threads").with("amount", 20),
        Fault::new("disk-fill").with("path", field.volume()).with("amount", "8MiB"),
        Fault::new("inodes").with("path", field.volume()).with("amount", 100),
        Fault::new("memory").with("amount", "16MiB"),
    ]
}

/// In which order attacks that began one after the other end.
#[derive(Debug, Clone, Copy)]
enum End {
    FirstInFirstOut,
    LastInFirstOut,
}

/// Starts them, ends them, and looks. Says how many were in place at a time.
async fn together(agent: &Agent, combination: &[&Fault], end: End) -> usize {
    let told: Vec<String> = combination.iter().map(|fault| fault.to_string()).collect();
    let ids: Vec<AttackId> = (0..combination.len()).map(|at| AttackId(format!("combination-{at}"))).collect();
    let mut inside = Vec::new();
    for (id, fault) in ids.iter().zip(combination) {
        let report: AttackReport = agent.faults.inject(attack(&id.0, (*fault).clone())).await;
        match report.state {
            // What one does can hide what the other does: nothing is late where nothing arrives.
            AttackState::Active | AttackState::NoEffect => inside.push(id),
            AttackState::Refused => {
                let taken =
                    ["undo that one first", "is Stopped already"].iter().any(|why| report.evidence.contains(why));
                assert!(taken, "{told:?}: {}", report.evidence);
            }
            other => panic!("{told:?}: {other:?}: {}", report.evidence),
        }
    }
    let in_place = inside.len();
    if matches!(end, End::LastInFirstOut) {
        inside.reverse();
    }
    for id in inside {
        let report = agent.faults.undo(id).await.expect("known");
        assert_eq!(report.state, AttackState::Undone, "{told:?}, {end:?}: {}", report.evidence);
    }
    in_place
}

/// Each combination has an agent of its own, so that an id can be used again.
fn as_before_after(field: &Field, combination: &[&Fault], end: End, before: &str) -> usize {
    let in_place = field.lab.agent_with(
        |context| context.worker = with_workers(field.lab.journal()).worker,
        async |agent: Agent| together(&agent, combination, end).await,
    );
    let what = || combination.iter().map(|fault| fault.to_string()).collect::<Vec<_>>().join(" and ");
    assert!(field.clean(), "{}: {:?}", what(), field.lab.journalled());
    eventually(&format!("the end of workers after {}", what()), || workers_of(field.lab.journal()).is_empty());
    eventually(&format!("the host as before, after {}, {end:?}", what()), || field.seen() == before);
    in_place
}

#[test]
fn every_ordered_pair_comes_out_in_either_order() {
    let field = Field::new();
    let (faults, before) = (faults(&field), field.seen());
    let (mut tried, mut both) = (0, 0);
    for (i, first) in faults.iter().enumerate() {
        for (j, second) in faults.iter().enumerate() {
            // The pair and its reverse end in different orders, and so does each with itself.
            let end = if i <= j { End::FirstInFirstOut } else { End::LastInFirstOut };
            tried += 1;
            both += usize::from(as_before_after(&field, &[first, second], end, &before) == 2);
        }
    }
    assert!(both >= tried * 3 / 4, "only {both} of {tried} pairs overlapped");
    assert!(field.lab.reaches(THERE));
}

#[test]
fn triples_come_out_in_either_order() {
    let field = Field::new();
    let (faults, before) = (faults(&field), field.seen());
    let (mut tried, mut all) = (0, 0);
    // Every third triple of different faults, in an order that has each at the beginning, in the middle and at the end.
    for (i, first) in faults.iter().enumerate() {
        for (j, second) in faults.iter().enumerate().skip(i + 1) {
            for (k, third) in faults.iter().enumerate().skip(j + 1).filter(|(k, _)| (i + j + k) % 3 == 0) {
                let end = if k % 2 == 0 { End::FirstInFirstOut } else { End::LastInFirstOut };
                let mut triple = [first, second, third];
                triple.rotate_left((i + j) % 3);
                tried += 1;
                all += usize::from(as_before_after(&field, &triple, end, &before) == 3);
            }
        }
    }
    assert!(all >= tried / 2, "only {all} of {tried} triples overlapped");
    assert!(field.lab.reaches(THERE));
}
