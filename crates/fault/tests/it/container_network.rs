//! Network faults inside containers, and of what is in a cgroup: they strike nobody else.

use crate::container::ends_by_itself;
use crate::lab::{Agent, Lab, THERE, attack, id, on_peers};
use crate::runc::{IDLE, RuncContainer};
use firedrill_host::cgroup::Cgroup;
use firedrill_host::process::{Child, Pidfd, Signal, Spawn};
use firedrill_model::Fault;
use firedrill_model::attack::{AttackReport, AttackState};
use std::time::Duration;

fn inside(target: &RuncContainer, kind: &str) -> Fault {
    on_peers(kind, &[target.far()]).with("container", target.name())
}

async fn active(agent: &Agent, name: &str, fault: Fault) -> AttackReport {
    let report = agent.faults.inject(attack(name, fault)).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    report
}

async fn undone_twice(agent: &Agent, name: &str) -> String {
    let mut seen = String::new();
    for _ in 0..2 {
        let report = agent.faults.undo(&id(name)).await.expect("known");
        assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
        seen = report.evidence;
    }
    seen
}

#[test]
fn a_container_is_cut_off_and_nobody_else() {
    let lab = Lab::new();
    let (target, neighbour) = (RuncContainer::running(&lab, IDLE), RuncContainer::running(&lab, IDLE));
    let before = (target.filter(), lab.filter());
    lab.agent(async |agent| {
        let report = active(&agent, "cut", inside(&target, "partition")).await;
        assert!(report.evidence.contains("1 of 1 probed endpoints answered before"), "{}", report.evidence);
        assert!(report.mechanism.contains("inside the network namespace"), "{}", report.mechanism);
        assert!(!target.reaches());
        assert!(neighbour.reaches() && lab.reaches(THERE), "only that container is meant");
        assert_eq!(lab.filter(), before.1, "no rule on the host");
        let seen = undone_twice(&agent, "cut").await;
        assert!(seen.contains("inside the container"), "{seen}");
        assert!(target.reaches());
        // What is outside of it is not this container's traffic.
        let report =
            agent.faults.inject(attack("far", on_peers("partition", &[THERE]).with("container", target.name()))).await;
        assert_eq!(report.state, AttackState::NoEffect, "{}", report.evidence);
        agent.faults.undo(&id("far")).await.expect("known");
    });
    assert_eq!((target.filter(), lab.filter()), before);
    assert_eq!(lab.journalled(), [""; 0]);
}

#[test]
fn its_packets_are_late_lost_and_reset() {
    let lab = Lab::new();
    let target = RuncContainer::running(&lab, IDLE);
    let before = target.filter();
    lab.agent(async |agent| {
        let report = active(&agent, "late", inside(&target, "latency").with("delay", "100ms")).await;
        assert!(report.evidence.contains("asked 100ms"), "{}", report.evidence);
        let late = target.round_trip().expect("answered");
        assert!((Duration::from_millis(95)..Duration::from_millis(400)).contains(&late), "{late:?}");
        assert!(lab.round_trip(THERE).expect("answered") < Duration::from_millis(90), "not the host's");
        undone_twice(&agent, "late").await;
        for (name, kind) in [("lost", "loss"), ("twice", "duplication")] {
            let report = active(&agent, name, inside(&target, kind).with("percent", 30)).await;
            assert!(report.evidence.contains("asked 30 %"), "{}", report.evidence);
            undone_twice(&agent, name).await;
        }
        active(&agent, "reset", inside(&target, "reset")).await;
        undone_twice(&agent, "reset").await;
        assert!(target.round_trip().expect("answered") < Duration::from_millis(90));
    });
    assert_eq!(target.filter(), before);
}

