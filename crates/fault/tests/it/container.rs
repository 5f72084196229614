//! Containers: their processes are killed, stopped, and killed again when they come back; their cgroups are limited.

use crate::lab::{Agent, Lab, attack, eventually, id, with_workers, workers_of};
use crate::runc::{BUSY, IDLE, RuncContainer};
use firedrill_host::container;
use firedrill_host::process::{Identity, State};
use firedrill_model::Fault;
use firedrill_model::attack::{AttackReport, AttackState};

fn on(target: &RuncContainer, kind: &str) -> Fault {
    Fault::new(kind).with("container", target.name())
}

/// An agent on the near host that can start workers.
fn with_agent(lab: &Lab, work: impl AsyncFnOnce(Agent) + Send) {
    lab.agent_with(|context| *context = with_workers(lab.journal()), work);
}

async fn active(agent: &Agent, name: &str, fault: Fault) -> AttackReport {
    let report = agent.faults.inject(attack(name, fault)).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    report
}

async fn refused(agent: &Agent, name: &str, fault: Fault, because: &str) {
    let report = agent.faults.inject(attack(name, fault)).await;
    assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
    assert!(report.evidence.contains(because), "{}", report.evidence);
}

async fn undone_twice(agent: &Agent, name: &str) {
    for _ in 0..2 {
        let report = agent.faults.undo(&id(name)).await.expect("known");
        assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
    }
}

/// What is said at the end of an attack that ends by itself.
pub(crate) async fn ends_by_itself(agent: &mut Agent, name: &str) -> String {
    loop {
        let report = agent.report().await;
        match report.state {
            AttackState::Undone if report.id == id(name) => return report.evidence,
            AttackState::UndoFailed => panic!("{}", report.evidence),
            _ => {}
        }
    }
}

fn stopped(target: &RuncContainer) -> [bool; 2] {
    target.states().map(|state| state == Some(State::Stopped))
}

#[test]
fn a_container_is_named_whole_and_beyond_doubt() {
    let lab = Lab::new();
    let (one, other) = (RuncContainer::on_host(&lab, IDLE), RuncContainer::on_host(&lab, IDLE));
    with_agent(&lab, async |agent: Agent| {
        let kill = |name: &str| Fault::new("kill").with("container", name);
        refused(&agent, "a", kill("no-such-container"), one.name()).await;
        let both = one.name().trim_end_matches(|c: char| c.is_ascii_digit());
        refused(&agent, "b", kill(both), "several containers").await;
        let two = kill(one.name()).with("process", serde_json::json!({"select": "pid", "pid": 1}));
        refused(&agent, "c", two, "leave one of them out").await;
        assert!(one.init().alive() && other.init().alive());
        let seen = container::runtimes().into_iter().find(|runtime| runtime.name == "runc").expect("seen");
        assert!(seen.running >= 2, "{seen:?}");
    });
}

#[test]
fn its_main_process_is_killed_and_no_other_container() {
    let lab = Lab::new();
    let (target, neighbour) = (RuncContainer::on_host(&lab, IDLE), RuncContainer::on_host(&lab, IDLE));
    let (init, child) = (target.init(), target.child());
    with_agent(&lab, async |agent: Agent| {
        let report = active(&agent, "k", on(&target, "kill")).await;
        assert!(report.evidence.contains("main process of the container"), "{}", report.evidence);
        assert!(!init.alive());
        eventually("the end of all that was in it", || !child.alive());
        assert!(neighbour.init().alive());
        refused(&agent, "again", on(&target, "kill"), "no running container").await;
    });
}

#[test]
fn it_is_stopped_by_signals_in_part_or_whole() {
    let lab = Lab::new();
    let target = RuncContainer::on_host(&lab, IDLE);
    with_agent(&lab, async |agent: Agent| {
        for (which, all) in [("only", false), ("all", true)] {
            active(&agent, which, on(&target, "pause").with("which", which)).await;
            assert_eq!(stopped(&target), [true, all], "{which}");
            undone_twice(&agent, which).await;
            assert_eq!(stopped(&target), [false, false], "{which}");
        }
    });
}

