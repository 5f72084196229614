//! Limits through cgroups: a process gets less, and afterwards is where it was.

use crate::lab::{LocalAgent, Victim, attack, id, with_workers};
use crate::resource_crash::Scene;
use firedrill_model::Fault;
use firedrill_model::attack::AttackState;

fn groups(victim: &Victim) -> String {
    std::fs::read_to_string(format!("/proc/{}/cgroup", victim.identity().pid)).expect("runs")
}

fn throttle(victim: &Victim) -> Fault {
    let path = std::env::temp_dir();
    let fault = Fault::new("io-throttle").with("process", victim.select());
    fault.with("path", path.to_str().expect("UTF-8")).with("write", "1MiB")
}

/// Cgroups are named after attacks, and other tests run at the same time.
fn unique(victim: &Victim, stem: &str) -> String {
    format!("fdf-{stem}-{}", victim.identity().pid)
}

async fn in_and_out(victim: &Victim, stem: &str, fault: Fault) {
    let name = &unique(victim, stem);
    let local = LocalAgent::new();
    let agent = local.open_with(with_workers(&local.path())).await;
    let before = groups(victim);
    let report = agent.faults.inject(attack(name, fault)).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    assert_ne!(groups(victim), before, "{}", report.mechanism);
    for _ in 0..2 {
        let undone = agent.faults.undo(&id(name)).await.expect("known");
        assert_eq!(undone.state, AttackState::Undone, "{}", undone.evidence);
        assert_eq!(groups(victim), before);
    }
    assert_eq!(local.workers(), [0; 0]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_process_gets_less_processor_time() {
    let victim = Victim::running(&["-c", "while :; do :; done"]);
    let fault = Fault::new("cpu-quota").with("process", victim.select()).with("cores", 0.2);
    in_and_out(&victim, "quota", fault).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_process_gets_less_of_a_device() {
    let victim = Victim::new();
    in_and_out(&victim, "throttle", throttle(&victim)).await;
}

#[tokio::test(flavor = "current_thread")]
async fn two_limits_end_in_either_order() {
    let (victim, local) = (Victim::new(), LocalAgent::new());
    let agent = local.open_with(with_workers(&local.path())).await;
    let before = groups(&victim);
    let quota = Fault::new("cpu-quota").with("process", victim.select()).with("cores", 0.5);
    for reverse in [false, true] {
        let [one, two, three] = ["a", "b", "c"].map(|name| unique(&victim, &format!("{name}-{reverse}")));
        for spec in [attack(&one, quota.clone()), attack(&two, throttle(&victim))] {
            let report = agent.faults.inject(spec).await;
            assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        }
        let again = agent.faults.inject(attack(&three, quota.clone())).await;
        assert!(again.evidence.contains("another attack"), "{}", again.evidence);
        for name in if reverse { [two, one] } else { [one, two] } {
            let undone = agent.faults.undo(&id(&name)).await.expect("known");
            assert_eq!(undone.state, AttackState::Undone, "{}", undone.evidence);
        }
        assert_eq!(groups(&victim), before);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn what_cannot_be_limited_is_refused() {
    let (victim, local) = (Victim::new(), LocalAgent::new());
    let agent = local.open_with(with_workers(&local.path())).await;
    let report = agent.faults.inject(attack("p", throttle(&victim).with("path", "/proc"))).await;
    assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
    assert!(report.evidence.contains("no single device"), "{}", report.evidence);
    let nothing = Fault::new("cpu-quota").with("process", victim.select()).with("cores", 0);
    let report = agent.faults.inject(attack("q", nothing)).await;
    assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
}

#[test]
fn a_crash_leaves_no_quota() {
    let scene = Scene::new();
    let quota = Fault::new("cpu-quota").with("process", scene.victim.select()).with("cores", 0.3);
    scene.crash_everywhere(&quota);
}

#[test]
fn a_crash_leaves_no_throttle() {
    let scene = Scene::new();
    scene.crash_everywhere(&throttle(&scene.victim));
}