#[test]
fn a_container_that_ends_takes_its_rules_along() {
    let lab = Lab::new();
    let target = RuncContainer::running(&lab, IDLE);
    lab.agent(async |mut agent| {
        active(&agent, "again", inside(&target, "partition")).await;
        // Its network lives on, as that of a pod does.
        target.restart(&lab);
        let said = ends_by_itself(&mut agent, "again").await;
        assert!(said.contains("was started again as"), "{said}");
        assert!(target.reaches());

        active(&agent, "gone", inside(&target, "partition")).await;
        target.forget_network();
        target.remove();
        let said = ends_by_itself(&mut agent, "gone").await;
        assert!(said.contains("has ended") && said.contains("is gone, and all that was in it"), "{said}");
        undone_twice(&agent, "gone").await;
    });
    assert_eq!(lab.journalled(), [""; 0]);
}

/// Asks the far host's closed port again and again.
fn asking() -> String {
    format!("while :; do bash -c '</dev/tcp/{THERE}/7' 2>/dev/null; sleep 0.02; done")
}

#[test]
fn a_container_in_the_hosts_network_is_known_by_its_cgroup() {
    let lab = Lab::new();
    let target = RuncContainer::on_host(&lab, &asking());
    let before = lab.filter();
    lab.agent(async |agent| {
        let fault = on_peers("partition", &[THERE]).with("container", target.name());
        let report = active(&agent, "cut", fault).await;
        assert!(report.evidence.contains("packets dropped"), "{}", report.evidence);
        assert!(lab.reaches(THERE), "the host is not meant");
        undone_twice(&agent, "cut").await;
    });
    assert_eq!(lab.filter(), before);
}

/// A process of a cgroup of its own; ended, and its group removed, when dropped.
struct Grouped {
    group: Cgroup,
    child: Child,
}

impl Grouped {
    fn new(lab: &Lab, name: &str) -> Self {
        let mount = firedrill_host::cgroup::mount_of_version_2().expect("these tests need a mounted cgroup2");
        let group = Cgroup::in_dir(mount.join(name));
        group.make().expect("makes");
        let spawn = Spawn::new("sh").args(["-c", &asking()]).cgroup(group.dir());
        let child = spawn.netns(firedrill_host::netns::path(lab.here())).spawn().expect("starts");
        Self { group, child }
    }
}

impl Drop for Grouped {
    fn drop(&mut self) {
        let _gone = self.child.signal(Signal::SIGKILL);
        crate::lab::eventually("the end of all in the group", || {
            for pid in self.group.processes().unwrap_or_default() {
                let _gone = Pidfd::open(pid).and_then(|one| one.signal(Signal::SIGKILL));
            }
            self.group.remove().is_ok()
        });
    }
}

#[test]
fn only_what_is_in_the_cgroup_is_cut_off() {
    let lab = Lab::new();
    let name = format!("fdf-{}-cut", std::process::id());
    let grouped = lab.near(|| crate::lab::block_on(async { Grouped::new(&lab, &name) }));
    let before = lab.filter();
    lab.agent(async |agent| {
        let cut = |group: &str| on_peers("partition", &[THERE]).with("cgroup", group);
        let report = active(&agent, "cut", cut(&name)).await;
        assert!(report.evidence.contains("packets dropped"), "{}", report.evidence);
        assert!(lab.reaches(THERE), "others are not meant");
        undone_twice(&agent, "cut").await;
        let late = on_peers("latency", &[THERE]).with("delay", "20ms").with("cgroup", name.as_str());
        let report = active(&agent, "late", late).await;
        assert!(report.evidence.contains("held back"), "{}", report.evidence);
        assert!(lab.round_trip(THERE).expect("answered") < Duration::from_millis(20), "others are not meant");
        undone_twice(&agent, "late").await;
        for (id, group, because) in [("none", "no/such/group", "no cgroup no/such/group"), ("root", "/", "no cgroup /")]
        {
            let report = agent.faults.inject(attack(id, cut(group))).await;
            assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
            assert!(report.evidence.contains(because), "{}", report.evidence);
        }
        let copies = on_peers("duplication", &[THERE]).with("percent", 10).with("cgroup", name.as_str());
        let report = agent.faults.inject(attack("twice", copies)).await;
        assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
    });
    assert_eq!(lab.filter(), before);
    drop(grouped);
}