#[test]
fn it_is_frozen_as_a_whole() {
    let lab = Lab::new();
    let target = RuncContainer::on_host(&lab, BUSY);
    with_agent(&lab, async |mut agent: Agent| {
        let freeze = || on(&target, "pause").with("means", "freezer");
        let used = |one: Identity| firedrill_host::usage::cpu_time(one).expect("runs");
        let report = active(&agent, "f", freeze()).await;
        assert!(report.evidence.contains("stood still"), "{}", report.evidence);
        let before = used(target.init());
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!(used(target.init()), before, "it does nothing");
        assert!(!stopped(&target)[0], "and cannot tell by a signal");
        refused(&agent, "second", freeze(), "frozen already").await;
        undone_twice(&agent, "f").await;
        eventually("work again", || used(target.init()) > before);

        active(&agent, "g", freeze()).await;
        target.thaw();
        let said = ends_by_itself(&mut agent, "g").await;
        assert!(said.contains("somebody else has let"), "{said}");
    });
}

#[test]
fn it_is_killed_each_time_it_comes_back() {
    let lab = Lab::new();
    let target = RuncContainer::on_host(&lab, IDLE);
    with_agent(&lab, async |agent: Agent| {
        active(&agent, "l", on(&target, "crash-loop")).await;
        for _ in 0..2 {
            target.remove();
            let init = target.start(&lab);
            // The loop is a task of this very thread.
            let began = std::time::Instant::now();
            while init.alive() {
                assert!(began.elapsed() < crate::lab::WITHIN);
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
        undone_twice(&agent, "l").await;
        target.remove();
        let init = target.start(&lab);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert!(init.alive(), "the loop is over");
    });
}

#[test]
fn its_limits_are_set_and_put_back() {
    let lab = Lab::new();
    let target = RuncContainer::on_host(&lab, BUSY);
    with_agent(&lab, async |agent: Agent| {
        let before = target.limits();
        let quota = on(&target, "cpu-quota").with("cores", 0.2);
        let path = std::env::temp_dir();
        let throttle = on(&target, "io-throttle").with("path", path.to_str().expect("UTF-8")).with("write", "128KiB");
        let pids = on(&target, "pids-limit").with("leave", 10);
        let memory = on(&target, "memory-limit").with("leave", "40MiB");
        for (name, fault) in [("q", quota.clone()), ("t", throttle), ("p", pids), ("m", memory)] {
            let report = active(&agent, name, fault).await;
            assert_ne!(target.limits(), before, "{}", report.mechanism);
            if name == "q" {
                refused(&agent, "twice", quota.clone(), "another attack").await;
            }
            undone_twice(&agent, name).await;
            assert_eq!(target.limits(), before, "{name}");
        }
        assert!(target.init().alive() && target.child().alive(), "only what measured was ended");
    });
    assert_eq!(workers_of(lab.journal()), [0; 0]);
}

#[test]
fn a_limit_of_its_own_is_put_back() {
    let lab = Lab::new();
    let target = RuncContainer::on_host(&lab, BUSY);
    target.update(&["--cpu-quota", "50000", "--cpu-period", "100000", "--pids-limit", "77"]);
    let before = target.limits();
    assert!(before.contains("50000") && before.contains("77"), "{before}");
    with_agent(&lab, async |agent: Agent| {
        for (name, fault) in
            [("q", on(&target, "cpu-quota").with("cores", 0.1)), ("p", on(&target, "pids-limit").with("leave", 10))]
        {
            active(&agent, name, fault).await;
            assert_ne!(target.limits(), before);
            undone_twice(&agent, name).await;
            assert_eq!(target.limits(), before, "{name}");
        }
    });
}

#[test]
fn a_container_that_is_started_again_is_another_one() {
    let lab = Lab::new();
    let target = RuncContainer::on_host(&lab, BUSY);
    let before = target.limits();
    with_agent(&lab, async |mut agent: Agent| {
        let faults = [
            on(&target, "cpu-quota").with("cores", 0.2),
            on(&target, "pause").with("means", "freezer"),
            on(&target, "pause").with("which", "all"),
        ];
        for (number, fault) in faults.into_iter().enumerate() {
            let name = format!("a{number}");
            active(&agent, &name, fault).await;
            target.restart(&lab);
            let said = ends_by_itself(&mut agent, &name).await;
            assert!(said.contains("was started again as"), "{said}");
            assert_eq!(target.limits(), before, "{said}");
            assert_eq!(stopped(&target), [false; 2], "{said}");
        }
    });
    assert_eq!(lab.journalled(), [""; 0]);
}
