//! Whatever happens to the process that holds a fault, the fault comes out.

use crate::lab::{Agent, Lab, THERE, Victim, attack, eventually, id, on_peers};
use firedrill_fault::{Context, FaultError, Faults};
use firedrill_host::process::{Signal, State};
use firedrill_model::attack::AttackState;
use firedrill_model::{AttackSpec, Fault, Span};
use std::time::Duration;

/// All steps of an attack, as `hold --crash` knows them.
pub(crate) const STEPS: [&str; 6] = ["Journalled", "Injected", "Verified", "Undoing", "Undone", "Forgotten"];

/// One attack of each kind that leaves something in place.
fn all_kinds(victim: &Victim) -> [AttackSpec; 3] {
    let slow = on_peers("latency", &[THERE]).with("delay", "200ms");
    [
        attack("pause", Fault::new("pause").with("process", victim.select())),
        attack("cut", on_peers("partition", &[THERE])),
        attack("slow", slow),
    ]
}

/// So short that the undo begins by itself soon.
pub(crate) fn short(spec: AttackSpec) -> AttackSpec {
    AttackSpec { duration: Span::millis(1500), ..spec }
}

/// Ends by itself soon when the step is one of the undo; the steps before come as late as a slow machine likes.
pub(crate) fn until(step: &str, spec: AttackSpec) -> AttackSpec {
    if ["Journalled", "Injected", "Verified"].contains(&step) { endless(spec) } else { spec }
}

/// So long that whatever ends it is not its deadline.
pub(crate) fn endless(spec: AttackSpec) -> AttackSpec {
    AttackSpec { duration: Span::secs(600), ..spec }
}

fn assert_clean(lab: &Lab, victim: &Victim, filter: &str, after: &str) {
    assert_eq!(lab.filter(), filter, "{after}");
    assert_eq!(lab.journalled(), [""; 0], "{after}");
    assert!(victim.identity().alive() && victim.state() != Some(State::Stopped), "{after}");
    assert!(lab.reaches(THERE), "{after}");
}

#[test]
fn the_next_agent_undoes_what_a_crash_left_at_any_step() {
    let lab = Lab::new();
    let filter = lab.filter();
    for step in STEPS {
        let victim = Victim::new();
        for spec in all_kinds(&victim) {
            let after = format!("{} crashed at {step}", spec.id);
            lab.holder(&["--crash", step], &[until(step, short(spec.clone()))]).dies();
            let recorded = lab.journalled().len();
            assert_eq!(recorded, usize::from(step != "Forgotten"), "{after}");
            lab.agent(async |mut agent: Agent| {
                if recorded == 1 {
                    let report = agent.report().await;
                    assert_eq!((report.id, report.state), (spec.id, AttackState::Undone), "{after}");
                }
                assert!(agent.faults.active().is_empty(), "{after}");
            });
            assert_clean(&lab, &victim, &filter, &after);
        }
    }
}

#[test]
fn the_rescue_process_undoes_what_a_crash_left_at_any_step() {
    let lab = Lab::new();
    let filter = lab.filter();
    for step in STEPS {
        let victim = Victim::new();
        for spec in all_kinds(&victim) {
            let after = format!("{} crashed at {step}", spec.id);
            lab.holder(&["--rescue", "--crash", step], &[until(step, short(spec))]).dies();
            eventually(&format!("the rescue after {after}"), || lab.journalled().is_empty());
            assert_clean(&lab, &victim, &filter, &after);
        }
    }
}

#[test]
fn a_killed_holder_leaves_the_network_at_once() {
    let lab = Lab::new();
    let victim = Victim::new();
    let [_, cut, _] = all_kinds(&victim);
    let holder = lab.holder(&[], &[cut]);
    eventually("the cut", || !lab.reaches(THERE));
    holder.signal(Signal::SIGKILL);
    holder.dies();
    assert!(lab.reaches(THERE), "the kernel removes the table with its holder");
}

#[test]
fn a_hung_holder_loses_its_lease() {
    let lab = Lab::new();
    let victim = Victim::new();
    let [_, cut, slow] = all_kinds(&victim).map(endless);
    let holder = lab.holder(&[], &[slow, cut]);
    eventually("the cut", || !lab.reaches(THERE));
    // Past the verification and its longer first lease.
    std::thread::sleep(Duration::from_millis(1500));
    holder.signal(Signal::SIGSTOP);
    assert!(!lab.reaches(THERE), "it is still cut");
    // Five seconds on a machine that was done with the verification; a slow one may still have its first lease.
    eventually("the end of the lease", || lab.reaches(THERE));
    let passed = lab.round_trip(THERE).expect("answers");
    assert!(passed < Duration::from_millis(150), "nothing waits for the hung shaper: {passed:?}");
    holder.signal(Signal::SIGCONT);
    eventually("the holder's own end of both attacks", || lab.journalled().is_empty());
}

#[test]
fn the_rescue_process_minds_the_deadline_of_a_hung_holder() {
    let lab = Lab::new();
    let victim = Victim::new();
    let [pause, ..] = all_kinds(&victim);
    let holder = lab.holder(&["--rescue"], &[short(pause)]);
    eventually("the pause", || victim.state() == Some(State::Stopped));
    holder.signal(Signal::SIGSTOP);
    // The victim runs again by nobody else's hand: its holder hangs.
    eventually("the rescue of the victim", || victim.state() != Some(State::Stopped));
    eventually("the removal of the record", || lab.journalled().is_empty());
}

#[test]
fn a_journal_has_one_holder() {
    let lab = Lab::new();
    lab.agent(async |agent| {
        let second = Faults::open(lab.journal(), Context::new("here".parse().expect("name"))).await;
        assert!(matches!(second, Err(FaultError::JournalHeld(_))));
        drop(agent);
    });
}

#[test]
fn a_record_of_another_boot_or_of_a_reused_process_id_touches_nobody() {
    let lab = Lab::new();
    let victim = Victim::new();
    victim.signal(Signal::SIGSTOP);
    eventually("the stop", || victim.state() == Some(State::Stopped));
    let [pause, ..] = all_kinds(&victim);
    let journal = firedrill_fault::journal::Journal::open(lab.journal()).expect("opens");
    let record = |name: &str, identity| {
        let who = (id(name), "here".parse().expect("name"));
        let undo = firedrill_fault::journal::Undo::by(&serde_json::json!({ "process": identity })).expect("JSON");
        let what = (pause.fault.clone(), pause.duration);
        firedrill_fault::journal::Record::new(who, what, "SIGSTOP".to_owned(), undo).expect("record")
    };
    let mut reused = victim.identity();
    reused.start_time += 1;
    journal.write(&record("reused", reused)).expect("writes");
    let mut old = record("old", victim.identity());
    old.boot_id = "00000000-0000-0000-0000-000000000000".to_owned();
    journal.write(&old).expect("writes");
    lab.agent(async |mut agent| {
        for _ in 0..2 {
            assert_eq!(agent.report().await.state, AttackState::Undone);
        }
    });
    assert_eq!(victim.state(), Some(State::Stopped), "somebody else's stop is left alone");
    assert_eq!(lab.journalled(), [""; 0]);
}
